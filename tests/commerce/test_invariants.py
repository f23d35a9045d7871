"""The invariants of orders, stock and payments under any sequence of acts and of time.

After every step each SKU's counters are recounted from the orders, and each payment from its order.
At the end everything is let run out: no piece and no payment is left between two ends.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from commerce.errors import KeyReused, Refusal
from commerce.order import Order
from commerce.payments.cards import CARDS
from tests.commerce.shop import Clock, open_shop
from tests.commerce.test_crash import all_orders

T = TypeVar("T")

BUYERS = ("amy", "ben", "cho")
STOCK = 6
LIMIT = 4


class ShopMachine(RuleBasedStateMachine):
    empty: ClassVar[Callable[[], Path | str]]  # an empty place for a shop

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.place = type(self).empty()
        self.clock = Clock()
        self.on_hand: dict[str, int] = {}
        self.bought: list[tuple[str, str, dict[str, int], Order]] = []
        self.run(self.open(first=True))

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(coroutine)

    async def open(self, *, first: bool = False) -> None:
        self.shop = await open_shop(self.place, self.clock)
        if first:
            for limit in (None, LIMIT):
                sku = await self.shop.sku(stock=STOCK, per_buyer=limit)
                self.on_hand[sku] = STOCK
        self.skus = list(self.on_hand)

    @rule(buyer=st.sampled_from(BUYERS), one=st.integers(0, 3), two=st.integers(0, 3))
    def buy(self, buyer: str, one: int, two: int) -> None:
        lines = {sku: qty for sku, qty in zip(self.skus, (one, two), strict=True) if qty}
        key = f"k{len(self.bought)}-{self.clock()}"
        try:
            answer = self.run(self.shop.buy(buyer, *lines.items(), key=key))
        except Refusal:
            return
        if not answer.replayed:
            self.bought.append((buyer, key, lines, answer.value))

    @precondition(lambda self: self.bought)
    @rule(data=st.data(), other=st.booleans())
    def buy_again_under_the_same_key(self, data: st.DataObject, other: bool) -> None:
        buyer, key, lines, order = data.draw(st.sampled_from(self.bought))
        again = {sku: qty + other for sku, qty in lines.items()}
        try:
            answer = self.run(self.shop.buy(buyer, *again.items(), key=key))
        except KeyReused:
            assert other
        else:
            assert not other
            assert answer.replayed
            assert answer.value.id == order.id

    @precondition(lambda self: self.bought)
    @rule(data=st.data(), card=st.sampled_from([*CARDS, None]))
    def pay(self, data: st.DataObject, card: str | None) -> None:
        order = data.draw(st.sampled_from(self.bought))[3]
        try:
            self.run(self.shop.pay(order, None if card is None else {"card": card}))
        except Refusal as refusal:
            assert refusal.code == "illegal_transition"

    @precondition(lambda self: self.bought)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        order = data.draw(st.sampled_from(self.bought))[3]
        try:
            self.run(self.shop.cancel(order))
        except Refusal as refusal:
            assert refusal.code == "illegal_transition"

    @rule(seconds=st.sampled_from([1, 5, 15, 300, 600, 1200]))
    def time_passes(self, seconds: int) -> None:
        self.clock.pass_s(seconds)

    @rule()
    def webhooks_come(self) -> None:
        self.run(self.shop.sandbox.send_due())

    @precondition(lambda self: self.shop.webhooks)
    @rule(data=st.data())
    def a_webhook_comes_again(self, data: st.DataObject) -> None:
        headers, body = data.draw(st.sampled_from(self.shop.webhooks))
        try:
            assert not self.run(self.shop.payments.webhook("sandbox", headers, body))
        except Refusal as refusal:
            assert refusal.code == "signature_invalid"  # it is too old by now

    @rule()
    def orders_are_swept(self) -> None:
        self.run(self.shop.orders.sweep())

    @rule()
    def payments_are_swept(self) -> None:
        self.run(self.shop.payments.sweep())

    @rule(which=st.integers(0, 1), on_hand=st.integers(0, 9))
    def stock_is_set(self, which: int, on_hand: int) -> None:
        sku = self.skus[which]
        version = self.run(self.shop.inventory.get(sku)).version
        try:
            self.run(self.shop.set_on_hand(sku, on_hand, version, key=f"set-{version}-{sku}"))
        except Refusal as refusal:
            assert refusal.code == "below_held"
        else:
            self.on_hand[sku] = on_hand

    @rule()
    def the_process_starts_anew(self) -> None:
        secret, keys = self.shop.secret, self.shop.keys
        self.run(self.shop.store.close())
        self.run(self.open())
        self.shop.keys = keys
        assert self.shop.secret != secret

    @invariant()
    def everything_adds_up(self) -> None:
        self.run(self.recount())

    async def recount(self) -> None:
        kept = [await self.kept(order.id) for _, _, _, order in self.bought]
        assert {order.id for order in await all_orders(self.shop)} == {o.id for o in kept}
        for sku in self.skus:
            stock = await self.shop.inventory.get(sku)
            assert min(stock.available, stock.reserved, stock.committed) >= 0
            assert stock.on_hand == self.on_hand[sku]
            assert stock.reserved == pieces(kept, sku, "reserved")
            assert stock.committed == pieces(kept, sku, "confirmed")
        for buyer in BUYERS:
            mine = [order for order in kept if order.sub == buyer and order.paid_by is None]
            assert pieces(mine, self.skus[1], "reserved") <= LIMIT
            seqs = [seq for seq, _ in await self.shop.events(f"buyer/{buyer}")]
            assert seqs == list(range(1, len(seqs) + 1))
        for order in kept:
            for id in order.payments:
                payment = await self.shop.payments.get(id)
                keeps_it = order.state == "confirmed" and order.paid_by == id
                taken = payment.state in ("succeeded", "refunded")
                assert (payment.refund is not None) == (taken and not keeps_it)

    async def kept(self, id: str) -> Order:
        """The order as it is kept, before its time is looked at."""
        now, self.clock.now = self.clock.now, 0
        try:
            return await self.shop.orders.get(id)
        finally:
            self.clock.now = now

    def teardown(self) -> None:
        try:
            self.run(self.run_out())
        finally:
            self.run(self.shop.store.close())
            self.runner.close()

    async def run_out(self) -> None:
        for _ in range(4):
            self.clock.pass_s(86_400)
            await self.shop.sandbox.send_due()
            await self.shop.sweep()
        await self.recount()
        for order in await all_orders(self.shop):
            assert (order.state, order.payment) in {
                ("confirmed", "paid"),
                ("expired", "none"),
                ("expired", "failed"),
                ("expired", "refunded"),
                ("cancelled", "none"),
                ("cancelled", "failed"),
                ("cancelled", "refunded"),
            }


def pieces(orders: list[Order], sku: str, state: str) -> int:
    return sum(
        line.qty
        for order in orders
        for line in order.lines
        if order.state == state and line.sku == sku
    )


def test_the_invariants_hold(shop_place: Path | str, request: pytest.FixtureRequest) -> None:
    numbers = itertools.count()

    def empty_place() -> Path | str:
        if isinstance(shop_place, Path):
            return shop_place.with_name(f"{next(numbers)}.db")
        request.getfixturevalue("redis_server").ask("FLUSHALL")
        return shop_place

    class Machine(ShopMachine):
        empty = staticmethod(empty_place)

    few = settings(
        max_examples=30,
        stateful_step_count=40,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    run_state_machine_as_test(Machine, settings=few)  # type: ignore[no-untyped-call]
