"""The SQLite file as portable rows: read beside a running server, written as a file of its own.

Reading is one read transaction: it sees one commit, sales go on beside it, and only the log grows while
it lasts. Writing makes a new file that takes the place of the old one in a single rename.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from commerce.store.migrations import SCHEMA, Moved, check_known, migrate, records_format
from commerce.store.portable import PortableError, Row

BUSY_S = 1.0  # another process begins or ends a transaction; a server holds it for longer
ALL = {
    "item": "SELECT 'item', key, value, version FROM item",
    "place": "SELECT 'place', name, key, sort FROM place",
    "stream": "SELECT 'stream', name, seq FROM stream",
    "event": "SELECT 'event', stream, seq, body FROM event",
    "done": "SELECT 'done', id, at_ms, answer FROM done ORDER BY number",
}
PUT = {
    "item": "INSERT INTO item (key, value, version) VALUES (?, ?, ?)",
    "place": "INSERT INTO place (name, key, sort) VALUES (?, ?, ?)",
    "stream": "INSERT INTO stream (name, seq) VALUES (?, ?)",
    "event": "INSERT INTO event (stream, seq, body) VALUES (?, ?, ?)",
    "done": "INSERT INTO done (id, at_ms, answer) VALUES (?, ?, ?)",
}
STANDING = (
    "INSERT INTO standing SELECT key, json_group_object(sort, json(names)) FROM "
    "(SELECT key, sort, json_group_array(name) AS names FROM place GROUP BY key, sort) GROUP BY key"
)
LATEST = (
    "UPDATE done SET number = -(number + :number - (SELECT max(number) FROM done))",
    "UPDATE done SET number = -number",
)
NUMBER = "SELECT seq FROM sqlite_sequence WHERE name = 'done'"
SET_NUMBER = "UPDATE sqlite_sequence SET seq = ? WHERE name = 'done'"
MAKE_NUMBER = "INSERT INTO sqlite_sequence (name, seq) SELECT 'done', ? WHERE NOT EXISTS "
MAKE_NUMBER += "(SELECT 1 FROM sqlite_sequence WHERE name = 'done')"


class SqliteSource:
    """A file as it was when its first row was read; within an open transaction of `connection`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        row = connection.execute(NUMBER).fetchone()
        self.number: int = row[0] if row else 0
        (records,) = connection.execute("SELECT value FROM mark WHERE name = 'records'").fetchone()
        self.records = int(records)

    def expected(self) -> int:
        """How many rows there are."""
        tables = " + ".join(f"(SELECT count(*) FROM {table})" for table in ALL)
        (rows,) = self._connection.execute(f"SELECT {tables}").fetchone()
        return int(rows)

    def rows(self) -> Iterator[Row]:
        """All rows."""
        for kind, statement in ALL.items():
            for row in self._connection.execute(statement):
                yield (*row[:3], json.loads(row[3])) if kind == "done" else row


class SqliteSink:
    """A new file, `path` with `.new` behind it, until `finish` puts it in its place."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._new = path.with_name(f"{path.name}.new")
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._new.unlink(missing_ok=True)
        os.close(os.open(self._new, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        self._connection = sqlite3.connect(self._new, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = OFF")  # half a file is thrown away
        self._connection.execute("PRAGMA synchronous = OFF")
        self._connection.execute("BEGIN")
        migrate(self._connection)

    def put(self, rows: Sequence[Row]) -> None:
        """Write some of the rows."""
        for kind, statement in PUT.items():
            written = [_written(row) for row in rows if row[0] == kind]
            if written:
                self._connection.executemany(statement, written)

    def finish(self, number: int) -> None:
        """Make the file whole and durable, and put it in its place; the old one stays as `.old`."""
        self._connection.execute(STANDING)
        for statement in LATEST:  # what is done last is of the last commit
            self._connection.execute(statement, {"number": number})
        self._connection.execute(MAKE_NUMBER, [number])
        self._connection.execute(SET_NUMBER, [number])
        self._connection.execute("COMMIT")
        self._connection.close()
        _sync(self._new)
        if self.path.exists():
            old = self.path.with_name(f"{self.path.name}.old")
            old.unlink(missing_ok=True)
            os.link(self.path, old)  # there is a store at every moment
        for log in ("-wal", "-shm"):  # of a file that is gone: it would be read into the new one
            self.path.with_name(f"{self.path.name}{log}").unlink(missing_ok=True)
        os.replace(self._new, self.path)
        _sync(self.path.parent)

    def abandon(self) -> None:
        """Leave nothing behind; harmless after `finish`."""
        self._connection.close()
        self._new.unlink(missing_ok=True)


def _written(row: Row) -> Sequence[object]:
    return (*row[1:3], json.dumps(row[3])) if row[0] == "done" else row[1:]


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class SqlitePlace:
    """Where a shop is, or shall be, as a SQLite file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return f"sqlite:{self.path}"

    @contextmanager
    def reading(self) -> Iterator[SqliteSource]:
        """The store as it is now, while others go on writing it; raises PortableError."""
        with _connected(self.path) as connection:
            connection.execute("BEGIN")
            yield _checked(connection)

    @contextmanager
    def leaving(self, to: str) -> Iterator[SqliteSource]:
        """The store while nobody has it open, nor can open it; refused from then on, naming `to`.

        Raises PortableError. If the block fails, all is as it was.
        """
        with _held(self.path) as connection:
            yield _checked(connection)
            connection.execute("INSERT INTO mark VALUES ('moved', ?)", [to])
            connection.execute("COMMIT")

    @contextmanager
    def replacing(self) -> Iterator[SqliteSink]:
        """A new store, to be put in the place of what is there, which nobody may have open.

        Raises PortableError. If the block fails, or does not finish it, all is as it was.
        """
        with ExitStack() as stack:
            if not _is_nothing(self.path):
                stack.enter_context(_held(self.path))
            sink = SqliteSink(self.path)
            stack.callback(sink.abandon)
            yield sink

    def is_empty(self) -> bool:
        """Whether nothing is lost where another takes its place; raises PortableError.

        One whose shop has moved away counts as empty.
        """
        with suppress(Moved):
            if not _is_nothing(self.path):
                with _connected(self.path) as connection:
                    source = _checked(connection)
                    return source.number == 0 and source.expected() == 0
        return True


def _is_nothing(path: Path) -> bool:
    return not path.exists() or path.stat().st_size == 0


@contextmanager
def _held(path: Path) -> Iterator[sqlite3.Connection]:
    with _connected(path) as connection:
        try:  # SQLite leaves WAL mode only where no other connection is open
            (mode,) = connection.execute("PRAGMA journal_mode = DELETE").fetchone()
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            raise PortableError(f"{path} is in use: stop the server first ({error})") from error
        if mode != "delete":
            raise PortableError(f"{path} is in use: stop the server first")
        yield connection


@contextmanager
def _connected(path: Path) -> Iterator[sqlite3.Connection]:
    if not path.exists():
        raise PortableError(f"there is no store at {path}")
    connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
    try:
        yield connection
    except Moved:
        raise
    except sqlite3.Error as error:
        raise PortableError(f"{path}: {error}") from error
    finally:
        connection.close()


def _checked(connection: sqlite3.Connection) -> SqliteSource:
    try:
        (version,) = connection.execute("SELECT version FROM schema_version").fetchone()
    except sqlite3.Error as error:
        raise PortableError(f"no store of hawker: {error}") from error
    check_known("schema", version, SCHEMA[-1].to)
    if version < SCHEMA[-1].to:
        raise PortableError(f"written by an older version (schema {version}): start this one once")
    marks = dict(connection.execute("SELECT name, value FROM mark"))
    if "moved" in marks:
        raise Moved(f"this shop has moved to {marks['moved']}")
    check_known("records", int(marks["records"]), records_format())
    return SqliteSource(connection)
