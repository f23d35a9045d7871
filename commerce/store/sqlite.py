"""The embedded store: a SQLite file behind one worker thread, waiting commands folded.

The thread takes whatever has piled up while the last fsync ran, answers the reads, then makes all the
commits one transaction and one fsync. The event loop never waits for the disk, and the thread runs
little Python: it stands beside a sender that a busy second thread would slow a hundredfold.

Who closes whom: `close` lets the thread finish what was asked, then it closes the file and ends. A
caller that is cancelled while it waits gets no answer; its commit may still be done, as after any
lost answer.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from commerce.errors import OutcomeUnknown, StoreUnavailable
from commerce.ids import utc_ms
from commerce.store.seam import (
    ABSENT,
    COMMIT_ID_KEPT_MS,
    COMMIT_IDS_KEPT,
    Commit,
    Versioned,
)
from commerce.store.sqlite_file import SqliteFile

log = logging.getLogger("hawker.store")

WAITING_LIMIT = 8_192  # requests; half a second of work, beyond it a caller is better told now
FOLDED_LIMIT = 128  # requests taken at once: the thread holds the GIL for less than a ms of them
STORE_FAILURES = (sqlite3.OperationalError, sqlite3.DatabaseError, sqlite3.InternalError)


@dataclass(frozen=True, slots=True)
class Load:
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Scan:
    index: str
    low: str
    high: str
    limit: int


@dataclass(frozen=True, slots=True)
class Events:
    stream: str
    after: int
    limit: int


@dataclass(frozen=True, slots=True)
class Streams:
    after: str
    limit: int


@dataclass(frozen=True, slots=True)
class Forget:
    stream: str
    through: int


Read: TypeAlias = Load | Scan | Events | Streams | Forget
Request: TypeAlias = Read | Commit
Asked: TypeAlias = tuple[Request, "asyncio.Future[Any]"]
Answered: TypeAlias = tuple["asyncio.Future[Any]", Any]


class SqliteStore:
    """A `Store` in one file; made by `open`, in the event loop that uses it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._inbox: queue.SimpleQueue[Asked | None] = queue.SimpleQueue()
        self._waiting = 0
        self._closed = False
        self._ended = self._loop.create_future()
        self._thread: threading.Thread | None = None

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        commit_ids_kept: int = COMMIT_IDS_KEPT,
        commit_id_kept_ms: int = COMMIT_ID_KEPT_MS,
        kind: type[SqliteFile] = SqliteFile,
    ) -> SqliteStore:
        """Open or create the file (mode 600); raises StoreUnavailable naming it when that fails."""
        store = cls()
        opened: asyncio.Future[Any] = store._loop.create_future()
        open_file = partial(
            kind,
            path,
            commit_ids_kept=commit_ids_kept,
            commit_id_kept_ms=commit_id_kept_ms,
        )
        worker = Worker(path, open_file, store._inbox, store._deliver_soon)
        store._thread = threading.Thread(
            target=worker.run, args=(opened, store._ended), name="hawker-store", daemon=True
        )
        store._thread.start()
        await opened
        return store

    def now_ms(self) -> int:
        """The clock of this machine, which alone has the file: UTC ms."""
        return utc_ms()

    async def load(self, keys: Iterable[str]) -> dict[str, Versioned]:
        """{key: (value, version)}, (None, 0) for a key that is not there."""
        found: dict[str, Versioned] = await self._ask(Load(tuple(keys)))
        return found

    async def scan(self, index: str, low: str, high: str, limit: int) -> list[str]:
        """Keys whose sort is at least `low` and below `high`, in order of (sort, key)."""
        keys: list[str] = await self._ask(Scan(index, low, high, _positive(limit)))
        return keys

    async def commit(
        self,
        commit_id: str,
        *,
        reads: Mapping[str, int] | None = None,
        writes: Mapping[str, bytes | None] | None = None,
        adds: Mapping[str, tuple[int, int]] | None = None,
        index: Mapping[tuple[str, str], str | None] | None = None,
        events: Sequence[tuple[str, bytes]] = (),
    ) -> dict[str, int]:
        """{stream: seq of its last event here}; raises Conflict, BelowFloor, StoreUnavailable."""
        commit = Commit(commit_id, reads or {}, writes or {}, adds or {}, index or {}, events)
        seqs: dict[str, int] = await self._ask(commit)
        return seqs

    async def events(self, stream: str, after: int, limit: int) -> list[tuple[int, bytes]]:
        """[(seq, event)] with seq above `after`, in order, without gaps."""
        events: list[tuple[int, bytes]] = await self._ask(Events(stream, after, _positive(limit)))
        return events

    async def settle(self) -> None:
        """Nothing: what can be read is on the disk."""

    async def streams(self, after: str, limit: int) -> list[tuple[str, int]]:
        """[(stream, number of its last event)] with names above `after`, in their order."""
        streams: list[tuple[str, int]] = await self._ask(Streams(after, _positive(limit)))
        return streams

    async def forget_events(self, stream: str, through: int) -> int:
        """Forget the events up to number `through`; how many there were."""
        forgotten: int = await self._ask(Forget(stream, through))
        return forgotten

    async def close(self) -> None:
        """Finish what was asked for and close the file; later calls are refused."""
        if not self._closed:
            self._closed = True
            self._inbox.put(None)
        await asyncio.shield(self._ended)
        if self._thread is not None:
            self._thread.join()  # its last act was to say that it ends

    def _ask(self, request: Request) -> asyncio.Future[Any]:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        if self._waiting >= WAITING_LIMIT:
            raise StoreUnavailable("too many requests wait for the store")
        self._waiting += 1
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._inbox.put((request, answer))
        return answer

    def _deliver_soon(self, answers: list[Answered], taken: int) -> None:
        try:
            self._loop.call_soon_threadsafe(self._deliver, answers, taken)
        except RuntimeError:  # the loop was closed without the store: nobody is left to answer
            raise SystemExit from None

    def _deliver(self, answers: list[Answered], taken: int) -> None:
        self._waiting -= taken
        for future, answer in answers:
            if future.done():
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)


class Worker:
    """What runs in the thread."""

    def __init__(
        self,
        path: Path,
        open_file: Callable[[], SqliteFile],
        inbox: queue.SimpleQueue[Asked | None],
        deliver: Callable[[list[Answered], int], None],
    ) -> None:
        self._path = path
        self._open_file = open_file
        self._inbox = inbox
        self._deliver = deliver
        self._failing = False

    def run(self, opened: asyncio.Future[Any], ended: asyncio.Future[Any]) -> None:
        """Open the file, answer until told to stop, close the file."""
        try:
            file = self._open_file()
        except (sqlite3.Error, OSError) as error:
            self._deliver([(opened, StoreUnavailable(f"{self._path}: {error}"))], 0)
            return
        self._deliver([(opened, None)], 0)
        try:
            while (batch := self._take()) is not None:
                self._answer(file, batch)
        finally:
            file.close()
            self._deliver([(ended, None)], 0)

    def _take(self) -> list[Asked] | None:
        """What waits, at least one; None at the end."""
        batch: list[Asked] = []
        asked = self._inbox.get()
        while asked is not None:
            batch.append(asked)
            if len(batch) == FOLDED_LIMIT or self._inbox.empty():
                return batch
            asked = self._inbox.get()
        if batch:
            self._inbox.put(None)  # nothing comes after the end, so it is read again next
            return batch
        return None

    def _answer(self, file: SqliteFile, batch: list[Asked]) -> None:
        reads = [asked for asked in batch if not isinstance(asked[0], Commit)]
        if reads:
            self._deliver(self._fold(reads, partial(_read, file)), len(reads))
        commits = [asked for asked in batch if isinstance(asked[0], Commit)]
        if commits:
            self._deliver(self._fold(commits, file.commit), len(commits))

    def _fold(self, asked: list[Asked], run: Callable[[Any], Sequence[Any]]) -> list[Answered]:
        """Run the requests as one; where one of them is a bug, each by itself, so only it fails."""
        try:
            answers = run([request for request, _ in asked])
        except Exception as error:  # noqa: BLE001  it goes to the callers, who wait for it
            if isinstance(error, OutcomeUnknown) or type(error) in STORE_FAILURES:
                return self._failed(error, asked)
            if len(asked) == 1:
                return [(asked[0][1], error)]
            return [answered for each in asked for answered in self._fold([each], run)]
        if self._failing:
            log.warning("store %s: works again", self._path)
            self._failing = False
        return [(future, answer) for (_, future), answer in zip(asked, answers, strict=True)]

    def _failed(self, error: Exception, asked: list[Asked]) -> list[Answered]:
        if not self._failing:
            log.error("store %s: %s", self._path, error.__cause__ or error)
            self._failing = True
        unknown = isinstance(error, OutcomeUnknown)
        refusal = OutcomeUnknown if unknown else StoreUnavailable
        return [(future, refusal(f"the store failed: {error}")) for _, future in asked]


def _read(file: SqliteFile, requests: Sequence[Read]) -> list[object]:
    wanted = {key for each in requests if isinstance(each, Load) for key in each.keys}
    found = file.load(wanted) if wanted else {}
    return [_read_one(file, found, each) for each in requests]


def _read_one(file: SqliteFile, found: Mapping[str, Versioned], request: Read) -> object:
    match request:
        case Load(keys):
            return {key: found.get(key, ABSENT) for key in keys}
        case Scan(index, low, high, limit):
            return file.scan(index, low, high, limit)
        case Events(stream, after, limit):
            return file.events(stream, after, limit)
        case Streams(after, limit):
            return file.streams(after, limit)
        case Forget(stream, through):
            return file.forget_events(stream, through)


def _positive(limit: int) -> int:
    if limit < 1:
        raise ValueError(f"limit {limit}: at least 1")
    return limit
