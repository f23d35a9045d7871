"""What clients of the shop do, each with the model's side of it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from benchmarks.ledger.books import Books
from benchmarks.ledger.invariants import Violation
from benchmarks.ledger.process import Process
from benchmarks.ledger.sold import Lines
from benchmarks.ledger.world import Act, World
from commerce.after_sale import REFUND
from commerce.coupons import CLAIM
from commerce.errors import NotFound, Refusal
from commerce.idempotency import Scope, fingerprint, scope_item
from commerce.ordering import CANCEL, DELIVER, SHIP
from commerce.payments.service import PAY


class Acts:
    """Builds acts in one world, under new keys."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._keys = 0

    def _key(self, act: str) -> str:
        self._keys += 1
        return f"{act}-{self._keys}-{self._world.clock()}"

    def claim(self, sub: str) -> Act:
        """Claim the coupon."""
        key, coupon = self._key("claim"), self._world.coupon

        async def run(process: Process) -> Any:
            return await process.coupons.claim(coupon, sub, key=key)

        def atom(books: Books, answer: str) -> bool:
            return books.claim(key, sub, answer)

        return Act("claim", f"{sub} claims as {key}", run, atom, key, scope_item(sub, CLAIM, key))

    def buy(self, sub: str, lines: Lines, key: str | None = None, *, coupon: bool = False) -> Act:
        """Place an order, under a new key or one that was used."""
        label = key or self._key("buy")
        self._world.asked.setdefault(label, sub)
        body: dict[str, Any] = {"lines": [{"sku": sku, "qty": pieces} for sku, pieces in lines]}
        if coupon:
            body["coupons"] = [self._world.coupon]

        async def run(process: Process) -> Any:
            command = process.orders.command(sub, body)
            preview = None
            with suppress(Refusal):  # `place` will say it, or has the order
                preview = (await process.orders.quote(command)).total
            answer = await process.orders.place(command, label)
            if preview not in (None, answer.value.total) and not answer.replayed:
                raise Violation(10, f"{label}: quoted {preview}, charged {answer.value.total}")
            return answer

        def atom(books: Books, answer: str) -> bool:
            late = coupon and self._world.holds_late()
            return books.place(label, sub, lines, coupon, late, answer)

        return Act("buy", f"{sub} buys {lines} as {label}", run, atom, label, ident=_id)

    def pay(self, label: str, method: Mapping[str, str] | None) -> Act:
        """Pay an order of the world by a test card, or on the provider's page."""
        key, order = self._key("pay"), self._world.order_id(label)
        sub = self._world.books.orders[label].sub

        async def run(process: Process) -> Any:
            return await process.payments.pay(order, sub, by=sub, key=key, method=method)

        def atom(books: Books, answer: str) -> bool:
            return books.pay(key, label, str(method), answer)

        name = f"{sub} pays {label} by {method} as {key}"
        return Act("pay", name, run, atom, key, scope_item(sub, PAY, key), _id)

    def cancel(self, label: str) -> Act:
        key, order = self._key("cancel"), self._world.order_id(label)
        sub = self._world.books.orders[label].sub

        async def run(process: Process) -> Any:
            return await process.orders.cancel(order, sub, by=sub, key=key)

        def atom(books: Books, answer: str) -> bool:
            return books.cancel(key, label, answer)

        item = scope_item(sub, CANCEL, key)
        return Act("cancel", f"cancel {label} as {key}", run, atom, key, item, _id)

    def ship(self, label: str, pieces: Lines | None = None) -> Act:
        """Send some pieces of an order, None for all that are left."""
        key, order = self._key("ship"), self._world.order_id(label)
        counts = None if pieces is None else dict(pieces)

        async def run(process: Process) -> Any:
            return await process.orders.ship(order, by="host", key=key, pieces=counts)

        def atom(books: Books, answer: str) -> bool:
            return books.ship(key, label, pieces, answer)

        item = scope_item("host", SHIP, key)
        return Act("ship", f"ship {pieces} of {label} as {key}", run, atom, key, item, _id)

    def deliver(self, label: str) -> Act:
        key, order = self._key("deliver"), self._world.order_id(label)

        async def run(process: Process) -> Any:
            return await process.orders.deliver(order, by="host", key=key)

        def atom(books: Books, answer: str) -> bool:
            return books.deliver(key, label, answer)

        item = scope_item("host", DELIVER, key)
        return Act("deliver", f"deliver {label} as {key}", run, atom, key, item, _id)

    def refund(self, label: str, pieces: Lines) -> Act:
        """Give back for some pieces."""
        key, order = self._key("refund"), self._world.order_id(label)

        async def run(process: Process) -> Any:
            return await process.after_sale.refund(
                order, dict(pieces), "broken", by="host", key=key
            )

        def atom(books: Books, answer: str) -> bool:
            return books.refund(key, label, pieces, answer)

        item = scope_item("host", REFUND, key)
        return Act("refund", f"refund {pieces} of {label} as {key}", run, atom, key, item, _id)

    def count(self, sku: str, on_hand: int) -> Act:
        """Set what is on hand, at the version that is known now."""
        key, version = self._key("count"), self._world.seen.stocks[sku].version
        scope = Scope("host", "stock", key, fingerprint({"sku": sku, "on_hand": on_hand}))

        async def run(process: Process) -> Any:
            return await process.inventory.set_on_hand(
                sku, on_hand, "counted", by="host", if_version=version, scope=scope
            )

        def atom(books: Books, answer: str) -> bool:
            return books.count(key, sku, on_hand, self._world.reserved(sku), answer)

        return Act("count", f"set {sku} to {on_hand} as {key}", run, atom, key, scope.item)

    def sweep_orders(self) -> Act:
        return Act("sweep orders", "sweep orders", lambda process: process.orders.sweep())

    def sweep_payments(self) -> Act:
        return Act(
            "sweep payments", "sweep payments", lambda process: process.payments.sweep(), hears=True
        )

    def calls(self) -> Act:
        """The provider makes its calls, from one process to the world's `route`."""
        return Act("webhooks", "webhooks", lambda process: process.sandbox.send_due(), hears=True)

    def call_again(self, number: int) -> Act:
        """A webhook that has come before comes again."""
        headers, body = self._world.mail[number % len(self._world.mail)]

        async def run(process: Process) -> Any:
            return await process.payments.webhook("sandbox", headers, body)

        return Act("webhook again", "a webhook again", run, self._world.atom_of(body))

    def choose(self, label: str, card: str) -> Act:
        """A card on the provider's page, for the order's latest payment."""
        id = self._world.latest_payment(label)

        async def run(process: Process) -> Any:
            try:
                await process.sandbox.choose(id, card)
            except NotFound:
                return  # the process was killed before the provider heard of it

        return Act("card", f"card {card} for {label}", run)


def _id(answer: Any) -> str:
    return str(answer.value.id)
