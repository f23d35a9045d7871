"""The shop against its model, on every store, with crashes where Hypothesis wants them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from benchmarks.ledger.acts import Acts
from benchmarks.ledger.crashing import Fate
from benchmarks.ledger.process import Clock
from benchmarks.ledger.sold import Lines
from benchmarks.ledger.stores import PROCESSES, STORES
from benchmarks.ledger.walk import SECONDS, Walk
from benchmarks.ledger.world import BUYERS, Act, Counts, World
from commerce.payments.cards import TEST_CARDS

T = TypeVar("T")

SLOTS = st.integers(0, PROCESSES - 1)
FATES = st.none() | st.builds(
    Fate, st.integers(1, 8), st.booleans(), st.sampled_from(("", "commit", "provider"))
)
PIECES = st.integers(0, 3)
ORDER = st.integers(0, 7)


class Machine(RuleBasedStateMachine):
    """Hypothesis draws the acts, the process and the moment of its death; the world checks each step."""

    store: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(coroutine)

    @initialize()
    def open(self) -> None:
        self.world = self.run(self.new_world())
        self.acts = Acts(self.world)

    async def new_world(self) -> World:
        stores = await self.stack.enter_async_context(STORES[self.store]())
        world = World(stores, Clock(), Counts(), {})
        await world.open()
        return world

    def do(self, slot: int, fate: Fate | None, *acts: Act) -> None:
        placed = [((slot + number) % PROCESSES, act) for number, act in enumerate(acts)]
        self.run(self.world.step(placed, {slot: fate}))

    def label(self, number: int) -> str | None:
        """An order, if there is one: no precondition, for what two at once come to may differ."""
        labels = list(self.world.books.orders)
        return labels[number % len(labels)] if labels else None

    def lines(self, one: int, two: int) -> Lines:
        return tuple((s, n) for s, n in zip(self.world.skus, (one, two), strict=True) if n)

    @rule(slot=SLOTS, fate=FATES, sub=st.sampled_from(BUYERS), one=PIECES, two=PIECES)
    def buy(self, slot: int, fate: Fate | None, sub: str, one: int, two: int) -> None:
        if one or two:
            self.do(slot, fate, self.acts.buy(sub, self.lines(one, two)))

    @rule(slot=SLOTS, fate=FATES, sub=st.sampled_from(BUYERS), pieces=st.integers(1, 4))
    def buy_in_both_processes_at_once(
        self, slot: int, fate: Fate | None, sub: str, pieces: int
    ) -> None:
        one, other = (self.acts.buy(sub, ((sku, pieces),)) for sku in self.world.skus)
        self.do(slot, fate, one, other, one, other)

    @rule(slot=SLOTS, fate=FATES, sub=st.sampled_from(BUYERS), pieces=st.integers(1, 3))
    def claim_and_spend_a_coupon_at_once(
        self, slot: int, fate: Fate | None, sub: str, pieces: int
    ) -> None:
        lines = self.lines(pieces, 1)
        buys = [self.acts.buy(sub, lines, coupon=True) for _ in range(2)]
        self.do(slot, fate, self.acts.claim(sub), self.acts.claim(sub), *buys)

    @rule(slot=SLOTS, fate=FATES, number=ORDER, pieces=st.integers(1, 3))
    def refund_twice_at_once(self, slot: int, fate: Fate | None, number: int, pieces: int) -> None:
        if (label := self.label(number)) is None:
            return
        sku = self.world.books.orders[label].lines[0][0]
        refunds = [self.acts.refund(label, ((sku, pieces),)) for _ in range(2)]
        self.do(slot, fate, *refunds)

    @rule(slot=SLOTS, fate=FATES, number=ORDER, more=st.booleans())
    def buy_under_a_key_again(self, slot: int, fate: Fate | None, number: int, more: bool) -> None:
        if (label := self.label(number)) is None:
            return
        order = self.world.books.orders[label]
        lines = tuple((sku, pieces + more) for sku, pieces in order.lines)
        self.do(slot, fate, self.acts.buy(order.sub, lines, label, coupon=order.coupon))

    @rule(slot=SLOTS, fate=FATES, number=ORDER, card=st.sampled_from([*TEST_CARDS, None]))
    def pay(self, slot: int, fate: Fate | None, number: int, card: str | None) -> None:
        method = None if card is None else {"card": card}
        if (label := self.label(number)) is not None:
            self.do(slot, fate, self.acts.pay(label, method))

    @rule(slot=SLOTS, fate=FATES, number=ORDER)
    def cancel_and_pay_at_once(self, slot: int, fate: Fate | None, number: int) -> None:
        if (label := self.label(number)) is None:
            return
        pay = self.acts.pay(label, {"card": "4242424242424242"})
        self.do(slot, fate, self.acts.cancel(label), pay, self.acts.calls())

    @rule(slot=SLOTS, fate=FATES, number=ORDER)
    def cancel(self, slot: int, fate: Fate | None, number: int) -> None:
        if (label := self.label(number)) is not None:
            self.do(slot, fate, self.acts.cancel(label))

    @rule(slot=SLOTS, fate=FATES, number=ORDER)
    def ship(self, slot: int, fate: Fate | None, number: int) -> None:
        if (label := self.label(number)) is not None:
            self.do(slot, fate, self.acts.ship(label))

    @rule(slot=SLOTS, fate=FATES, which=st.integers(0, 1), on_hand=st.integers(0, 9))
    def count_stock(self, slot: int, fate: Fate | None, which: int, on_hand: int) -> None:
        self.do(slot, fate, self.acts.count(self.world.skus[which], on_hand))

    @rule(slot=SLOTS, route=SLOTS, fate=FATES, deaf=st.booleans())
    def webhooks_come(self, slot: int, route: int, fate: Fate | None, deaf: bool) -> None:
        self.world.route, self.world.deaf = route, deaf
        self.do(slot, fate, self.acts.calls())

    @rule(slot=SLOTS, fate=FATES, number=st.integers(0, 19))
    def a_webhook_comes_again(self, slot: int, fate: Fate | None, number: int) -> None:
        if self.world.mail:
            self.do(slot, fate, self.acts.call_again(number))

    @rule(slot=SLOTS, fate=FATES)
    def sweep_orders(self, slot: int, fate: Fate | None) -> None:
        self.do(slot, fate, self.acts.sweep_orders())

    @rule(slot=SLOTS, fate=FATES)
    def sweep_payments(self, slot: int, fate: Fate | None) -> None:
        self.do(slot, fate, self.acts.sweep_payments())

    @rule(slot=SLOTS, fate=FATES, number=ORDER)
    def a_client_asks_again(self, slot: int, fate: Fate | None, number: int) -> None:
        if pending := self.world.pending:
            self.do(slot, fate, pending[number % len(pending)])

    @rule(seconds=st.sampled_from(SECONDS))
    def time_passes(self, seconds: int) -> None:
        self.run(self.world.pass_s(seconds))

    def teardown(self) -> None:
        async def end() -> None:
            async with self.stack:
                if hasattr(self, "world"):
                    await Walk(self.world, random.Random(0)).drain()

        self.run(end())
        self.runner.close()


@pytest.mark.parametrize("store", STORES)
def test_the_model_explains_what_the_shop_does(store: str) -> None:
    machine = type(f"Machine_{store}", (Machine,), {"store": store})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=25,
            stateful_step_count=30,
            derandomize=True,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
