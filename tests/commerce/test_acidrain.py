"""The races that shops are attacked with, each between two processes on one store.

Named after the paper that found them in twelve shop systems: Warszawski and Bailis, "ACIDRain" (2017).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from benchmarks.ledger.process import Clock, Process
from benchmarks.ledger.stores import STORES
from commerce.after_sale import Decision
from commerce.errors import IllegalTransition, LimitReached, OutOfStock, RefundExceeds, Refusal
from commerce.idempotency import Scope, fingerprint
from commerce.money import Money
from commerce.order import Order
from commerce.payments.signature import new_secret
from commerce.pricing.rules import Rule
from commerce.products import NewSku

APPROVED = {"card": "4242424242424242"}
TABS = 12


class Rivals:
    """Two processes, and what their clients do in both at once."""

    def __init__(self, processes: list[Process], clock: Clock) -> None:
        self.processes, self.clock = processes, clock
        self.one = processes[0]
        self._keys = 0

    def key(self) -> str:
        self._keys += 1
        return f"key-{self._keys}"

    async def sku(self, stock: int, per_buyer: int | None = None) -> str:
        new = NewSku(Money(1990, "CNY"), stock, per_buyer=per_buyer)
        return (await self.one.catalogue.create("Cup", [new], by="host")).skus[0].sku

    def buy(self, process: Process, sub: str, sku: str, pieces: int = 1, **more: Any) -> Any:
        key = more.pop("key", None) or self.key()
        body = {"lines": [{"sku": sku, "qty": pieces}], **more}
        return process.orders.place(process.orders.command(sub, body), key)

    def pay(self, process: Process, order: Order, key: str | None = None) -> Any:
        sub, key = order.sub, key or self.key()
        return process.payments.pay(order.id, sub, by=sub, key=key, method=APPROVED)

    async def paid(self, sku: str, pieces: int = 1) -> Order:
        order: Order = (await self.buy(self.one, "amy", sku, pieces)).value
        await self.pay(self.one, order)
        await self.one.sandbox.send_due()
        return await self.one.orders.get(order.id)

    async def at_once(
        self, act: Callable[[Process, int], Awaitable[Any]], times: int = TABS
    ) -> list[Any]:
        """The act in both processes in turns, all at the same time; answers and refusals."""
        acts = (act(self.processes[number % 2], number) for number in range(times))
        results = await asyncio.gather(*acts, return_exceptions=True)
        bugs = [result for result in results if isinstance(result, BaseException)]
        assert all(isinstance(bug, Refusal) for bug in bugs), bugs
        return list(results)

    async def settle(self) -> None:
        for process in self.processes * 2:
            await process.sandbox.send_due()
            await process.payments.sweep()
            await process.orders.sweep()

    async def stock(self, sku: str) -> tuple[int, int, int]:
        """(available, reserved, committed)."""
        stock = await self.one.inventory.get(sku)
        return stock.available, stock.reserved, stock.committed


def done(results: list[Any]) -> list[Any]:
    """The values of those that were accepted."""
    return [result.value for result in results if not isinstance(result, Exception)]


@pytest.fixture(params=STORES)
async def rivals(request: pytest.FixtureRequest) -> AsyncIterator[Rivals]:
    async def hear(process: Process, headers: Any, body: bytes) -> None:
        await process.payments.webhook("sandbox", headers, body)

    clock, secret = Clock(), new_secret()
    async with AsyncExitStack() as stack:
        stores = await stack.enter_async_context(STORES[request.param]())
        processes = [Process(store, clock, secret, Counter(), hear) for store in stores]
        yield Rivals(processes, clock)


async def test_the_same_cart_twice_is_one_order(rivals: Rivals) -> None:
    sku = await rivals.sku(stock=5)
    results = await rivals.at_once(lambda p, n: rivals.buy(p, "amy", sku, 2, key="cart"))
    assert len({order.id for order in done(results)}) == 1
    assert len(done(results)) == TABS
    assert await rivals.stock(sku) == (3, 2, 0)


async def test_the_last_piece_is_sold_once(rivals: Rivals) -> None:
    sku = await rivals.sku(stock=1)
    results = await rivals.at_once(lambda p, n: rivals.buy(p, f"buyer-{n}", sku))
    assert len(done(results)) == 1
    assert all(isinstance(r, OutOfStock) for r in results if isinstance(r, Exception))
    assert await rivals.stock(sku) == (0, 1, 0)


async def test_a_coupon_is_claimed_and_spent_once(rivals: Rivals) -> None:
    sku = await rivals.sku(stock=50)
    rule = Rule("", "fixed", "Spring", 0, off=Money(500, "CNY"))
    coupon = await rivals.one.coupons.create(rule, quota=3, per_buyer=1, by="host")
    claims = [
        rivals.processes[n % 2].coupons.claim(coupon.id, "amy", key=f"c{n}") for n in range(TABS)
    ]
    results = await asyncio.gather(*claims, return_exceptions=True)
    assert sum(not isinstance(result, Exception) for result in results) == 1
    results = await rivals.at_once(
        lambda p, n: rivals.buy(p, "amy", sku, coupons=[coupon.id]), times=6
    )
    (order,) = done(results)
    assert order.total == Money(1490, "CNY")
    assert await rivals.stock(sku) == (49, 1, 0)
    await rivals.at_once(
        lambda p, n: p.orders.cancel(order.id, "amy", by="amy", key=f"cancel-{n}"), times=6
    )
    (left,) = await rivals.one.coupons.claims("amy")
    assert (left["claimed"], left["unspent"]) == (1, 1)


async def test_a_coupon_has_no_more_claims_than_its_quota(rivals: Rivals) -> None:
    rule = Rule("", "fixed", "Spring", 0, off=Money(500, "CNY"))
    coupon = await rivals.one.coupons.create(rule, quota=5, per_buyer=1, by="host")
    claims = [
        rivals.processes[n % 2].coupons.claim(coupon.id, f"buyer-{n}", key="claim")
        for n in range(TABS)
    ]
    results = await asyncio.gather(*claims, return_exceptions=True)
    assert sum(not isinstance(result, Exception) for result in results) == 5


async def test_cancelling_against_paying_keeps_the_money_or_the_goods(rivals: Rivals) -> None:
    sku = await rivals.sku(stock=TABS)
    orders = done(await rivals.at_once(lambda p, n: rivals.buy(p, f"buyer-{n}", sku)))

    async def cancel_and_pay(process: Process, number: int) -> None:
        order, other = orders[number], rivals.processes[(number + 1) % 2]
        cancel = process.orders.cancel(order.id, order.sub, by=order.sub, key=f"c{number}")
        both = await asyncio.gather(cancel, rivals.pay(other, order), return_exceptions=True)
        assert all(isinstance(r, IllegalTransition) for r in both if isinstance(r, Exception))

    await rivals.at_once(cancel_and_pay)
    await rivals.settle()
    kept = [await rivals.one.orders.get(order.id) for order in orders]
    assert {(order.state, order.payment) for order in kept} <= {
        ("cancelled", "none"),
        ("cancelled", "refunded"),
    }
    assert await rivals.stock(sku) == (TABS, 0, 0)


async def test_refund_against_refund_gives_back_what_was_paid(rivals: Rivals) -> None:
    sku = await rivals.sku(stock=10)
    order = await rivals.paid(sku, 3)
    results = await rivals.at_once(
        lambda p, n: p.after_sale.refund(order.id, {sku: 1}, "broken", by="host", key=f"r{n}")
    )
    assert [refund.amount for refund in done(results)] == [Money(1990, "CNY")] * 3
    assert all(isinstance(r, RefundExceeds) for r in results if isinstance(r, Exception))
    await rivals.settle()
    found = await rivals.one.orders.get(order.id)
    assert (found.state, found.payment, found.refunded_minor) == ("cancelled", "refunded", 5970)
    assert await rivals.stock(sku) == (10, 0, 0)


async def test_refund_against_cancelling_gives_back_what_was_paid(rivals: Rivals) -> None:
    sku = await rivals.sku(stock=10)
    order = await rivals.paid(sku, 3)

    async def act(process: Process, number: int) -> Any:
        if number % 4 == 3:
            return await process.orders.cancel(order.id, "amy", by="amy", key=f"c{number}")
        money = Money(700, "CNY")
        return await process.after_sale.refund(order.id, money, "late", by="host", key=f"r{number}")

    await rivals.at_once(act)
    await rivals.settle()
    found = await rivals.one.orders.get(order.id)
    assert (found.state, found.payment, found.refunded_minor) == ("cancelled", "refunded", 5970)
    assert await rivals.stock(sku) == (10, 0, 0)


async def test_a_stock_edit_against_buying_never_goes_below_what_is_held(rivals: Rivals) -> None:
    sku = await rivals.sku(stock=8)
    version = (await rivals.one.inventory.get(sku)).version

    async def act(process: Process, number: int) -> Any:
        if number % 3:
            return await rivals.buy(process, f"buyer-{number}", sku)
        command = {"sku": sku, "on_hand": 4}
        scope = Scope("host", "stock", f"edit-{number}", fingerprint(command))
        return await process.inventory.set_on_hand(
            sku, 4, "counted", by="host", if_version=version, scope=scope
        )

    results = await rivals.at_once(act)
    orders = [each for each in done(results) if isinstance(each, Order)]
    edits = [each for each in done(results) if not isinstance(each, Order)]
    assert len(edits) <= 1  # the others are stale, or below what is held
    available, reserved, committed = await rivals.stock(sku)
    assert (reserved, committed) == (len(orders), 0)
    assert available + reserved == (4 if edits else 8)


async def test_a_limit_holds_against_many_tabs(rivals: Rivals) -> None:
    sku = await rivals.sku(stock=50, per_buyer=3)
    results = await rivals.at_once(lambda p, n: rivals.buy(p, "amy", sku))
    assert len(done(results)) == 3
    assert all(isinstance(r, LimitReached) for r in results if isinstance(r, Exception))
    assert await rivals.stock(sku) == (47, 3, 0)


async def test_a_limit_holds_against_a_payment_that_comes_late(rivals: Rivals) -> None:
    sku = await rivals.sku(stock=50, per_buyer=3)
    late = (await rivals.buy(rivals.one, "amy", sku, 3)).value
    await rivals.one.payments.pay(
        late.id, "amy", by="amy", key="late", method={"card": "4000000000000341"}
    )
    rivals.clock.pass_s(1000)  # its hold has ended, its payment has not
    again = (await rivals.buy(rivals.one, "amy", sku, 3)).value
    await rivals.pay(rivals.one, again)
    rivals.clock.pass_s(300)
    await rivals.settle()
    found = [await rivals.one.orders.get(order.id) for order in (late, again)]
    assert [(order.state, order.payment) for order in found] == [
        ("expired", "refunded"),
        ("confirmed", "paid"),
    ]
    assert await rivals.stock(sku) == (47, 0, 3)


@pytest.mark.parametrize("late_ms", [-1, 0])
async def test_paying_against_expiry_ends_in_one_of_the_two(rivals: Rivals, late_ms: int) -> None:
    sku = await rivals.sku(stock=TABS)
    orders = done(await rivals.at_once(lambda p, n: rivals.buy(p, f"buyer-{n}", sku)))
    rivals.clock.now = orders[0].expires_ms + late_ms

    async def act(process: Process, number: int) -> Any:
        if number < TABS:
            return await rivals.pay(process, orders[number])
        await process.orders.sweep()
        return None

    results = await rivals.at_once(act, times=TABS + 4)
    paid = len([r for r in results[:TABS] if not isinstance(r, Exception)])
    assert paid == (TABS if late_ms < 0 else 0)
    await rivals.settle()
    assert await rivals.stock(sku) == (TABS - paid, 0, paid)


async def test_a_word_after_expiry_finds_stock_or_is_refunded(rivals: Rivals) -> None:
    sku = await rivals.sku(stock=6)
    orders = done(await rivals.at_once(lambda p, n: rivals.buy(p, f"buyer-{n}", sku), times=6))
    for order in orders:
        await rivals.pay(rivals.one, order)
    rivals.clock.pass_s(900)

    async def act(process: Process, number: int) -> Any:
        match number % 3:
            case 0:
                return await rivals.buy(process, f"late-{number}", sku)
            case 1:
                return await process.sandbox.send_due()
            case _:
                return await process.orders.sweep()

    await rivals.at_once(act)
    await rivals.settle()
    found = [await rivals.one.orders.get(order.id) for order in orders]
    assert {(order.state, order.payment) for order in found} <= {
        ("confirmed", "paid"),
        ("expired", "refunded"),
    }
    available, reserved, committed = await rivals.stock(sku)
    assert committed == sum(order.state == "confirmed" for order in found)
    assert available + reserved + committed == 6


async def test_a_return_against_a_refund_gives_back_for_each_piece_once(rivals: Rivals) -> None:
    sku = await rivals.sku(stock=10)
    order = await rivals.paid(sku, 3)
    await rivals.one.orders.ship(order.id, by="host", key="ship")
    await rivals.one.orders.deliver(order.id, by="host", key="deliver")

    async def ask(process: Process, number: int) -> Any:
        after_sale, key = process.after_sale, f"r{number}"
        if number % 2:
            return await after_sale.refund(order.id, {sku: 2}, "broken", by="host", key=key)
        return await after_sale.request(order.id, "amy", {sku: 2}, "too small", by="amy", key=key)

    assert len(done(await rivals.at_once(ask))) == 1  # the other one finds too few pieces left
    for made in await rivals.one.after_sale.returns(await rivals.one.orders.load(order.id, None)):
        await _take_back(rivals, made.id)
    await rivals.settle()
    found = await rivals.one.orders.get(order.id)
    assert (found.payment, found.refunded_minor) == ("partially_refunded", 2 * 1990)


async def _take_back(rivals: Rivals, made: str) -> None:
    """Approved and received, each many times at once, under other keys."""
    for act in ("approve", "receive"):
        decision = Decision(act, pay_now=act == "approve")

        async def decide(process: Process, number: int, said: Decision = decision) -> Any:
            return await process.after_sale.decide_return(
                made, said, by="host", key=f"{said.act}-{number}"
            )

        results = await rivals.at_once(decide)
        assert len(done(results)) == 1


async def test_a_return_that_is_received_twice_is_on_the_shelf_once(rivals: Rivals) -> None:
    sku = await rivals.sku(stock=10)
    order = await rivals.paid(sku, 3)
    await rivals.one.orders.ship(order.id, by="host", key="ship")
    await rivals.one.orders.deliver(order.id, by="host", key="deliver")
    made = await rivals.one.after_sale.request(
        order.id, "amy", {sku: 2}, "too small", by="amy", key="return"
    )
    await _take_back(rivals, made.value.id)
    await rivals.settle()
    found = await rivals.one.orders.get(order.id)
    assert found.refunded_minor == 2 * 1990
    assert await rivals.stock(sku) == (9, 0, 0)


@pytest.mark.parametrize("act", ["pay", "cancel", "refund", "claim"])
async def test_a_copy_in_the_other_process_gets_the_same_answer(rivals: Rivals, act: str) -> None:
    sku = await rivals.sku(stock=10)
    rule = Rule("", "coupon", "Spring", 0, off=Money(500, "CNY"))
    coupon = await rivals.one.coupons.create(rule, quota=9, per_buyer=1, by="host")
    paid = await rivals.paid(sku)
    order: Order = (await rivals.buy(rivals.one, "amy", sku)).value

    async def copy(process: Process, number: int) -> Any:
        match act:
            case "pay":
                return await rivals.pay(process, order, key="k")
            case "cancel":
                return await process.orders.cancel(order.id, "amy", by="amy", key="k")
            case "refund":
                pieces = {sku: 1}
                return await process.after_sale.refund(paid.id, pieces, "late", by="host", key="k")
            case _:
                return await process.coupons.claim(coupon.id, "amy", key="k")

    results = await rivals.at_once(copy)
    assert not [result for result in results if isinstance(result, Exception)]
    assert len({getattr(value, "id", "claim") for value in done(results)}) == 1
    assert sum(not result.replayed for result in results) == 1
