"""Keys of single orders: what opens them and what does not."""

from __future__ import annotations

import base64
import hashlib
import hmac

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from commerce.ids import new_id
from overlay.errors import Unauthorized
from overlay.order_links import OrderLinks
from overlay.tokens import Tokens

SECRET = "a secret of more than thirty-two bytes, for these tests"
ORDER = "ord_01h455vb4pex5vsknk084sn02q"
OTHER = "ord_01h455vb4pex5vsknk084sn02r"
LINKS = OrderLinks(SECRET)
KEY = LINKS.key(ORDER)


def test_a_key_opens_its_order() -> None:
    assert LINKS.order(KEY) == ORDER
    order = new_id("ord", 1_800_000_000_000)
    assert LINKS.order(LINKS.key(order)) == order


def test_the_link_carries_the_key_behind_the_hash() -> None:
    assert LINKS.path(ORDER) == f"/orders/{ORDER}#key={KEY}"


@pytest.mark.parametrize(
    "key",
    [
        "",
        ORDER,
        f"{ORDER}.",
        KEY[:-1],
        f"{KEY}A",
        f"{KEY} ",
        f"{KEY}=",
        KEY.replace(ORDER, OTHER),
        KEY.upper(),
        KEY.replace("ord_", "pay_"),
        OrderLinks("another secret of the same length or so, for tests").key(ORDER),
        f"{ORDER}.{'A' * 10_000}",
        f"{ORDER}.\ud800",
        f"{ORDER}.ключ",
    ],
)
def test_nothing_else_does(key: str) -> None:
    with pytest.raises(Unauthorized) as refused:
        LINKS.order(key)
    assert refused.value.code == "token_invalid"


@given(st.text(max_size=60))
def test_no_text_is_a_key_by_chance(text: str) -> None:
    for key in (text, f"{ORDER}.{text}"):
        with pytest.raises(Unauthorized):
            LINKS.order(key)


def test_every_single_changed_character_closes_it() -> None:
    for place in range(len(KEY)):
        changed = KEY[:place] + ("A" if KEY[place] != "A" else "B") + KEY[place + 1 :]
        with pytest.raises(Unauthorized):
            LINKS.order(changed)


def test_a_mac_over_the_bare_id_is_no_key() -> None:
    mac = hmac.digest(SECRET.encode(), ORDER.encode(), hashlib.sha256)
    with pytest.raises(Unauthorized):
        LINKS.order(f"{ORDER}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}")


def test_a_viewer_token_under_the_same_secret_is_no_key_and_a_key_no_token() -> None:
    with pytest.raises(Unauthorized):
        LINKS.order(jwt.encode({"room": "shop", "sub": ORDER}, SECRET, "HS256"))
    with pytest.raises(Unauthorized):
        Tokens(SECRET).read(KEY)
