"""Old files are brought up to date, newer ones refused; a crash on the way leaves the old one."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from commerce.errors import StoreUnavailable
from commerce.store import INDEX_END, SqliteStore
from commerce.store.migrations import (
    SCHEMA,
    Moved,
    RecordStep,
    SchemaStep,
    TooNew,
    convert,
    migrate,
    records_format,
)

VERSION_1 = """
CREATE TABLE schema_version (version INTEGER NOT NULL);
CREATE TABLE item (key TEXT PRIMARY KEY, value BLOB NOT NULL, version INTEGER NOT NULL);
CREATE TABLE place (
    name TEXT NOT NULL, key TEXT NOT NULL, sort TEXT NOT NULL, PRIMARY KEY (name, key)
) WITHOUT ROWID;
CREATE UNIQUE INDEX place_order ON place (name, sort, key);
CREATE TABLE stream (name TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE event (
    stream TEXT NOT NULL, seq INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (stream, seq)
) WITHOUT ROWID;
CREATE TABLE done (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
    at_ms INTEGER NOT NULL, answer TEXT NOT NULL
);
INSERT INTO schema_version VALUES (1);
INSERT INTO item VALUES ('order/1', x'6f6e65', 7), ('order/2', x'74776f', 9), ('n', x'35', 9);
INSERT INTO place VALUES ('orders', 'order/1', '2'), ('orders', 'order/2', '1'),
    ('due', 'order/2', '0042');
INSERT INTO stream VALUES ('shop', 2);
INSERT INTO event VALUES ('shop', 1, x'61'), ('shop', 2, x'62');
INSERT INTO done VALUES (9, 'commit', 4102444800000, '{"shop": 2}');
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of version 1 with something of everything."""
    path = tmp_path / "hawker.db"
    connection = sqlite3.connect(path)
    connection.executescript(VERSION_1)
    connection.close()
    return path


@pytest.fixture
def connection(path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(path, isolation_level=None)
    yield connection
    connection.close()


def schema(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    rows = connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()
    return [(name, "".join((sql or "").split())) for name, sql in rows]


async def test_all_of_an_old_file_is_there_afterwards(path: Path) -> None:
    store = await SqliteStore.open(path)
    assert await store.load(["order/1", "n"]) == {"order/1": (b"one", 7), "n": (b"5", 9)}
    assert await store.scan("orders", "", INDEX_END, 9) == ["order/2", "order/1"]
    assert await store.scan("due", "", "0043", 9) == ["order/2"]
    assert await store.events("shop", 0, 9) == [(1, b"a"), (2, b"b")]
    assert await store.commit("commit", writes={"n": b"6"}) == {"shop": 2}
    assert await store.commit("next", index={("orders", "order/1"): "0"}, adds={"n": (1, 0)}) == {}
    assert (await store.load(["n"]))["n"] == (b"6", 10)
    assert await store.scan("orders", "", INDEX_END, 9) == ["order/1", "order/2"]
    await store.close()


async def test_an_old_file_becomes_like_a_new_one(path: Path, tmp_path: Path) -> None:
    for file in (path, tmp_path / "new.db"):
        await (await SqliteStore.open(file)).close()
    old, new = (sqlite3.connect(file) for file in (path, tmp_path / "new.db"))
    assert schema(old) == schema(new)
    old.close()
    new.close()


def test_versions_go_up_by_one() -> None:
    assert [step.to for step in SCHEMA] == list(range(1, len(SCHEMA) + 1))


def test_a_crash_on_the_way_leaves_the_old_file(connection: sqlite3.Connection) -> None:
    before = schema(connection)
    broken = SchemaStep(SCHEMA[-1].to + 1, ("CREATE TABLE more (x)", "no such statement"))
    connection.execute("BEGIN IMMEDIATE")
    with pytest.raises(sqlite3.OperationalError):
        migrate(connection, (*SCHEMA, broken))
    connection.execute("ROLLBACK")  # as the end of the process is
    assert schema(connection) == before
    assert connection.execute("SELECT version FROM schema_version").fetchone() == (1,)
    migrate(connection)
    assert connection.execute("SELECT version FROM schema_version").fetchone() == (SCHEMA[-1].to,)


async def test_what_a_newer_version_wrote_is_refused_in_words_and_not_touched(path: Path) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("UPDATE schema_version SET version = 99")
    with pytest.raises(StoreUnavailable, match="a newer version of hawker .*schema 99.*update"):
        await SqliteStore.open(path)
    assert connection.execute("SELECT version FROM schema_version").fetchone() == (99,)
    connection.close()


def loud(value: bytes) -> bytes:
    return value.upper()


STEPS = (RecordStep(2, "order/", loud), RecordStep(3, "order/2", lambda value: value[:3] + b"!"))


def test_records_are_converted_once_and_in_order(connection: sqlite3.Connection) -> None:
    migrate(connection, records=STEPS)
    migrate(connection, records=STEPS)
    items = dict(connection.execute("SELECT key, value FROM item"))
    assert items == {"order/1": b"ONE", "order/2": b"TWO!", "n": b"5"}
    assert records_format(STEPS) == 3


def test_records_of_a_newer_version_are_refused(connection: sqlite3.Connection) -> None:
    migrate(connection, records=STEPS)
    with pytest.raises(TooNew, match="records 3, this one knows 1"):
        migrate(connection)


def test_a_record_takes_only_the_steps_it_has_not_had() -> None:
    assert convert("order/2", b"two", 1, STEPS) == b"TWO!"
    assert convert("order/2", b"two", 2, STEPS) == b"two!"
    assert convert("order/2", b"two", 3, STEPS) == b"two"
    assert convert("product/2", b"two", 1, STEPS) == b"two"


def test_a_shop_that_has_moved_says_where(connection: sqlite3.Connection) -> None:
    migrate(connection)
    connection.execute("INSERT INTO mark VALUES ('moved', 'redis://somewhere')")
    with pytest.raises(Moved, match=r"moved to redis://somewhere: put that into store\.url"):
        migrate(connection)
