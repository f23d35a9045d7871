"""The store in Redis: one script for all commits, those that wait folded into one call of it.

All keys stand under one hash tag, `{shop}:`, so that a shop is one slot of a Cluster, and few of them
are large: `item` {key: version and value}, `place` {key: where it stands}, `order` (a sorted set of
`index NUL sort NUL key`, in their order as bytes, and `NUL NUL stream`), `seq` {stream: last seq},
`done` {commit id: answer}, `log` (commit ids, oldest first), `number` of the last commit, `mark`
(formats), and `event:STREAM`, each a stream with the ids `0-seq`.

The number of a commit is the server's clock in microseconds, or one more than the last: so it does not
come twice even where a replica takes over that has missed commits.

A call whose answer is lost is sent again with the same commit ids until DEADLINE_S has passed, and only
then is its outcome unknown. With `replicas` the answer waits until as many hold it. Who closes whom:
`close` lets the lanes finish what was asked, each then closes its link.
"""

from __future__ import annotations

import asyncio
import logging
import struct
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha1
from importlib.resources import files
from itertools import chain
from typing import Any, TypeAlias

import msgpack
from redis.exceptions import NoScriptError, ResponseError

from commerce.errors import OutcomeUnknown, StoreUnavailable
from commerce.ids import new_id, utc_ms
from commerce.store.migrations import TooNew, check_known, records_format
from commerce.store.redis_link import Command, Link, Lost, Refused, Unsafe
from commerce.store.redis_url import parse
from commerce.store.seam import (
    ABSENT,
    COMMIT_ID_KEPT_MS,
    COMMIT_IDS_KEPT,
    BelowFloor,
    Conflict,
    Versioned,
)

log = logging.getLogger("hawker.store")

WAITING_LIMIT = 8_192  # requests; beyond it a caller is better told now
FOLDED_LIMIT = 256  # commits in one call: some 10 ms, in which Redis does nothing else
COMMITTING_LANES = 2  # one is answered while the other is decided
DEADLINE_S = 5.0
FIRST_PAUSE_S, LAST_PAUSE_S = 0.02, 0.5
REPLICAS_MS = 1_000
SCHEMA = 1
LIMIT_MAX = 2**63 - 1
VERSION = struct.Struct(">Q")
SCRIPT = files("commerce.store").joinpath("commit.lua").read_bytes()
SCRIPT_SHA = sha1(SCRIPT, usedforsecurity=False).hexdigest()
ONE_BY_ONE = 8  # keys of a load whose values come as so many replies; of more, those that are there
LOAD = """
local found = {}
for from = 1, #ARGV, 4000 do
  local values = redis.call('HMGET', KEYS[1], unpack(ARGV, from, math.min(from + 3999, #ARGV)))
  for i, value in ipairs(values) do
    if value then
      found[#found + 1] = from + i - 1
      found[#found + 1] = value
    end
  end
end
return cmsgpack.pack(found)
"""
NAMES = ("item", "place", "order", "seq", "done", "log", "number")


@dataclass(slots=True, eq=False)
class Asked:
    """A request: what is sent of it, and who waits for the answer."""

    what: Any
    answer: asyncio.Future[Any]
    streams: tuple[str, ...] = ()
    asked_at: float = field(default_factory=time.monotonic)


Run: TypeAlias = Callable[[Link, list[Asked]], Awaitable[Sequence[Any]]]


class Lane:
    """A task with a link of its own that takes what waits, as one, and answers it."""

    def __init__(self, store: RedisStore, link: Link, waiting: deque[Asked], run: Run) -> None:
        self._store, self._link, self._waiting, self._run = store, link, waiting, run

    async def serve(self) -> None:
        """Answer until the store is closed and nothing waits."""
        while batch := await self._take():
            outcomes = await self._outcomes(batch)
            self._store.waiting -= len(batch)
            for asked, outcome in zip(batch, outcomes, strict=True):
                _tell(asked.answer, outcome)
        await self._link.close()

    async def _take(self) -> list[Asked]:
        while not self._waiting:
            if self._store.closed:
                return []
            await self._store.woken()
        waiting = self._waiting
        return [waiting.popleft() for _ in range(min(len(waiting), FOLDED_LIMIT))]

    async def _outcomes(self, batch: list[Asked]) -> Sequence[Any]:
        lost, pause_s = False, FIRST_PAUSE_S
        while True:
            try:
                outcomes = await self._run(self._link, batch)
            except (Lost, Refused, Unsafe) as error:
                lost = lost or isinstance(error, Lost)
                self._store.fails(error)
                why = f"the store failed: {error}"
            except Exception as error:  # noqa: BLE001  it goes to the callers, who wait for it
                return [error] * len(batch)
            else:
                self._store.works()
                return outcomes
            if time.monotonic() + pause_s > batch[0].asked_at + DEADLINE_S:
                refusal = OutcomeUnknown if lost else StoreUnavailable
                return [refusal(why) for _ in batch]
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LAST_PAUSE_S)


class RedisStore:
    """A `Store` in Redis; made by `open`, in the event loop that uses it."""

    def __init__(
        self,
        url: str,
        *,
        replicas: int,
        allow_unsafe: bool,
        commit_ids_kept: int,
        commit_id_kept_ms: int,
    ) -> None:
        self.url = parse(url)
        self.waiting = 0
        self.closed = False
        self._allow_unsafe = allow_unsafe
        self._replicas = replicas
        self._prefix = f"{{{self.url.shop}}}:"
        self._keys = [f"{self._prefix}{name}" for name in NAMES]
        self._item, _, self._order, self._seq, *_ = self._keys
        self._bounds = (f"{self._prefix}event:", commit_ids_kept, commit_id_kept_ms)
        self._ahead_ms: float | None = None  # the server's clock, of ours
        self._failing = False
        self._commits: deque[Asked] = deque()
        self._reads: deque[Asked] = deque()
        self._wake: asyncio.Future[None] | None = None
        self._lanes: list[asyncio.Task[None]] = []

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        replicas: int = 0,
        allow_unsafe: bool = False,
        commit_ids_kept: int = COMMIT_IDS_KEPT,
        commit_id_kept_ms: int = COMMIT_ID_KEPT_MS,
    ) -> RedisStore:
        """Connect and check; raises StoreUnavailable with the reason."""
        try:
            parse(url)
        except ValueError as error:
            raise StoreUnavailable(str(error)) from error
        store = cls(
            url,
            replicas=replicas,
            allow_unsafe=allow_unsafe,
            commit_ids_kept=commit_ids_kept,
            commit_id_kept_ms=commit_id_kept_ms,
        )
        link = store._link()
        try:
            await store._set_up(link)
        except (Lost, Refused, Unsafe, TooNew) as error:
            await link.close()
            raise StoreUnavailable(f"{store.url}: {error}") from error
        except BaseException:
            await link.close()
            raise
        lanes = [Lane(store, link, store._reads, store._read)]
        for _ in range(COMMITTING_LANES):
            lanes.append(Lane(store, store._link(), store._commits, store._commit))
        store._lanes = [asyncio.create_task(lane.serve()) for lane in lanes]
        return store

    def now_ms(self) -> int:
        """The server's clock in UTC ms, as its answers tell it."""
        return round(utc_ms() + (self._ahead_ms or 0))

    async def load(self, keys: Iterable[str]) -> dict[str, Versioned]:
        """{key: (value, version)}, (None, 0) for a key that is not there."""
        wanted = tuple(keys)
        if not wanted:
            return {}
        encoded = map(str.encode, wanted)
        if len(wanted) <= ONE_BY_ONE:
            values = await self._ask(self._reads, ("HMGET", self._item, *encoded))
            return dict(zip(wanted, map(_versioned, values), strict=True))
        packed = await self._ask(self._reads, ("EVAL", LOAD, 1, self._item, *encoded))
        loaded = dict.fromkeys(wanted, ABSENT)
        found = iter(msgpack.unpackb(packed, raw=True))
        loaded.update(
            (wanted[place - 1], _versioned(raw)) for place, raw in zip(found, found, strict=True)
        )
        return loaded

    async def scan(self, index: str, low: str, high: str, limit: int) -> list[str]:
        """Keys whose sort is at least `low` and below `high`, in order of (sort, key)."""
        bounds = (b"[" + _edge(index, low), b"(" + _edge(index, high))
        page = ("LIMIT", 0, _positive(limit))
        members = await self._ask(self._reads, ("ZRANGEBYLEX", self._order, *bounds, *page))
        return [member.decode().split("\0", 2)[2] for member in members]

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
        commit = [
            commit_id,
            [*chain.from_iterable(reads.items())] if reads else [],
            [each for key, value in writes.items() for each in (key, _or_false(value))]
            if writes
            else [],
            [each for key, move in adds.items() for each in (key, *move)] if adds else [],
            _by_key(index) if index else [],
            [*chain.from_iterable(events)],
        ]
        streams = tuple(stream for stream, _ in events)
        seqs: dict[str, int] = await self._ask(
            self._commits, msgpack.packb(commit, use_bin_type=False), streams
        )
        return seqs

    async def events(self, stream: str, after: int, limit: int) -> list[tuple[int, bytes]]:
        """[(seq, event)] with seq above `after`, in order, without gaps."""
        key = f"{self._bounds[0]}{stream}".encode()
        page = (f"(0-{after}", "+", "COUNT", _positive(limit))
        found = await self._ask(self._reads, ("XRANGE", key, *page))
        return [(int(id[2:]), fields[1]) for id, fields in found]

    async def settle(self) -> None:
        """Return when the replicas have what could be read; raises StoreUnavailable."""
        if self._replicas:  # they have all before a commit that they have
            await self.commit(new_id("cmt", self.now_ms()))

    async def streams(self, after: str, limit: int) -> list[tuple[str, int]]:
        """[(stream, number of its last event)] with names above `after`, in their order."""
        bounds, page = (f"(\0\0{after}".encode(), b"(\0\1"), ("LIMIT", 0, _positive(limit))
        members = await self._ask(self._reads, ("ZRANGEBYLEX", self._order, *bounds, *page))
        if not members:
            return []
        names = [member[2:] for member in members]
        seqs = await self._ask(self._reads, ("HMGET", self._seq, *names))
        return [(name.decode(), int(seq)) for name, seq in zip(names, seqs, strict=True)]

    async def forget_events(self, stream: str, through: int) -> int:
        """Forget the events up to number `through`; how many there were."""
        key = f"{self._bounds[0]}{stream}".encode()
        forgotten: int = await self._ask(self._reads, ("XTRIM", key, "MINID", f"0-{through + 1}"))
        return forgotten

    async def close(self) -> None:
        """Finish what was asked for and let go; later calls are refused."""
        self.closed = True
        self._rouse()
        await asyncio.gather(*self._lanes)

    # -- what the lanes need ----------------------------------------------------------------------

    def woken(self) -> Awaitable[None]:
        """Done when something waits, or the store is closed."""
        if self._wake is None:
            self._wake = asyncio.get_running_loop().create_future()
        return asyncio.shield(self._wake)

    def fails(self, error: Exception) -> None:
        """One line in the log, until it works again."""
        if not self._failing:
            log.error("store %s: %s", self.url, error)
            self._failing = True

    def works(self) -> None:
        if self._failing:
            log.warning("store %s: works again", self.url)
            self._failing = False

    def _rouse(self) -> None:
        wake, self._wake = self._wake, None
        if wake is not None:
            wake.set_result(None)

    def _ask(
        self, waiting: deque[Asked], what: Any, streams: tuple[str, ...] = ()
    ) -> asyncio.Future[Any]:
        if self.closed:
            raise StoreUnavailable("the store is closed")
        if self.waiting >= WAITING_LIMIT:
            raise StoreUnavailable("too many requests wait for the store")
        self.waiting += 1
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        waiting.append(Asked(what, answer, streams))
        self._rouse()
        return answer

    def _link(self) -> Link:
        return Link(self.url, allow_unsafe=self._allow_unsafe)

    async def _read(self, link: Link, batch: list[Asked]) -> Sequence[Any]:
        return await link.run([asked.what for asked in batch])

    async def _commit(self, link: Link, batch: list[Asked]) -> Sequence[Any]:
        streams = {stream for asked in batch for stream in asked.streams}
        keys = [*self._keys, *(f"{self._bounds[0]}{stream}" for stream in streams)]
        call = (len(keys), *keys, *self._bounds, *(asked.what for asked in batch))
        wait: list[Command] = [("WAIT", self._replicas, REPLICAS_MS)] if self._replicas else []
        before_ms = utc_ms()
        answer, *waited = await link.run([("EVALSHA", SCRIPT_SHA, *call), *wait])
        if isinstance(answer, NoScriptError):
            answer, *waited = await link.run([("EVAL", SCRIPT, *call), *wait])
        if isinstance(answer, ResponseError):
            raise answer
        now_ms, *packed = answer
        self._hear_clock(before_ms, now_ms)
        outcomes = [_outcome(*msgpack.unpackb(each)) for each in packed]
        if waited and not (isinstance(waited[0], int) and waited[0] >= self._replicas):
            why = f"fewer than {self._replicas} replicas have it; ask again"
            return [
                each if isinstance(each, Exception) else OutcomeUnknown(why) for each in outcomes
            ]
        return outcomes

    async def _set_up(self, link: Link) -> None:
        mark, records = f"{self._prefix}mark", records_format()
        before_ms = utc_ms()
        answers = await link.run(
            [
                ("HSETNX", mark, "schema", SCHEMA),
                ("HSETNX", mark, "records", records),
                ("HGETALL", mark),
                ("TIME",),
            ]
        )
        for answer in answers:
            if isinstance(answer, ResponseError):
                raise Refused(str(answer))
        flat = [each.decode() for each in answers[2]]
        marks = dict(zip(flat[::2], flat[1::2], strict=True))
        check_known("schema", int(marks["schema"]), SCHEMA)
        check_known("records", int(marks["records"]), records)
        if "moved" in marks:
            raise Refused(f"this shop has moved to {marks['moved']}: put that into store.url")
        seconds, micros = map(int, answers[3])
        self._hear_clock(before_ms, seconds * 1000 + micros // 1000)

    def _hear_clock(self, before_ms: int, server_ms: int) -> None:
        """The server's clock said this between then and now: move ours only where that disagrees."""
        least, most = server_ms - utc_ms(), server_ms - before_ms
        ahead_ms = least if self._ahead_ms is None else self._ahead_ms
        self._ahead_ms = min(max(ahead_ms, least), most)


async def probe(url: str, *, allow_unsafe: bool) -> str:
    """What is wrong with the Redis of a URL, "" for nothing; nothing is written."""
    try:
        link = Link(parse(url), allow_unsafe=allow_unsafe)
        await link.run([("PING",)])
    except (Lost, Refused, Unsafe, ValueError) as error:
        return str(error)
    await link.close()
    return ""


def _outcome(kind: int, *rest: Any) -> dict[str, int] | Exception:
    match kind:
        case 0:
            return dict(zip(rest[::2], rest[1::2], strict=True))
        case 1:
            return Conflict(*rest)
        case 2:
            return BelowFloor(*rest)
    return ValueError(*rest)


def _versioned(raw: bytes | None) -> Versioned:
    return ABSENT if raw is None else (raw[8:], VERSION.unpack_from(raw)[0])


def _tell(answer: asyncio.Future[Any], outcome: Any) -> None:
    if answer.done():
        return
    if isinstance(outcome, Exception):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome)


def _edge(index: str, bound: str) -> bytes:
    """Where in `order` the sorts from `bound` on begin.

    A sort has no NUL, so one above "a NUL…" is one above "a" (how a list goes on behind its last page).
    """
    sort, nul, _ = bound.partition("\0")
    return f"{index}\0{sort}".encode() + (b"\x01" if nul else b"")


def _or_false(value: bytes | None) -> bytes | bool:
    return False if value is None else value


def _by_key(index: Mapping[tuple[str, str], str | None]) -> list[list[str | bool]]:
    """[[key, index, sort or False, …], …]; a key may come again. Raises ValueError."""
    moves: list[list[str | bool]] = []
    move: list[str | bool] = []
    for (name, key), sort in index.items():
        if not move or key != move[0]:
            move = [key]
            moves.append(move)
        move.append(name)
        move.append(False if sort is None else sort)
    if "\0" in "".join([text for move in moves for text in move if isinstance(text, str)]):
        raise ValueError("NUL in an index")
    return moves


def _positive(limit: int) -> int:
    if not 1 <= limit <= LIMIT_MAX:
        raise ValueError(f"limit {limit}: at least 1")
    return limit
