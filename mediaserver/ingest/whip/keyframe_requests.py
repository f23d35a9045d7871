"""When a publisher is asked for a keyframe (PLI, RFC 4585 §6.3.1)."""

from __future__ import annotations

PLI_INTERVAL_S = 0.5
KEYFRAMES_AT_ONCE = 3
KEYFRAME_S = 2.0  # then one in so much; the packager's two-second segments want no more


class KeyframeRequests:
    """When to ask the publisher for a keyframe, which costs it as much as ten other pictures.

    Again each PLI_INTERVAL_S while none comes. What is wanted after one came is counted against a
    budget, KEYFRAMES_AT_ONCE and then one in KEYFRAME_S: many viewers on thin links may each lose
    their picture. Our own loss, which all of them see, is never refused.
    """

    def __init__(self) -> None:
        self._asked_at = float("-inf")
        self._open = False
        self._budget = float(KEYFRAMES_AT_ONCE)
        self._counted_at = 0.0

    def ask(self, now: float, *, own_loss: bool) -> bool:
        """Whether to send a request now."""
        if now - self._asked_at < PLI_INTERVAL_S:
            return False
        if not self._open:
            earned = (now - self._counted_at) / KEYFRAME_S
            self._budget = min(self._budget + earned, float(KEYFRAMES_AT_ONCE))
            self._counted_at = now
            if self._budget < 1 and not own_loss:
                return False
            self._budget = max(self._budget - 1, 0.0)
        self._asked_at = now
        self._open = True
        return True

    def came(self) -> None:
        """A keyframe came, asked for or not."""
        self._open = False
