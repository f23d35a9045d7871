"""Events sent again, for those whose first copy was lost: one queue and one timer for all viewers.

Each round comes a fixed time after the one before, so the queues are in the order of their times. A
turn of the loop takes SLICE_S of them, and none while something is on its way to viewers for the first
time: nineteen in twenty want no copy.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeAlias

COPY_AFTER_S = (0.01, 0.03)  # of each copy after the one before: a page waits 80 ms
SLICE_S = 0.0015  # of a turn of the loop
WAIT_S = 0.002
SENDS_PER_LOOK = 8  # between two looks at the clock: about 0.2 ms

Events: TypeAlias = Sequence["bytes | str"]
SendAgain: TypeAlias = Callable[[Events], bool]  # False from who has gone: it gets no more


class Copies:
    """What is to be sent again within the next milliseconds; bounded by what was just sent."""

    def __init__(self, first: Callable[[], bool]) -> None:
        """`first`: whether something is on its way to viewers for the first time."""
        self._first = first
        self._loop = asyncio.get_running_loop()
        self._rounds: list[deque[tuple[float, SendAgain, Events]]] = [deque() for _ in COPY_AFTER_S]
        self._handle: asyncio.Handle | None = None

    def later(self, send_again: SendAgain, events: Events) -> None:
        """Call `send_again` with the events once in each round."""
        self._put(0, send_again, events)
        if self._handle is None:
            self._handle = self._loop.call_later(COPY_AFTER_S[0], self._run)

    def close(self) -> None:
        """Send none of them."""
        for waiting in self._rounds:
            waiting.clear()
        if self._handle is not None:
            self._handle.cancel()

    def _put(self, number: int, send_again: SendAgain, events: Events) -> None:
        due = self._loop.time() + COPY_AFTER_S[number]
        self._rounds[number].append((due, send_again, events))

    def _run(self) -> None:
        """Send what is due, for a slice of this turn."""
        self._handle = None
        if self._first():
            self._handle = self._loop.call_later(WAIT_S, self._run)
            return
        now, deadline = self._loop.time(), time.monotonic() + SLICE_S
        for number, waiting in enumerate(self._rounds):
            while waiting and waiting[0][0] <= now:
                for _ in range(min(SENDS_PER_LOOK, len(waiting))):
                    self._send_first(number)
                if time.monotonic() > deadline:
                    self._handle = self._loop.call_soon(self._run)
                    return
        due = [waiting[0][0] for waiting in self._rounds if waiting]
        if due:
            self._handle = self._loop.call_at(min(due), self._run)

    def _send_first(self, number: int) -> None:
        _, send_again, events = self._rounds[number].popleft()
        if send_again(events) and number + 1 < len(self._rounds):
            self._put(number + 1, send_again, events)
