"""Archiving: what a shop keeps of orders that are over, small.

An order that has ended, owes nobody anything and has not changed for `after_ms` is packed: its record
is kept in its small form (`commerce.shrunk`), and it leaves the indexes by room and by state. It is
still read by its id, answers a repeat of its command alike, and stands in the lists of all orders and
of its buyer's. An act on it (a dispute, a late refund) finds it as it was, and keeps it in its full form
again, with its place by state only if that changes. What was paid and given back stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable

from commerce.changes import Changes, decide_and_commit
from commerce.ids import utc_ms
from commerce.order import Order
from commerce.order_record import pack, unpack
from commerce.orders import order_key
from commerce.shrunk import shrink
from commerce.store import INDEX_END, Store

CLOSED = ("completed", "cancelled", "expired")
SETTLED = {
    "completed": ("none", "paid", "partially_refunded", "refunded"),
    "cancelled": ("none", "failed", "refunded", "partially_refunded"),
    "expired": ("none", "failed", "refunded"),
}
AT_ONCE = 50  # orders of one commit and one sweep for each state


def is_over(order: Order, before_ms: int) -> bool:
    """Whether nothing is left to happen to an order that has not changed since `before_ms`."""
    return (
        order.state in CLOSED
        and order.updated_ms <= before_ms
        and order.payment in SETTLED[order.state]
        and order.fulfilment != "return_requested"
        and order.refunded_minor == order.given_back_minor
        and not any(line.coming or line.owed for line in order.lines)
    )


def pack_away(changes: Changes, order: Order) -> None:
    key = order_key(order.id)
    changes.reads[key] = order.version
    changes.writes[key] = shrink(pack(order))
    changes.index[f"orders/state/{order.state}", key] = None
    if order.room is not None:
        changes.index[f"orders/room/{order.room}", key] = None


class Archive:
    """Packs orders away; `after_ms` since their last change."""

    def __init__(self, store: Store, after_ms: int, *, now_ms: Callable[[], int] = utc_ms) -> None:
        self._store = store
        self._after_ms = after_ms
        self._now_ms = now_ms
        self._seen = dict.fromkeys(CLOSED, "")  # what was left as it is lies before this

    async def sweep(self) -> int:
        """Pack some orders; how many that were, 0 when all that are old enough were looked at."""
        return sum([await self._sweep(state) for state in CLOSED])

    async def _sweep(self, state: str) -> int:
        before_ms = self._now_ms() - self._after_ms
        oldest_last = f"{10**15 - before_ms:015d}"
        low = max(self._seen[state], oldest_last)
        keys = await self._store.scan(f"orders/state/{state}", low, INDEX_END, AT_ONCE)
        if not keys:
            self._seen[state] = ""
            return 0

        async def decide() -> tuple[Changes | None, int]:
            return await self._decide(state, keys, before_ms)

        return await decide_and_commit(self._store, decide)

    async def _decide(
        self, state: str, keys: list[str], before_ms: int
    ) -> tuple[Changes | None, int]:
        loaded = await self._store.load(keys)
        orders = [order for key in keys if (order := unpack(*loaded[key])) is not None]
        over = [order for order in orders if is_over(order, before_ms)]
        changes = Changes(self._now_ms())
        for order in over:
            pack_away(changes, order)
        if orders:
            last = orders[-1]
            self._seen[state] = f"{10**15 - last.created_ms:015d}{last.id}\0"
        return (changes, len(over)) if over else (None, len(over))
