"""Orders that are over are kept small: still read, still answering alike, still open to a late act."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commerce.archive import AT_ONCE, Archive
from commerce.order import Order
from commerce.order_record import unpack
from commerce.orders import order_key
from commerce.shrunk import GROWN_BYTES_MAX, MARK, grow, shrink
from commerce.store import INDEX_END
from tests.commerce.shop import Shop

DAY_MS = 86_400_000
DAYS = 90


def archive(shop: Shop) -> Archive:
    return Archive(shop.store, DAYS * DAY_MS, now_ms=shop.clock)


async def completed(shop: Shop, sub: str = "buyer", key: str | None = None) -> Order:
    sku = await shop.sku()
    order = (await shop.buy(sub, (sku, 1), key=key)).value
    await shop.pay(order)
    await shop.sandbox.send_due()
    await shop.orders.ship(order.id, by="host", key=shop.key())
    return (await shop.orders.deliver(order.id, by="host", key=shop.key())).value


async def in_index(shop: Shop, index: str) -> list[str]:
    return await shop.store.scan(index, "", INDEX_END, 1000)


async def kept(shop: Shop, key: str) -> bytes:
    value = (await shop.store.load([key]))[key][0]
    assert value is not None
    return value


async def test_an_order_that_is_long_over_is_kept_small_and_read_as_before(shop: Shop) -> None:
    order = await completed(shop)
    before = await shop.orders.get(order.id, "buyer")
    size = len(await kept(shop, order_key(order.id)))
    shop.clock.pass_s(DAYS * 86_400 + 1)
    assert await archive(shop).sweep() == 1
    small = await kept(shop, order_key(order.id))
    assert small.startswith(MARK)
    assert len(small) < size * 0.6
    after = await shop.orders.get(order.id, "buyer")
    assert after.to_json() == before.to_json()
    assert await in_index(shop, "orders/state/completed") == []
    assert await in_index(shop, "orders/room/room") == []
    assert [each.id for each in (await shop.orders.list(buyer="buyer"))[0]] == [order.id]
    assert [each.id for each in (await shop.orders.list())[0]] == [order.id]
    assert await archive(shop).sweep() == 0


async def test_a_repeat_of_an_archived_order_has_the_same_answer(shop: Shop) -> None:
    sku = await shop.sku()
    first = await shop.buy("buyer", (sku, 1), key="once")
    shop.clock.pass_s(601)
    await shop.orders.sweep()
    shop.clock.pass_s(DAYS * 86_400)
    assert await archive(shop).sweep() == 1
    again = await shop.buy("buyer", (sku, 1), key="once")
    assert again.replayed
    assert again.value.to_json() == first.value.to_json()
    assert (await shop.orders.by_key("buyer", "once")).state == "expired"


async def test_young_open_and_unsettled_orders_are_left_as_they_are(shop: Shop) -> None:
    sku = await shop.sku()
    reserved = (await shop.buy("one", (sku, 1))).value
    confirmed = await shop.paid("two", (sku, 1))
    unsettled = await shop.cancel(await shop.paid("three", (sku, 1)))  # its refund is still open
    shop.clock.pass_s(DAYS * 86_400)
    young = await completed(shop, "four")
    assert await archive(shop).sweep() == 0
    for order in (reserved, confirmed, unsettled, young):
        assert not (await kept(shop, order_key(order.id))).startswith(MARK)


async def test_what_cannot_be_archived_does_not_stand_in_the_way(shop: Shop) -> None:
    sku = await shop.sku(stock=AT_ONCE * 2)
    settled = (await shop.buy("buyer", (sku, 1))).value
    await shop.cancel(settled)
    shop.clock.pass_s(1)
    for number in range(AT_ONCE + 1):  # newer ones, which are looked at first
        await shop.cancel(await shop.paid(f"buyer-{number}", (sku, 1)))
    shop.clock.pass_s(DAYS * 86_400 + 1)
    packing = archive(shop)
    assert [await packing.sweep() for _ in range(2)] == [0, 1]
    assert (await kept(shop, order_key(settled.id))).startswith(MARK)


async def test_an_act_on_an_archived_order_finds_it_as_it_was(shop: Shop) -> None:
    order = await completed(shop)
    shop.clock.pass_s(DAYS * 86_400 + 1)
    await archive(shop).sweep()
    contact = {"email": "a@example.com"}
    with pytest.raises(Exception, match="from completed"):
        await shop.orders.set_contact(order.id, "buyer", contact, None)
    item = order_key(order.id)
    loaded = unpack(*(await shop.store.load([item]))[item])
    assert loaded is not None
    assert loaded.payments == order.payments
    assert loaded.version > 0  # what an act writes is guarded as ever


@given(st.binary(max_size=2000))
def test_what_is_shrunk_grows_back(value: bytes) -> None:
    small = shrink(value)
    assert shrink(small) == small
    if not value.startswith(MARK):
        assert grow(small) == value
        assert grow(value) == value


def test_a_value_shrunk_by_the_first_version_is_read_for_ever() -> None:
    small = bytes.fromhex(SMALL_1)
    assert grow(small) == b"\x82\xa2id\xbeord_01h455vb4pex5vsknk084sn02q\xa5state\xa9completed"
    assert len(small) < GROWN_BYTES_MAX


SMALL_1 = "c1016b4204468689a969599249416a85695971765eb6818549719e815121babb00"
