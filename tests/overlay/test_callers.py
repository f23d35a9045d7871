"""Who asks, by each kind of credential, on a real store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import jwt
import pytest

from commerce.store import SqliteStore
from overlay.audit import Actor, acting
from overlay.callers import Caller, Callers, Forbidden
from overlay.errors import Unauthorized
from overlay.order_links import OrderLinks
from overlay.rooms import Rooms
from overlay.staff import Staff
from overlay.tokens import Tokens

SECRET = "a secret of more than thirty-two bytes, for these tests"
ADMIN_TOKEN = "hk_ord_the admin's tökén"  # however it begins
ORDER = "ord_01h455vb4pex5vsknk084sn02q"
PASSWORD = "correct horse battery"
NOBODY = Caller(None, "nobody", "nobody")


@dataclass
class House:
    store: SqliteStore
    tokens: Tokens
    staff: Staff
    links: OrderLinks
    callers: Callers
    now_s: float = 1_800_000_000

    async def by_bearer(self, token: str) -> Caller:
        return await self.callers.identify(token, None, None, unsafe=True)

    async def by_cookie(
        self, session: str, csrf: str | None = None, *, unsafe: bool = False
    ) -> Caller:
        return await self.callers.identify(None, session, csrf, unsafe=unsafe)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    store = await SqliteStore.open(tmp_path / "hawker.db")
    tokens = Tokens(SECRET, now=lambda: house.now_s)
    staff, links = Staff(store, lambda: int(house.now_s * 1000)), OrderLinks(SECRET)
    house = House(store, tokens, staff, links, Callers(tokens, staff, links, ADMIN_TOKEN))
    yield house
    await store.close()


async def test_no_credential_is_nobody(house: House) -> None:
    assert await house.callers.identify(None, None, None, unsafe=True) == NOBODY


async def test_the_admin_token_is_the_admin(house: House) -> None:
    caller = await house.by_bearer(ADMIN_TOKEN)
    assert caller == Caller("staff/admin", "admin", "admin")
    assert caller.may("staff.manage") and caller.may("cards.pin", "shop")


async def test_an_api_key_has_its_role_until_it_is_deleted(house: House) -> None:
    key, text = await house.staff.api_keys.create("the till", "finance")
    assert await house.by_bearer(text) == Caller(f"key/{key.id}", "key:the till", "finance")
    await house.staff.api_keys.delete(key.id)
    with pytest.raises(Unauthorized):
        await house.by_bearer(text)


async def test_a_viewer_token_is_its_sub_bound_to_its_room(house: House) -> None:
    token = house.tokens.issue("shop", "anna", tier="gold", segment="north").token
    caller = await house.by_bearer(token)
    assert caller == Caller("anna", "anna", "viewer", "shop", None, "gold", "north")
    assert not caller.may("rooms.inspect", "shop")


async def test_a_viewer_token_with_a_role_acts_in_its_room_and_nowhere_else(house: House) -> None:
    caller = await house.by_bearer(house.tokens.issue("shop", "anna", role="host").token)
    assert caller.may("cards.pin", "shop")
    assert not caller.may("cards.pin", "other")
    assert not caller.may("products.write")


async def test_a_guest_is_a_viewer(house: House) -> None:
    token = house.tokens.guest("shop")
    caller = await house.by_bearer(token.token)
    assert (caller.sub, caller.role, caller.room) == (token.sub, "viewer", "shop")


async def test_an_expired_viewer_token_is_refused(house: House) -> None:
    token = house.tokens.issue("shop", "anna", ttl_s=60).token
    house.now_s += 61
    with pytest.raises(Unauthorized) as refused:
        await house.by_bearer(token)
    assert refused.value.code == "token_expired"


async def test_an_orders_key_is_that_order_and_no_sub(house: House) -> None:
    caller = await house.by_bearer(house.links.key(ORDER))
    assert (caller.sub, caller.role, caller.order) == (None, "order", ORDER)
    assert not caller.may("orders.read")


@pytest.mark.parametrize(
    "token",
    [
        "",
        "x",
        "hk_",
        "hk_x",
        "ord_x",
        f"{ORDER}.x",
        "a.b.c",
        ADMIN_TOKEN[:-1],
        "\udcff",
        "k" * 9000,
    ],
)
async def test_what_is_none_of_these_is_refused(house: House, token: str) -> None:
    with pytest.raises(Unauthorized) as refused:
        await house.by_bearer(token)
    assert refused.value.code == "token_invalid"


async def test_a_stream_key_a_session_and_a_csrf_token_are_no_bearer_tokens(house: House) -> None:
    _, stream_key = await Rooms(house.store).create("show")
    opened = await house.callers.log_in_admin(ADMIN_TOKEN)
    for token in (stream_key, opened.token, opened.session.csrf):
        with pytest.raises(Unauthorized):
            await house.by_bearer(token)


async def test_a_viewer_token_cannot_say_it_is_of_the_staff(house: House) -> None:
    for sub in ("staff/admin", "key/apk_1"):
        claims = {"room": "shop", "sub": sub, "exp": int(house.now_s) + 60}
        with pytest.raises(Unauthorized):
            await house.by_bearer(jwt.encode(claims, SECRET, "HS256"))


async def test_a_session_is_its_account(house: House) -> None:
    await house.staff.accounts.create("alice", "host", PASSWORD)
    opened = await house.staff.sessions.log_in("alice", PASSWORD)
    assert await house.by_cookie(opened.token) == Caller("staff/alice", "alice", "host")


async def test_a_bearer_token_wins_over_the_cookie(house: House) -> None:
    opened = await house.callers.log_in_admin(ADMIN_TOKEN)
    token = house.tokens.issue("shop", "anna").token
    caller = await house.callers.identify(token, opened.token, None, unsafe=True)
    assert caller.sub == "anna"
    with pytest.raises(Unauthorized):
        await house.callers.identify("wrong", opened.token, opened.session.csrf, unsafe=True)


async def test_an_unsafe_method_wants_the_sessions_own_csrf_token(house: House) -> None:
    mine, others = [await house.callers.log_in_admin(ADMIN_TOKEN) for _ in range(2)]
    for csrf in (None, "", "x", "\udcff", mine.token, others.session.csrf):
        with pytest.raises(Forbidden) as refused:
            await house.by_cookie(mine.token, csrf, unsafe=True)
        assert refused.value.code == "csrf"
    assert (await house.by_cookie(mine.token, mine.session.csrf, unsafe=True)).role == "admin"


async def test_a_session_that_is_no_longer_good_is_nobody(house: House) -> None:
    opened = await house.callers.log_in_admin(ADMIN_TOKEN)
    await house.staff.sessions.log_out(opened.token)
    for session in (opened.token, "", "x", "\udcff", "s" * 9000):
        assert await house.by_cookie(session, unsafe=True) == NOBODY


@pytest.mark.parametrize("token", ["", "wrong", ADMIN_TOKEN[:-1], "\ud800"])
async def test_only_the_admin_token_opens_the_admins_session(house: House, token: str) -> None:
    with pytest.raises(Unauthorized) as refused:
        await house.callers.log_in_admin(token)
    assert refused.value.code == "login_failed"


async def test_the_admins_session_ends_when_the_admin_token_changes(house: House) -> None:
    opened = await house.callers.log_in_admin(ADMIN_TOKEN)
    assert (await house.by_cookie(opened.token)).name == "admin"
    changed = Callers(house.tokens, house.staff, house.links, "another admin token")
    assert await changed.identify(None, opened.token, None, unsafe=False) == NOBODY


async def test_who_acts_is_named_to_the_audit_log(house: House) -> None:
    acting.set(None)
    caller = await house.by_bearer(ADMIN_TOKEN)
    house.callers.acting(caller, "cards.pin", {"room": "shop"})
    assert acting.get() == Actor("admin", "admin", "cards.pin", {"room": "shop"})
