"""Whether a link's queue may be full, by what its viewer asks for again; before reports tell of it.

A full queue drops some of what is sent for as long as more is sent than the link carries: one packet
here and one there. Chance loses a smaller share, and a moment without a link loses all. Pure: `now` is
told.
"""

from __future__ import annotations

WINDOW_S = 0.5
FEW_ASKED = 3
LEAST_SHARE = 0.25  # links that lose by chance lose less, mostly
MOST_SHARE = 0.9  # no queue drops more of what it is just too thin for

Key = tuple[bool, int]  # whether it is audio, and its number on the wire


class Overflow:
    """Which packets were asked for within WINDOW_S, each counted once."""

    def __init__(self) -> None:
        self._asked: dict[Key, float] = {}  # when first; those of a window, so of one ring at most

    def ask(self, key: Key, now: float) -> None:
        """A packet was asked for."""
        self._asked.setdefault(key, now)

    def forget(self) -> None:
        """What was lost so far has another reason."""
        self._asked.clear()

    def likely(self, now: float) -> bool:
        """Whether the link drops a share of all that it gets: good enough a guess to mend sound by,
        not to take the video away."""
        asked = self._asked
        for key in [key for key, at in asked.items() if now - at > WINDOW_S]:
            del asked[key]
        if len(asked) < FEW_ASKED:
            return False
        sent = sum(self._span(audio) for audio in (False, True))
        return LEAST_SHARE <= len(asked) / sent <= MOST_SHARE

    def _span(self, audio: bool) -> int:
        """How many packets of a kind were sent, from the first lost one to the last."""
        numbers = [number for kind, number in self._asked if kind is audio]
        return max(numbers) - min(numbers) + 1 if numbers else 0
