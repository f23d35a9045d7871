"""Where a real server keeps its shop in a run with kills, and how that is looked into afterwards."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol, TypeAlias

from benchmarks.ledger.redis_process import RedisProcess, running
from commerce.store import RedisStore, SqliteStore, Store


class Place(Protocol):
    """`victims` are "server", and "store" where that is a process of its own."""

    folder: Path
    url: str
    victims: Sequence[str]

    async def kill_and_start(self) -> None:
        """kill -9 of the store's process, and start it again."""

    def opened(self) -> AbstractAsyncContextManager[Store]:
        """The store itself, when the server has ended."""


class SqlitePlace:
    """A file; with the server all of it is killed."""

    victims: Sequence[str] = ("server",)

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"sqlite:{folder}/hawker.db"

    async def kill_and_start(self) -> None:
        raise NotImplementedError

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[Store]:
        store = await SqliteStore.open(self.folder / "hawker.db")
        try:
            yield store
        finally:
            await store.close()


@contextlib.asynccontextmanager
async def sqlite() -> AsyncIterator[Place]:
    with tempfile.TemporaryDirectory(prefix="hawker-kills-") as folder:
        yield SqlitePlace(Path(folder))


class RedisPlace:
    """A redis-server with `appendfsync always`; it is killed as often as the server is."""

    victims: Sequence[str] = ("server", "store")

    def __init__(self, folder: Path, redis: RedisProcess) -> None:
        self.folder = folder
        self.url = redis.url
        self._redis = redis

    async def kill_and_start(self) -> None:
        await self._redis.kill()
        await self._redis.start()

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[Store]:
        store = await RedisStore.open(self.url)
        try:
            yield store
        finally:
            await store.close()


@contextlib.asynccontextmanager
async def redis() -> AsyncIterator[Place]:
    with tempfile.TemporaryDirectory(prefix="hawker-kills-") as name:
        folder = Path(name)
        (folder / "redis").mkdir()
        async with running(folder / "redis", durable=True) as process:
            yield RedisPlace(folder, process)


Opened: TypeAlias = Callable[[], AbstractAsyncContextManager[Place]]

PLACES: dict[str, Opened] = {"sqlite": sqlite, "redis": redis}
