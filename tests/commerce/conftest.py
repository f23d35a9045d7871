"""A shop for each test, and every kind of store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from commerce.store import SqliteStore, Store
from commerce.store.redis import RedisStore
from tests.commerce.redis_server import RedisServer
from tests.commerce.shop import Clock, Shop, open_shop

Open = Callable[[], Awaitable[Store]]


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    shop = await open_shop(tmp_path / "hawker.db", Clock())
    yield shop
    await shop.store.close()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One for all tests; `redis_url` is an empty one."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    redis_server.ask("FLUSHALL")
    return redis_server.url


@pytest.fixture(params=["sqlite", "redis"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    if request.param == "sqlite":
        return lambda: SqliteStore.open(tmp_path / "hawker.db")
    url = request.getfixturevalue("redis_url")
    return lambda: RedisStore.open(url)
