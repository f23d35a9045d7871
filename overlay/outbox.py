"""What waits to be sent to one viewer: bounded, and never in anybody else's way.

What the viewer must not miss (events of the shop, its own, replies) waits until it is full, then the
viewer is closed: it comes back and resumes. What passes (chat, likes, counts) is dropped and counted
as soon as the viewer lags a little.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, TypeAlias

from overlay.events import Format, Message

MESSAGES_MAX = 1024  # twice what a resume can bring at once
BYTES_MAX = 1 << 20
PASSING_BEHIND = 64  # messages waiting from which on chat is no longer worth it
PASSING_BEHIND_BYTES = 64 << 10

# own: for this viewer alone (hello, replies, its orders, what it missed); public: a room's durable
# event; passing: may be lost.
Kind: TypeAlias = Literal["own", "public", "passing"]


class Outgoing(NamedTuple):
    kind: Kind
    data: bytes | str


class Outbox:
    """One viewer's queue; `on_ready`, where set, is called when something was put in or it closed.

    `on_said` instead, where set, after `say`: to send it at once.
    """

    def __init__(self, format: Format) -> None:
        self.format = format
        self.closed: str | None = None  # why
        self.dropped = 0
        self.on_ready: Callable[[], None] | None = None
        self.on_said: Callable[[], None] | None = None
        self._waiting: deque[Outgoing] = deque()
        self._bytes = 0
        self._ready = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, kind: Kind, message: Message) -> None:
        """Queue a message, or drop it, or close as `too_slow`; after closing nothing happens."""
        if self._put(kind, message):
            self._wake()

    def say(self, kind: Kind, messages: Sequence[Message]) -> None:
        """As `put`, of what the whole room is told: it leaves within this turn, if nothing waits."""
        taken = [self._put(kind, message) for message in messages]
        if any(taken):
            self._ready.set()
            if self.on_said is not None:
                self.on_said()

    def _put(self, kind: Kind, message: Message) -> bool:
        if self.closed is not None:
            return False
        if kind == "passing" and (
            len(self._waiting) >= PASSING_BEHIND or self._bytes >= PASSING_BEHIND_BYTES
        ):
            self.dropped += 1
            return False
        data = message.encoded(self.format)
        if len(self._waiting) >= MESSAGES_MAX or self._bytes + len(data) > BYTES_MAX:
            self._waiting.clear()
            self._bytes = 0
            self.close("too_slow")
            return False
        self._waiting.append(Outgoing(kind, data))
        self._bytes += len(data)
        return True

    def peek(self) -> Outgoing | None:
        """The next message, which stays."""
        return self._waiting[0] if self._waiting else None

    def pop(self) -> Outgoing:
        """The next message; there must be one."""
        outgoing = self._waiting.popleft()
        self._bytes -= len(outgoing.data)
        return outgoing

    async def next(self) -> list[bytes | str]:
        """All that waits, at least one message; empty once closed and emptied."""
        while not self._waiting and self.closed is None:
            self._ready.clear()
            await self._ready.wait()
        messages = [outgoing.data for outgoing in self._waiting]
        self._waiting.clear()
        self._bytes = 0
        return messages

    def close(self, reason: str) -> None:
        """Take no more; what waits may still be sent. The first reason stays."""
        if self.closed is None:
            self.closed = reason
            self._wake()

    def _wake(self) -> None:
        self._ready.set()
        if self.on_ready is not None:
            self.on_ready()
