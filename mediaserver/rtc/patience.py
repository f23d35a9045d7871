"""How long a viewer whose link is too thin stays without video: at once again, then ever longer.

A viewer that skips again and again has a link that is too thin, and its video costs it its audio. So it
stays without video for 2, 4, 8 s and so on, and only then asks for a keyframe, which the source makes
for everybody. Pure: `now` is told.
"""

from __future__ import annotations

SKIP_PAUSE_S = 1.0
ASK_S = 1.0  # between two requests for a keyframe; doubled with every skip
PAUSE_MAX_S = 16.0
CALM_S = 10.0  # this long without a skip, and it counts as the first again


class Patience:
    """When one viewer may skip, ask for a keyframe, and go on with one."""

    def __init__(self) -> None:
        self.skips_in_a_row = 0
        self._skipped_at = -CALM_S - ASK_S
        self._pause_s = ASK_S
        self._ask_at = 0.0  # no keyframe is asked for before
        self._paused_until = 0.0  # and none is shown

    def may_skip(self, now: float) -> bool:
        return now - self._skipped_at >= SKIP_PAUSE_S

    def may_begin(self, now: float) -> bool:
        """Whether video may go on with a keyframe of now."""
        return now >= self._paused_until

    def may_ask(self, now: float) -> bool:
        """Whether a keyframe may be asked for on its account; then not again for a while."""
        if now < self._ask_at:
            return False
        self._ask_at = now + self._pause_s
        return True

    def on_skip(self, now: float) -> None:
        if now - self._skipped_at > CALM_S + self._pause_s:
            self.forgive(now)
        if self.skips_in_a_row:
            self._pause_s = min(2 * self._pause_s, PAUSE_MAX_S)
            self._ask_at = self._paused_until = now + self._pause_s
        self.skips_in_a_row += 1
        self._skipped_at = now

    def on_fall(self, now: float) -> None:
        """It got a lower layer instead of a pause."""
        self._skipped_at = now
        self.forgive(now)

    def forgive(self, now: float) -> None:
        """The next skip is the first again."""
        self.skips_in_a_row = 0
        self._pause_s = ASK_S
        self._ask_at = self._paused_until = now
