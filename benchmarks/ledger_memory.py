"""What an order costs in memory (Redis) and on disk (SQLite), before and after it is archived.

Orders of one line with contact and address, each by another buyer, are placed, paid, sent and delivered.
Then they are archived, and their events forgotten as far as pruning goes. Bytes are those that the store
grew by, divided by the orders; pages and tables of Redis grow in steps, so take thousands.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

from redis import Redis
from rich.console import Console
from rich.table import Table

from benchmarks.ledger.redis_process import running
from commerce import idempotency
from commerce.archive import Archive
from commerce.catalogue import Catalogue
from commerce.contact import KEY_BYTES, Contacts
from commerce.money import Money
from commerce.ordering import Orders
from commerce.payments.sandbox import Sandbox
from commerce.payments.service import Payments
from commerce.payments.signature import new_secret
from commerce.products import NewSku
from commerce.pruning import PrunableStore, Pruning
from commerce.store import SqliteStore
from commerce.store.redis import RedisStore

DAY_MS = 86_400_000
START_MS = 1_800_000_000_000
AT_ONCE = 64
COMMIT_IDS_KEPT = 100  # they come and go within the hour, and are not the orders'
CONTACT = {"name": "Li Hua", "phone": "+86 138 0000 0000", "email": "li.hua@example.com"}
ADDRESS = {
    "name": "Li Hua",
    "phone": "+86 138 0000 0000",
    "country": "CN",
    "region": "Zhejiang",
    "city": "Hangzhou",
    "street": "No. 1 West Lake Road, Building 8, Room 1201",
    "postcode": "310000",
}
METHOD = {"card": "4242 4242 4242 4242"}

Measure = Callable[[], int]


class Sale:
    """A shop on one store, whose clock stands until it is moved."""

    def __init__(self, store: PrunableStore) -> None:
        self.store, self.now_ms = store, START_MS
        self.catalogue = Catalogue(store, now_ms=self.clock)
        contacts = Contacts(store, bytes(KEY_BYTES), now_ms=self.clock)
        self.orders = Orders(
            store, self.catalogue, contacts, room_exists=_any_room, now_ms=self.clock
        )
        sandbox = Sandbox(store, new_secret(), send=self._hear, now_ms=self.clock)
        self.sandbox = sandbox
        self.payments = Payments(store, self.orders, {"sandbox": sandbox}, now_ms=self.clock)

    def clock(self) -> int:
        return self.now_ms

    async def sell(self, sku: str, number: int) -> None:
        """One order from the basket to the door."""
        sub, body = f"buyer-{number:012d}", {"room": "room_demo", "lines": [{"sku": sku, "qty": 1}]}
        command = self.orders.command(sub, {**body, "contact": CONTACT, "address": ADDRESS})
        order = (await self.orders.place(command, f"place-{number}")).value
        await self.payments.pay(order.id, sub, by=sub, key=f"pay-{number}", method=METHOD)

    async def deliver_all(self) -> None:
        """Everything that was paid is sent and arrives."""
        while await self.sandbox.send_due():
            pass
        while keys := await self.store.scan("orders/state/confirmed", "", "~", AT_ONCE):
            for key in keys:  # one after the other: they all move the stock of one SKU
                await self._deliver(key.partition("/")[2])

    async def _deliver(self, id: str) -> None:
        await self.orders.ship(id, by="host", key=f"ship-{id}", tracking="SF1234567890")
        await self.orders.deliver(id, by="host", key=f"deliver-{id}")

    async def _hear(self, headers: Mapping[str, str], body: bytes) -> None:
        await self.payments.webhook("sandbox", headers, body)


async def _any_room(room: str) -> bool:
    return True


async def _told() -> Mapping[str, int]:
    return {}


async def measure(store: PrunableStore, size: Measure, orders: int) -> list[tuple[str, float]]:
    """[(after what, bytes for each order)]."""
    sale = Sale(store)
    new = NewSku(Money(1990, "CNY"), 2 * orders)
    sku = (await sale.catalogue.create("Cup", [new], by="host")).skus[0].sku
    await sale.sell(sku, -1)
    empty = size()
    for start in range(0, orders, AT_ONCE):
        numbers = range(start, min(start + AT_ONCE, orders))
        await asyncio.gather(*(sale.sell(sku, number) for number in numbers))
    found = [("placed, with payment", (size() - empty) / orders)]
    await sale.deliver_all()
    found.append(("delivered", (size() - empty) / orders))
    sale.now_ms += 91 * DAY_MS
    await _forget_keys(sale)
    found.append(("7 days later (act keys forgotten)", (size() - empty) / orders))
    pruning = Pruning(store, 30 * DAY_MS, floors=_told, now_ms=sale.clock)
    while await pruning.sweep():
        pass
    found.append(("30 days later (events pruned)", (size() - empty) / orders))
    archive = Archive(store, 90 * DAY_MS, now_ms=sale.clock)
    while await archive.sweep():
        pass
    found.append(("90 days later (archived)", (size() - empty) / orders))
    return found


async def _forget_keys(sale: Sale) -> None:
    while await idempotency.sweep(sale.store, sale.now_ms):
        pass


@contextlib.asynccontextmanager
async def on_sqlite(directory: Path) -> AsyncIterator[tuple[PrunableStore, Measure]]:
    """A file; its size is that of the pages in use."""
    path = directory / "hawker.db"
    store = await SqliteStore.open(path, commit_ids_kept=COMMIT_IDS_KEPT)

    def size() -> int:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            pages, free, page_bytes = (
                connection.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("page_count", "freelist_count", "page_size")
            )
        return int((pages - free) * page_bytes)

    yield store, size
    await store.close()


@contextlib.asynccontextmanager
async def on_redis(directory: Path) -> AsyncIterator[tuple[PrunableStore, Measure]]:
    """A redis-server; its size is what it says it uses."""
    async with running(directory, durable=False) as server:
        kept = COMMIT_IDS_KEPT
        store = await RedisStore.open(server.url, allow_unsafe=True, commit_ids_kept=kept)
        client = Redis.from_url(server.url)

        def size() -> int:
            return int(client.info("memory")["used_memory"])

        yield store, size
        client.close()
        await store.close()


KINDS = {"redis": on_redis, "sqlite": on_sqlite}


async def _run(orders: int) -> dict[str, list[tuple[str, float]]]:
    found = {}
    for name, opened in KINDS.items():
        with tempfile.TemporaryDirectory(prefix="hawker-memory-") as folder:
            async with opened(Path(folder)) as (store, size):
                found[name] = await measure(store, size, orders)
    return found


def main(argv: list[str]) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="hawker bench ledger_memory", description=__doc__)
    parser.add_argument("--orders", type=int, default=5_000)
    found = asyncio.run(_run(parser.parse_args(argv).orders))
    table = Table("bytes for each order", *KINDS)
    for rows in zip(*found.values(), strict=True):
        table.add_row(rows[0][0], *(f"{each:,.0f}" for _, each in rows))
    Console().print(table)
    return 0
