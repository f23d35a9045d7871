"""Viewer tokens: what is accepted, what is refused, who stays the same guest."""

from __future__ import annotations

import base64
import json
import time

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlay.errors import Invalid, Refusal, Unauthorized, WrongRoom
from overlay.tokens import (
    GUEST_RENEWAL_S,
    GUEST_TOKEN_S,
    TOKEN_CHARS_MAX,
    TOKENS_REMEMBERED,
    Tokens,
)

SECRET = "a secret of more than thirty-two bytes, for these tests"
OTHER_SECRET = "another secret of more than thirty-two bytes, not ours"


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tokens(clock: Clock) -> Tokens:
    return Tokens(SECRET, now=clock)


def signed(claims: dict[str, object], secret: str = SECRET, algorithm: str = "HS256") -> str:
    return jwt.encode(claims, secret, algorithm=algorithm)


def good(**claims: object) -> dict[str, object]:
    return {"room": "shop", "sub": "anna", "exp": 1_800_000_060, **claims}


def test_what_was_issued_is_verified_with_its_claims(tokens: Tokens, clock: Clock) -> None:
    issued = tokens.issue(
        "shop", "anna", role="moderator", name="安娜", tier="gold", segment="new", ttl_s=60
    )
    claims = tokens.verify(issued.token, "shop")
    assert (claims.room, claims.sub, claims.role) == ("shop", "anna", "moderator")
    assert (claims.name, claims.tier, claims.segment) == ("安娜", "gold", "new")
    assert claims.expires_ms == issued.expires_ms == (1_800_000_000 + 60) * 1000
    assert not claims.guest


def test_a_token_without_sub_gets_a_new_one(tokens: Tokens) -> None:
    subs = {tokens.issue("shop").sub for _ in range(100)}
    assert len(subs) == 100


def test_a_token_of_a_back_end_needs_room_and_sub_only(tokens: Tokens, clock: Clock) -> None:
    claims = tokens.verify(signed(good()), "shop")
    assert (claims.sub, claims.role, claims.name, claims.guest) == ("anna", "viewer", None, False)
    endless = signed({"room": "shop", "sub": "anna"})
    clock.now_s += 10**9
    assert tokens.verify(endless, "shop").sub == "anna"


def test_a_back_end_whose_clock_is_ahead_may_say_when_it_issued(tokens: Tokens) -> None:
    assert tokens.verify(signed(good(iat=int(time.time()) + 90)), "shop").sub == "anna"


def test_a_token_ends_at_its_second_without_leeway(tokens: Tokens, clock: Clock) -> None:
    token = tokens.issue("shop", ttl_s=60).token
    clock.now_s += 59.999
    tokens.verify(token, "shop")
    clock.now_s += 0.001
    with pytest.raises(Unauthorized) as caught:
        tokens.verify(token, "shop")
    assert caught.value.code == "token_expired"
    assert caught.value.headers["WWW-Authenticate"] == "Bearer"


def test_a_token_opens_no_other_room(tokens: Tokens) -> None:
    with pytest.raises(WrongRoom) as caught:
        tokens.verify(tokens.issue("shop").token, "other")
    assert (caught.value.status, caught.value.code) == (403, "wrong_room")


def part(value: object) -> bytes:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")


def unsigned(claims: dict[str, object]) -> str:
    return f"{part({'alg': 'none', 'typ': 'JWT'}).decode()}.{part(claims).decode()}."


@pytest.mark.parametrize(
    "token",
    [
        "",
        "a.b.c",
        "\ud800",
        unsigned(good()),
        signed(good(), OTHER_SECRET),
        signed(good(), SECRET * 2, "HS512"),
        signed(good())[:-2],
        signed({"room": "shop", "exp": 1_800_000_060}),
        signed({"sub": "anna", "exp": 1_800_000_060}),
        signed(good(exp="1800000060")),
        signed(good(exp=True)),
        signed(good(exp=1e400)),
        signed(good(room=7)),
        signed(good(room=["shop"])),
        signed(good(sub="")),
        signed(good(sub=" anna")),
        signed(good(sub="x" * 129)),
        signed(good(role="emperor")),
        signed(good(role=["viewer"])),
        signed(good(name=5)),
        signed(good(guest="yes")),
        signed(good(aud="somebody else")),
        signed(good(nbf=4_000_000_000)),
        signed(good(name="x" * TOKEN_CHARS_MAX)),
    ],
)
def test_a_token_that_is_not_ours_or_not_whole_is_refused(tokens: Tokens, token: str) -> None:
    with pytest.raises(Unauthorized) as caught:
        tokens.verify(token, "shop")
    assert (caught.value.status, caught.value.code) == (401, "token_invalid")


@given(st.text(max_size=300))
def test_no_text_brings_anything_but_a_refusal(text: str) -> None:
    tokens = Tokens(SECRET)
    with pytest.raises(Refusal):
        tokens.verify(text, "shop")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


CLAIMS = ("room", "sub", "exp", "role", "name", "tier", "guest", "nbf", "iat", "aud", "iss", "jti")


HEADERS = ("alg", "typ", "kid", "crit", "b64", "cty", "jwk")


@given(
    st.dictionaries(st.sampled_from(HEADERS), json_values, max_size=2),
    st.dictionaries(st.sampled_from(CLAIMS), json_values, max_size=3),
)
def test_nothing_that_is_signed_brings_anything_but_claims_or_a_refusal(
    odd_headers: dict[str, object], odd_claims: dict[str, object]
) -> None:
    claims = good(exp=4_000_000_000) | odd_claims
    signing = part({"alg": "HS256", "typ": "JWT"} | odd_headers) + b"." + part(claims)
    algorithm = jwt.get_algorithm_by_name("HS256")
    signature = algorithm.sign(signing, algorithm.prepare_key(SECRET))
    token = signing + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")
    try:
        Tokens(SECRET).verify(token.decode(), "shop")
    except Refusal as refusal:
        assert refusal.status in (401, 403)


def test_only_so_many_good_tokens_are_remembered_and_no_bad_ones(tokens: Tokens) -> None:
    for number in range(TOKENS_REMEMBERED + 10):
        token = tokens.issue("shop", f"{number}").token
        assert tokens.verify(token, "shop").sub == f"{number}"
        with pytest.raises(Unauthorized):
            tokens.verify(token + "x", "shop")
    assert len(tokens._signed) == TOKENS_REMEMBERED


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="32"):
        Tokens("too short")


@pytest.mark.parametrize("text", ["", " ", "a\nb", "\ud800", "x" * 129])
def test_a_claim_must_be_words(tokens: Tokens, text: str) -> None:
    with pytest.raises(Invalid) as caught:
        tokens.issue("shop", name=text)
    assert caught.value.field == "name"
    with pytest.raises(Invalid):
        tokens.issue("shop", text)


def test_a_guest_is_new_each_time_without_an_old_token(tokens: Tokens) -> None:
    first, second = tokens.guest("shop"), tokens.guest("shop")
    assert first.sub != second.sub
    claims = tokens.verify(first.token, "shop")
    assert (claims.guest, claims.role, claims.sub) == (True, "viewer", first.sub)


@pytest.mark.parametrize("later_s", [0, GUEST_TOKEN_S - 1, GUEST_TOKEN_S + GUEST_RENEWAL_S - 1])
def test_a_guest_keeps_its_sub_while_its_token_is_good_or_not_long_expired(
    tokens: Tokens, clock: Clock, later_s: int
) -> None:
    old = tokens.guest("shop")
    clock.now_s += later_s
    renewed = tokens.guest("shop", old.token)
    assert renewed.sub == old.sub
    assert tokens.verify(renewed.token, "shop").sub == old.sub
    assert renewed.expires_ms == (clock.now_s + GUEST_TOKEN_S) * 1000


def test_a_guest_is_the_same_in_another_room(tokens: Tokens) -> None:
    old = tokens.guest("shop")
    renewed = tokens.guest("other", old.token)
    assert renewed.sub == old.sub
    assert tokens.verify(renewed.token, "other").room == "other"


def test_a_guest_token_too_long_expired_gives_a_new_guest(tokens: Tokens, clock: Clock) -> None:
    old = tokens.guest("shop")
    clock.now_s += GUEST_TOKEN_S + GUEST_RENEWAL_S
    assert tokens.guest("shop", old.token).sub != old.sub


@pytest.mark.parametrize(
    "old",
    [
        "nonsense",
        signed(good(guest=True), OTHER_SECRET),
        signed(good()),
        signed(good(guest=False)),
    ],
)
def test_only_our_own_guest_tokens_are_renewed(tokens: Tokens, old: str) -> None:
    issued = tokens.guest("shop", old)
    assert issued.sub != "anna"
    assert tokens.verify(issued.token, "shop").guest
