"""A room's events over the two data channels of a WHEP session: 0 `hawker`, 1 `hawker-live`.

Channel 0 is ordered and reliable and carries what is for this viewer alone: `hello`, replies, its own
events, and what it missed. Channel 1 is unordered and never sends again: there each public event goes
out again a little later, and again (`copies`), which gets it through loss in a twentieth of the second
that SCTP would take; the viewer knows copies by their `seq`, and a gap by the `seq` event of every
second, and asks channel 0 by `resume`. Of a burst only the last COPIED events are sent again: they show
the gap too, and a message costs some 20 µs. Messages may come on either channel.

A viewer's messages choose its format: msgpack, until it sends text, which is answered in JSON.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Hashable
from typing import TypeAlias

from overlay.copies import COPY_AFTER_S, Copies, Events
from overlay.errors import Refusal
from overlay.session import MESSAGES_BURST, Session, Sessions

log = logging.getLogger("hawker.events")

RELIABLE, LIVE = 0, 1
COPIES = 1 + len(COPY_AFTER_S)
COPIED = 8
FLUSHED = 16  # about 1.5 ms, then the loop goes on with others
RETRY_S = 0.1  # channels that are not open yet, or full
OPEN_S = 30.0  # a viewer whose channels have not opened by then has none

Send: TypeAlias = Callable[[int, "bytes | str"], bool]
HangUp: TypeAlias = Callable[[], None]


class DataChannelViewer:
    """Carries one session over `send(channel, data)`, which says whether the message was taken.

    A session that ends by itself closes its channels by `hang_up`, once its last words are sent.
    """

    def __init__(self, session: Session, send: Send, hang_up: HangUp, copies: Copies) -> None:
        self._session = session
        self._send = send
        self._copies = copies
        self._hang_up = hang_up
        self._loop = asyncio.get_running_loop()
        self._retrying: asyncio.TimerHandle | None = None
        self._flushing: asyncio.Handle | None = None
        self._opened = False
        self._give_up_at = self._loop.time() + OPEN_S
        self._ended = False
        session.outbox.on_ready = self._flush_soon
        session.outbox.on_said = self._flush_now
        self._flush_soon()

    def receive(self, data: bytes | str) -> None:
        """Take one message of the viewer's, from either channel."""
        if isinstance(data, str):
            self._session.outbox.format = "json"
        self._session.receive(data)

    def close(self, reason: str = "left") -> None:
        """The WHEP session has ended, or nobody listens."""
        if self._ended:
            return
        self._ended = True
        self._session.outbox.on_ready = self._session.outbox.on_said = None
        self._session.close(reason)
        if self._flushing is not None:
            self._flushing.cancel()
        if self._retrying is not None:
            self._retrying.cancel()

    def _flush_now(self) -> None:
        """What the room is told goes out in the order of the viewers; behind others it waits."""
        if not (self._ended or self._flushing or self._retrying):
            self._flush()

    def _flush_soon(self) -> None:
        waits = self._retrying is not None and self._session.closed is None
        if not (self._ended or self._flushing or waits):
            self._flushing = self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Send what waits, FLUSHED messages at a time, until a channel takes no more."""
        self._flushing = None
        if self._retrying is not None:
            self._retrying.cancel()
            self._retrying = None
        outbox = self._session.outbox
        public: list[bytes | str] = []
        for _ in range(FLUSHED):
            outgoing = outbox.peek()
            if outgoing is None:
                break
            channel = RELIABLE if outgoing.kind == "own" else LIVE
            if not self._send(channel, outgoing.data):
                if outgoing.kind != "passing":
                    self._retry()
                    break
                outbox.dropped += 1
            elif outgoing.kind == "public":
                public.append(outgoing.data)
            self._opened = True
            outbox.pop()
        if public:
            self._copies.later(self._send_again, public[-COPIED:])
        if len(outbox):
            self._flush_soon()
        elif outbox.closed is not None:
            self.close(outbox.closed)
            self._hang_up()

    def _retry(self) -> None:
        if not self._opened and self._loop.time() >= self._give_up_at:
            self.close("no_channel")
        elif self._session.closed is not None:
            self.close()  # for somebody who takes nothing, the last words are not worth a wait
        else:
            self._retrying = self._loop.call_later(RETRY_S, self._flush)

    def _send_again(self, events: Events) -> bool:
        for event in events if not self._ended else ():
            self._send(LIVE, event)
        return not self._ended


class DataChannels:
    """The viewers of one process by whatever names their WHEP session."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._viewers: dict[Hashable, DataChannelViewer] = {}
        self._opening: dict[Hashable, asyncio.Task[None]] = {}
        self._early: dict[Hashable, list[bytes | str]] = {}
        self._copies: Copies | None = None

    def opened(
        self, name: Hashable, room: str, token: str | None, send: Send, hang_up: HangUp
    ) -> None:
        """A viewer whose channels are open, or soon will be."""
        self._early[name] = []
        opening = self._open(name, room, token, send, hang_up)
        task = asyncio.get_running_loop().create_task(opening)
        self._opening[name] = task

    def received(self, name: Hashable, data: bytes | str) -> None:
        """A message from either channel."""
        viewer = self._viewers.get(name)
        if viewer is not None:
            viewer.receive(data)
        elif name in self._early and len(self._early[name]) < MESSAGES_BURST:
            self._early[name].append(data)

    def closed(self, name: Hashable) -> None:
        """The WHEP session has ended; calling it again does nothing."""
        self._early.pop(name, None)
        opening = self._opening.pop(name, None)
        if opening is not None:
            opening.cancel()
        viewer = self._viewers.pop(name, None)
        if viewer is not None:
            viewer.close()

    def close(self) -> None:
        """End them all; the sessions are closed by who owns them."""
        for name in [*self._opening, *self._viewers]:
            self.closed(name)
        if self._copies is not None:
            self._copies.close()

    async def _open(
        self, name: Hashable, room: str, token: str | None, send: Send, hang_up: HangUp
    ) -> None:
        try:
            session = await self._session(room, token)
        except Refusal as refusal:
            log.info("room %s: data channels without events: %s", room, refusal.code)
        else:
            if self._copies is None:
                feed = self._sessions.feed
                self._copies = Copies(lambda: feed.saying > 0)
            viewer = self._viewers[name] = DataChannelViewer(session, send, hang_up, self._copies)
            for data in self._early[name]:
                viewer.receive(data)
        finally:
            self._early.pop(name, None)
            self._opening.pop(name, None)

    async def _session(self, room: str, token: str | None) -> Session:
        """With a token that is not good, as somebody without one: the picture is on already."""
        try:
            return await self._sessions.open(room, token, format="msgpack")
        except Refusal as refusal:
            if token is None or refusal.status not in (401, 403):
                raise
        return await self._sessions.open(room, None, format="msgpack")
