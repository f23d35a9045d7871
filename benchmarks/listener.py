"""A viewer of `hawker bench cards`: it follows the room's events over its data channels as a page does.

Messages are read while their datagram is: so the kernel's stamp of each is known. Once `lossy`,
datagrams are dropped by dice from a seed, each way: those that come after the kernel has stamped them,
those that go before they are sent.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from typing import Any

from aiortc import RTCDataChannel

from benchmarks.acks import DelayedAcks
from benchmarks.member import Member
from mediaserver.protocol import sdp
from overlay.events import BadMessage, Request, parse, serialize_request

RELIABLE = 0
CARD = "card.pinned"
REORDERED_S = 0.08  # as the watch page has it: copies are 20 ms apart
BEHIND_S = 0.3
ASK_AGAIN_S = 2.0  # the server allows one in two seconds


@dataclass(slots=True)
class Numbers:
    """Which of a room's events are there: those up to `last`, and some beyond a gap."""

    last: int = -1
    known: int = -1
    beyond: set[int] = field(default_factory=set)
    due_at: float | None = None  # when to ask for what is missing, in monotonic seconds

    def take(self, number: int, now: float) -> None:
        if self.last < 0:
            self.last = number
        elif number > self.last:
            self.beyond.add(number)
            while self.last + 1 in self.beyond:
                self.last += 1
                self.beyond.discard(self.last)
                self.due_at = None
        self._look(number, now, REORDERED_S)

    def told(self, number: int, now: float) -> None:
        """The server says that this was the last."""
        if self.last < 0:
            self.last = number
        self._look(number, now, BEHIND_S)

    def _look(self, number: int, now: float, patience_s: float) -> None:
        self.known = max(self.known, number)
        if self.known <= self.last:
            self.due_at = None
        elif self.due_at is None:
            self.due_at = now + patience_s


@dataclass
class Listener(Member):
    """`heard` has the first stamp of each card by its id, in ns; `asked` counts refills."""

    loss: float = 0.0  # while lossy, a share each way
    seed: str = ""
    lossy: bool = False
    heard: dict[str, int] = field(default_factory=dict)
    asked: int = 0
    messages: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._dice_in = random.Random(f"{self.seed} in")
        self._dice_out = random.Random(f"{self.seed} out")
        self._numbers = Numbers()

    async def connect(
        self, answer: sdp.Offer, *, port: int | None = None, data: bool = True
    ) -> None:
        await super().connect(answer, port=port, data=data)
        assert self.channels is not None
        DelayedAcks(self.channels)
        for channel in self.channels.channels:
            self._listen(channel)

    def run_received(self, head: memoryview, length: int, size: int, stamp_ns: int) -> None:
        if not (self.lossy and self._dice_in.random() < self.loss):
            super().run_received(head, length, size, stamp_ns)

    def tick(self, now: float) -> None:
        """Ask for what has been missing for long enough."""
        due_at = self._numbers.due_at
        if due_at is None or now < due_at or self.channels is None:
            return
        self._numbers.due_at = now + ASK_AGAIN_S
        self.asked += 1
        request = Request(self.asked, "resume", {"after": self._numbers.last})
        self.channels.send(RELIABLE, serialize_request(request, "msgpack"))

    def _listen(self, channel: RTCDataChannel) -> None:
        listen: Any = channel.on
        listen("message", self._on_event)

    def _on_event(self, data: str | bytes) -> None:
        self.messages += 1
        try:
            event = parse(data)
        except BadMessage:
            self.undecryptable += 1
            return
        if event.type == CARD:
            self.heard.setdefault(event.data["id"], self.stamp_ns)
        now = time.monotonic()
        if event.seq is not None:
            self._numbers.take(event.seq, now)
        elif event.type in ("seq", "hello"):
            self._numbers.told(event.data["seq"], now)

    def _send(self, data: bytes) -> None:
        if not (self.lossy and self._dice_out.random() < self.loss):
            super()._send(data)
