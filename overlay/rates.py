"""How often one viewer may do a thing."""

from __future__ import annotations

from collections import OrderedDict

from overlay.errors import Refusal

CHATTERS_REMEMBERED = 10_000  # more who wrote within a few seconds are forgotten from the oldest on


class RateLimited(Refusal):
    status = 429
    code = "rate_limited"
    title = "Too many messages"


class Bucket:
    """`per_s` a second on average, up to `burst` at once."""

    def __init__(self, per_s: float, burst: int, now: float) -> None:
        self._per_s = per_s
        self._burst = float(burst)
        self._left = float(burst)
        self._at = now

    def take(self, now: float) -> bool:
        """Whether one more is allowed."""
        self._left = min(self._burst, self._left + (now - self._at) * self._per_s)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class SlowMode:
    """One line of chat a viewer and `every_s`, over all of its pages."""

    def __init__(self, every_s: float) -> None:
        self.every_s = every_s
        self._spoke: OrderedDict[tuple[str, str], float] = OrderedDict()

    def check(self, room: str, sub: str, now: float) -> None:
        """Count one line; raises RateLimited."""
        spoke = self._spoke.get((room, sub))
        if spoke is not None and now - spoke < self.every_s:
            raise RateLimited(f"one line of chat every {self.every_s:g} s")
        self._spoke[(room, sub)] = now
        self._spoke.move_to_end((room, sub))
        if len(self._spoke) > CHATTERS_REMEMBERED:
            self._spoke.popitem(last=False)
