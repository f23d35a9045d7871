"""A random walk through a world: what is done, with what fate, is drawn from one seed."""

from __future__ import annotations

import random

from benchmarks.ledger.acts import Acts
from benchmarks.ledger.crashing import Fate
from benchmarks.ledger.invariants import Violation
from benchmarks.ledger.sold import OK, Lines
from benchmarks.ledger.world import BUYERS, Act, World
from commerce.payments.cards import TEST_CARDS

APPROVED = {"card": "4242424242424242"}
SECONDS = (1, 5, 15, 120, 300, 600, 1200)
BOUNDARIES = {"": 10, "commit": 3, "provider": 2}  # how far ahead, of all and of these
FATED = 0.5  # of the steps
KILLED = 0.75  # of those; the others are cut off
RACED = 0.15
DOUBLED = 0.15  # asked in two processes at once, as by a client that did not wait
COUPONS = 0.3  # of the orders are to be with one
ORDERS_MAX = 24  # of one world
DRAINS = 6
RETRIES_MAX = 50
LATE_AT_ONCE = 4  # the model tries every order in which they may have come


class Walk:
    """Steps of one world, then its end."""

    def __init__(self, world: World, dice: random.Random) -> None:
        self._world = world
        self._dice = dice
        self._acts = Acts(world)
        self._makers = {
            self._buy: 8,
            self._buy_again: 2,
            self._claim: 2,
            self._pay: 8,
            self._choose: 2,
            self._cancel: 3,
            self._ship: 3,
            self._deliver: 1,
            self._refund: 4,
            self._count: 2,
            self._retry: 4,
            self._acts.sweep_orders: 3,
            self._acts.sweep_payments: 5,
            self._acts.calls: 6,
            self._call_again: 3,
        }

    async def go(self, steps: int) -> None:
        """That many steps, then `drain`; raises Violation."""
        for _ in range(steps):
            if self._dice.random() < 0.12:
                await self._world.pass_s(self._dice.choice(SECONDS))
            else:
                await self._step()
        await self.drain()

    async def _step(self) -> None:
        acts = [self._draw()]
        if self._dice.random() < RACED:
            acts += [self._draw() for _ in range(self._dice.randint(1, 3))]
        hearing = [act for act in acts if act.hears]
        acts = [act for act in acts if not act.hears] + hearing[:1]
        slots = range(len(self._world.processes))
        placed = [(self._dice.choice(slots), act) for act in acts]
        if acts[0].key and self._dice.random() < DOUBLED:
            slot = placed[0][0]
            placed.append(((slot + 1) % len(slots), acts[0]))
        self._world.route = self._dice.choice(slots)
        self._world.deaf = self._dice.random() < 0.1
        await self._world.step(placed, {slot: self._fate() for slot in slots})

    def _fate(self) -> Fate | None:
        if self._dice.random() >= FATED:
            return None
        where = self._dice.choice(list(BOUNDARIES))
        boundary = self._dice.randint(1, BOUNDARIES[where])
        return Fate(boundary, self._dice.random() < KILLED, where)

    def _draw(self) -> Act:
        while True:
            maker = self._dice.choices(list(self._makers), list(self._makers.values()))[0]
            act = maker()
            if act is not None:
                return act

    # -- acts; None where there is nothing to do it to ----------------------------------------------

    def _lines(self) -> Lines:
        skus = sorted(self._world.skus)
        chosen = [sku for sku in skus if self._dice.random() < 0.6] or skus[:1]
        return tuple((sku, self._dice.randint(1, 3)) for sku in chosen)

    def _label(self) -> str | None:
        orders = self._world.books.orders
        return self._dice.choice(list(orders)[-8:]) if orders else None

    def _buy(self) -> Act | None:
        if len(self._world.books.orders) >= ORDERS_MAX:
            return None
        coupon = self._dice.random() < COUPONS
        return self._acts.buy(self._dice.choice(BUYERS), self._lines(), coupon=coupon)

    def _claim(self) -> Act:
        return self._acts.claim(self._dice.choice(BUYERS))

    def _buy_again(self) -> Act | None:
        label = self._label()
        if label is None:
            return None
        order = self._world.books.orders[label]
        same = self._dice.random() < 0.5
        lines = order.lines if same else self._lines()
        return self._acts.buy(order.sub, lines, label, coupon=order.coupon)

    def _pay(self) -> Act | None:
        label = self._label()
        card = self._dice.choice([*TEST_CARDS, None])
        if label is None:
            return None
        return self._acts.pay(label, None if card is None else {"card": card})

    def _choose(self) -> Act | None:
        label = self._label()
        if label is None or not self._world.books.orders[label].payments:
            return None
        return self._acts.choose(label, self._dice.choice(list(TEST_CARDS)))

    def _cancel(self) -> Act | None:
        label = self._label()
        return None if label is None else self._acts.cancel(label)

    def _ship(self) -> Act | None:
        label = self._label()
        if label is None:
            return None
        return self._acts.ship(label, self._dice.choice([None, self._pieces(label)]))

    def _deliver(self) -> Act | None:
        label = self._label()
        return None if label is None else self._acts.deliver(label)

    def _refund(self) -> Act | None:
        label = self._label()
        return None if label is None else self._acts.refund(label, self._pieces(label))

    def _pieces(self, label: str) -> Lines:
        lines = self._world.books.orders[label].lines
        chosen = self._dice.sample(lines, self._dice.randint(1, len(lines)))
        return tuple((sku, self._dice.randint(1, pieces)) for sku, pieces in chosen)

    def _count(self) -> Act:
        return self._acts.count(self._dice.choice(self._world.skus), self._dice.randint(0, 9))

    def _retry(self) -> Act | None:
        return self._dice.choice(self._world.pending) if self._world.pending else None

    def _call_again(self) -> Act | None:
        mail = self._world.mail
        return self._acts.call_again(self._dice.randrange(len(mail))) if mail else None

    # -- the end ------------------------------------------------------------------------------------

    async def drain(self) -> None:
        """Everybody asks again, time passes, and who still wants it buys: nothing may be left over."""
        world = self._world
        world.deaf = False
        for _ in range(RETRIES_MAX):
            if not world.pending:
                break
            await world.step([(0, world.pending[0])])
        if world.pending:
            raise Violation(5, f"never answered: {world.pending[0].name}")
        for _ in range(DRAINS):
            await world.pass_s(86_400 / 2)
            for act in (self._acts.calls(), self._acts.sweep_payments(), self._acts.sweep_orders()):
                await world.step([(self._dice.randrange(len(world.processes)), act)])
        self._nothing_is_stuck()
        for sku in world.skus:
            await self._sell(sku)

    def _nothing_is_stuck(self) -> None:
        for label, order in self._world.books.orders.items():
            ended = (
                order.state in ("confirmed", "completed", "cancelled")
                or order.expires_ms <= self._world.clock()
            )
            pending = order.payment == "pending" or any(
                paid.state == "pending" or any(state == "open" for _, state in paid.refunds)
                for paid in order.payments
            )
            if not ended or pending:
                raise Violation(3, f"{label} is stuck: {order}")
        for stock in self._world.seen.stocks.values():
            if stock.reserved:
                raise Violation(3, f"pieces are stuck: {stock}")

    async def _sell(self, sku: str) -> None:
        """Sold = min(stock, demand), though all ask at once, in all processes."""
        world = self._world
        stock, wanted = world.books.available(sku), self._dice.randint(0, 12)
        slots, sold = len(world.processes), 0
        for first in range(0, wanted, LATE_AT_ONCE):
            late = range(first, min(first + LATE_AT_ONCE, wanted))
            acts = [self._acts.buy(f"late-{n}", ((sku, 1),)) for n in late]
            answers = await world.step([(n % slots, act) for n, act in enumerate(acts)])
            for act, answer in zip(acts, answers, strict=True):
                if answer == OK:
                    sold += await self._paid(act.key)
        if sold != min(stock, wanted):
            raise Violation(3, f"{sold} of {sku} sold of {stock}, {wanted} wanted")

    async def _paid(self, label: str) -> bool:
        """Whether the order is confirmed by a payment that is approved."""
        await self._world.step([(0, self._acts.pay(label, APPROVED))])
        await self._world.step([(0, self._acts.calls())])
        return self._world.books.orders[label].state == "confirmed"
