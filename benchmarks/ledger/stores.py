"""The real stores that the model runs on: for simulated crashes, which come at the store's boundary.

So nothing here waits for a disk: the SQLite file is not synced, Redis keeps no file. What a real kill
leaves on a disk is what `hawker bench kills` looks at.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.ledger.redis_process import running
from commerce.store import RedisStore, SqliteStore, Store
from commerce.store.sqlite_file import SqliteFile

PROCESSES = 2  # on one store, each with a connection of its own

Opened: TypeAlias = Callable[[], AbstractAsyncContextManager[Sequence[Store]]]


class Unsynced(SqliteFile):
    """A file that a power cut would lose."""

    def __init__(self, path: Path, **kept: Any) -> None:
        super().__init__(path, **kept)
        self._connection.execute("PRAGMA synchronous = OFF")


@contextlib.asynccontextmanager
async def sqlite() -> AsyncIterator[Sequence[Store]]:
    """A new file with a store for each process."""
    with tempfile.TemporaryDirectory(prefix="hawker-model-") as folder:
        path = Path(folder) / "hawker.db"
        stores = [await SqliteStore.open(path, kind=Unsynced) for _ in range(PROCESSES)]
        try:
            yield stores
        finally:
            for store in stores:
                await store.close()


@contextlib.asynccontextmanager
async def redis() -> AsyncIterator[Sequence[Store]]:
    """A redis-server of its own with a client for each process."""
    with tempfile.TemporaryDirectory(prefix="hawker-model-") as folder:
        async with running(Path(folder), durable=False) as server, AsyncExitStack() as stack:
            stores = []
            for _ in range(PROCESSES):
                stores.append(await RedisStore.open(server.url, allow_unsafe=True))
                stack.push_async_callback(stores[-1].close)
            yield stores


STORES: dict[str, Opened] = {"sqlite": sqlite, "redis": redis}
