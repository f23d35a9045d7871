"""The low-stock alert: `stock.low` in the stream `shop`, once for each time a SKU falls to its mark.

Stock counters are guarded adds that nobody reads when they move, so no order can say that it was the
one that crossed. A sweep looks at the SKUs that have a mark, and a record for each that is low makes
it one alert in however many processes sweep; it goes when there is more again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

from commerce.changes import SHOP, Changes
from commerce.ids import utc_ms
from commerce.inventory import WATCHED, read_stock, stock_keys
from commerce.store import INDEX_END, Conflict, Store, Versioned

LOOKED_AT_ONCE = 200


class LowStock:
    """Sweeps the SKUs with a mark."""

    def __init__(self, store: Store, *, now_ms: Callable[[], int] = utc_ms) -> None:
        self._store = store
        self._now_ms = now_ms

    async def sweep(self) -> int:
        """How many alerts were given here."""
        given, low = 0, ""
        while True:
            keys = await self._store.scan(WATCHED, low, INDEX_END, LOOKED_AT_ONCE)
            given += await self._look([key.partition("/")[2] for key in keys])
            if len(keys) < LOOKED_AT_ONCE:
                return given
            low = f"{keys[-1].partition('/')[2]}\0"

    async def _look(self, skus: Sequence[str]) -> int:
        wanted = [key for sku in skus for key in (*stock_keys(sku), _flag(sku))]
        loaded = await self._store.load(wanted)
        given = 0
        for sku in skus:
            stock = read_stock(sku, loaded)
            low = stock.low_at is not None and stock.available <= stock.low_at
            if low != (loaded[_flag(sku)][0] is not None):
                with suppress(Conflict):  # another process said it
                    await self._tell(sku, low, loaded[_flag(sku)])
                    given += low
        return given

    async def _tell(self, sku: str, low: bool, flag: Versioned) -> None:
        changes = Changes(self._now_ms())
        changes.reads[_flag(sku)] = flag[1]
        changes.writes[_flag(sku)] = b"low" if low else None
        if low:
            changes.tell(SHOP, "stock.low", sku=sku)
        await changes.commit(self._store)


def _flag(sku: str) -> str:
    return f"stock-low/{sku}"
