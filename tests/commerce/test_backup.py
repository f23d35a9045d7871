"""Backup, restore and move: all of it or nothing, while sales go on, and nothing damaged is taken."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgpack
import pytest

from commerce.errors import StoreUnavailable
from commerce.store import INDEX_END, SqliteStore, Store
from commerce.store.backup import Backup, read_backup, write_backup
from commerce.store.migrations import Moved, TooNew
from commerce.store.portable import Place, PortableError, Tally, copy, move, tallied
from commerce.store.redis import RedisStore
from commerce.store.redis_rows import RedisPlace
from commerce.store.sqlite_rows import SqlitePlace
from tests.commerce.redis_server import RedisServer
from tests.commerce.shop import Clock, Shop, open_shop

AT_MS = 1_800_000_000_000


def silent(done: int, expected: int) -> None:
    assert done <= expected


def back_up(place: Place, file: Path, keys: Mapping[str, bytes] | None = None) -> Tally:
    with place.reading() as source:
        return write_backup(source, file, AT_MS, silent, keys or {})


def put_back(kept: Backup, place: Place) -> None:
    with place.replacing() as sink:
        copy(kept, sink, silent)


async def fill(store: Store, commits: int = 30) -> None:
    for number in range(commits):
        key = f"order/{number:03d}"
        await store.commit(
            f"commit-{number}",
            writes={key: os.urandom(40)},
            adds={"count": (1, 0)},
            index={("orders", key): f"{number:03d}", ("even", key): None if number % 2 else "x"},
            events=[("shop", b"%d" % number), (f"buyer/{number % 3}", b"\xff\x00")],
        )
    await store.commit("gone", writes={"order/000": None}, index={("orders", "order/000"): None})


KINDS = ("sqlite", "redis")


class Shops:
    """Places of both kinds, and the stores there."""

    def __init__(self, directory: Path, redis_url: str) -> None:
        self._directory, self._redis_url = directory, redis_url
        self._urls: dict[str, str] = {}

    def place(self, kind: str, name: str) -> Place:
        if kind == "sqlite":
            return SqlitePlace(self._directory / f"{name}.db")
        place = RedisPlace(f"{self._redis_url}?shop={name}")
        self._urls[str(place)] = f"{self._redis_url}?shop={name}"
        return place

    async def open(self, place: Place) -> SqliteStore | RedisStore:
        if isinstance(place, SqlitePlace):
            return await SqliteStore.open(place.path)
        return await RedisStore.open(self._urls[str(place)])


@pytest.fixture
def shops(tmp_path: Path, redis_url: str) -> Shops:
    return Shops(tmp_path, redis_url)


@pytest.fixture(params=KINDS)
async def place(request: pytest.FixtureRequest, shops: Shops) -> Place:
    """A store with something of everything, which nobody has open."""
    place = shops.place(request.param, "hawker")
    store = await shops.open(place)
    await fill(store)
    await store.close()
    return place


@pytest.fixture(params=KINDS)
def target(request: pytest.FixtureRequest, shops: Shops) -> Place:
    """Where nothing is yet."""
    return shops.place(request.param, "there")


def held(place: Place) -> tuple[int, Tally]:
    with place.reading() as source:
        return source.number, tallied(source)


async def test_what_is_restored_is_what_was_backed_up(
    place: Place, target: Place, shops: Shops, tmp_path: Path
) -> None:
    tally = back_up(place, tmp_path / "backup")
    assert tally.counts == {"item": 30, "place": 29 + 15, "stream": 4, "event": 60, "done": 31}
    put_back(read_backup(tmp_path / "backup"), target)
    number, again = held(target)
    assert (number, again) == held(place)
    assert again == tally
    store = await shops.open(target)
    assert await store.commit("commit-7") == {"shop": 8, "buyer/1": 3}
    await store.commit("new", adds={"count": (1, 0)}, index={("orders", "order/005"): "999"})
    count, version = (await store.load(["count"]))["count"]
    assert count == b"31"
    assert version > number
    assert (await store.scan("orders", "", INDEX_END, 99))[-1] == "order/005"
    assert await store.scan("even", "", INDEX_END, 99) == [
        f"order/{n:03d}" for n in range(0, 30, 2)
    ]
    assert await store.commit("told", events=[("shop", b"x")]) == {"shop": 31}
    assert await store.streams("", 9) == [
        ("buyer/0", 10),
        ("buyer/1", 10),
        ("buyer/2", 10),
        ("shop", 31),
    ]
    await store.close()


async def test_a_backup_is_for_its_owner_alone(place: Place, tmp_path: Path) -> None:
    back_up(place, tmp_path / "backup", {"contact-key": b"k" * 32})
    assert stat.S_IMODE((tmp_path / "backup").stat().st_mode) == 0o600
    kept = read_backup(tmp_path / "backup")
    assert kept.keys == {"contact-key": b"k" * 32}
    put_back(kept, SqlitePlace(tmp_path / "new.db"))
    assert stat.S_IMODE((tmp_path / "new.db").stat().st_mode) == 0o600


async def test_a_backup_beside_sales_is_one_moment_and_stops_none(
    shop: Shop, shop_place: Path | str, tmp_path: Path
) -> None:
    """Stock and orders move in one commit: in every backup they fit together."""
    sku = await shop.sku(stock=1000)
    buying = True

    async def buy() -> None:
        while buying:
            await shop.buy("buyer", (sku, 1))

    buyers = [asyncio.create_task(buy()) for _ in range(4)]
    place = SqlitePlace(shop_place) if isinstance(shop_place, Path) else RedisPlace(shop_place)
    numbers = []
    for backup in range(4):
        file = tmp_path / f"backup-{backup}"
        await asyncio.to_thread(back_up, place, file)
        kept = read_backup(file)
        target = tmp_path / f"restored-{backup}.db"
        await asyncio.to_thread(put_back, kept, SqlitePlace(target))
        restored = await open_shop(target, Clock())
        orders = await restored.store.scan("orders", "", INDEX_END, 1000)
        assert await restored.stock(sku) == (1000 - len(orders), len(orders), 0)
        numbers.append(kept.number)
        await restored.store.close()
    buying = False
    await asyncio.gather(*buyers)
    assert numbers == sorted(set(numbers))  # sales went on from one to the next


@pytest.mark.parametrize("damage", ["cut", "flipped", "longer", "no end", "other"])
async def test_a_damaged_backup_is_refused_and_says_so(
    place: Place, tmp_path: Path, damage: str
) -> None:
    file = tmp_path / "backup"
    back_up(place, file)
    whole = file.read_bytes()
    middle = len(whole) // 2
    file.write_bytes(
        {
            "cut": whole[:middle],
            "flipped": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
            "longer": whole + msgpack.packb(["item", "a", b"b", 1]),
            "no end": whole[: whole.rindex(msgpack.packb("counts")) - 1],
            "other": b"SQLite format 3\0" + bytes(100),
        }[damage]
    )
    with pytest.raises(PortableError, match=r"damaged|not whole|not a backup"):
        read_backup(file)


@pytest.mark.parametrize("member", ["v", "records"])
def test_a_backup_of_a_newer_version_is_refused_in_words(tmp_path: Path, member: str) -> None:
    header: dict[str, Any] = {"hawker": "backup", "v": 1, "records": 1, "number": 0, "at_ms": 0}
    (tmp_path / "backup").write_bytes(msgpack.packb({**header, member: 99}))
    with pytest.raises(TooNew, match="newer version"):
        read_backup(tmp_path / "backup")


async def test_a_restore_that_breaks_off_changes_nothing(
    place: Place, tmp_path: Path, redis_server: RedisServer
) -> None:
    back_up(place, tmp_path / "backup")
    kept, before = read_backup(tmp_path / "backup"), held(place)
    files, keys = sorted(tmp_path.iterdir()), redis_server.ask("DBSIZE")

    def breaks(done: int, expected: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), place.replacing() as sink:
        copy(kept, sink, breaks)
    assert held(place) == before
    assert (sorted(tmp_path.iterdir()), redis_server.ask("DBSIZE")) == (files, keys)


async def test_a_restore_is_refused_while_a_server_holds_the_file(
    shops: Shops, tmp_path: Path
) -> None:
    place = SqlitePlace(tmp_path / "hawker.db")
    store = await shops.open(place)
    await fill(store)
    back_up(place, tmp_path / "backup")
    with pytest.raises(PortableError, match="in use: stop the server first"):
        put_back(read_backup(tmp_path / "backup"), place)
    await store.commit("goes on", writes={"a": b"b"})
    await store.close()
    put_back(read_backup(tmp_path / "backup"), place)
    assert held(place)[0] == 31
    assert held(SqlitePlace(tmp_path / "hawker.db.old"))[0] == 32  # stays beside it


async def test_a_restore_takes_the_place_of_all_that_was_there(
    place: Place, shops: Shops, tmp_path: Path
) -> None:
    back_up(place, tmp_path / "backup")
    before = held(place)
    store = await shops.open(place)
    await store.commit("more", writes={"x": b"y"}, index={("i", "x"): "s"}, events=[("new", b"")])
    await store.close()
    put_back(read_backup(tmp_path / "backup"), place)
    assert held(place) == before
    store = await shops.open(place)
    assert await store.events("new", 0, 9) == []
    assert await store.scan("i", "", INDEX_END, 9) == []
    await store.close()


async def test_a_store_is_empty_until_something_is_in_it(
    place: Place, target: Place, shops: Shops, tmp_path: Path
) -> None:
    assert target.is_empty()
    await (await shops.open(target)).close()
    assert target.is_empty()
    assert not place.is_empty()
    (tmp_path / "notes.txt").write_text("something else")
    with pytest.raises(PortableError, match="not a database"):
        SqlitePlace(tmp_path / "notes.txt").is_empty()


async def test_a_shop_moves_whole_and_the_old_place_says_where(
    place: Place, target: Place, shops: Shops
) -> None:
    before = held(place)
    assert move(place, target, silent) == before[1]
    assert held(target) == before
    with pytest.raises(StoreUnavailable, match="moved to .*there"):
        await shops.open(place)
    with pytest.raises(Moved, match="moved to .*there"), place.reading():
        pass
    store = await shops.open(target)
    await store.commit("after", writes={"a": b"b"}, events=[("shop", b"c")])
    await store.close()
    moved_on = held(target)
    move(target, place, silent)  # and back: where it came from counts as empty
    assert held(place) == moved_on
    store = await shops.open(place)
    assert len(await store.events("shop", 0, 99)) == 31
    await store.close()


async def test_a_move_that_breaks_off_has_not_moved(
    place: Place, target: Place, shops: Shops
) -> None:
    def breaks(done: int, expected: int) -> None:
        raise KeyboardInterrupt

    before = held(place)
    with pytest.raises(KeyboardInterrupt):
        move(place, target, breaks)
    assert held(place) == before
    store = await shops.open(place)
    await store.commit("goes on", writes={"a": b"b"})
    await store.close()
    move(place, target, silent)


async def test_a_move_is_refused_where_a_shop_is(place: Place, target: Place, shops: Shops) -> None:
    there = await shops.open(target)
    await there.commit("one", writes={"a": b"b"})
    await there.close()
    with pytest.raises(PortableError, match="not empty"):
        move(place, target, silent)
    await (await shops.open(place)).close()  # it has not moved


async def test_a_file_is_not_moved_while_a_server_holds_it_nor_opened_while_it_moves(
    shops: Shops,
) -> None:
    place, target = shops.place("sqlite", "hawker"), shops.place("sqlite", "there")
    store = await shops.open(place)
    await fill(store)
    with pytest.raises(PortableError, match="in use"):
        move(place, target, silent)
    await store.close()
    opened: list[str] = []

    def try_to_open(done: int, expected: int) -> None:
        with pytest.raises(PortableError), place.leaving("elsewhere"):
            opened.append("opened")

    move(place, target, try_to_open)
    assert not opened


async def test_a_server_on_redis_that_was_not_stopped_sells_nothing_more(shops: Shops) -> None:
    place, target = shops.place("redis", "hawker"), shops.place("sqlite", "there")
    store = await shops.open(place)
    await fill(store)
    move(place, target, silent)
    with pytest.raises(Exception, match="WRONGTYPE"):
        await store.commit("late", writes={"order/late": b"x"}, adds={"count": (1, 0)})
    await store.close()


async def test_a_backup_of_redis_beside_sales_is_one_moment(shops: Shops, tmp_path: Path) -> None:
    place, numbers = shops.place("redis", "hawker"), []
    store = await shops.open(place)
    selling = True

    async def sell(seller: int) -> None:
        number = 0
        while selling:
            number += 1
            key = f"{seller}.{number}"
            await store.commit(
                key, adds={"count": (1, 0)}, index={("sold", key): key}, events=[("shop", b"x")]
            )

    sellers = [asyncio.create_task(sell(each)) for each in range(4)]
    for each in range(3):
        await asyncio.to_thread(back_up, place, tmp_path / f"{each}")
        kept = read_backup(tmp_path / f"{each}")
        counted = [int(row[2]) for row in kept.rows() if row[:2] == ("item", "count")]
        counts = kept.tally.counts
        assert counted in ([], [counts["place"]])
        assert counts["place"] == counts["event"] == counts["done"]
        numbers.append(kept.number)
    selling = False
    await asyncio.gather(*sellers)
    await store.close()
    assert numbers == sorted(set(numbers))
