"""The SQLite file of the store: its few statements (`migrations` has its tables).

Written for a thread beside a busy event loop: every call into SQLite, and every row that it gives, gives
up the GIL, which must be won back. So a batch of any size takes a handful of calls. Keys to look up
travel as one JSON array, what is found as another, rows to write in statements of up to 512 rows.

WAL with synchronous=FULL: a transaction is on the disk when COMMIT returns. Every transaction begins
IMMEDIATE and reads within itself, so a second process on the same file costs time, not truth.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path

from commerce.errors import OutcomeUnknown
from commerce.ids import utc_ms
from commerce.store.folding import Changes, Known, Outcome, fold
from commerce.store.migrations import migrate
from commerce.store.seam import (
    ABSENT,
    COMMIT_ID_KEPT_MS,
    COMMIT_IDS_KEPT,
    Commit,
    Versioned,
)

BUSY_S = 5.0  # another process holds the file: a backup, a report
LOOK_S = (
    0.001  # how often a process looks whether the other one is done; SQLite would wait up to 100 ms
)
TURN_S = 0.001  # left to others after a transaction that had to wait, or they would get no turn
CHECKPOINT_PAGES = 4_000  # 16 MiB of log between checkpoints: fewer fsyncs of the main file
LOG_LIMIT_BYTES = 64 << 20
CACHE_KIB = 32 << 10
PRUNE_EVERY = 1_000  # commits
PRUNE_ROWS = 2_000  # at a time, more than come in between
TO_JSON = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
ROWS_PER_STATEMENT = (512, 256, 128, 64, 32, 16, 8, 4, 2, 1)
ROW_BY_ROW = 8  # keys looked up that may come as rows; more come as one

LOAD = "SELECT key, value, version FROM item WHERE key IN (SELECT value FROM json_each(?))"
LOAD_AS_ONE = (
    "SELECT json_group_array(json_array(key, hex(value), version)) FROM item "
    "WHERE key IN (SELECT value FROM json_each(?))"
)
SCAN = "SELECT key FROM place WHERE name = ? AND sort >= ? AND sort < ? ORDER BY sort, key LIMIT ?"
EVENTS = "SELECT seq, body FROM event WHERE stream = ? AND seq > ? ORDER BY seq LIMIT ?"
STREAMS = "SELECT name, seq FROM stream WHERE name > ? ORDER BY name LIMIT ?"
FORGET = "DELETE FROM event WHERE stream = ? AND seq <= ?"
KNOWN = (
    "SELECT (SELECT seq FROM sqlite_sequence WHERE name = 'done'), "
    "(SELECT json_group_object(id, json(answer)) FROM done "
    "WHERE id IN (SELECT value FROM json_each(?))), "
    "(SELECT json_group_object(name, seq) FROM stream "
    "WHERE name IN (SELECT value FROM json_each(?)))"
)
DELETE_ITEMS = "DELETE FROM item WHERE key IN (SELECT value FROM json_each(?))"
STANDING = (
    "SELECT json_group_object(key, json(places)) FROM standing "
    "WHERE key IN (SELECT value FROM json_each(?))"
)
DELETE_STANDING = "DELETE FROM standing WHERE key IN (SELECT value FROM json_each(?))"
DELETE_PLACES = (
    "DELETE FROM place WHERE (name, sort, key) IN (SELECT json_extract(value, '$[0]'), "
    "json_extract(value, '$[1]'), json_extract(value, '$[2]') FROM json_each(?))"
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
PUT_PLACES = Insert("place (name, sort, key)", 3)
PUT_STANDING = Insert(
    "standing (key, places)", 2, "ON CONFLICT (key) DO UPDATE SET places = excluded.places"
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
        self._had_to_wait = False
        try:
            self._set_up()
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        self._connection.close()

    def load(self, keys: Iterable[str]) -> dict[str, Versioned]:
        """The keys that are there."""
        keys = list(keys)
        if len(keys) <= ROW_BY_ROW:  # a picture comes as it is
            rows = self._patiently(LOAD, [json.dumps(keys)]).fetchall()
            return {key: (value, version) for key, value, version in rows}
        (found,) = self._patiently(LOAD_AS_ONE, [json.dumps(keys)]).fetchone()
        return {key: (bytes.fromhex(value), version) for key, value, version in json.loads(found)}

    def scan(self, index: str, low: str, high: str, limit: int) -> list[str]:
        rows = self._patiently(SCAN, [index, low, high, limit]).fetchall()
        return [key for (key,) in rows]

    def events(self, stream: str, after: int, limit: int) -> list[tuple[int, bytes]]:
        return self._patiently(EVENTS, [stream, after, limit]).fetchall()

    def streams(self, after: str, limit: int) -> list[tuple[str, int]]:
        return self._patiently(STREAMS, [after, limit]).fetchall()

    def forget_events(self, stream: str, through: int) -> int:
        return self._patiently(FORGET, [stream, through]).rowcount

    def commit(self, commits: Sequence[Commit]) -> list[Outcome]:
        """Decide and write many commits in one transaction; each gets its answer or its refusal.

        Raises what SQLite raises when the transaction failed as a whole, and OutcomeUnknown when it
        failed in COMMIT.
        """
        self._begin()
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

    def _begin(self) -> None:
        if self._had_to_wait:
            time.sleep(TURN_S)
        self._had_to_wait = False
        self._patiently("BEGIN IMMEDIATE")

    def _patiently(self, statement: str, parameters: Sequence[object] = ()) -> sqlite3.Cursor:
        """Execute what may have to wait for another process: at most BUSY_S."""
        until = time.monotonic() + BUSY_S
        while True:
            try:
                return self._connection.execute(statement, parameters)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                    raise
            self._had_to_wait = True
            time.sleep(LOOK_S)

    def _know(self, commits: Sequence[Commit]) -> Known:
        execute = self._connection.execute
        ids = json.dumps([commit.id for commit in commits])
        streams = json.dumps(list({stream for commit in commits for stream, _ in commit.events}))
        number, answers, seqs = execute(KNOWN, [ids, streams]).fetchone()
        keys = {key for commit in commits for key in chain(commit.reads, commit.adds)}
        items = self.load(keys) if keys else {}
        return Known(json.loads(answers), items, json.loads(seqs), number or 0)

    def _write(self, changes: Changes) -> None:
        connection = self._connection
        gone = [key for key, item in changes.items.items() if item == ABSENT]
        if gone:
            connection.execute(DELETE_ITEMS, [json.dumps(gone)])
        PUT_ITEMS.run(
            connection,
            [(key, *item) for key, item in changes.items.items() if item[0] is not None],
        )
        self._put_places(changes.places)
        PUT_EVENTS.run(connection, changes.events)
        PUT_SEQS.run(connection, list(changes.seqs.items()))
        at_ms = utc_ms()
        PUT_ANSWERS.run(
            connection,
            [(number, id, at_ms, json.dumps(answer)) for number, id, answer in changes.answers],
        )

    def _put_places(self, places: Mapping[tuple[str, str], str | None]) -> None:
        """A place is one row, in the order of the scans; where a key stands is told by `standing`."""
        if not places:
            return
        execute = self._connection.execute
        keys = {key for _, key in places}
        (found,) = execute(STANDING, [json.dumps(list(keys))]).fetchone()
        standing = {key: _places(value) for key, value in json.loads(found).items()}
        removed, added = [], []
        for (name, key), sort in places.items():
            stands = standing.setdefault(key, {})
            before = stands.pop(name, None)
            if sort is not None:
                stands[name] = sort
            if before == sort:
                continue
            if before is not None:
                removed.append((name, before, key))
            if sort is not None:
                added.append((name, sort, key))
        if removed:
            execute(DELETE_PLACES, [json.dumps(removed)])
        PUT_PLACES.run(self._connection, added)
        nowhere = [key for key in keys if not standing[key]]
        if nowhere:
            execute(DELETE_STANDING, [json.dumps(nowhere)])
        stand = [(key, _pack_places(standing[key])) for key in keys if standing[key]]
        PUT_STANDING.run(self._connection, stand)

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
            migrate(self._connection)
            execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise
        execute("PRAGMA busy_timeout = 0")  # from here on `_patiently` waits


def _pack_places(places: Mapping[str, str]) -> str:
    """{index: sort} of one key, kept as {sort: [indexes]}: most sorts are the same."""
    names: dict[str, list[str]] = {}
    for name, sort in places.items():
        names.setdefault(sort, []).append(name)
    return TO_JSON(names)


def _places(packed: Mapping[str, list[str]]) -> dict[str, str]:
    return {name: sort for sort, names in packed.items() for name in names}
