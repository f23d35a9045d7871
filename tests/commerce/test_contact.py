from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag

from commerce.changes import Changes
from commerce.contact import Contacts, load_key
from commerce.errors import IllegalTransition, Invalid, NotFound
from tests.commerce.redis_server import RedisServer
from tests.commerce.shop import Shop

CONTACT = {"name": "Amy Lau", "phone": "+86 130 0000 0000"}
ADDRESS = {"street": "Lane 7", "city": "上海"}


def kept_in_files(place: Path | str, request: pytest.FixtureRequest) -> list[bytes]:
    """What the store's files hold of this test: Redis's log from where the place was emptied."""
    if isinstance(place, Path):
        return [path.read_bytes() for path in place.parent.iterdir()]
    server: RedisServer = request.getfixturevalue("redis_server")
    logs = server.directory.rglob("*.incr.aof")
    return [path.read_bytes().rpartition(b"FLUSHALL")[2] for path in logs]


async def test_contact_and_address_are_kept_for_the_order_and_nowhere_in_clear(
    shop: Shop, shop_place: Path | str, request: pytest.FixtureRequest
) -> None:
    sku = await shop.sku()
    order = (await shop.buy("amy", (sku, 1), contact=CONTACT, address=ADDRESS)).value
    assert order.contact is not None
    assert order.contact.startswith("con_")
    given = await shop.orders.contact(order.id, "amy")
    assert given == {"contact": CONTACT, "address": ADDRESS}
    with pytest.raises(NotFound):
        await shop.orders.contact(order.id, "ben")
    assert "Amy Lau" not in str(order.to_json())
    files = kept_in_files(shop_place, request)
    assert any(order.id.encode() in data for data in files)
    for secret in ("Amy Lau", "130 0000", "Lane 7", "上海"):
        assert not any(secret.encode() in data for data in files)


async def test_what_was_given_last_is_offered_again_until_it_is_erased(shop: Shop) -> None:
    sku = await shop.sku()
    assert await shop.contacts.last("amy") is None
    first = (await shop.buy("amy", (sku, 1), contact=CONTACT)).value
    shop.clock.pass_s(1)
    await shop.buy("amy", (sku, 1), contact={"name": "A. Lau"})
    assert await shop.contacts.last("amy") == {"contact": {"name": "A. Lau"}}
    assert await shop.contacts.erase("amy") == 2
    assert await shop.contacts.erase("amy") == 0
    assert await shop.contacts.last("amy") is None
    assert await shop.orders.contact(first.id, "amy") is None
    assert (await shop.orders.get(first.id)).state == "reserved"


async def test_contact_changes_until_the_order_is_sent(shop: Shop) -> None:
    order = await shop.paid("amy", (await shop.sku(), 1))
    await shop.orders.set_contact(order.id, "amy", CONTACT, None)
    await shop.orders.set_contact(order.id, "amy", None, ADDRESS)
    given = await shop.orders.contact(order.id, None)
    assert given == {"contact": CONTACT, "address": ADDRESS}
    with pytest.raises(NotFound):
        await shop.orders.set_contact(order.id, "ben", CONTACT, None)
    await shop.orders.ship(order.id, by="host", key="k")
    with pytest.raises(IllegalTransition):
        await shop.orders.set_contact(order.id, "amy", CONTACT, None)


@pytest.mark.parametrize(
    "contact", [{"age": "7"}, {"name": 7}, {"name": "x" * 101}, {"name": "\0"}, "Amy"]
)
async def test_what_is_no_contact_is_refused(shop: Shop, contact: object) -> None:
    with pytest.raises(Invalid):
        await shop.buy("amy", (await shop.sku(), 1), contact=contact)


async def test_a_record_opens_only_under_its_own_id_and_key(shop: Shop) -> None:
    changes = Changes(shop.clock())
    one = shop.contacts.put(changes, "amy", {"contact": CONTACT})
    two = shop.contacts.put(changes, "ben", {"contact": {"name": "Ben"}})
    changes.writes[f"contact/{two}"] = changes.writes[f"contact/{one}"]
    await changes.commit(shop.store)
    with pytest.raises(InvalidTag):
        await shop.contacts.get(two)
    with pytest.raises(InvalidTag):
        await Contacts(shop.store, b"x" * 32).get(one)


def test_the_key_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "contact.key"
    key = load_key(path)
    assert len(key) == 32
    assert load_key(path) == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_bytes(b"short")
    with pytest.raises(ValueError):
        load_key(path)
