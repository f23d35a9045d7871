"""What is done again and again: asking about payments whose word is late, giving back what is open."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

from commerce.changes import Changes, decide_and_commit
from commerce.money import Money
from commerce.order import Order
from commerce.order_record import unpack
from commerce.ordering import ORDER_ID
from commerce.orders import order_key
from commerce.payments.provider import Provider, ProviderFailed, RefundRefused, Standing
from commerce.payments.records import (
    ASK_AFTER_MS,
    PENDING,
    Outcome,
    Payment,
    decide_refund_refused,
    decide_refunded,
    payment_key,
    unpack_payment,
)
from commerce.refunds import REFUNDS_OPEN, Refund, refund_key
from commerce.refunds import unpack as unpack_refund
from commerce.store import Conflict, Store

log = logging.getLogger("hawker.payments")

SWEPT_AT_ONCE = 100
PAYMENT_ID = re.compile(r"pay_[0-9a-z]{26}")

Apply = Callable[[str, Outcome | None, Money | None, str | None, str | None], Awaitable[bool]]


class Rows:
    """Orders and payments of the store, by id."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def order(self, id: str) -> Order | None:
        """None for what is no order's id, too."""
        if not ORDER_ID.fullmatch(id):
            return None
        key = order_key(id)
        return unpack(*(await self._store.load([key]))[key])

    async def payment(self, id: str) -> Payment | None:
        """None for what is no payment's id, too."""
        if not PAYMENT_ID.fullmatch(id):
            return None
        key = payment_key(id)
        return unpack_payment(*(await self._store.load([key]))[key])


class Sweeping:
    """Sweeps the payments and refunds of a store; `apply` is what a provider's answer goes to."""

    def __init__(
        self,
        store: Store,
        providers: Mapping[str, Provider],
        apply: Apply,
        *,
        now_ms: Callable[[], int],
    ) -> None:
        self._store = store
        self._providers = providers
        self._apply = apply
        self._now_ms = now_ms
        self._rows = Rows(store)

    async def sweep(self) -> int:
        """Ask about payments whose word is late, and give back what is to be given; how many calls."""
        now_ms = self._now_ms()
        due = f"{now_ms + 1:015d}"
        pending = await self._store.scan(PENDING, "", due, SWEPT_AT_ONCE)
        for key in pending:
            await self._ask(key)
        refunds = await self._store.scan(REFUNDS_OPEN, "", due, SWEPT_AT_ONCE)
        for key in refunds:
            await self.refund(key)
        return len(pending) + len(refunds)

    async def _ask(self, key: str) -> None:
        payment = unpack_payment(*(await self._store.load([key]))[key])
        if payment is None or payment.state != "pending":
            return
        said: Standing | None
        try:
            said = await self._provider(payment).ask(payment.id)
        except ProviderFailed as error:
            log.warning("%s: the provider was not reached: %s", payment.id, error)
            said = Standing("pending")
        if said is not None and said.state == "pending":
            await self._ask_later(PENDING, key, payment.created_ms)
        else:
            # One that the provider never heard of is not sent again: the buyer tries anew.
            said = said or Standing("failed")
            outcome: Outcome = "succeeded" if said.state == "succeeded" else "failed"
            await self._apply(payment.id, outcome, said.captured, None, said.ref)

    async def refund(self, key: str) -> None:
        """Ask for a refund that is open, or about it."""
        refund = unpack_refund(*(await self._store.load([key]))[key])
        payment = None if refund is None else await self._rows.payment(refund.payment)
        if refund is None or payment is None or refund.state != "open":
            return
        why = None
        try:
            provider = self._provider(payment)
            done = await provider.refund(refund.id, payment.id, refund.amount)
        except ProviderFailed as error:
            log.warning("%s: the provider was not reached: %s", refund.id, error)
            done = False
        except RefundRefused as error:
            log.error("%s: the provider does not give it back: %s", refund.id, error)
            done, why = True, str(error)
        if done:
            await self._apply_refund(refund.id, why)
        else:
            await self._ask_later(REFUNDS_OPEN, key, refund.created_ms)

    async def _apply_refund(self, id: str, refused: str | None) -> None:
        async def decide() -> tuple[Changes | None, None]:
            refund: Refund | None = unpack_refund(
                *(await self._store.load([refund_key(id)]))[refund_key(id)]
            )
            assert refund is not None
            payment, order = (
                await self._rows.payment(refund.payment),
                await self._rows.order(refund.order),
            )
            assert payment is not None
            assert order is not None
            now_ms = self._now_ms()
            if refused is not None:
                return decide_refund_refused(refund, order, refused, now_ms), None
            return decide_refunded(refund, payment, order, now_ms), None

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

    def _provider(self, payment: Payment) -> Provider:
        provider = self._providers.get(payment.provider)
        if provider is None:
            raise ProviderFailed(f"{payment.provider} is not configured")
        return provider
