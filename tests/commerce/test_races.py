"""Many at once on one file, and the two ends of an order racing each other."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from commerce.errors import IllegalTransition, OutOfStock
from tests.commerce.shop import APPROVED, Clock, Shop, open_shop


async def test_of_two_hundred_buyers_at_once_exactly_twenty_get_the_twenty_pieces(
    shop_place: Path | str,
) -> None:
    clock = Clock()
    shops = [await open_shop(shop_place, clock) for _ in range(2)]
    sku = await shops[0].sku(stock=20)
    results = await asyncio.gather(
        *(shops[n % 2].buy(f"buyer-{n}", (sku, 1), key="k") for n in range(200)),
        return_exceptions=True,
    )
    refused = [result for result in results if isinstance(result, Exception)]
    assert all(isinstance(refusal, OutOfStock) for refusal in refused)
    assert (len(results) - len(refused), len(refused)) == (20, 180)
    assert await shops[0].stock(sku) == (0, 20, 0)
    clock.pass_s(600)
    results = await asyncio.gather(
        *(shops[n % 2].buy(f"late-{n}", (sku, 1)) for n in range(60)), return_exceptions=True
    )
    assert sum(not isinstance(result, Exception) for result in results) == 20
    assert await shops[0].stock(sku) == (0, 20, 0)
    for shop in shops:
        await shop.store.close()


async def test_the_last_pieces_go_where_they_fit(shop: Shop) -> None:
    sku = await shop.sku(stock=10)
    results = await asyncio.gather(
        *(shop.buy(f"buyer-{n}", (sku, 3)) for n in range(30)), return_exceptions=True
    )
    assert sum(not isinstance(result, Exception) for result in results) == 3
    assert await shop.stock(sku) == (1, 9, 0)


async def test_carts_that_cross_each_other_are_all_or_nothing(shop: Shop) -> None:
    one, two = await shop.sku(stock=10), await shop.sku(stock=10)
    carts = [((one, 1), (two, 2)), ((two, 1), (one, 2))]
    results = await asyncio.gather(
        *(shop.buy(f"buyer-{n}", *carts[n % 2]) for n in range(30)), return_exceptions=True
    )
    orders = [result.value for result in results if not isinstance(result, BaseException)]
    for sku in (one, two):
        available, reserved, _ = await shop.stock(sku)
        assert available + reserved == 10
        assert reserved == sum(line.qty for o in orders for line in o.lines if line.sku == sku)
    assert len(orders) >= 6


async def test_the_same_cart_twice_under_two_keys_is_two_orders(shop: Shop) -> None:
    sku = await shop.sku(stock=5)
    one, two = await asyncio.gather(shop.buy("amy", (sku, 1)), shop.buy("amy", (sku, 1)))
    assert one.value.id != two.value.id
    assert await shop.stock(sku) == (3, 2, 0)


async def test_a_limit_per_buyer_holds_when_he_asks_many_times_at_once(shop: Shop) -> None:
    sku = await shop.sku(stock=50, per_buyer=3)
    results = await asyncio.gather(
        *(shop.buy("amy", (sku, 1)) for _ in range(20)), return_exceptions=True
    )
    assert sum(not isinstance(result, Exception) for result in results) == 3
    assert await shop.stock(sku) == (47, 3, 0)


@pytest.mark.parametrize("late_ms", [-1, 0, 1])
async def test_paying_against_expiry_ends_in_one_of_the_two(shop: Shop, late_ms: int) -> None:
    sku = await shop.sku(stock=8)
    orders = [(await shop.buy(f"buyer-{n}", (sku, 1))).value for n in range(8)]
    shop.clock.now = orders[0].expires_ms + late_ms
    results = await asyncio.gather(
        *(shop.pay(order, APPROVED) for order in orders),
        shop.orders.sweep(),
        shop.orders.sweep(),
        return_exceptions=True,
    )
    await shop.sandbox.send_due()
    paid = sum(not isinstance(result, Exception) for result in results[:8])
    assert paid == (8 if late_ms < 0 else 0)
    assert all(isinstance(r, IllegalTransition) for r in results if isinstance(r, Exception))
    await shop.sweep()
    assert await shop.stock(sku) == (8 - paid, 0, paid)


async def test_a_payments_word_against_the_end_of_its_hold_is_confirmed_or_refunded(
    shop: Shop,
) -> None:
    sku = await shop.sku(stock=6)
    orders = [(await shop.buy(f"buyer-{n}", (sku, 1))).value for n in range(6)]
    for order in orders:
        await shop.pay(order, APPROVED)
    shop.clock.pass_s(900)
    await asyncio.gather(
        shop.orders.sweep(),
        shop.sandbox.send_due(),
        *(shop.buy(f"late-{n}", (sku, 1)) for n in range(6)),
        shop.payments.sweep(),
        return_exceptions=True,
    )
    await shop.sandbox.send_due()
    await shop.sweep()
    found = [await shop.orders.get(order.id) for order in orders]
    ends = {(order.state, order.payment) for order in found}
    assert ends <= {("confirmed", "paid"), ("expired", "refunded")}
    available, reserved, committed = await shop.stock(sku)
    assert committed == sum(order.state == "confirmed" for order in found)
    assert available + reserved + committed == 6


async def test_cancel_against_the_payments_word_is_cancelled_and_given_back(shop: Shop) -> None:
    sku = await shop.sku(stock=10)
    orders = [(await shop.buy(f"buyer-{n}", (sku, 1))).value for n in range(10)]
    for order in orders:
        await shop.pay(order, APPROVED)
    await asyncio.gather(shop.sandbox.send_due(), *(shop.cancel(order) for order in orders))
    await shop.sandbox.send_due()
    await shop.sweep()
    for order in orders:
        found = await shop.orders.get(order.id)
        assert (found.state, found.payment) == ("cancelled", "refunded")
    assert await shop.stock(sku) == (10, 0, 0)


async def test_the_same_payment_twice_at_once_is_one(shop: Shop) -> None:
    order = (await shop.buy("amy", (await shop.sku(), 1))).value
    payments = await asyncio.gather(*(shop.pay(order, APPROVED, key="k") for _ in range(8)))
    assert len({payment.id for payment in payments}) == 1
    assert (await shop.orders.get(order.id)).payments == (payments[0].id,)
