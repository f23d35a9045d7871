"""A store whose process can be killed, or cut off, at every boundary.

A boundary is the moment before a call into the store or the provider and the moment after it. Killed
before a commit, the process never sent it; killed after it, the commit is done and its answer lost.
In a dead process nothing runs on: whoever comes to a boundary there ends as if cancelled.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from commerce.errors import OutcomeUnknown, StoreUnavailable
from commerce.store import Store, Versioned


@dataclass(frozen=True, slots=True)
class Fate:
    """What befalls a process at the `boundary`-th boundary from now: it is killed, or the call fails.

    `where`: only boundaries with this word in their name are counted. A commit that fails has an
    unknown outcome: before the boundary it was not sent, after it is done.
    """

    boundary: int
    killed: bool = True
    where: str = ""


class Lifeline:
    """Whether a process lives, and what is to befall it; `struck` counts where it did."""

    def __init__(self, struck: Counter[str]) -> None:
        self.died: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._struck = struck
        self._fate: Fate | None = None
        self._left = 0

    @property
    def dead(self) -> bool:
        return self.died.done()

    def befall(self, fate: Fate | None) -> None:
        """Plan what will happen; None: nothing will."""
        self._fate, self._left = fate, 0 if fate is None else fate.boundary

    def cross(self, where: str, failure: type[Exception] = StoreUnavailable) -> None:
        """A boundary; raises CancelledError in a dead process, or `failure` when the call is to fail."""
        if self.dead:
            raise asyncio.CancelledError
        if self._fate is None or self._fate.where not in where:
            return
        self._left -= 1
        if self._left > 0:
            return
        fate, self._fate = self._fate, None
        self._struck[f"{'killed' if fate.killed else 'cut off'} {where}"] += 1
        if not fate.killed:
            raise failure(where)
        self.died.set_result(None)
        raise asyncio.CancelledError


class CrashingStore:
    """A `Store` in front of a real one, for one process."""

    def __init__(self, store: Store, life: Lifeline) -> None:
        self._store = store
        self._life = life

    def now_ms(self) -> int:
        return self._store.now_ms()

    async def load(self, keys: Iterable[str]) -> dict[str, Versioned]:
        self._life.cross("before a load")
        found = await self._store.load(keys)
        self._life.cross("after a load")
        return found

    async def scan(self, index: str, low: str, high: str, limit: int) -> list[str]:
        self._life.cross("before a scan")
        found = await self._store.scan(index, low, high, limit)
        self._life.cross("after a scan")
        return found

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
        self._life.cross("before a commit", OutcomeUnknown)
        commit = asyncio.ensure_future(
            self._store.commit(
                commit_id, reads=reads, writes=writes, adds=adds, index=index, events=events
            )
        )
        commit.add_done_callback(_unheard)
        answer = await asyncio.shield(commit)  # what was sent is not taken back by a death
        self._life.cross("after a commit", OutcomeUnknown)
        return answer

    async def events(self, stream: str, after: int, limit: int) -> list[tuple[int, bytes]]:
        self._life.cross("before reading events")
        return await self._store.events(stream, after, limit)

    async def close(self) -> None:
        """The real store is not this process's own."""


def _unheard(commit: asyncio.Future[dict[str, int]]) -> None:
    """What became of a commit whose process is dead is nobody's concern."""
    if not commit.cancelled():
        commit.exception()
