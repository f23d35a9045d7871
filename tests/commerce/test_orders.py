"""Reservations: what is held, for how long, at which price, and who sees it."""

from __future__ import annotations

import msgpack
import pytest

from commerce.errors import (
    IllegalTransition,
    Invalid,
    LimitReached,
    MixedCurrency,
    NotFound,
    OutOfStock,
    PriceChanged,
)
from commerce.money import Money
from commerce.products import NewSku, SkuPatch
from tests.commerce.shop import Shop


async def test_an_order_reserves_its_pieces_until_it_expires(shop: Shop) -> None:
    sku = await shop.sku(stock=5, price=1990)
    order = (await shop.buy("amy", (sku, 2))).value
    assert (order.state, order.payment, order.fulfilment) == ("reserved", "none", "none")
    assert order.total == Money(3980, "CNY")
    assert order.expires_ms == shop.clock.now + 600_000
    assert await shop.stock(sku) == (3, 2, 0)
    shop.clock.pass_s(599.999)
    assert (await shop.orders.get(order.id)).state == "reserved"
    shop.clock.pass_s(0.001)
    assert (await shop.orders.get(order.id)).state == "expired"
    assert await shop.orders.sweep() == 1
    assert await shop.orders.sweep() == 0
    assert await shop.stock(sku) == (5, 0, 0)
    assert (await shop.orders.get(order.id)).state == "expired"


async def test_an_order_of_several_lines_is_all_or_nothing(shop: Shop) -> None:
    plenty, scarce = await shop.sku(stock=9), await shop.sku(stock=1)
    with pytest.raises(OutOfStock) as refusal:
        await shop.buy("amy", (plenty, 2), (scarce, 2))
    assert refusal.value.extra == {"skus": [scarce], "held": False}
    assert await shop.stock(plenty) == (9, 0, 0)
    order = (await shop.buy("amy", (plenty, 2), (scarce, 1), (plenty, 1))).value
    assert {line.sku: line.qty for line in order.lines} == {plenty: 3, scarce: 1}
    assert await shop.stock(plenty) == (6, 3, 0)
    assert await shop.stock(scarce) == (0, 1, 0)


async def test_a_refusal_says_whether_held_pieces_may_come_back(shop: Shop) -> None:
    sku = await shop.sku(stock=1)
    order = (await shop.buy("amy", (sku, 1))).value
    with pytest.raises(OutOfStock) as refusal:
        await shop.buy("ben", (sku, 1))
    assert (refusal.value.status, refusal.value.code) == (409, "out_of_stock")
    assert refusal.value.extra["held"]
    await shop.pay(order)
    await shop.sandbox.send_due()
    with pytest.raises(OutOfStock) as refusal:
        await shop.buy("ben", (sku, 1))
    assert not refusal.value.extra["held"]


async def test_a_hold_whose_time_has_passed_gives_way_without_a_sweep(shop: Shop) -> None:
    sku = await shop.sku(stock=1)
    first = (await shop.buy("amy", (sku, 1))).value
    shop.clock.pass_s(600)
    second = (await shop.buy("ben", (sku, 1))).value
    assert (await shop.orders.get(first.id)).state == "expired"
    assert (await shop.orders.get(second.id)).state == "reserved"
    assert await shop.stock(sku) == (0, 1, 0)


async def test_another_price_than_the_one_seen_is_told_with_the_new_quote(shop: Shop) -> None:
    product = await shop.product(price=1990)
    sku = product.skus[0]
    await shop.buy("amy", (sku.sku, 1), price_version=sku.price_version)
    patch = SkuPatch(sku.sku, price=Money(2490, "CNY"))
    await shop.catalogue.patch(product.id, if_version=product.version, by="host", skus=[patch])
    with pytest.raises(PriceChanged) as refusal:
        await shop.buy("amy", (sku.sku, 2), price_version=sku.price_version)
    quote = refusal.value.extra["quote"]
    assert quote["total"] == {"amount": 4980, "currency": "CNY"}
    order = (await shop.buy("amy", (sku.sku, 2), price_version=quote["price_version"])).value
    assert order.total == Money(4980, "CNY")
    assert (await shop.buy("amy", (sku.sku, 1))).value.total == Money(2490, "CNY")


async def test_a_reserved_order_keeps_its_price(shop: Shop) -> None:
    product = await shop.product(price=1990)
    order = (await shop.buy("amy", (product.skus[0].sku, 1))).value
    patch = SkuPatch(product.skus[0].sku, price=Money(9990, "CNY"))
    await shop.catalogue.patch(product.id, if_version=product.version, by="host", skus=[patch])
    assert (await shop.pay(order)).amount == Money(1990, "CNY")


async def test_two_currencies_in_one_order_are_refused(shop: Shop) -> None:
    yuan, euro = await shop.sku(), await shop.sku(currency="EUR")
    with pytest.raises(MixedCurrency) as refusal:
        await shop.buy("amy", (yuan, 1), (euro, 1))
    assert (refusal.value.status, refusal.value.code) == (400, "mixed_currency")


async def test_a_limit_per_buyer_counts_over_his_orders_and_gives_back_what_ends(
    shop: Shop,
) -> None:
    sku = await shop.sku(stock=20, per_buyer=3)
    first = (await shop.buy("amy", (sku, 2))).value
    with pytest.raises(LimitReached) as refusal:
        await shop.buy("amy", (sku, 2))
    assert refusal.value.extra == {"skus": [sku], "limit": 3, "bought": 2}
    await shop.buy("ben", (sku, 3))
    await shop.cancel(first)
    await shop.buy("amy", (sku, 3))
    with pytest.raises(LimitReached):
        await shop.buy("amy", (sku, 1))


@pytest.mark.parametrize(
    "lines",
    [
        None,
        [],
        [{"sku": "a"}],
        [{"sku": "a", "qty": 0}],
        [{"sku": "a", "qty": True}],
        [{"sku": "a", "qty": 1.0}],
        [{"sku": "", "qty": 1}],
        [{"sku": "a", "qty": 1, "price": 1}],
        [{"sku": f"s{n}", "qty": 1} for n in range(51)],
    ],
)
async def test_malformed_lines_are_refused(shop: Shop, lines: object) -> None:
    with pytest.raises(Invalid):
        shop.orders.command("amy", {"room": "room", "lines": lines})


@pytest.mark.parametrize("pieces", [[100], [99, 1], [10**30]])
async def test_more_pieces_of_a_sku_than_an_order_may_have_reach_a_limit(
    shop: Shop, pieces: list[int]
) -> None:
    lines = [{"sku": "a", "qty": each} for each in pieces]
    with pytest.raises(LimitReached) as refusal:
        shop.orders.command("amy", {"room": "room", "lines": lines})
    assert refusal.value.extra == {"skus": ["a"], "limit": 99}


async def test_a_sku_that_is_not_there_cannot_be_ordered(shop: Shop) -> None:
    with pytest.raises(Invalid):
        await shop.buy("amy", ("nothing", 1))


async def test_a_cancelled_order_gives_its_pieces_back_once(shop: Shop) -> None:
    sku = await shop.sku(stock=5)
    order = (await shop.buy("amy", (sku, 2))).value
    assert (await shop.cancel(order)).state == "cancelled"
    with pytest.raises(IllegalTransition) as refusal:
        await shop.cancel(order)
    assert refusal.value.extra == {"table": "state", "from": "cancelled", "to": "cancelled"}
    shop.clock.pass_s(601)
    assert await shop.orders.sweep() == 0
    assert await shop.stock(sku) == (5, 0, 0)


async def test_an_expired_order_that_nobody_swept_cannot_be_cancelled_or_paid(shop: Shop) -> None:
    order = (await shop.buy("amy", (await shop.sku(), 1))).value
    shop.clock.pass_s(600)
    with pytest.raises(IllegalTransition):
        await shop.cancel(order)
    with pytest.raises(IllegalTransition) as refusal:
        await shop.pay(order)
    assert refusal.value.extra["from"] == "expired"


async def test_somebody_elses_order_does_not_exist(shop: Shop) -> None:
    order = (await shop.buy("amy", (await shop.sku(), 1), key="k")).value
    assert (await shop.orders.get(order.id, "amy")).id == order.id
    assert (await shop.orders.by_key("amy", "k")).id == order.id
    assert (await shop.orders.get(order.id)).id == order.id
    with pytest.raises(NotFound):
        await shop.orders.get(order.id, "ben")
    with pytest.raises(NotFound):
        await shop.orders.by_key("ben", "k")
    with pytest.raises(NotFound):
        await shop.orders.cancel(order.id, "ben", by="ben", key="x")
    with pytest.raises(NotFound):
        await shop.payments.pay(order.id, "ben", by="ben", key="x")


async def test_orders_are_listed_by_room_buyer_and_state_newest_first(shop: Shop) -> None:
    sku = await shop.sku(stock=50)
    made = []
    for number in range(12):
        sub, room = ("amy", "ben")[number % 2], ("one", "two", "two")[number % 3]
        made.append((await shop.buy(sub, (sku, 1), room=room)).value)
        shop.clock.pass_s(0.001)
    await shop.cancel(made[3])

    async def listed(**filters: str) -> list[str]:
        found: list[str] = []
        after: str | None = None
        while True:
            page, after = await shop.orders.list(after=after, limit=3, **filters)
            found += [order.id for order in page]
            if after is None:
                return found

    newest = [order.id for order in reversed(made)]
    assert await listed() == newest
    assert await listed(buyer="amy") == newest[1::2]
    assert await listed(room="one") == newest[2::3]
    assert await listed(state="cancelled") == [made[3].id]
    assert await listed(state="reserved", buyer="ben", room="two") == [
        order.id for order in reversed(made) if order.sub == "ben" and order.room == "two"
    ]
    shop.clock.pass_s(700)
    assert await listed(state="expired") == [id for id in newest if id != made[3].id]
    assert await listed(state="reserved") == []
    for wrong in ({"state": "lost"}, {"after": "x"}, {"room": "\ud800"}, {"buyer": ""}):
        with pytest.raises(Invalid):
            await shop.orders.list(**wrong)


async def test_a_buyers_own_expired_hold_does_not_count_towards_his_limit(shop: Shop) -> None:
    sku = await shop.sku(stock=20, per_buyer=3)
    await shop.buy("amy", (sku, 3))
    shop.clock.pass_s(600)
    await shop.buy("amy", (sku, 3))
    with pytest.raises(LimitReached):
        await shop.buy("amy", (sku, 1))
    assert await shop.stock(sku) == (17, 3, 0)


@pytest.mark.parametrize("id", ["", "ord_x", "\ud800", "../x"])
async def test_what_is_no_order_id_is_not_found(shop: Shop, id: str) -> None:
    with pytest.raises(NotFound):
        await shop.orders.get(id)
    with pytest.raises(NotFound):
        await shop.payments.get(id)
    with pytest.raises(NotFound):
        await shop.payments.pay(id, "amy", by="amy", key="k")


async def test_a_confirmed_order_is_shipped_and_delivered(shop: Shop) -> None:
    sku = await shop.sku(stock=5)
    order = (await shop.buy("amy", (sku, 2))).value
    with pytest.raises(IllegalTransition):
        await shop.orders.ship(order.id, by="host", key="early")
    await shop.pay(order)
    await shop.sandbox.send_due()
    assert await shop.stock(sku) == (3, 0, 2)
    before = await shop.inventory.get(sku)
    shipped = await shop.orders.ship(order.id, by="host", key="ship", tracking="SF 1")
    assert (shipped.value.fulfilment, shipped.value.state) == ("shipped", "confirmed")
    assert (await shop.orders.ship(order.id, by="host", key="ship", tracking="SF 1")).replayed
    assert await shop.stock(sku) == (3, 0, 0)
    assert (await shop.inventory.get(sku)).version == before.version + 1
    with pytest.raises(IllegalTransition):
        await shop.orders.ship(order.id, by="host", key="again")
    with pytest.raises(IllegalTransition):
        await shop.cancel(order)
    delivered = (await shop.orders.deliver(order.id, by="host", key="deliver")).value
    assert (delivered.fulfilment, delivered.state) == ("delivered", "completed")


async def test_every_change_is_told_to_the_buyer_and_the_shop_with_ids_only(shop: Shop) -> None:
    sku = await shop.sku(stock=5)
    order = (await shop.buy("amy", (sku, 1), contact={"name": "Amy Secret"})).value
    await shop.cancel(order)
    mine = [msgpack.unpackb(body) for _, body in await shop.events("buyer/amy")]
    assert [event["t"] for event in mine] == ["order.updated"] * 2
    assert mine[0]["d"] == {"order": order.id, "what": "state.reserved"}
    assert set(mine[0]) == {"t", "id", "ts", "d"}
    told = await shop.events()
    assert [seq for seq, _ in told] == list(range(1, len(told) + 1))
    types = [msgpack.unpackb(body)["t"] for _, body in told]
    assert types.count("stock.changed") == 3
    assert types.count("order.updated") == 2
    assert not any(b"Secret" in body for _, body in told)
    assert await shop.events("room/room") == []


async def test_a_made_code_names_a_sku_that_was_given_none(shop: Shop) -> None:
    product = await shop.catalogue.create("Tea", [NewSku(Money(5, "EUR"), 1)], by="host")
    assert product.skus[0].sku.startswith("sku_")
    assert (await shop.buy("amy", (product.skus[0].sku, 1))).value.lines[0].title == "Tea"
