"""The order desk itself in a process: a real store, catalogue, contacts and orders."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from benchmarks.loads import Commands
from benchmarks.reserving.buyers import Stretch, reserving, serve
from commerce.catalogue import Catalogue
from commerce.contact import Contacts
from commerce.errors import OutOfStock
from commerce.inventory import Inventory
from commerce.money import Money
from commerce.ordering import Orders
from commerce.products import NewSku
from commerce.store import SqliteStore, Store, Versioned
from commerce.store.redis import RedisStore
from commerce.store.seam import Commit
from commerce.store.sqlite_file import SqliteFile

ROOM = "hall"
PRICE = Money(1990, "CNY")
CONTACT_KEY = b"k" * 32


class CountedFile(SqliteFile):
    """Counts its transactions: each is one fsync of the log."""

    transactions = 0

    def commit(self, commits: Sequence[Commit]) -> list[dict[str, int] | Exception]:
        CountedFile.transactions += 1
        return super().commit(commits)


class CountedStore:
    """A store that counts the commits asked of it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.commits = 0

    def now_ms(self) -> int:
        return self._store.now_ms()

    async def load(self, keys: Iterable[str]) -> dict[str, Versioned]:
        return await self._store.load(keys)

    async def scan(self, index: str, low: str, high: str, limit: int) -> list[str]:
        return await self._store.scan(index, low, high, limit)

    async def settle(self) -> None:
        await self._store.settle()

    async def commit(
        self,
        commit_id: str,
        *,
        reads: Mapping[str, int] | None = None,
        writes: Mapping[str, bytes | None] | None = None,
        adds: Mapping[str, tuple[int, int]] | None = None,
        index: Mapping[tuple[str, str], str | None] | None = None,
        events: Sequence[tuple[str, bytes]] = (),
    ) -> dict[str, int]:
        self.commits += 1
        return await self._store.commit(
            commit_id, reads=reads, writes=writes, adds=adds, index=index, events=events
        )

    async def events(self, stream: str, after: int, limit: int) -> list[tuple[int, bytes]]:
        return await self._store.events(stream, after, limit)

    async def close(self) -> None:
        await self._store.close()


async def open_store(url: str) -> Store:
    """The store at `sqlite:PATH` or `redis://…`."""
    if url.startswith("redis:"):
        return await RedisStore.open(url)
    return await SqliteStore.open(Path(url.partition(":")[2]), kind=CountedFile)


async def run(commands: Commands, url: str, buyers: int) -> None:
    """A load: `stock PIECES` makes a SKU, `left SKU` tells its (available, reserved)."""
    store = CountedStore(await open_store(url))
    desk = Desk(store, buyers)
    try:
        await serve(commands, desk.begin, stock=desk.stock, left=desk.left)
    finally:
        await store.close()


async def any_room(room: str) -> bool:
    return True


class Desk:
    """The buyers of one process at the desk."""

    def __init__(self, store: CountedStore, buyers: int) -> None:
        self._store = store
        self._buyers = buyers
        self._catalogue = Catalogue(store)
        self._inventory = Inventory(store)
        contacts = Contacts(store, CONTACT_KEY)
        self._orders = Orders(store, self._catalogue, contacts, room_exists=any_room)
        self._runs = 0

    async def stock(self, pieces: str) -> str:
        product = await self._catalogue.create("Cup", [NewSku(PRICE, int(pieces))], by="bench")
        return product.skus[0].sku

    async def left(self, sku: str) -> tuple[int, int]:
        stock = await self._inventory.get(sku)
        return stock.available, stock.reserved

    async def begin(self, sku: str, seconds: float, rate: float = 0.0) -> Stretch:
        """One stretch; who finds nothing left asks no more."""
        body = {"room": ROOM, "lines": [{"sku": sku, "qty": 1}]}
        pid = os.getpid()

        async def reserve(buyer: int, key: str) -> bool:
            sub = f"viewer-{pid}-{buyer}"
            try:
                await self._orders.place(self._orders.command(sub, body), key)
            except OutOfStock:
                return False
            return True

        self._runs += 1
        commits, transactions = self._store.commits, CountedFile.transactions
        done = await reserving(reserve, self._buyers, seconds, f"{pid}.{self._runs}", rate)
        done.commits = self._store.commits - commits
        done.transactions = CountedFile.transactions - transactions
        return done
