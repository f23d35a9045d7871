"""The worker's half of data channels: viewers' messages go to the server, and its words to viewers.

What the server says over the reliable channel waits here until the channel takes it, and only then the
server hears that it was taken: it never has more than a little under way to one viewer, so this queue is
bounded by its patience. What goes over the other channel is sent at once or lost, as that channel is.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable
from typing import Any, TypeAlias

from mediaserver.egress import control

RELIABLE = 0
RETRY_S = 0.1  # channels that are not open yet, or full
GIVE_UP_S = 30.0  # channels that took nothing for so long never will

Send: TypeAlias = Callable[[int, "bytes | str"], bool]


class _Viewer:
    __slots__ = ("hang_up", "hanging", "number", "send", "since", "timer", "waiting")

    def __init__(self, number: int, send: Send, hang_up: Callable[[], None], now: float) -> None:
        self.number = number
        self.send = send
        self.hang_up = hang_up
        self.hanging = False
        self.waiting: deque[bytes | str] = deque()
        self.timer: asyncio.TimerHandle | None = None
        self.since = now  # of the last message taken


class WorkerMessages:
    """`Messages` of a worker's WhepEgress; `tell` takes what is for the server."""

    def __init__(self, tell: Callable[[Any], None]) -> None:
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._numbers: dict[object, int] = {}
        self._viewers: dict[int, _Viewer] = {}
        self._taken: dict[int, int] = {}
        self._last = 0

    def number(self, name: object) -> int:
        """The number of a session from now on."""
        self._last += 1
        self._numbers[name] = self._last
        return self._last

    # -- what the egress tells --------------------------------------------------------------------

    def opened(
        self,
        name: Hashable,
        room: str,
        token: str | None,
        send: Send,
        hang_up: Callable[[], None],
    ) -> None:
        number = self._numbers[name]
        self._viewers[number] = _Viewer(number, send, hang_up, self._loop.time())
        self._tell(control.Opened(number, room, token))

    def received(self, name: Hashable, data: bytes | str) -> None:
        number = self._numbers.get(name)
        viewer = None if number is None else self._viewers.get(number)
        if viewer is not None and not viewer.hanging:
            self._tell(control.Received(viewer.number, data))

    def closed(self, name: Hashable) -> None:
        number = self._numbers.pop(name, None)
        if number is not None:
            self._forget(number)
            self._tell(control.Gone(number))

    # -- what the server says ---------------------------------------------------------------------

    def say(self, said: control.Say) -> None:
        for number in said.viewers:
            viewer = self._viewers.get(number)
            if viewer is None:
                continue
            if said.channel != RELIABLE:
                viewer.send(said.channel, said.data)
                continue
            viewer.waiting.append(said.data)
            if viewer.timer is None:
                self._push(viewer)

    def hang_up(self, number: int) -> None:
        """Close a viewer's channels behind its last words."""
        viewer = self._viewers.get(number)
        if viewer is not None:
            viewer.hanging = True
            if viewer.timer is None:
                self._push(viewer)

    def _push(self, viewer: _Viewer) -> None:
        viewer.timer = None
        now = self._loop.time()
        while viewer.waiting and viewer.send(RELIABLE, viewer.waiting[0]):
            self._take(viewer.number, len(viewer.waiting.popleft()))
            viewer.since = now
        if not viewer.waiting:
            if viewer.hanging:
                self._forget(viewer.number)
                viewer.hang_up()
        elif now - viewer.since < GIVE_UP_S:
            viewer.timer = self._loop.call_later(RETRY_S, self._push, viewer)
        else:
            self._forget(viewer.number)
            viewer.hang_up()
            self._tell(control.Mute(viewer.number))

    def _take(self, number: int, length: int) -> None:
        if not self._taken:
            self._loop.call_soon(self._tell_taken)
        self._taken[number] = self._taken.get(number, 0) + length

    def _tell_taken(self) -> None:
        lengths = [each for pair in self._taken.items() for each in pair]
        self._taken.clear()
        self._tell(control.Taken(lengths))

    def _forget(self, number: int) -> None:
        viewer = self._viewers.pop(number, None)
        if viewer is not None and viewer.timer is not None:
            viewer.timer.cancel()
