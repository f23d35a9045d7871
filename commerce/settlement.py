"""Settlement: what each merchant is owed of an order and of a time, and the orders' sheet.

A merchant's net is what was paid for his lines, after their share of the discounts, less what was
refunded of them. Shipping and tax are the shop's own, as are lines of products without a merchant.
Only orders that were paid are settled, by when they were placed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any

from commerce.errors import Invalid
from commerce.money import Money
from commerce.order import Line, Order
from commerce.order_record import unpack
from commerce.sheets import BOM, rows_to_csv, safe
from commerce.store import Store
from commerce.timestamps import rfc3339

READ_AT_ONCE = 200
DAYS_MAX = 400
DAY_MS = 86_400_000
COLUMNS = [
    "order",
    "created_at",
    "room",
    "buyer",
    "state",
    "payment",
    "fulfilment",
    "merchant",
    "sku",
    "title",
    "qty",
    "sent",
    "returned",
    "currency",
    "unit",
    "subtotal",
    "discount",
    "total",
    "refunded",
    "net",
]

Seen = Callable[[Order], bool]


@dataclass(slots=True)
class Share:
    """A merchant's part, None the shop's own, in minor units; `pieces` that were ordered."""

    merchant: str | None
    currency: str
    pieces: int = 0
    subtotal: int = 0
    discount: int = 0
    shipping: int = 0
    tax: int = 0
    refunded: int = 0
    orders: int = 0

    @property
    def net(self) -> int:
        return self.subtotal - self.discount + self.shipping + self.tax - self.refunded

    def add(self, other: Share) -> None:
        for each in fields(self)[2:]:
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))

    def to_json(self) -> dict[str, Any]:
        names = ("subtotal", "discount", "shipping", "tax", "refunded", "net")
        moneys = {name: Money(getattr(self, name), self.currency).to_json() for name in names}
        counts = {"orders": self.orders, "pieces": self.pieces}
        return {"merchant": self.merchant, "currency": self.currency, **counts, **moneys}


def shares_of(order: Order) -> list[Share]:
    """An order's, one for each merchant; their nets add up to its total less what was refunded."""
    shares: dict[str | None, Share] = {}
    currency = order.total.currency
    for line in order.lines:
        share = shares.setdefault(line.merchant, Share(line.merchant, currency, orders=1))
        share.pieces += line.qty
        share.subtotal += line.subtotal.amount
        share.discount += line.subtotal.amount - line.total.amount
        share.refunded += line.refunded_minor
    shipping, tax = (0 if each is None else each.amount for each in (order.shipping, order.tax))
    if shipping or tax:
        own = shares.setdefault(None, Share(None, currency, orders=1))
        own.shipping, own.tax = shipping, tax
        own.refunded += order.shipping_refunded_minor + order.tax_refunded_minor
    return list(shares.values())


class Settlement:
    """Reads the orders of the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def totals(self, from_ms: int, to_ms: int, seen: Seen) -> list[Share]:
        """By merchant and currency, of the paid orders placed from `from_ms` to before `to_ms`."""
        sums: dict[tuple[str, str], Share] = {}
        async for orders in self._paid(from_ms, to_ms, seen):
            for share in (share for order in orders for share in shares_of(order)):
                key = share.merchant or "", share.currency
                sums.setdefault(key, Share(share.merchant, share.currency)).add(share)
        return [sums[key] for key in sorted(sums)]

    async def sheet(self, from_ms: int, to_ms: int, seen: Seen) -> AsyncIterator[bytes]:
        """The lines of these orders as CSV, piece by piece, newest first."""
        yield BOM.encode() + rows_to_csv([COLUMNS])
        async for orders in self._paid(from_ms, to_ms, seen):
            yield rows_to_csv(row for order in orders for row in _rows(order))

    async def _paid(self, from_ms: int, to_ms: int, seen: Seen) -> AsyncIterator[list[Order]]:
        low, high = f"{10**15 - to_ms + 1:015d}", f"{10**15 - from_ms + 1:015d}"
        while True:
            keys = await self._store.scan("orders", low, high, READ_AT_ONCE)
            loaded = await self._store.load(keys)
            orders = [order for key in keys if (order := unpack(*loaded[key])) is not None]
            yield [order for order in orders if order.paid_by is not None and seen(order)]
            if len(keys) < READ_AT_ONCE or not orders:
                return
            low = f"{10**15 - orders[-1].created_ms:015d}{orders[-1].id}\0"


def checked_span(from_ms: int, to_ms: int) -> tuple[int, int]:
    """The two, `from` before `to` and at most DAYS_MAX apart; raises Invalid."""
    if not 0 <= from_ms < to_ms <= from_ms + DAYS_MAX * DAY_MS or to_ms >= 10**15:
        raise Invalid("to", f"after from, and at most {DAYS_MAX} days")
    return from_ms, to_ms


def totals_sheet(shares: Iterable[Share]) -> bytes:
    """The totals as CSV."""
    names = ("orders", "pieces", "subtotal", "discount", "shipping", "tax", "refunded", "net")
    rows: list[list[object]] = [["merchant", "currency", *names]]
    for share in shares:
        amounts = [_plain(getattr(share, name), share.currency) for name in names[2:]]
        head = [safe(share.merchant), share.currency, share.orders, share.pieces]
        rows.append([*head, *amounts])
    return BOM.encode() + rows_to_csv(rows)


def _rows(order: Order) -> Iterator[list[object]]:
    head = [
        order.id,
        rfc3339(order.created_ms),
        safe(order.room),
        safe(order.sub),
        order.state,
        order.payment,
        order.fulfilment,
    ]
    for line in order.lines:
        yield [*head, *_cells(line)]
    extras = (
        ("shipping", order.shipping, order.shipping_refunded_minor),
        ("tax", order.tax, order.tax_refunded_minor),
    )
    for title, money, refunded in extras:
        if money is not None and money.amount:
            plain = _plain(money.amount, money.currency)
            gone = _plain(refunded, money.currency)
            net = _plain(money.amount - refunded, money.currency)
            cells = ["", "", title, 1, "", "", money.currency, plain, plain, "", plain, gone, net]
            yield [*head, *cells]


def _cells(line: Line) -> list[object]:
    currency, total = line.unit.currency, line.total.amount
    amounts = (
        line.unit.amount,
        line.subtotal.amount,
        line.subtotal.amount - total,
        total,
        line.refunded_minor,
        total - line.refunded_minor,
    )
    texts = [safe(text) for text in (line.merchant, line.sku, line.title)]
    counts = [line.qty, line.sent, line.back]
    return [*texts, *counts, currency, *(_plain(amount, currency) for amount in amounts)]


def _plain(minor: int, currency: str) -> str:
    return str(Money(minor, currency)).partition(" ")[0]
