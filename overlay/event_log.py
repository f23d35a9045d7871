"""One stream of the store, followed: its latest events in memory, the new ones delivered in order.

Events are read from the store's log after their commit, never handed over beside it, so whoever
follows sees each number once and in order, whoever made the commit. A commit's answer says how far
the log has come (`committed`); it is read at most once in TICK_S, so a burst is one delivery.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from commerce.errors import StoreUnavailable
from commerce.store import Store
from overlay.events import Event, Message

log = logging.getLogger("hawker.events")

TICK_S = 0.05  # what comes within it travels together; nobody sees so short a delay
PAGE = 256  # events of one read: some 100 kB
RETRY_S = 1.0  # the store says so too (Retry-After)


class EventLog:
    """The last `kept` events of a stream and all that follow, from `open` to `close`.

    `read` makes an event of its number and body, and may look in the store for what its reader wants to
    know; `deliver` gets new ones, in order, one call at a time.
    """

    def __init__(
        self,
        store: Store,
        stream: str,
        *,
        read: Callable[[int, bytes], Awaitable[Event]],
        deliver: Callable[[Sequence[Message]], Awaitable[None]],
        kept: int,
    ) -> None:
        self.seq = 0  # of the newest event delivered
        self._store = store
        self._stream = stream
        self._read = read
        self._deliver = deliver
        self._recent: deque[Message] = deque(maxlen=kept)
        self._kept = kept
        self._committed = 0
        self._opened = False
        self._read_at = float("-inf")
        self._following: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Read the latest events; raises StoreUnavailable."""
        events = await self._store.events(self._stream, 0, self._kept + 1)
        if len(events) > self._kept:
            newest = await last_seq(self._store, self._stream, events[-1][0])
            events = await self._store.events(self._stream, newest - self._kept, self._kept)
        await self._keep(events)
        self._opened = True
        self.committed(self._committed)

    def committed(self, seq: int) -> None:
        """The log has come to `seq`: what is new will be delivered soon."""
        self._committed = max(self._committed, seq)
        if self._opened and self._committed > self.seq and self._following is None:
            self._following = asyncio.get_running_loop().create_task(self._follow())
            self._following.add_done_callback(self._followed)

    def after(self, seq: int) -> list[Message] | None:
        """What came after `seq`; None where that is no longer kept, or is not known here."""
        missed = self.seq - seq
        if not 0 <= missed <= len(self._recent):
            return None
        return list(self._recent)[len(self._recent) - missed :]

    def close(self) -> None:
        """Deliver no more."""
        self._opened = False
        if self._following is not None:
            self._following.cancel()

    async def _follow(self) -> None:
        loop = asyncio.get_running_loop()
        while self._committed > self.seq:
            await asyncio.sleep(max(0.0, self._read_at + TICK_S - loop.time()))
            self._read_at = loop.time()
            try:
                events = await self._store.events(self._stream, self.seq, PAGE)
                new = await self._keep(events)
            except StoreUnavailable:  # the store itself has told the log
                await asyncio.sleep(RETRY_S)
                continue
            if not new:
                self._committed = self.seq
                return
            await self._deliver(new)

    def _followed(self, task: asyncio.Task[None]) -> None:
        self._following = None
        if not task.cancelled() and (bug := task.exception()) is not None:
            kind = self._stream.partition("/")[0]
            log.error("a %s's log is followed no further until its next event", kind, exc_info=bug)
        elif not task.cancelled():
            self.committed(0)

    async def _keep(self, events: Sequence[tuple[int, bytes]]) -> list[Message]:
        messages = [Message(await self._read(seq, body)) for seq, body in events]
        self._recent.extend(messages)
        self.seq = events[-1][0] if events else self.seq
        return messages


async def last_seq(store: Store, stream: str, known: int) -> int:
    """The number of a stream's last event, which is at least `known` (1 or more).

    Numbers have no gaps, so it is searched for: twenty small reads find it among a million.
    """
    low, high = known, 2 * known
    while events := await store.events(stream, high, 1):
        low = events[0][0]
        high = 2 * low
    while low < high:
        middle = (low + high) // 2
        events = await store.events(stream, middle, 1)
        if events:
            low = events[0][0]
        else:
            high = middle
    return low
