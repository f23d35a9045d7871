"""Stock: for each SKU three counters that only move inside commits, and an edit of their sum.

`available + reserved + committed = on hand`, each at least 0: an order being made moves pieces from
available to reserved, its payment to committed, its shipment off the shelf, its end back. The counters
are guarded adds, so no order ever waits for another one's version.

`stock/<sku>` stands for the sum: its version counts the changes of on hand, by an edit or a shipment,
never by a hold. So an edit can be guarded by If-Match in the middle of a sale. Each edit is logged.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from types import EllipsisType
from typing import Any

import msgpack

from commerce.changes import SHOP, Changes, decide_and_commit
from commerce.errors import BelowHeld, NotFound, Stale
from commerce.holds import nothing_due, unhindered
from commerce.idempotency import KEPT_MS, Answer, InFlight, Scope, bind, bound_answer
from commerce.ids import new_id, utc_ms
from commerce.store import INDEX_END, Store, Versioned
from commerce.text import checked_count, checked_text
from commerce.timestamps import rfc3339

ON_HAND_LIMIT = 1_000_000_000
REASON_CHARS = 200
PAGE_MAX = 200
WATCHED = "stock-watched"  # the SKUs with a mark, by name
COUNTERS = ("available", "reserved", "committed")


@dataclass(frozen=True, slots=True)
class Stock:
    """Pieces of one SKU; `version` is that of `on_hand`, `kept` the store's of the same.

    `low_at`: so few available are told to the staff.
    """

    sku: str
    available: int
    reserved: int
    committed: int
    version: int
    kept: int = 0
    low_at: int | None = None

    @property
    def on_hand(self) -> int:
        return self.available + self.reserved + self.committed

    def to_json(self) -> dict[str, Any]:
        return {
            "sku": self.sku,
            "on_hand": self.on_hand,
            "available": self.available,
            "reserved": self.reserved,
            "committed": self.committed,
            "version": self.version,
            "low_at": self.low_at,
        }


def stock_keys(sku: str) -> list[str]:
    """What to load for `read_stock`."""
    return [f"stock/{sku}", *(f"stock/{sku}/{counter}" for counter in COUNTERS)]


def read_stock(sku: str, loaded: Mapping[str, Versioned]) -> Stock:
    """The stock as it was loaded; raises NotFound."""
    value, kept = loaded[f"stock/{sku}"]
    if value is None:
        raise NotFound(f"there is no SKU {sku}", code="sku_not_found")
    available, reserved, committed = (
        int(loaded[f"stock/{sku}/{counter}"][0] or b"0") for counter in COUNTERS
    )
    members = msgpack.unpackb(value)
    version, low_at = members["version"], members.get("low_at")
    return Stock(sku, available, reserved, committed, version, kept, low_at)


def counted(loaded: Mapping[str, Versioned], sku: str, counter: str) -> int:
    """One of COUNTERS alone, of a SKU that is there."""
    return int(loaded[f"stock/{sku}/{counter}"][0] or b"0")


def move(
    changes: Changes, sku: str, pieces: int, *, source: str | None, target: str | None
) -> None:
    """Move pieces between two counters; None is the world outside the shop."""
    if source is not None:
        changes.add(f"stock/{sku}/{source}", -pieces)
    if target is not None:
        changes.add(f"stock/{sku}/{target}", pieces)
    changes.tell_once(SHOP, "stock.changed", sku=sku)


def stock_in(changes: Changes, sku: str, pieces: int, *, by: str) -> None:
    """The first stock of a new SKU."""
    _change(changes, Stock(sku, 0, 0, 0, 0), pieces, "first stock", by)
    move(changes, sku, pieces, source=None, target="available")


def ship_out(changes: Changes, stock: Stock, pieces: int, order: str) -> None:
    """Committed pieces leave the shelf with an order."""
    _change(changes, stock, stock.on_hand - pieces, f"shipped with {order}", "shipping")
    move(changes, stock.sku, pieces, source="committed", target=None)


def write_off(changes: Changes, stock: Stock, pieces: int, order: str) -> None:
    """Committed pieces that are paid back, and not fit to be sold again."""
    _change(changes, stock, stock.on_hand - pieces, f"written off with {order}", "refund")
    move(changes, stock.sku, pieces, source="committed", target=None)


def put_back(changes: Changes, stock: Stock, pieces: int, order: str) -> None:
    """Pieces that had been sent are on the shelf again."""
    _change(changes, stock, stock.on_hand + pieces, f"came back of {order}", "return")
    move(changes, stock.sku, pieces, source=None, target="available")


def decide_on_hand(
    stock: Stock,
    on_hand: int,
    reason: str,
    by: str,
    if_version: int,
    now_ms: int,
    low_at: int | EllipsisType | None = ...,
) -> tuple[Changes, Stock]:
    """Set what is on hand, and `low_at` where it is given; raises Stale or BelowHeld."""
    if stock.version != if_version:
        raise Stale(f"the stock of {stock.sku} has been changed since")
    held = stock.reserved + stock.committed
    if on_hand < held:
        raise BelowHeld(f"orders hold {held} of {stock.sku}", extra={"held": held})
    changes = Changes(now_ms)
    if not isinstance(low_at, EllipsisType):
        stock = replace(stock, low_at=low_at)
        place = None if low_at is None else stock.sku
        changes.index[WATCHED, f"stock/{stock.sku}"] = place
    _change(changes, stock, on_hand, reason, by)
    move(changes, stock.sku, on_hand - stock.on_hand, source=None, target="available")
    return changes, replace(stock, available=on_hand - held, version=stock.version + 1)


class Inventory:
    """The stock in the store."""

    def __init__(
        self,
        store: Store,
        *,
        release_due: Callable[[], Awaitable[int]] = nothing_due,
        now_ms: Callable[[], int] = utc_ms,
    ) -> None:
        """`release_due` ends the holds whose time has passed and says how many."""
        self._store = store
        self._release_due = release_due
        self._now_ms = now_ms
        self._in_flight = InFlight()

    async def get(self, sku: str) -> Stock:
        """Raises NotFound."""
        return (await self.get_many([sku]))[sku]

    async def get_many(self, skus: Iterable[str]) -> dict[str, Stock]:
        """All of them at one moment; raises NotFound."""
        skus = list(skus)
        loaded = await self._store.load([key for sku in skus for key in stock_keys(sku)])
        return {sku: read_stock(sku, loaded) for sku in skus}

    async def set_on_hand(
        self,
        sku: str,
        on_hand: int,
        reason: str,
        *,
        by: str,
        if_version: int,
        scope: Scope,
        low_at: int | EllipsisType | None = ...,
    ) -> Answer[Stock]:
        """The stock after the edit; raises NotFound, Invalid, Stale, BelowHeld, KeyReused or Busy.

        BelowHeld says how many are held; the counters are untouched then.
        """
        checked_count("on_hand", on_hand, 0, ON_HAND_LIMIT)
        if isinstance(low_at, int):
            checked_count("low_at", low_at, 0, ON_HAND_LIMIT)
        reason = checked_text("reason", reason, REASON_CHARS)

        async def decide() -> tuple[Changes | None, Answer[Stock]]:
            loaded = await self._store.load([*stock_keys(sku), scope.item])
            earlier = bound_answer(scope, loaded[scope.item][0])
            if earlier is not None:
                return None, Answer(Stock(**msgpack.unpackb(earlier)), True)
            stock = read_stock(sku, loaded)
            changes, after = decide_on_hand(
                stock, on_hand, reason, by, if_version, self._now_ms(), low_at
            )
            bind(changes, scope, msgpack.packb(asdict(after)), kept_ms=KEPT_MS)
            return changes, Answer(after)

        async with self._in_flight.alone(scope):
            edit = partial(decide_and_commit, self._store, decide)
            return await unhindered(edit, (BelowHeld,), self._release_due)

    async def adjustments(self, sku: str, *, limit: int = 50) -> list[dict[str, Any]]:
        """The latest edits, newest first: {id, sku, before, after, reason, by, at}."""
        limit = max(1, min(limit, PAGE_MAX))
        keys = await self._store.scan(f"adjustments/{sku}", "", INDEX_END, limit)
        loaded = await self._store.load(keys)
        kept = [msgpack.unpackb(value) for value, _ in loaded.values() if value is not None]
        return [{"at": rfc3339(entry.pop("at_ms")), **entry} for entry in kept]


def _change(changes: Changes, stock: Stock, on_hand: int, reason: str, by: str) -> None:
    id = new_id("adj", changes.now_ms)
    entry = {
        "id": id,
        "sku": stock.sku,
        "before": stock.on_hand,
        "after": on_hand,
        "reason": reason,
        "by": by,
        "at_ms": changes.now_ms,
    }
    changes.reads[f"stock/{stock.sku}"] = stock.kept
    members = {"version": stock.version + 1}
    if stock.low_at is not None:
        members["low_at"] = stock.low_at
    changes.writes[f"stock/{stock.sku}"] = msgpack.packb(members)
    changes.writes[f"adjustment/{id}"] = msgpack.packb(entry)
    newest_first = f"{10**15 - changes.now_ms:015d}{id}"
    changes.index[f"adjustments/{stock.sku}", f"adjustment/{id}"] = newest_first
