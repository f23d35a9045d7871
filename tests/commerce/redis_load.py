"""Commits without end, and the proof that none of those that were answered is lost or torn."""

from __future__ import annotations

import asyncio
from itertools import count

from commerce.errors import StoreUnavailable
from commerce.store import INDEX_END, RedisStore

TASKS = 8


class Load:
    """Tasks that commit until told to stop; `acknowledged` are the keys whose commit was answered."""

    def __init__(self, store: RedisStore) -> None:
        self._store = store
        self._numbers = count()
        self._stopped = False
        self.acknowledged: list[str] = []
        self.refused: list[StoreUnavailable] = []
        self._tasks = [asyncio.create_task(self._commit_on()) for _ in range(TASKS)]

    async def _commit_on(self) -> None:
        while not self._stopped:
            key = f"{next(self._numbers):06}"
            try:
                await self._store.commit(
                    key,
                    writes={key: b"x" * 200},
                    adds={"count": (1, 0)},
                    index={("all", key): key},
                    events=[("told", key.encode())],
                )
            except StoreUnavailable as refusal:
                self.refused.append(refusal)
            else:
                self.acknowledged.append(key)

    async def until(self, more: int) -> None:
        """Go on until so many more are acknowledged."""
        wanted = len(self.acknowledged) + more
        while len(self.acknowledged) < wanted:
            assert not any(task.done() for task in self._tasks)
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        self._stopped = True
        await asyncio.gather(*self._tasks)


async def check_kept(store: RedisStore, load: Load) -> None:
    """All that was acknowledged is there, whole, and nothing is there by half or twice."""
    kept = await store.scan("all", "", INDEX_END, 1_000_000)
    items = await store.load(kept)
    told = await store.events("told", 0, 1_000_000)
    assert set(load.acknowledged) <= set(kept)
    assert all(value == b"x" * 200 for value, _ in items.values())
    assert (await store.load(["count"]))["count"][0] == b"%d" % len(kept)
    assert [seq for seq, _ in told] == list(range(1, len(kept) + 1))
    assert sorted(body.decode() for _, body in told) == kept
