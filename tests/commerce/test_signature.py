"""Standard Webhooks 1.0.0."""

from __future__ import annotations

import pytest

from commerce.errors import SignatureInvalid
from commerce.payments.signature import new_secret, sign, verify

# The example of the standard's reference libraries.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
TIMESTAMP = 1614265330
BODY = b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_known_example_is_signed_as_it_should_be() -> None:
    assert sign(SECRET, ID, TIMESTAMP, BODY) == {
        "webhook-id": ID,
        "webhook-timestamp": str(TIMESTAMP),
        "webhook-signature": SIGNATURE,
    }


def test_what_was_signed_is_accepted_in_any_spelling_of_the_headers() -> None:
    headers = {name.title(): value for name, value in sign(SECRET, ID, TIMESTAMP, BODY).items()}
    assert verify([SECRET], headers, BODY, TIMESTAMP + 300) == ID


def test_one_good_signature_of_several_and_one_good_secret_of_several_is_enough() -> None:
    headers = sign(SECRET, ID, TIMESTAMP, BODY)
    headers["webhook-signature"] = f"v1a,abc v1,d3Jvbmc= {SIGNATURE}"
    assert verify([new_secret(), SECRET], headers, BODY, TIMESTAMP) == ID


@pytest.mark.parametrize(
    "wrong",
    [
        {"webhook-id": "msg_other"},
        {"webhook-id": ""},
        {"webhook-timestamp": str(TIMESTAMP + 1)},
        {"webhook-timestamp": ""},
        {"webhook-timestamp": "-1"},
        {"webhook-timestamp": "１６１４２６５３３０"},
        {"webhook-timestamp": "9" * 5000},
        {"webhook-signature": ""},
        {"webhook-signature": "v1,"},
        {"webhook-signature": "ключ \ud800"},
        {"webhook-signature": SIGNATURE.replace("v1,", "v2,")},
    ],
)
def test_a_changed_header_is_refused(wrong: dict[str, str]) -> None:
    headers = sign(SECRET, ID, TIMESTAMP, BODY) | wrong
    with pytest.raises(SignatureInvalid):
        verify([SECRET], headers, BODY, TIMESTAMP)


@pytest.mark.parametrize("off_s", [-301, 301])
def test_an_old_or_early_webhook_is_refused(off_s: int) -> None:
    with pytest.raises(SignatureInvalid):
        verify([SECRET], sign(SECRET, ID, TIMESTAMP, BODY), BODY, TIMESTAMP + off_s)


def test_a_changed_body_and_another_secret_are_refused() -> None:
    headers = sign(SECRET, ID, TIMESTAMP, BODY)
    with pytest.raises(SignatureInvalid):
        verify([SECRET], headers, BODY + b" ", TIMESTAMP)
    with pytest.raises(SignatureInvalid):
        verify([new_secret()], headers, BODY, TIMESTAMP)
    with pytest.raises(SignatureInvalid):
        verify([], headers, BODY, TIMESTAMP)
