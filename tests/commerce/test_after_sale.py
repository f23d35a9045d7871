"""Shipments, refunds and returns: what is sent, what goes back, and that nothing goes back twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commerce.after_sale import AfterSale, Decision
from commerce.cases import Cases
from commerce.errors import (
    IllegalTransition,
    Invalid,
    KeyReused,
    NotFound,
    NotReturnable,
    RefundExceeds,
    Refusal,
)
from commerce.inventory import Stock
from commerce.money import Money
from commerce.order import Line, Order
from commerce.orders import TO_SEND, order_key
from commerce.pick_list import index_from_before, pick_list
from commerce.refunds import Refund, decide_refund
from commerce.returns import Return
from commerce.webhooks.events import occurrences
from tests.commerce.prices import Prices
from tests.commerce.shop import Clock, Shop, open_shop

DAY_S = 86_400


@pytest.fixture
def prices(shop: Shop) -> Prices:
    return Prices(shop)


def desk(shop: Shop) -> AfterSale:
    return AfterSale(shop.store, shop.orders, shop.catalogue, now_ms=shop.clock)


async def ship(shop: Shop, order: Order, pieces: dict[str, int] | None = None) -> Order:
    key = shop.key()
    return (await shop.orders.ship(order.id, by="host", key=key, pieces=pieces)).value


async def deliver(shop: Shop, order: Order, shipment: str | None = None) -> Order:
    key = shop.key()
    return (await shop.orders.deliver(order.id, by="host", key=key, shipment=shipment)).value


async def delivered(shop: Shop, sub: str, *lines: tuple[str, int]) -> Order:
    return await deliver(shop, await ship(shop, await shop.paid(sub, *lines)))


async def refund(
    shop: Shop, order: Order, wanted: dict[str, int] | Money, restock: bool | None = None
) -> Refund:
    key = shop.key()
    made = await desk(shop).refund(order.id, wanted, "why", restock=restock, by="host", key=key)
    return made.value


async def ask(shop: Shop, order: Order, pieces: dict[str, int]) -> Return:
    made = desk(shop).request(order.id, order.sub, pieces, "broken", by=order.sub, key=shop.key())
    return (await made).value


async def decide(
    shop: Shop, made: Return, act: str, *, pay_now: bool = False, restock: bool = True
) -> Return:
    decision = Decision(act, pay_now=pay_now, restock=restock)
    return (await desk(shop).decide_return(made.id, decision, by="host", key=shop.key())).value


# -- shipments ------------------------------------------------------------------------------------


async def test_an_order_sent_in_parts_is_partial_until_all_is_sent(shop: Shop) -> None:
    cup, pot = await shop.sku(stock=5), await shop.sku(stock=5)
    order = await shop.paid("amy", (cup, 2), (pot, 1))
    order = await ship(shop, order, {cup: 1})
    assert (order.fulfilment, len(order.shipments)) == ("partial", 1)
    assert await shop.stock(cup) == (3, 0, 1)
    with pytest.raises(Invalid):
        await ship(shop, order, {cup: 2})
    with pytest.raises(IllegalTransition):
        await deliver(shop, order)
    order = await deliver(shop, order, order.shipments[0].id)
    assert (order.fulfilment, order.state) == ("partial", "confirmed")
    order = await ship(shop, order)
    assert order.fulfilment == "shipped"
    assert order.shipments[1].pieces == {cup: 1, pot: 1}
    order = await deliver(shop, order, order.shipments[1].id)
    assert (order.fulfilment, order.state) == ("delivered", "completed")
    assert await shop.stock(cup) == (3, 0, 0)
    with pytest.raises(NotFound):
        await deliver(shop, order, "shp_none")


async def test_a_partly_sent_order_is_not_cancelled_and_its_rest_is_refunded(shop: Shop) -> None:
    cup = await shop.sku(stock=5, price=100)
    order = await ship(shop, await shop.paid("amy", (cup, 3)), {cup: 1})
    with pytest.raises(IllegalTransition):
        await shop.cancel(order)
    made = await refund(shop, order, {cup: 2})
    assert made.amount == Money(200, "CNY")
    order = await shop.orders.get(order.id)
    assert (order.fulfilment, order.lines[0].left) == ("shipped", 0)
    assert await shop.stock(cup) == (4, 0, 0)
    assert (await deliver(shop, order)).state == "completed"


# -- refunds --------------------------------------------------------------------------------------


async def test_a_refund_of_pieces_gives_back_what_was_paid_for_them(shop: Shop) -> None:
    cup = await shop.sku(stock=5, price=100)
    order = await shop.paid("amy", (cup, 3))
    assert (await refund(shop, order, {cup: 1})).state == "open"
    assert (await shop.orders.get(order.id)).payment == "paid"
    await shop.sweep()
    order = await shop.orders.get(order.id)
    assert (order.payment, order.state, order.refunded_minor) == (
        "partially_refunded",
        "confirmed",
        100,
    )
    assert await shop.stock(cup) == (3, 0, 2)
    await refund(shop, order, {cup: 2}, restock=False)
    await shop.sweep()
    order = await shop.orders.get(order.id)
    assert (order.payment, order.state) == ("refunded", "cancelled")
    assert await shop.stock(cup) == (3, 0, 0)
    with pytest.raises(RefundExceeds):
        await refund(shop, order, Money(1, "CNY"))
    payment = await shop.payments.get(order.payments[0])
    assert payment.state == "refunded"


async def test_an_amount_is_bounded_by_what_is_left_of_what_was_paid(shop: Shop) -> None:
    cup = await shop.sku(stock=5, price=100)
    order = await delivered(shop, "amy", (cup, 2))
    await refund(shop, order, Money(30, "CNY"))
    with pytest.raises(RefundExceeds) as refusal:
        await refund(shop, order, Money(171, "CNY"))
    assert refusal.value.extra["left"] == {"amount": 170, "currency": "CNY"}
    assert (await refund(shop, order, {cup: 1}, restock=True)).amount == Money(100, "CNY")
    assert (await refund(shop, order, {cup: 1})).amount == Money(70, "CNY")
    with pytest.raises(RefundExceeds):
        await refund(shop, order, {cup: 1})
    assert await shop.stock(cup) == (4, 0, 0)
    await shop.sweep()
    assert (await shop.orders.get(order.id)).payment == "refunded"


async def test_an_order_that_is_not_paid_has_nothing_to_give_back(shop: Shop) -> None:
    cup = await shop.sku()
    order = (await shop.buy("amy", (cup, 1))).value
    with pytest.raises(RefundExceeds):
        await refund(shop, order, {cup: 1})


async def test_a_refund_is_done_once_under_its_key(shop: Shop) -> None:
    cup = await shop.sku(stock=5, price=100)
    order = await shop.paid("amy", (cup, 3))

    async def once(pieces: int) -> bool:
        command = desk(shop).refund(order.id, {cup: pieces}, "why", by="host", key="k")
        return (await command).replayed

    assert [await once(1), await once(1)] == [False, True]
    with pytest.raises(KeyReused):
        await once(2)
    assert (await shop.orders.get(order.id)).refunded_minor == 100


async def test_a_cancelled_order_gives_back_what_was_not_given_back_before(shop: Shop) -> None:
    cup = await shop.sku(stock=5, price=100)
    order = await shop.paid("amy", (cup, 3))
    await refund(shop, order, {cup: 1})
    order = await shop.cancel(order)
    await shop.sweep()
    order = await shop.orders.get(order.id)
    assert (order.state, order.payment, order.given_back_minor) == ("cancelled", "refunded", 300)
    assert await shop.stock(cup) == (5, 0, 0)
    amounts = [each.amount.amount for each in await desk(shop).refunds(order)]
    assert amounts == [100, 200]


def paid_order(lines: list[tuple[int, int, int]], shipping: int, tax: int) -> Order:
    """A confirmed order of lines (pieces, price, discount)."""
    made = tuple(
        Line(
            f"s{n}",
            "prd",
            "",
            {},
            qty,
            Money(unit, "CNY"),
            discount=Money(min(off, qty * unit), "CNY"),
        )
        for n, (qty, unit, off) in enumerate(lines)
    )
    total = sum(line.total.amount for line in made) + shipping + tax
    return Order(
        "ord_x",
        "amy",
        None,
        made,
        Money(total, "CNY"),
        "pv",
        "confirmed",
        "paid",
        "none",
        0,
        0,
        0,
        0,
        paid_by="pay_x",
        shipping=Money(shipping, "CNY"),
        tax=Money(tax, "CNY"),
    )


LINES = st.lists(
    st.tuples(st.integers(1, 7), st.integers(0, 999), st.integers(0, 2000)), min_size=1, max_size=4
)


@given(LINES, st.integers(0, 300), st.integers(0, 300), st.data())
def test_refunds_in_whatever_portions_add_up_to_what_was_paid(
    lines: list[tuple[int, int, int]], shipping: int, tax: int, data: st.DataObject
) -> None:
    order = paid_order(lines, shipping, tax)
    stocks = {line.sku: Stock(line.sku, 0, 0, line.qty, 1) for line in order.lines}
    given_back = 0
    while left := {line.sku: line.refundable for line in order.lines if line.refundable}:
        wanted: dict[str, int] | Money
        rest = order.total.amount - order.refunded_minor
        if rest and data.draw(st.booleans()):
            wanted = Money(data.draw(st.integers(1, rest)), "CNY")
        else:
            sku = data.draw(st.sampled_from(sorted(left)))
            wanted = {sku: data.draw(st.integers(1, left[sku]))}
        made = decide_refund(order, stocks, wanted, restock=None, why="", by="", now_ms=1)
        given_back += made[2].amount.amount
        assert made[2].amount.amount >= 0
        order = replace(made[1], payment="paid")
        for line in order.lines:
            assert 0 <= line.refunded_minor <= line.total.amount
    assert given_back == order.refunded_minor == order.total.amount
    assert all(line.refunded_minor == line.total.amount for line in order.lines)
    assert order.state == "cancelled"


# -- returns --------------------------------------------------------------------------------------


async def test_a_return_is_paid_back_when_its_pieces_are_received(shop: Shop) -> None:
    cup = await shop.sku(stock=5, price=100)
    order = await delivered(shop, "amy", (cup, 2))
    made = await ask(shop, order, {cup: 1})
    assert (await shop.orders.get(order.id)).fulfilment == "return_requested"
    with pytest.raises(IllegalTransition):
        await decide(shop, made, "receive")
    await decide(shop, made, "approve")
    assert (await shop.orders.get(order.id)).refunded_minor == 0
    made = await decide(shop, made, "receive")
    assert (made.state, made.restocked) == ("received", True)
    await shop.sweep()
    order = await shop.orders.get(order.id)
    assert (order.fulfilment, order.payment) == ("partially_returned", "partially_refunded")
    assert await shop.stock(cup) == (4, 0, 0)
    made = await ask(shop, order, {cup: 1})
    made = await decide(shop, made, "approve", pay_now=True)
    assert made.refund is not None
    with pytest.raises(IllegalTransition):
        await decide(shop, made, "refuse")
    await decide(shop, made, "receive", restock=False)
    await shop.sweep()
    order = await shop.orders.get(order.id)
    assert (order.fulfilment, order.payment) == ("returned", "refunded")
    assert order.given_back_minor == 200
    assert await shop.stock(cup) == (4, 0, 0)


async def test_a_return_wants_delivery_and_comes_within_its_window(shop: Shop) -> None:
    cup = await shop.sku(stock=5)
    order = await ship(shop, await shop.paid("amy", (cup, 2)))
    with pytest.raises(IllegalTransition):
        await ask(shop, order, {cup: 1})
    order = await deliver(shop, order)
    with pytest.raises(NotReturnable):
        await ask(shop, order, {cup: 3})
    shop.clock.pass_s(7 * DAY_S)
    made = await ask(shop, order, {cup: 1})
    await decide(shop, made, "refuse")
    assert (await shop.orders.get(order.id)).fulfilment == "delivered"
    shop.clock.pass_s(1)
    with pytest.raises(NotReturnable) as refusal:
        await ask(shop, order, {cup: 1})
    assert refusal.value.code == "return_window_over"
    with pytest.raises(NotFound):
        await desk(shop).request(order.id, "ben", {cup: 1}, "mine", by="ben", key="k")
    await desk(shop).request(order.id, None, {cup: 1}, "kind", by="host", key="k")


async def test_a_product_may_be_sold_without_returns(shop: Shop) -> None:
    product = await shop.product()
    sku = product.skus[0].sku
    await shop.catalogue.patch(product.id, if_version=product.version, by="h", returnable=False)
    order = await delivered(shop, "amy", (sku, 1))
    with pytest.raises(NotReturnable) as refusal:
        await ask(shop, order, {sku: 1})
    assert refusal.value.extra == {"skus": [sku]}


async def test_pieces_in_a_return_are_not_refunded_beside_it(shop: Shop) -> None:
    cup = await shop.sku(stock=5, price=100)
    order = await delivered(shop, "amy", (cup, 2))
    made = await ask(shop, order, {cup: 1})
    await refund(shop, order, {cup: 1})
    with pytest.raises(RefundExceeds):
        await refund(shop, order, {cup: 1})
    with pytest.raises(NotReturnable):
        await ask(shop, order, {cup: 1})
    await decide(shop, made, "approve")
    await decide(shop, made, "receive")
    assert (await shop.orders.get(order.id)).refunded_minor == 200


# -- at the same time -----------------------------------------------------------------------------


@pytest.fixture
async def twice(shop_place: Path | str) -> AsyncIterator[tuple[Shop, Shop]]:
    """Two processes' worth of shop on one file."""
    clock = Clock()
    both = [await open_shop(shop_place, clock) for _ in range(2)]
    yield both[0], both[1]
    for each in both:
        await each.store.close()


def done(answers: list[object]) -> int:
    assert all(not isinstance(each, BaseException) or isinstance(each, Refusal) for each in answers)
    return sum(not isinstance(each, BaseException) for each in answers)


async def test_refund_against_refund_never_gives_back_twice(twice: tuple[Shop, Shop]) -> None:
    first, second = twice
    cup = await first.sku(stock=5, price=100)
    order = await delivered(first, "amy", (cup, 3))
    answers = await asyncio.gather(
        *(
            desk(shop).refund(order.id, {cup: 1}, "why", by="host", key=f"{n}")
            for n, shop in enumerate((first, second) * 4)
        ),
        *(desk(shop).refund(order.id, Money(60, "CNY"), "why", by="h", key="a") for shop in twice),
        return_exceptions=True,
    )
    assert done(list(answers)) >= 3
    await first.sweep()
    order = await second.orders.get(order.id)
    assert order.given_back_minor == order.refunded_minor <= 300
    kept = await desk(first).refunds(order)
    assert sum(each.amount.amount for each in kept) == order.given_back_minor


async def test_return_against_refund_never_gives_back_twice(twice: tuple[Shop, Shop]) -> None:
    first, second = twice
    cup = await first.sku(stock=5, price=100)
    order = await delivered(first, "amy", (cup, 1))
    made = await ask(first, order, {cup: 1})
    await decide(first, made, "approve")
    answers = await asyncio.gather(
        decide(first, made, "receive"),
        decide(second, made, "receive"),
        refund(second, order, {cup: 1}),
        refund(first, order, Money(100, "CNY")),
        return_exceptions=True,
    )
    assert done(list(answers)) >= 1
    await first.sweep()
    assert (await second.orders.get(order.id)).given_back_minor == 100


async def test_cancel_against_ship_and_refund_ends_in_one_of_them(twice: tuple[Shop, Shop]) -> None:
    first, second = twice
    cup = await first.sku(stock=60, price=100)
    orders = [await first.paid(f"b{n}", (cup, 2)) for n in range(6)]
    for order in orders:
        answers = await asyncio.gather(
            first.cancel(order),
            ship(second, order),
            refund(second, order, {cup: 2}),
            refund(first, order, {cup: 1}),
            return_exceptions=True,
        )
        assert done(list(answers)) >= 1
    await first.sweep()
    sent = left = 0
    for order in orders:
        found = await first.orders.get(order.id)
        assert found.given_back_minor == found.refunded_minor <= 200
        sent += found.lines[0].sent
        left += found.lines[0].left if found.state == "confirmed" else 0
    available, reserved, committed = await first.stock(cup)
    assert available + reserved + committed == 60 - sent
    assert (reserved, committed) == (0, left)


async def test_refunding_all_at_once_gives_back_what_the_order_spent_and_parts_do_not(
    shop: Shop, prices: Prices
) -> None:
    sku, coupon = await shop.sku(stock=9, price=1000), await prices.coupon(off=500)
    await prices.claim(coupon, "amy")

    async def bought() -> Order:
        order = (await prices.buy("amy", (sku, 2), coupons=[coupon.id])).value
        await shop.pay(order)
        await shop.sandbox.send_due()
        return await shop.orders.get(order.id)

    order = await bought()
    assert (await refund(shop, order, {sku: 2})).amount == Money(1500, "CNY")
    assert await prices.unspent("amy") == 1
    order = await bought()
    for _ in range(2):
        assert (await refund(shop, order, {sku: 1})).amount == Money(750, "CNY")
    assert await prices.unspent("amy") == 0


async def test_the_pick_list_finds_orders_from_before_its_index(shop: Shop) -> None:
    cup = await shop.sku()
    order = await shop.paid("amy", (cup, 2))
    sent = await ship(shop, await shop.paid("ben", (cup, 1)))
    await shop.store.commit("old", index={(TO_SEND, order_key(order.id)): None})

    async def listed() -> list[str]:
        return [each.id for each in (await pick_list(shop.store, lambda _: True)).orders]

    assert await listed() == []
    assert [await index_from_before(shop.store, shop.clock()) for _ in range(2)] == [1, 0]
    assert await listed() == [order.id] != [sent.id]


# -- what is told, and to whom --------------------------------------------------------------------


async def told(shop: Shop, after: int) -> list[str]:
    """The webhooks' events of orders after so many events of the shop."""
    events = (await shop.events())[after:]
    types = [each.type for _, body in events for each in occurrences(body)]
    return [type for type in types if not type.startswith(("refund.", "stock."))]


async def test_every_return_and_every_partial_refund_is_told_by_its_name(shop: Shop) -> None:
    cup = await shop.sku(stock=9, price=100)
    order = await delivered(shop, "amy", (cup, 4))
    for _ in range(2):
        start = len(await shop.events())
        await refund(shop, order, Money(10, "CNY"))
        await shop.sweep()
        assert (await told(shop, start)).count("payment.partially_refunded") == 1
    start = len(await shop.events())
    first, second = [await ask(shop, order, {cup: 1}) for _ in range(2)]
    assert await told(shop, start) == ["return.requested"] * 2
    for made in (first, second):
        start = len(await shop.events())
        await decide(shop, made, "approve")
        await decide(shop, made, "receive")
        assert (await told(shop, start)).count("return.partially_returned") == 1


async def test_a_room_has_pages_of_its_own_returns(shop: Shop) -> None:
    cup = await shop.sku(stock=9)
    order = await delivered(shop, "amy", (cup, 3))
    made = [await ask(shop, order, {cup: 1}) for _ in range(3)]
    page, cursor = await desk(shop).list_returns("requested", room="room", limit=2)
    rest, end = await desk(shop).list_returns("requested", room="room", after=cursor, limit=2)
    assert {each.id for each in (*page, *rest)} == {each.id for each in made}
    assert (len(page), len(rest), end) == (2, 1, None)
    assert await desk(shop).list_returns("requested", room="other") == ([], None)
    await decide(shop, made[0], "refuse")
    left, _ = await desk(shop).list_returns("requested", room="room")
    assert {each.id for each in left} == {each.id for each in made[1:]}
    gone, _ = await desk(shop).list_returns("refused", room="room")
    assert [each.id for each in gone] == [made[0].id]


async def test_a_room_has_a_list_of_its_own_cases(shop: Shop) -> None:
    cases = Cases(shop.store, shop.orders, now_ms=shop.clock)
    order = (await shop.buy("amy", (await shop.sku(), 1))).value
    case = (await cases.open(order.id, "amy", "other", "hello", key="k")).value
    assert [each.id for each in (await cases.list("open", room="room"))[0]] == [case.id]
    assert await cases.list("open", room="other") == ([], None)
    await cases.close(case.id, by="host", key="k")
    assert await cases.list("open", room="room") == ([], None)
    assert [each.id for each in (await cases.list("closed", room="room"))[0]] == [case.id]
