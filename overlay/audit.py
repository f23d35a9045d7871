"""The audit log: which of the staff did what, kept in the store's stream `audit`.

Who acts is said once, when a request is let in (`acting`); `AuditedStore` then puts an entry into each
commit of that request, into the very same commit: there is no act without its entry, and no entry of
an act that was refused. Entries name things by their ids and hold no secrets and no personal data.

Whoever hears of the commit (`FollowedStore`) hears of it while nobody acts, so that a task begun then
commits in no one's name.

An entry is a msgpack map: `id`, `at_ms` UTC, `by`, `role`, `act`, `target` {kind: id}, and `wrote`, the
records that the commit wrote (`product/prd_…`), which also names what was just made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import msgpack

from commerce.ids import new_id, utc_ms
from commerce.store import Store, Versioned
from overlay.event_log import last_seq

STREAM = "audit"
PAGE_MAX = 200
RECORDS = (
    "room/",
    "product/",
    "order/",
    "payment/",
    "dispute/",
    "refund/",
    "image/",
    "staff/",
    "restreams/",
    "webhook-endpoints",
)
WROTE_MAX = 20


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts: `act` is of the permission table, or `login`, `login.failed`, `logout`."""

    name: str
    role: str
    act: str
    target: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the log; `seq` is its number, without gaps."""

    seq: int
    id: str
    at_ms: int
    by: str
    role: str
    act: str
    target: Mapping[str, str]
    wrote: Sequence[str] = ()


acting: ContextVar[Actor | None] = ContextVar("acting", default=None)


class AuditedStore:
    """`store`, whose commits also say who made them, while somebody acts."""

    def __init__(self, store: Store, now_ms: Callable[[], int] = utc_ms) -> None:
        self._store = store
        self._now_ms = now_ms

    def now_ms(self) -> int:
        return self._store.now_ms()

    async def load(self, keys: Iterable[str]) -> dict[str, Versioned]:
        return await self._store.load(keys)

    async def scan(self, index: str, low: str, high: str, limit: int) -> list[str]:
        return await self._store.scan(index, low, high, limit)

    async def settle(self) -> None:
        await self._store.settle()

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
        actor = acting.get()
        if actor is not None and (writes or adds or index or events):
            events = (*events, (STREAM, _pack(actor, self._now_ms(), writes or ())))
        with _nobody_acts():
            return await self._store.commit(
                commit_id, reads=reads, writes=writes, adds=adds, index=index, events=events
            )

    async def events(self, stream: str, after: int, limit: int) -> list[tuple[int, bytes]]:
        return await self._store.events(stream, after, limit)

    async def close(self) -> None:
        await self._store.close()


class AuditLog:
    """The entries, newest first; `store` may be audited or not."""

    def __init__(self, store: Store, now_ms: Callable[[], int] = utc_ms) -> None:
        self._store = store
        self._now_ms = now_ms

    async def record(self, name: str, role: str, act: str, target: Mapping[str, str]) -> None:
        """An entry by itself, of an act that commits nothing else; raises StoreUnavailable."""
        now_ms = self._now_ms()
        entry = _pack(Actor(name, role, act, target), now_ms)
        with _nobody_acts():
            await self._store.commit(new_id("cmt", now_ms), events=[(STREAM, entry)])

    async def page(
        self, *, before: int | None = None, limit: int = 50
    ) -> tuple[list[Entry], int | None]:
        """Entries older than number `before`, newest first, and what to give as `before` next."""
        if before is None:
            before = await self._newest() + 1
        limit = max(1, min(limit, PAGE_MAX, before - 1))
        first = max(0, before - 1 - limit)
        events = await self._store.events(STREAM, first, limit)
        entries = [_unpack(seq, event) for seq, event in events if seq < before]
        return entries[::-1], entries[0].seq if entries and entries[0].seq > 1 else None

    async def _newest(self) -> int:
        if not await self._store.events(STREAM, 0, 1):
            return 0
        return await last_seq(self._store, STREAM, 1)


@contextmanager
def _nobody_acts() -> Iterator[None]:
    before = acting.set(None)
    try:
        yield
    finally:
        acting.reset(before)


def _pack(actor: Actor, now_ms: int, writes: Iterable[str] = ()) -> bytes:
    wrote = sorted(key for key in writes if key.startswith(RECORDS))
    members = {
        "id": new_id("evt", now_ms),
        "at_ms": now_ms,
        "by": actor.name,
        "role": actor.role,
        "act": actor.act,
        "target": dict(actor.target),
        "wrote": wrote[:WROTE_MAX],
    }
    return msgpack.packb(members)


def _unpack(seq: int, event: bytes) -> Entry:
    return Entry(seq, **msgpack.unpackb(event))
