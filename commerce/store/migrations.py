"""Migrations: how what an older version of the program kept becomes what this one keeps.

Two ordered lists of data. `SCHEMA` is the SQLite file's tables; a new file is one at version 0, so
there is one way to them. `RECORDS` are the values below a prefix of keys, the same for every store and
for backups, under one number for all of them. A record with fields that have since been added reads
with their defaults and needs no entry: one is for a value whose meaning has changed.

A file is brought up to date in one transaction, so a crash on the way leaves the old one. Where there
is no such transaction (Redis) the number is written last, so a conversion may meet what it has
converted already, and must then change nothing. What a newer version wrote is refused in words.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from commerce.store.seam import INDEX_END

CONVERTED_AT_ONCE = 1_000  # values in memory


class TooNew(sqlite3.DatabaseError):
    """A newer version of the program has written this; nothing was changed."""


class Moved(sqlite3.DatabaseError):
    """The shop lives elsewhere by now; nothing was changed."""


@dataclass(frozen=True, slots=True)
class SchemaStep:
    """The statements that make a file of version `to` out of one of the version before."""

    to: int
    statements: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RecordStep:
    """What makes values of format `to` out of those of the format before, under keys with a prefix.

    `convert` gives a value that is converted already back as it is.
    """

    to: int
    prefix: str
    convert: Callable[[bytes], bytes]


SCHEMA: tuple[SchemaStep, ...] = (
    SchemaStep(
        1,
        (
            "CREATE TABLE schema_version (version INTEGER NOT NULL)",
            "INSERT INTO schema_version VALUES (1)",
            "CREATE TABLE item (key TEXT PRIMARY KEY, value BLOB NOT NULL, version INTEGER NOT NULL)",
            "CREATE TABLE place (name TEXT NOT NULL, key TEXT NOT NULL, sort TEXT NOT NULL, "
            "PRIMARY KEY (name, key)) WITHOUT ROWID",
            "CREATE UNIQUE INDEX place_order ON place (name, sort, key)",
            "CREATE TABLE stream (name TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID",
            "CREATE TABLE event (stream TEXT NOT NULL, seq INTEGER NOT NULL, body BLOB NOT NULL, "
            "PRIMARY KEY (stream, seq)) WITHOUT ROWID",
            "CREATE TABLE done (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, "
            "at_ms INTEGER NOT NULL, answer TEXT NOT NULL)",
        ),
    ),
    # mark: `records` the format of the values, `moved` where the shop went.
    SchemaStep(
        2,
        (
            "CREATE TABLE mark (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
            "INSERT INTO mark VALUES ('records', '1')",
        ),
    ),
    # A place is one row; where a key stands is told by `standing`, as {sort: [indexes]} in JSON.
    SchemaStep(
        3,
        (
            "ALTER TABLE place RENAME TO place_1",
            "CREATE TABLE place (name TEXT NOT NULL, sort TEXT NOT NULL, key TEXT NOT NULL, "
            "PRIMARY KEY (name, sort, key)) WITHOUT ROWID",
            "INSERT INTO place SELECT name, sort, key FROM place_1 ORDER BY name, sort, key",
            "CREATE TABLE standing (key TEXT PRIMARY KEY, places TEXT NOT NULL) WITHOUT ROWID",
            "INSERT INTO standing SELECT key, json_group_object(sort, json(names)) FROM "
            "(SELECT key, sort, json_group_array(name) AS names FROM place_1 GROUP BY key, sort) "
            "GROUP BY key",
            "DROP TABLE place_1",
        ),
    ),
)
FIRST_RECORDS = 1
RECORDS: tuple[RecordStep, ...] = ()


def records_format(steps: Sequence[RecordStep] = RECORDS) -> int:
    """The format of the values that this version of the program writes."""
    return steps[-1].to if steps else FIRST_RECORDS


def check_known(what: str, version: int, known: int) -> None:
    """Raises TooNew for a version beyond the one known."""
    if version > known:
        raise TooNew(
            f"written by a newer version of hawker ({what} {version}, this one knows {known}): "
            "update this one, or restore a backup that it made"
        )


def convert(key: str, value: bytes, version: int, steps: Sequence[RecordStep] = RECORDS) -> bytes:
    """A value of format `version` as this version of the program keeps it."""
    for step in steps:
        if step.to > version and key.startswith(step.prefix):
            value = step.convert(value)
    return value


def migrate(
    connection: sqlite3.Connection,
    schema: Sequence[SchemaStep] = SCHEMA,
    records: Sequence[RecordStep] = RECORDS,
) -> None:
    """Bring a file up to date within the caller's transaction; raises TooNew or Moved."""
    version = _schema_version(connection)
    check_known("schema", version, schema[-1].to)
    for step in schema:
        if step.to > version:
            for statement in step.statements:
                connection.execute(statement)
            connection.execute("UPDATE schema_version SET version = ?", [step.to])
    marks = dict(connection.execute("SELECT name, value FROM mark").fetchall())
    if "moved" in marks:
        raise Moved(f"this shop has moved to {marks['moved']}: put that into store.url")
    _migrate_records(connection, int(marks["records"]), records)


def _schema_version(connection: sqlite3.Connection) -> int:
    named = "SELECT 1 FROM sqlite_master WHERE name = 'schema_version'"
    if not connection.execute(named).fetchone():
        return 0
    (version,) = connection.execute("SELECT version FROM schema_version").fetchone()
    return int(version)


def _migrate_records(
    connection: sqlite3.Connection, version: int, steps: Sequence[RecordStep]
) -> None:
    known = records_format(steps)
    check_known("records", version, known)
    if version == known:
        return
    for step in steps:
        if step.to > version:
            _convert_items(connection, step)
    connection.execute("UPDATE mark SET value = ? WHERE name = 'records'", [str(known)])


def _convert_items(connection: sqlite3.Connection, step: RecordStep) -> None:
    page = "SELECT key, value FROM item WHERE key >= ? AND key < ? ORDER BY key LIMIT ?"
    first, end = step.prefix, f"{step.prefix}{INDEX_END}"
    while rows := connection.execute(page, [first, end, CONVERTED_AT_ONCE]).fetchall():
        first = f"{rows[-1][0]}\0"
        changed = [(step.convert(value), key) for key, value in rows]
        connection.executemany("UPDATE item SET value = ? WHERE key = ?", changed)
