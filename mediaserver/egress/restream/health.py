"""How one target is: what the API tells of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from mediaserver.egress.restream.states import Event, State, after

Code = Literal[
    "",
    "address",  # it may not be connected to
    "certificate",
    "closed",
    "codec",  # that the server does not say it takes
    "key_refused",
    "protocol",
    "refused",
    "rendition",  # which the stream has not
    "slow",
    "unreachable",
]
BITRATE_S = 5.0  # over which the bitrate is taken


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one target since it was started; `since_ms` is UTC, of the state."""

    state: str
    since_ms: int
    bytes: int = 0
    bitrate_bps: int = 0
    frames_skipped: int = 0
    reconnects: int = 0
    error_code: Code = ""
    last_error: str = ""


class Health:
    """Counts, and the state; `error` is said in words, without any key."""

    def __init__(self, clock: Callable[[], float], utc_s: Callable[[], float] = time.time) -> None:
        self.state = State.IDLE
        self.bytes = 0
        self.frames_skipped = 0
        self.reconnects = 0
        self.error_code: Code = ""
        self.last_error = ""
        self._clock = clock
        self._utc_s = utc_s
        self._since_ms = round(utc_s() * 1000)
        self._marks = [
            (clock(), 0)
        ]  # when how many bytes were out: the last one, and the one before

    def happens(self, event: Event, code: Code = "", error: str = "") -> State:
        """Go on to the next state; `error` stays told until another takes its place."""
        self.state = after(self.state, event)
        self._since_ms = round(self._utc_s() * 1000)
        if code:
            self.error_code, self.last_error = code, error
        if event is Event.ACCEPTED:
            self._marks = [(self._clock(), self.bytes)]
        return self.state

    def sent(self, count: int) -> None:
        """So many bytes more are on their way."""
        self.bytes += count
        now = self._clock()
        if now - self._marks[-1][0] >= BITRATE_S:
            self._marks = [self._marks[-1], (now, self.bytes)]

    def figures(self) -> Figures:
        return Figures(
            self.state.value,
            self._since_ms,
            self.bytes,
            self._bitrate(),
            self.frames_skipped,
            self.reconnects,
            self.error_code,
            self.last_error,
        )

    def _bitrate(self) -> int:
        began, count = self._marks[0]
        lasted_s = self._clock() - began
        if self.state is not State.LIVE or lasted_s <= 0:
            return 0
        return round((self.bytes - count) * 8 / max(lasted_s, 1.0))
