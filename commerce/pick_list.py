"""The pick list: what is confirmed and not sent yet, by SKU and by order, oldest first.

It names nobody: where a parcel goes is read with the order.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from commerce.changes import Changes
from commerce.order import Order
from commerce.order_record import unpack
from commerce.orders import TO_SEND, to_send
from commerce.sheets import BOM, rows_to_csv, safe
from commerce.store import INDEX_END, Conflict, Store
from commerce.timestamps import rfc3339

READ_AT_ONCE = 200
INDEXED = "indexed/orders/to-send"
ORDERS_MAX = 2_000  # of one list: more than anybody carries; the next one goes on
COLUMNS = ["order", "created_at", "room", "sku", "title", "options", "qty"]


@dataclass(frozen=True, slots=True)
class PickList:
    """`more`: there are further orders, for when these are sent."""

    orders: tuple[Order, ...]
    more: bool

    def to_json(self) -> dict[str, Any]:
        by_sku: dict[str, dict[str, Any]] = {}
        for order in self.orders:
            for line in order.lines:
                if line.left:
                    row = {"sku": line.sku, "title": line.title, "options": dict(line.options)}
                    by_sku.setdefault(line.sku, {**row, "qty": 0})["qty"] += line.left
        return {
            "skus": [by_sku[sku] for sku in sorted(by_sku)],
            "orders": [_document(order) for order in self.orders],
            "more": self.more,
        }

    def to_csv(self) -> bytes:
        rows: list[list[object]] = [list(COLUMNS)]
        for order in self.orders:
            head = [order.id, rfc3339(order.created_ms), safe(order.room)]
            for line in order.lines:
                if line.left:
                    options = ", ".join(f"{name}: {text}" for name, text in line.options.items())
                    texts = [safe(text) for text in (line.sku, line.title, options)]
                    rows.append([*head, *texts, line.left])
        return BOM.encode() + rows_to_csv(rows)


def _document(order: Order) -> dict[str, Any]:
    lines = [
        {"sku": line.sku, "title": line.title, "qty": line.left}
        for line in order.lines
        if line.left
    ]
    created = rfc3339(order.created_ms)
    return {"order": order.id, "room": order.room, "created_at": created, "lines": lines}


async def pick_list(store: Store, seen: Callable[[Order], bool]) -> PickList:
    """Of the orders that `seen` allows."""
    found: list[Order] = []
    low = ""
    while True:
        keys = await store.scan(TO_SEND, low, INDEX_END, READ_AT_ONCE)
        loaded = await store.load(keys)
        for key in keys:
            order = unpack(*loaded[key])
            if order is None:
                continue
            low = f"{order.created_ms:015d}{order.id}\0"
            if seen(order):
                if len(found) == ORDERS_MAX:
                    return PickList(tuple(found), True)
                found.append(order)
        if len(keys) < READ_AT_ONCE:
            return PickList(tuple(found), False)


async def index_from_before(store: Store, now_ms: int) -> int:
    """Once for a store: give orders of the time before the index their place in it; how many."""
    mark = (await store.load([INDEXED]))[INDEXED]
    if mark[0] is not None:
        return 0
    found, low = 0, ""
    while keys := await store.scan("orders/state/confirmed", low, INDEX_END, READ_AT_ONCE):
        loaded = await store.load(keys)
        for key in keys:
            order = unpack(*loaded[key])
            if order is None:
                continue
            low = f"{10**15 - order.created_ms:015d}{order.id}\0"
            if to_send(order):
                changes = Changes(now_ms, reads={key: order.version})
                changes.index[TO_SEND, key] = f"{order.created_ms:015d}{order.id}"
                with suppress(Conflict):  # whoever changed it has found its place, too
                    await changes.commit(store)
                    found += 1
        if len(keys) < READ_AT_ONCE:
            break
    with suppress(Conflict):  # another process did the same
        await Changes(now_ms, reads={INDEXED: 0}, writes={INDEXED: b"1"}).commit(store)
    return found
