"""The overload guard: makes less when the machine cannot keep up, and cautiously more again.

What it looks at is how long a second of media takes to make (`cost`) and how far behind the newest
packet the encoders are. Late alone says nothing: after a pause of the publisher's network everything
comes late, and is made good. Level 0 is everything; level 1 every other frame; each level above leaves
out one more rung, from the top, which cuts off who watches it and so is not done for a moment's sake. It
does more again only where the cost that this would have leaves room, and waits twice as long each time
that it was wrong.
"""

from __future__ import annotations

WINDOW_S = 2.0  # of media, over which cost is taken
LATE_S = 0.5  # behind the newest packet
BUSY = 0.9  # of real time
PATIENCE = 3  # windows of overload in a row before a rung is left out
ROOM = 0.7  # of real time, which the level above may cost
RECOVER_S = 10.0
RECOVER_MAX_S = 120.0


class OverloadGuard:
    """Fed with every packet's work; `level` says how much to leave out."""

    def __init__(self) -> None:
        self.level = 0
        self._media_s = 0.0
        self._busy_s = 0.0
        self._late = False
        self._overloads = 0  # in a row
        self._pause_s = RECOVER_S
        self._calm_since: float | None = None
        self._lowered_at: float | None = None

    def worked(
        self, now: float, media_s: float, busy_s: float, lag_s: float, most: int, gain: float
    ) -> bool:
        """Account for `media_s` of media that took `busy_s` and is `lag_s` behind; True on a change.

        `most` is the highest level there can be, `gain` how much dearer the level below would be.
        """
        self._media_s += media_s
        self._busy_s += busy_s
        self._late |= lag_s > LATE_S
        if self.level > most:
            self.level = most
            return True
        if self._media_s < WINDOW_S:
            return False
        cost, late = self._busy_s / self._media_s, self._late
        self._media_s = self._busy_s = 0.0
        self._late = False
        if late and cost > BUSY:
            return self._raise(now, most)
        return self._lower(now, cost * gain, late)

    def _raise(self, now: float, most: int) -> bool:
        self._calm_since = None
        self._overloads += 1
        if self.level >= most or (self.level and self._overloads < PATIENCE):
            return False
        self._overloads = 0
        if self._lowered_at is not None and now - self._lowered_at < self._pause_s:
            self._pause_s = min(2 * self._pause_s, RECOVER_MAX_S)
        else:
            self._pause_s = RECOVER_S
        self.level += 1
        return True

    def _lower(self, now: float, cost: float, late: bool) -> bool:
        self._overloads = 0
        if late or self.level == 0 or cost > ROOM:
            self._calm_since = None
            return False
        if self._calm_since is None:
            self._calm_since = now
        if now - self._calm_since < self._pause_s:
            return False
        self._calm_since = self._lowered_at = now
        self.level -= 1
        return True
