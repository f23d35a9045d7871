"""The till: commits the intent to pay, then calls the provider, and applies what the provider says.

The provider's word comes by webhook, or by our asking when a webhook is late (`sweep`). Both end in
the same commit, together with the webhook's id, so it is applied once. A provider that fails is no
refusal: the payment stays pending, and is asked about.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace

from commerce.changes import Changes, decide_and_commit
from commerce.errors import NotFound
from commerce.idempotency import (
    KEPT_MS,
    Answer,
    InFlight,
    Scope,
    bind,
    bound_answer,
    decide_once,
    fingerprint,
)
from commerce.ids import utc_ms
from commerce.inventory import read_stock, stock_keys
from commerce.money import Money
from commerce.order import Order
from commerce.ordering import Orders
from commerce.orders import bought_key, price_keys
from commerce.payments import disputes
from commerce.payments.disputes import DisputeWord, decide_dispute
from commerce.payments.provider import (
    Next,
    Provider,
    ProviderEvent,
    ProviderFailed,
)
from commerce.payments.records import (
    Outcome,
    Payment,
    decide_other_amount,
    decide_outcome,
    decide_pay,
    pack,
    save_payment,
    unpack_payment,
)
from commerce.payments.sweeping import Rows, Sweeping
from commerce.refunds import refund_key
from commerce.store import Store

log = logging.getLogger("hawker.payments")

PAY = "order.pay"
SWEPT_AT_ONCE = 100
DISPUTES: Mapping[str, disputes.Said] = {
    "dispute.opened": "open",
    "dispute.won": "won",
    "dispute.lost": "lost",
}
OUTCOMES: Mapping[str, Outcome] = {"payment.succeeded": "succeeded", "payment.failed": "failed"}


class Payments:
    """The payments in the store; `providers` by name, `default` the one that new ones go to."""

    def __init__(
        self,
        store: Store,
        orders: Orders,
        providers: Mapping[str, Provider],
        *,
        default: str = "sandbox",
        now_ms: Callable[[], int] = utc_ms,
    ) -> None:
        self._store = store
        self._orders = orders
        self._providers = providers
        self._default = default
        self._now_ms = now_ms
        self._in_flight = InFlight()
        self._rows = Rows(store)
        self._sweeping = Sweeping(store, providers, self._apply, now_ms=now_ms)

    async def pay(
        self,
        order: str,
        sub: str | None,
        *,
        by: str,
        key: str,
        method: Mapping[str, str] | None = None,
    ) -> Answer[Payment]:
        """A pending payment, whose intent is durable and of which the provider was told.

        `method` is the provider's (sandbox: `{"card": …}`); without one the buyer goes to `page`.
        Raises NotFound, KeyReused, IllegalTransition, or Invalid for a method.
        """
        provider = self._providers[self._default]
        scope = Scope(by, PAY, key, fingerprint({"order": order, "method": dict(method or {})}))

        async def decide() -> tuple[Changes | None, Answer[Payment]]:
            earlier = bound_answer(scope, (await self._store.load([scope.item]))[scope.item][0])
            payment = unpack_payment(earlier, 0)
            if payment is not None:
                kept = await self._rows.payment(payment.id)
                next = None if kept is None else kept.next
                return None, Answer(replace(payment, next=next), True)
            return await self._decide_pay(order, sub, scope, method)

        async with self._in_flight.alone(scope):
            answer = await decide_once(self._store, scope, decide)
        if not answer.replayed:
            try:
                next = await provider.start(answer.value.id, answer.value.amount, method)
            except ProviderFailed as error:
                log.warning("%s: the provider was not reached: %s", answer.value.id, error)
                return answer
            if next is not None:
                await self._keep_next(answer.value.id, next)
                return Answer(replace(answer.value, next=next))
        return answer

    async def _keep_next(self, id: str, next: Next) -> None:
        async def decide() -> tuple[Changes, None]:
            payment = await self._rows.payment(id)
            assert payment is not None
            changes = Changes(self._now_ms())
            save_payment(changes, replace(payment, next=next))
            return changes, None

        await decide_and_commit(self._store, decide)

    async def _decide_pay(
        self, id: str, sub: str | None, scope: Scope, method: Mapping[str, str] | None
    ) -> tuple[Changes | None, Answer[Payment]]:
        order = await self._rows.order(id)
        if order is None or sub not in (None, order.sub):
            raise NotFound("there is no such order", code="order_not_found")
        self._providers[self._default].check(method, order.total)
        changes, _, payment = decide_pay(order, self._default, self._orders.limits, self._now_ms())
        bind(changes, scope, pack(payment), kept_ms=KEPT_MS)
        return changes, Answer(payment)

    def page(self, payment: Payment) -> str:
        """Where the buyer pays; empty with a provider that is no longer configured."""
        if payment.next is not None and payment.next.kind != "qr":
            return payment.next.target
        provider = self._providers.get(payment.provider)
        return "" if provider is None else provider.page(payment.id)

    def next(self, payment: Payment) -> Next:
        """What the buyer does next."""
        return payment.next or Next("page", self.page(payment))

    async def get(self, id: str, sub: str | None = None) -> Payment:
        """The payment, for its buyer or staff; to others it is NotFound."""
        payment = await self._rows.payment(id)
        if payment is None or sub not in (None, payment.sub):
            raise NotFound("there is no such payment", code="payment_not_found")
        return payment

    async def webhook(self, provider: str, headers: Mapping[str, str], body: bytes) -> bool:
        """Apply a provider's webhook; durable on return. False: it was applied before.

        `body` is raw. Raises NotFound for the provider or the payment, SignatureInvalid or Invalid.
        """
        if provider not in self._providers:
            raise NotFound("there is no such provider", code="provider_not_found")
        event = self._providers[provider].receive(headers, body, self._now_ms())
        if not event.payment and event.ref is None:
            return False  # the provider tells of more than payments of ours
        payment = await self._rows.payment(
            event.payment or await self._referred(provider, event.ref)
        )
        if payment is None or payment.provider != provider:
            raise NotFound("there is no such payment", code="payment_not_found")
        seen = f"webhook/{provider}/{event.id}"
        if event.type in DISPUTES and event.dispute is not None:
            return await self._apply_dispute(payment.id, event, event.dispute, seen)
        if event.refund is not None:
            await self._sweeping.refund(refund_key(event.refund))
            return True
        outcome = OUTCOMES.get(event.type)
        return await self._apply(payment.id, outcome, event.amount, seen, event.ref)

    async def _referred(self, provider: str, ref: str | None) -> str:
        key = _ref_key(provider, ref or "")
        return ((await self._store.load([key]))[key][0] or b"").decode()

    async def sweep(self) -> int:
        """Ask about payments whose word is late, and give back what is to be given; how many calls."""
        return await self._sweeping.sweep()

    async def _apply(
        self,
        id: str,
        outcome: Outcome | None,
        captured: Money | None,
        seen: str | None,
        ref: str | None,
    ) -> bool:
        async def decide() -> tuple[Changes | None, bool]:
            if seen is not None and (await self._store.load([seen]))[seen][0] is not None:
                return None, False
            payment = await self._rows.payment(id)
            assert payment is not None
            order = await self._rows.order(payment.order)
            assert order is not None
            changes = await self._decide(payment, order, outcome, captured)
            if seen is not None:
                changes = changes or Changes(self._now_ms())
                changes.reads[seen] = 0
                changes.writes[seen] = id.encode()
            if changes is not None and ref is not None:
                changes.writes[_ref_key(payment.provider, ref)] = id.encode()
            return changes, True

        return await decide_and_commit(self._store, decide)

    async def _apply_dispute(self, id: str, event: ProviderEvent, ref: str, seen: str) -> bool:
        word = DisputeWord(ref, DISPUTES[event.type], event.amount, event.reason)

        async def decide() -> tuple[Changes | None, bool]:
            if (await self._store.load([seen]))[seen][0] is not None:
                return None, False
            payment = await self._rows.payment(id)
            assert payment is not None
            order = await self._rows.order(payment.order)
            assert order is not None
            known = await self._dispute(payment.provider, ref)
            now_ms = self._now_ms()
            changes = decide_dispute(payment, order, known, word, now_ms) or Changes(now_ms)
            changes.reads[seen] = 0
            changes.writes[seen] = id.encode()
            return changes, True

        return await decide_and_commit(self._store, decide)

    async def _dispute(self, provider: str, ref: str) -> disputes.Dispute | None:
        of = disputes.ref_key(provider, ref)
        id = (await self._store.load([of]))[of][0]
        if id is None:
            return None
        key = disputes.dispute_key(id.decode())
        return disputes.unpack(*(await self._store.load([key]))[key])

    async def _decide(
        self, payment: Payment, order: Order, outcome: Outcome | None, captured: Money | None
    ) -> Changes | None:
        if outcome is None:
            return None
        if outcome == "succeeded" and captured not in (None, payment.amount):
            assert captured is not None
            log.warning("%s: %s came instead of %s", payment.id, captured, payment.amount)
            return decide_other_amount(payment, order, captured, self._now_ms())
        if order.state == "expired" and outcome == "succeeded":
            await self._orders.release_due()
        keys = [key for line in order.lines for key in stock_keys(line.sku)]
        bought = [bought_key(line.sku, order.sub) for line in order.lines]
        loaded = await self._store.load([*keys, *bought, *price_keys(order)])
        stocks = {line.sku: read_stock(line.sku, loaded) for line in order.lines}
        return decide_outcome(payment, order, stocks, loaded, outcome, self._now_ms())


def _ref_key(provider: str, ref: str) -> str:
    return f"payment-ref/{provider}/{ref}"
