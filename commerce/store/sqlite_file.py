"""The SQLite file of the store: its tables and its few statements. For one thread only.

Written for a thread beside a busy event loop: every call into SQLite gives up the GIL and must win it
back, so a batch of any size takes a handful of calls. Keys to look up travel as one JSON array, rows
to write in statements of up to 64 rows.

WAL with synchronous=FULL: a transaction is on the disk when COMMIT returns. Every transaction begins
IMMEDIATE and reads within itself, so a second process on the same file costs time, not truth.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path

from commerce.errors import OutcomeUnknown
from commerce.ids import utc_ms
from commerce.store.folding import Changes, Known, Outcome, fold
from commerce.store.seam import (
    ABSENT,
    COMMIT_ID_KEPT_MS,
    COMMIT_IDS_KEPT,
    Commit,
    Versioned,
)

SCHEMA_VERSION = 1
BUSY_S = 5.0  # another process holds the file: a backup, a report
CHECKPOINT_PAGES = 4_000  # 16 MiB of log between checkpoints: fewer fsyncs of the main file
LOG_LIMIT_BYTES = 64 << 20
CACHE_KIB = 32 << 10
PRUNE_EVERY = 1_000  # commits
PRUNE_ROWS = 2_000  # at a time, more than come in between
ROWS_PER_STATEMENT = (64, 32, 16, 8, 4, 2, 1)

SCHEMA = """
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
"""

LOAD = "SELECT key, value, version FROM item WHERE key IN (SELECT value FROM json_each(?))"
SCAN = "SELECT key FROM place WHERE name = ? AND sort >= ? AND sort < ? ORDER BY sort, key LIMIT ?"
EVENTS = "SELECT seq, body FROM event WHERE stream = ? AND seq > ? ORDER BY seq LIMIT ?"
ANSWERS = "SELECT id, answer FROM done WHERE id IN (SELECT value FROM json_each(?))"
SEQS = "SELECT name, seq FROM stream WHERE name IN (SELECT value FROM json_each(?))"
NUMBER = "SELECT seq FROM sqlite_sequence WHERE name = 'done'"
DELETE_ITEMS = "DELETE FROM item WHERE key IN (SELECT value FROM json_each(?))"
DELETE_PLACES = (
    "DELETE FROM place WHERE (name, key) IN "
    "(SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?))"
)
PRUNE = (
    "DELETE FROM done WHERE number IN (SELECT number FROM "
    "(SELECT number, at_ms FROM done ORDER BY number LIMIT ?) WHERE number <= ? OR at_ms < ?)"
)


class Insert:
    """An INSERT of many rows, as few statements of fixed sizes."""

    def __init__(self, into: str, columns: int, otherwise: str = "") -> None:
        row = f"({','.join('?' * columns)})"
        self._statements = [
            (rows, f"INSERT INTO {into} VALUES {','.join([row] * rows)} {otherwise}")
            for rows in ROWS_PER_STATEMENT
        ]

    def run(self, connection: sqlite3.Connection, rows: Sequence[tuple[object, ...]]) -> None:
        start = 0
        for size, statement in self._statements:
            while len(rows) - start >= size:
                values = list(chain.from_iterable(rows[start : start + size]))
                connection.execute(statement, values)
                start += size


PUT_ITEMS = Insert(
    "item (key, value, version)",
    3,
    "ON CONFLICT (key) DO UPDATE SET value = excluded.value, version = excluded.version",
)
PUT_PLACES = Insert(
    "place (name, key, sort)", 3, "ON CONFLICT (name, key) DO UPDATE SET sort = excluded.sort"
)
PUT_SEQS = Insert("stream (name, seq)", 2, "ON CONFLICT (name) DO UPDATE SET seq = excluded.seq")
PUT_EVENTS = Insert("event (stream, seq, body)", 3)
PUT_ANSWERS = Insert("done (number, id, at_ms, answer)", 4)


class SqliteFile:
    """One connection to the store's file; made, used and closed in one thread."""

    def __init__(
        self,
        path: Path,
        *,
        commit_ids_kept: int = COMMIT_IDS_KEPT,
        commit_id_kept_ms: int = COMMIT_ID_KEPT_MS,
    ) -> None:
        self._commit_ids_kept = commit_ids_kept
        self._commit_id_kept_ms = commit_id_kept_ms
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # the log files take its mode
        self._connection = sqlite3.connect(
            path, timeout=BUSY_S, isolation_level=None, cached_statements=256
        )
        try:
            self._set_up()
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        self._connection.close()

    def load(self, keys: Iterable[str]) -> dict[str, Versioned]:
        """The keys that are there."""
        rows = self._connection.execute(LOAD, [json.dumps(list(keys))]).fetchall()
        return {key: (value, version) for key, value, version in rows}

    def scan(self, index: str, low: str, high: str, limit: int) -> list[str]:
        rows = self._connection.execute(SCAN, [index, low, high, limit]).fetchall()
        return [key for (key,) in rows]

    def events(self, stream: str, after: int, limit: int) -> list[tuple[int, bytes]]:
        return self._connection.execute(EVENTS, [stream, after, limit]).fetchall()

    def commit(self, commits: Sequence[Commit]) -> list[Outcome]:
        """Decide and write many commits in one transaction; each gets its answer or its refusal.

        Raises what SQLite raises when the transaction failed as a whole, and OutcomeUnknown when it
        failed in COMMIT.
        """
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            known = self._know(commits)
            first = known.number
            outcomes, changes = fold(commits, known)
            self._write(changes)
            if first // PRUNE_EVERY != known.number // PRUNE_EVERY:
                self._prune(known.number)
        except BaseException:
            self._roll_back()
            raise
        try:
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            raise OutcomeUnknown("the store failed while it wrote; ask again") from error
        return outcomes

    def _know(self, commits: Sequence[Commit]) -> Known:
        execute = self._connection.execute
        ids = json.dumps([commit.id for commit in commits])
        answers = {id: json.loads(answer) for id, answer in execute(ANSWERS, [ids]).fetchall()}
        keys = {key for commit in commits for key in chain(commit.reads, commit.adds)}
        items = self.load(keys) if keys else {}
        streams = {stream for commit in commits for stream, _ in commit.events}
        seqs = dict(execute(SEQS, [json.dumps(list(streams))]).fetchall()) if streams else {}
        row = execute(NUMBER).fetchone()
        return Known(answers, items, seqs, row[0] if row else 0)

    def _write(self, changes: Changes) -> None:
        connection = self._connection
        gone = [key for key, item in changes.items.items() if item == ABSENT]
        if gone:
            connection.execute(DELETE_ITEMS, [json.dumps(gone)])
        PUT_ITEMS.run(
            connection,
            [(key, *item) for key, item in changes.items.items() if item[0] is not None],
        )
        removed = [place for place, sort in changes.places.items() if sort is None]
        if removed:
            connection.execute(DELETE_PLACES, [json.dumps(removed)])
        PUT_PLACES.run(
            connection,
            [(*place, sort) for place, sort in changes.places.items() if sort is not None],
        )
        PUT_EVENTS.run(connection, changes.events)
        PUT_SEQS.run(connection, list(changes.seqs.items()))
        at_ms = utc_ms()
        PUT_ANSWERS.run(
            connection,
            [(number, id, at_ms, json.dumps(answer)) for number, id, answer in changes.answers],
        )

    def _prune(self, number: int) -> None:
        too_many = number - self._commit_ids_kept
        too_old_ms = utc_ms() - self._commit_id_kept_ms
        self._connection.execute(PRUNE, [PRUNE_ROWS, too_many, too_old_ms])

    def _roll_back(self) -> None:
        if self._connection.in_transaction:  # some failures have rolled back already
            self._connection.execute("ROLLBACK")

    def _set_up(self) -> None:
        execute = self._connection.execute
        execute("PRAGMA journal_mode = WAL")
        execute("PRAGMA synchronous = FULL")
        execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        execute(f"PRAGMA journal_size_limit = {LOG_LIMIT_BYTES}")
        execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        execute("BEGIN IMMEDIATE")
        try:
            self._migrate()
            execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise

    def _migrate(self) -> None:
        execute = self._connection.execute
        if not execute("SELECT 1 FROM sqlite_master WHERE name = 'schema_version'").fetchone():
            for statement in SCHEMA.split(";")[:-1]:
                execute(statement)
            execute("INSERT INTO schema_version VALUES (?)", [SCHEMA_VERSION])
        (version,) = execute("SELECT version FROM schema_version").fetchone()
        if version != SCHEMA_VERSION:
            raise sqlite3.DatabaseError(
                f"schema version {version}, this program knows {SCHEMA_VERSION}"
            )
