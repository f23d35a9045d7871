"""Pruning: what was told long ago is forgotten, a little at a time, and never what is still to be told.

Of each stream the events of the last `kept_ms` stay, and of those that are not a buyer's the latest
however old they are. Numbers go on from where they were. `floors` says how far those have come who tell
others (relay, webhooks): nothing after that goes. Who asks for what is no longer kept is told the state
of things anew (`hello`). The audit log is kept whole.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Protocol

import msgpack

from commerce.ids import utc_ms
from commerce.store import Store
from commerce.store.seam import Prunable

KEPT_WHOLE = ("audit",)
EVENTS_KEPT = 1_000  # of a stream, however old: more than who follows it keeps in memory
BUYER_EVENTS_KEPT = 0  # as many streams as buyers, and one of a single event takes 5 kB in Redis
STREAMS_AT_ONCE = 200  # of one sweep
EVENTS_AT_ONCE = 1_000  # of one stream in one sweep, some 200 kB


class PrunableStore(Store, Prunable, Protocol):
    """A store that can be pruned."""


Floors = Callable[[], Awaitable[Mapping[str, int]]]


class Pruning:
    """`floors`: {stream: the last number that all have told}."""

    def __init__(
        self,
        store: PrunableStore,
        kept_ms: int,
        *,
        floors: Floors,
        now_ms: Callable[[], int] = utc_ms,
    ) -> None:
        self._store = store
        self._kept_ms = kept_ms
        self._floors = floors
        self._now_ms = now_ms
        self._after = ""

    async def sweep(self) -> int:
        """Forget some events, stream after stream and round again; how many that were."""
        floors = await self._floors()
        found = await self._store.streams(self._after, STREAMS_AT_ONCE)
        forgotten = 0
        for stream, newest in found:
            forgotten += await self._prune(stream, min(newest, floors.get(stream, newest)), newest)
        self._after = found[-1][0] if len(found) == STREAMS_AT_ONCE else ""
        return forgotten

    async def _prune(self, stream: str, floor: int, newest: int) -> int:
        kept = BUYER_EVENTS_KEPT if stream.startswith("buyer/") else EVENTS_KEPT
        through = min(floor, newest - kept)
        if stream in KEPT_WHOLE or through < 1:
            return 0
        events = await self._store.events(stream, 0, EVENTS_AT_ONCE)
        old = _old(events, through, self._now_ms() - self._kept_ms)
        return await self._store.forget_events(stream, old[-1]) if old else 0


async def lowest(store: Store, positions: Iterable[str]) -> int:
    """The least `seq` of the records under some keys, msgpack maps; 0 where one is not there."""
    loaded = await store.load(positions)
    values = [value for value, _ in loaded.values()]
    return min((0 if each is None else msgpack.unpackb(each)["seq"] for each in values), default=0)


def _old(events: Sequence[tuple[int, bytes]], through: int, before_ms: int) -> list[int]:
    """The numbers of the first events, as far as they are at most `through` and all too old."""
    old = []
    for seq, body in events:
        if seq > through or _told_ms(body) >= before_ms:
            break
        old.append(seq)
    return old


def _told_ms(body: bytes) -> int:
    told_ms: int = msgpack.unpackb(body)["ts"]
    return told_ms
