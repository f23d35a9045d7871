"""Changes: what a decision wants committed, all or nothing, and the loop that commits it.

Decisions are pure: they take what was loaded, a command and the time, and give `Changes` or raise a
`Refusal`. Who calls them loads, decides, commits, and on a Conflict or a BelowFloor does all of that
again on what is true by then.

Events are kept as msgpack maps of the envelope's lasting members: `t` type, `id`, `ts` UTC ms, `d`
data, with ids only: who is told loads what he may see. Streams: `shop` (staff and the rooms'
delivery) and `buyer/<sub>`. `room/<id>` is the rooms' own, and public: no order is told there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import msgpack

from commerce.errors import Busy
from commerce.ids import new_id
from commerce.store import BelowFloor, Conflict, Store

T = TypeVar("T")

ATTEMPTS = 24  # of one command; each lost one means that another command was done
SHOP = "shop"


@dataclass(slots=True)
class Changes:
    """One commit in the making; see `commerce.store.seam` for the fields."""

    now_ms: int
    reads: dict[str, int] = field(default_factory=dict)
    writes: dict[str, bytes | None] = field(default_factory=dict)
    adds: dict[str, tuple[int, int]] = field(default_factory=dict)
    index: dict[tuple[str, str], str | None] = field(default_factory=dict)
    events: list[tuple[str, bytes]] = field(default_factory=list)
    once: dict[tuple[str, str, tuple[tuple[str, str], ...]], None] = field(default_factory=dict)

    def add(self, key: str, delta: int, floor: int = 0) -> None:
        """Move a counter, together with what is moved already; the higher floor counts."""
        before, other = self.adds.get(key, (0, floor))
        self.adds[key] = (before + delta, max(floor, other))

    def tell(self, stream: str, type: str, **data: str) -> None:
        """An event in the same commit."""
        self.events.append((stream, _event(self.now_ms, type, data)))

    def tell_all(self, streams: Iterable[str], type: str, **data: str) -> None:
        """One event, in each of the streams."""
        event = _event(self.now_ms, type, data)
        self.events.extend((stream, event) for stream in streams)

    def tell_once(self, stream: str, type: str, **data: str) -> None:
        """An event that says it all however often it is told, so a commit holds it once, at its end."""
        self.once[stream, type, tuple(data.items())] = None

    def join(self, later: Changes) -> Changes:
        """This, and in the same commit `later`, which was decided on what this leaves.

        Its reads are at the versions that this was decided on. Raises ValueError when one writes
        what the other adds to.
        """
        adds, writes, reads = self.adds, self.writes, self.reads
        if not (adds.keys().isdisjoint(later.writes) and later.adds.keys().isdisjoint(writes)):
            raise ValueError("a counter is written and added to in one commit")
        for key, version in later.reads.items():
            reads.setdefault(key, version)
        writes.update(later.writes)
        for key, (delta, floor) in later.adds.items():
            before, other = adds.get(key, (0, floor))
            adds[key] = before + delta, max(floor, other)
        self.index.update(later.index)
        self.events += later.events
        self.once.update(later.once)
        return self

    async def commit(self, store: Store) -> None:
        """Commit; raises Conflict, BelowFloor or StoreUnavailable."""
        told = [(stream, _event(self.now_ms, type, dict(data))) for stream, type, data in self.once]
        await store.commit(
            new_id("cmt", self.now_ms),
            reads=self.reads,
            writes=self.writes,
            adds=self.adds,
            index=self.index,
            events=[*self.events, *told],
        )


def _event(now_ms: int, type: str, data: Mapping[str, str]) -> bytes:
    return msgpack.packb({"t": type, "id": new_id("evt", now_ms), "ts": now_ms, "d": data})


async def decide_and_commit(
    store: Store, decide: Callable[[], Awaitable[tuple[Changes | None, T]]]
) -> T:
    """The answer of `decide` once its changes are durable; with None it is one that was read.

    `decide` loads what it needs anew each time. Raises what it refuses with, or Busy.
    """
    for _ in range(ATTEMPTS):
        changes, answer = await decide()
        if changes is None:
            await store.settle()
            return answer
        try:
            await changes.commit(store)
        except (Conflict, BelowFloor):
            continue
        return answer
    raise Busy("too many others change this at once")
