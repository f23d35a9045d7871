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


@pytest.fixture(params=["sqlite", "redis"])
def shop_place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """An empty place for a shop, for `open_shop`."""
    if request.param == "sqlite":
        return tmp_path / "hawker.db"
    url: str = request.getfixturevalue("redis_url")
    return url


@pytest.fixture
async def shop(shop_place: Path | str) -> AsyncIterator[Shop]:
    shop = await open_shop(shop_place, Clock())
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


@pytest.fixture
def open_store(shop_place: Path | str) -> Open:
    if isinstance(shop_place, Path):
        return lambda: SqliteStore.open(shop_place)
    return lambda: RedisStore.open(shop_place)
