"""Whether a link's queue is full, by what its viewer asks for again; long before reports tell of it.

A full queue drops some of what is sent for as long as more is sent than the link carries: a share of
the packets, one here and one there. Chance loses a smaller share, and a moment without a link loses
all of them. Pure: `now` is told.
"""

from __future__ import annotations

WINDOW_S = 0.5
LASTS_S = 0.15  # from the first of them to the last: what is shorter a queue can bear
LEAST_SHARE = 0.18  # links that lose by chance lose less
MOST_SHARE = 0.9  # no queue drops more of what it is just too thin for
LEAST_ASKED = 8  # of fewer no share is taken
FEW_ASKED = 3

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
        """Whether it may be so: reason enough to see to the sound, which has no room behind pictures."""
        return len(self._recent(now)) >= FEW_ASKED and self._share() >= LEAST_SHARE

    def full(self, now: float) -> bool:
        """Whether the link drops a share of all that it gets."""
        asked = self._recent(now)
        if len(asked) < LEAST_ASKED or now - min(asked.values()) < LASTS_S:
            return False
        return LEAST_SHARE <= self._share() <= MOST_SHARE

    def _recent(self, now: float) -> dict[Key, float]:
        for key in [key for key, at in self._asked.items() if now - at > WINDOW_S]:
            del self._asked[key]
        return self._asked

    def _share(self) -> float:
        return len(self._asked) / sum(self._span(audio) for audio in (False, True))

    def _span(self, audio: bool) -> int:
        """How many packets of a kind were sent, from the first lost one to the last."""
        numbers = [number for kind, number in self._asked if kind is audio]
        return max(numbers) - min(numbers) + 1 if numbers else 0
