"""The till: commits the intent to pay, then calls the provider, and applies what the provider says.

The provider's word comes by webhook, or by our asking when a webhook is late (`sweep`). Both end in
the same commit, together with the webhook's id, so it is applied once. A provider that fails is no
refusal: the payment stays pending, and is asked about.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Literal

from commerce.changes import Changes, decide_and_commit
from commerce.errors import Invalid, NotFound
from commerce.idempotency import KEPT_MS, Answer, InFlight, Scope, bind, bound_answer, fingerprint
from commerce.ids import utc_ms
from commerce.inventory import read_stock, stock_keys
from commerce.ordering import ORDER_ID, Orders
from commerce.orders import Order, order_key, unpack
from commerce.payments.provider import Provider, ProviderFailed
from commerce.payments.records import (
    ASK_AFTER_MS,
    PENDING,
    REFUNDS_OPEN,
    Outcome,
    Payment,
    Refund,
    decide_outcome,
    decide_pay,
    decide_refunded,
    pack,
    payment_key,
    refund_key,
    unpack_payment,
    unpack_refund,
)
from commerce.store import Conflict, Store

log = logging.getLogger("hawker.payments")

PAY = "order.pay"
SWEPT_AT_ONCE = 100
PAYMENT_ID = re.compile(r"pay_[0-9a-z]{26}")
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
        provider.check(method)
        scope = Scope(by, PAY, key, fingerprint({"order": order, "method": dict(method or {})}))

        async def decide() -> tuple[Changes | None, Answer[Payment]]:
            earlier = bound_answer(scope, (await self._store.load([scope.item]))[scope.item][0])
            payment = unpack_payment(earlier, 0)
            if payment is not None:
                return None, Answer(payment, True)
            return await self._decide_pay(order, sub, scope)

        async with self._in_flight.alone(scope):
            answer = await decide_and_commit(self._store, decide)
        if not answer.replayed:
            try:
                await provider.start(answer.value.id, answer.value.amount, method)
            except ProviderFailed as error:
                log.warning("%s: the provider was not reached: %s", answer.value.id, error)
        return answer

    async def _decide_pay(
        self, id: str, sub: str | None, scope: Scope
    ) -> tuple[Changes | None, Answer[Payment]]:
        order = await self._order(id)
        if order is None or sub not in (None, order.sub):
            raise NotFound("there is no such order", code="order_not_found")
        changes, _, payment = decide_pay(order, self._default, self._orders.limits, self._now_ms())
        bind(changes, scope, pack(payment), kept_ms=KEPT_MS)
        return changes, Answer(payment)

    def page(self, payment: Payment) -> str:
        """Where the buyer pays."""
        return self._providers[payment.provider].page(payment.id)

    async def get(self, id: str, sub: str | None = None) -> Payment:
        """The payment, for its buyer or staff; to others it is NotFound."""
        payment = await self._payment(id)
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
        payment = await self._payment(event.payment)
        if payment is None or payment.provider != provider:
            raise NotFound("there is no such payment", code="payment_not_found")
        if event.amount != payment.amount:
            raise Invalid("amount", f"{payment.id} is over another amount")
        seen = f"webhook/{provider}/{event.id}"
        return await self._apply(payment.id, OUTCOMES.get(event.type), seen)

    async def sweep(self) -> int:
        """Ask about payments whose word is late, and give back what is to be given; how many calls."""
        now_ms = self._now_ms()
        due = f"{now_ms + 1:015d}"
        pending = await self._store.scan(PENDING, "", due, SWEPT_AT_ONCE)
        for key in pending:
            await self._ask(key)
        refunds = await self._store.scan(REFUNDS_OPEN, "", due, SWEPT_AT_ONCE)
        for key in refunds:
            await self._refund(key)
        return len(pending) + len(refunds)

    async def _ask(self, key: str) -> None:
        payment = unpack_payment(*(await self._store.load([key]))[key])
        if payment is None or payment.state != "pending":
            return
        said: Literal["pending", "succeeded", "failed"] | None
        try:
            said = await self._providers[payment.provider].ask(payment.id)
        except ProviderFailed as error:
            log.warning("%s: the provider was not reached: %s", payment.id, error)
            said = "pending"
        if said == "pending":
            await self._ask_later(PENDING, key, payment.created_ms)
        else:
            # One that the provider never heard of is not sent again: the buyer tries anew.
            await self._apply(payment.id, said or "failed", None)

    async def _refund(self, key: str) -> None:
        refund = unpack_refund(*(await self._store.load([key]))[key])
        payment = None if refund is None else await self._payment(refund.payment)
        if refund is None or payment is None or refund.state == "done":
            return
        try:
            provider = self._providers[payment.provider]
            done = await provider.refund(refund.id, payment.id, refund.amount)
        except ProviderFailed as error:
            log.warning("%s: the provider was not reached: %s", refund.id, error)
            done = False
        if done:
            await self._apply_refund(refund.id)
        else:
            await self._ask_later(REFUNDS_OPEN, key, refund.created_ms)

    async def _apply_refund(self, id: str) -> None:
        async def decide() -> tuple[Changes | None, None]:
            refund: Refund | None = unpack_refund(
                *(await self._store.load([refund_key(id)]))[refund_key(id)]
            )
            assert refund is not None
            payment, order = await self._payment(refund.payment), await self._order(refund.order)
            assert payment is not None
            assert order is not None
            return decide_refunded(refund, payment, order, self._now_ms()), None

        await decide_and_commit(self._store, decide)

    async def _ask_later(self, index: str, key: str, since_ms: int) -> None:
        now_ms = self._now_ms()
        next_ms = now_ms + max(ASK_AFTER_MS, (now_ms - since_ms) // 2)
        item = (await self._store.load([key]))[key]
        changes = Changes(now_ms, reads={key: item[1]})
        payment = unpack_payment(*item) if index == PENDING else None
        if index == REFUNDS_OPEN or (payment is not None and payment.state == "pending"):
            changes.index[index, key] = f"{next_ms:015d}"
            with suppress(Conflict):  # whoever changed it has found its place, too
                await changes.commit(self._store)

    async def _apply(self, id: str, outcome: Outcome | None, seen: str | None) -> bool:
        async def decide() -> tuple[Changes | None, bool]:
            if seen is not None and (await self._store.load([seen]))[seen][0] is not None:
                return None, False
            payment = await self._payment(id)
            assert payment is not None
            order = await self._order(payment.order)
            assert order is not None
            changes = None if outcome is None else await self._decide(payment, order, outcome)
            if seen is not None:
                changes = changes or Changes(self._now_ms())
                changes.reads[seen] = 0
                changes.writes[seen] = id.encode()
            return changes, True

        return await decide_and_commit(self._store, decide)

    async def _decide(self, payment: Payment, order: Order, outcome: Outcome) -> Changes | None:
        if order.state == "expired" and outcome == "succeeded":
            await self._orders.release_due(line.sku for line in order.lines)
        loaded = await self._store.load(
            [key for line in order.lines for key in stock_keys(line.sku)]
        )
        stocks = {line.sku: read_stock(line.sku, loaded) for line in order.lines}
        return decide_outcome(payment, order, stocks, outcome, self._now_ms())

    async def _order(self, id: str) -> Order | None:
        if not ORDER_ID.fullmatch(id):
            return None
        key = order_key(id)
        return unpack(*(await self._store.load([key]))[key])

    async def _payment(self, id: str) -> Payment | None:
        if not PAYMENT_ID.fullmatch(id):
            return None
        key = payment_key(id)
        return unpack_payment(*(await self._store.load([key]))[key])
