"""A store whose commits are heard of: who follows a log learns how far each commit has taken it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

from commerce.store import Store, Versioned

OnCommit: TypeAlias = Callable[[Mapping[str, int]], None]  # {stream: seq of its last event}


class FollowedStore:
    """`store`, and after each commit with events its answer for everyone in `followers`."""

    def __init__(self, store: Store) -> None:
        self.followers: list[OnCommit] = []
        self._store = store

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
        seqs = await self._store.commit(
            commit_id, reads=reads, writes=writes, adds=adds, index=index, events=events
        )
        if seqs:
            for follower in self.followers:
                follower(seqs)
        return seqs

    async def events(self, stream: str, after: int, limit: int) -> list[tuple[int, bytes]]:
        return await self._store.events(stream, after, limit)

    async def close(self) -> None:
        await self._store.close()
