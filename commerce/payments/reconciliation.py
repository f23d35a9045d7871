"""The reconciliation report: what came and went, by day, provider and currency, and what does not fit.

Payments stand under the UTC day on which they were begun, with all that has become of them by now, so
that a report of past days holds still but for what came back later. Fees are 0 for a provider that
tells none.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any

from commerce.errors import Invalid
from commerce.ids import utc_ms
from commerce.money import Money
from commerce.order import Order
from commerce.order_record import unpack as unpack_order
from commerce.orders import order_key
from commerce.payments.disputes import Dispute, dispute_key
from commerce.payments.disputes import unpack as unpack_dispute
from commerce.payments.records import BEGUN, Payment, begun_at, unpack_payment
from commerce.refunds import Refund, refund_key
from commerce.refunds import unpack as unpack_refund
from commerce.sheets import BOM, rows_to_csv
from commerce.store import Store

READ_AT_ONCE = 200
DAYS_MAX = 100
DAY_MS = 86_400_000
MISMATCHES_MAX = 1_000  # of one report; somebody has to look at each
REFUND_OPEN_MS = 24 * 3_600_000
INTENT_OPEN_MS = 3_600_000  # past the time that it was given
TAKEN = ("succeeded", "refunded")


@dataclass(slots=True)
class Row:
    """Sums of a day in minor units; `lost` went in disputes, `open` counts payments without an end."""

    day: str
    provider: str
    currency: str
    payments: int = 0
    open: int = 0
    captured: int = 0
    refunded: int = 0
    lost: int = 0
    fees: int = 0

    def to_json(self) -> dict[str, Any]:
        names = ("captured", "refunded", "lost", "fees")
        moneys = {name: Money(getattr(self, name), self.currency).to_json() for name in names}
        head = {each.name: getattr(self, each.name) for each in fields(self)[:5]}
        return {**head, **moneys}


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Something that somebody should look at."""

    kind: str
    order: str
    payment: str
    amount: Money
    refund: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "order": self.order,
            "payment": self.payment,
            "refund": self.refund,
            "amount": self.amount.to_json(),
        }


@dataclass(frozen=True, slots=True)
class Found:
    """A payment with all that belongs to it."""

    payment: Payment
    order: Order
    refunds: Sequence[Refund]
    disputes: Sequence[Dispute]


@dataclass(slots=True)
class Report:
    """`more`: there are further mismatches, for which a shorter time is to be asked."""

    rows: list[Row] = field(default_factory=list)
    mismatches: list[Mismatch] = field(default_factory=list)
    more: bool = False

    def to_json(self) -> dict[str, Any]:
        return {
            "items": [row.to_json() for row in self.rows],
            "mismatches": [each.to_json() for each in self.mismatches],
            "more": self.more,
        }


class Reconciliation:
    """Reads the payments of the store."""

    def __init__(self, store: Store, *, now_ms: Callable[[], int] = utc_ms) -> None:
        self._store = store
        self._now_ms = now_ms

    async def report(self, from_ms: int, to_ms: int) -> Report:
        """Of the payments begun from `from_ms` to before `to_ms`; raises Invalid for too long a time."""
        if to_ms - from_ms > DAYS_MAX * DAY_MS:
            raise Invalid("to", f"at most {DAYS_MAX} days after from")
        rows: dict[tuple[str, str, str], Row] = {}
        report, now_ms = Report(), self._now_ms()
        async for found in self._found(from_ms, to_ms):
            _count(rows, found)
            report.mismatches += mismatches(found, now_ms)
            if len(report.mismatches) > MISMATCHES_MAX:
                report.more = True
                del report.mismatches[MISMATCHES_MAX:]
        report.rows = [rows[key] for key in sorted(rows)]
        return report

    async def _found(self, from_ms: int, to_ms: int) -> AsyncIterator[Found]:
        low, high = f"{from_ms:015d}", f"{to_ms:015d}"
        while True:
            keys = await self._store.scan(BEGUN, low, high, READ_AT_ONCE)
            loaded = await self._store.load(keys)
            payments = [each for key in keys if (each := unpack_payment(*loaded[key])) is not None]
            for found in await self._whole(payments):
                yield found
            if len(keys) < READ_AT_ONCE or not payments:
                return
            low = f"{begun_at(payments[-1])}\0"

    async def _whole(self, payments: Sequence[Payment]) -> list[Found]:
        keys = {order_key(payment.order) for payment in payments}
        loaded = await self._store.load(keys)
        orders = {key: order for key in keys if (order := unpack_order(*loaded[key])) is not None}
        found = [(each, orders[order_key(each.order)]) for each in payments]
        keys = {key for payment, order in found for key in _belonging(payment, order)}
        loaded = await self._store.load(keys)
        refunds = [unpack_refund(*loaded[key]) for key in sorted(keys) if key.startswith("refund/")]
        disputes = [unpack_dispute(*loaded[key]) for key in sorted(keys) if key[0] == "d"]
        return [
            Found(
                payment,
                order,
                [each for each in refunds if each is not None and each.payment == payment.id],
                [each for each in disputes if each is not None and each.payment == payment.id],
            )
            for payment, order in found
        ]


def _belonging(payment: Payment, order: Order) -> Iterator[str]:
    own = () if payment.refund is None else (payment.refund,)
    for id in (*own, *order.refunds, *(each.refund for each in payment.unexpected)):
        yield refund_key(id)
    for id in payment.disputes:
        yield dispute_key(id)


def _count(rows: dict[tuple[str, str, str], Row], found: Found) -> None:
    payment = found.payment

    def row(currency: str) -> Row:
        day = datetime.fromtimestamp(payment.created_ms / 1000, UTC).date().isoformat()
        key = day, payment.provider, currency
        return rows.setdefault(key, Row(*key))

    own = row(payment.amount.currency)
    own.payments += 1
    own.open += payment.state == "pending"
    for came in _came(payment):
        row(came.currency).captured += came.amount
    for refund in found.refunds:
        if refund.state == "done":
            row(refund.amount.currency).refunded += refund.amount.amount
    for dispute in found.disputes:
        if dispute.state == "lost":
            row(dispute.amount.currency).lost += dispute.amount.amount


def _came(payment: Payment) -> list[Money]:
    if payment.state not in TAKEN:
        return []
    return [payment.captured or payment.amount, *(each.amount for each in payment.unexpected)]


def mismatches(found: Found, now_ms: int) -> list[Mismatch]:
    """What does not fit of a payment."""
    payment, order = found.payment, found.order
    return [
        Mismatch(kind, order.id, payment.id, amount, refund)
        for kind, amount, refund in (
            *_of_payment(payment, order, found.refunds, now_ms),
            *_of_refunds(found.refunds, now_ms),
        )
    ]


Finding = tuple[str, Money, str | None]


def _of_payment(
    payment: Payment, order: Order, refunds: Iterable[Refund], now_ms: int
) -> Iterator[Finding]:
    came = payment.captured or payment.amount
    if payment.state == "pending" and now_ms > payment.deadline_ms + INTENT_OPEN_MS:
        yield "intent_open", payment.amount, None
    for each in payment.unexpected:
        yield "unexpected_money", each.amount, each.refund
    if payment.state not in TAKEN:
        return
    if payment.captured is not None:
        yield "other_amount", came, payment.refund
    elif order.paid_by != payment.id:
        yield "second_success", came, payment.refund
    elif order.at(now_ms).state in ("expired", "cancelled") and payment.state != "refunded":
        gone = sum(
            each.amount.amount for each in refunds if each.state == "done" and not each.extra
        )
        yield "paid_but_over", Money(came.amount - gone, came.currency), payment.refund


def _of_refunds(refunds: Iterable[Refund], now_ms: int) -> Iterator[Finding]:
    for refund in refunds:
        if refund.state == "failed":
            yield "refund_failed", refund.amount, refund.id
        elif refund.state == "open" and now_ms > refund.created_ms + REFUND_OPEN_MS:
            yield "refund_open", refund.amount, refund.id


def sheet(report: Report) -> bytes:
    """The report as CSV: a row `sum` for each of its sums, then one for each mismatch."""
    names = ("captured", "refunded", "lost", "fees")
    ids = ("order", "payment", "refund", "amount")
    rows: list[list[object]] = [
        ["kind", "day", "provider", "currency", "payments", "open", *names, *ids]
    ]
    for row in report.rows:
        head = [row.day, row.provider, row.currency, row.payments, row.open]
        sums = [_plain(Money(getattr(row, name), row.currency)) for name in names]
        rows.append(["sum", *head, *sums, *[""] * len(ids)])
    for each in report.mismatches:
        about = [each.order, each.payment, each.refund or "", _plain(each.amount)]
        rows.append([each.kind, "", "", each.amount.currency, *[""] * 6, *about])
    return BOM.encode() + rows_to_csv(rows)


def _plain(money: Money) -> str:
    return str(money).partition(" ")[0]
