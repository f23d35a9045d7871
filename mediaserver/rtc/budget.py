"""What sending again may cost one viewer: a share of its rate, and a burst for one damaged keyframe.

Without it a link that is too thin for the stream collapses under its own mending. What was lost again
was lost to a full queue, so each time it costs double.
"""

from __future__ import annotations

NACK_SHARE = 0.2
NACK_BURST_BYTES = 48 << 10  # one damaged keyframe of a 720p stream can be mended at once
AUDIO_RESERVE_BYTES = 8 << 10  # for audio, when video has spent the budget: 0.5 s of it
RESENT_REMEMBERED = 1024
BURST_HALVINGS = 3

Key = tuple[bool, int]  # whether it is audio, and its number on the wire


class Budget:
    """Bytes that may be sent again, and what was."""

    def __init__(self, now: float) -> None:
        self._tokens = float(NACK_BURST_BYTES)
        self._tokens_at = now
        self._sent: dict[Key, tuple[float, int]] = {}  # when, how often

    def refill(self, bytes_per_s: float, skips: int, now: float) -> None:
        """Earn what the viewer's rate allows; each of its `skips` in a row halves the burst."""
        earned = NACK_SHARE * bytes_per_s * (now - self._tokens_at)
        burst_bytes = NACK_BURST_BYTES >> min(skips, BURST_HALVINGS)
        self._tokens = min(self._tokens + earned, float(burst_bytes))
        self._tokens_at = now

    def fill(self) -> None:
        self._tokens = float(NACK_BURST_BYTES)

    def cost(self, key: Key, size: int) -> int:
        _, times = self._sent.get(key, (0.0, 0))
        return size << times

    def exceeds(self, octets: int) -> bool:
        return octets > self._tokens

    def spend(self, key: Key, size: int, now: float) -> bool:
        """Pay for sending it again now; False where it can't be paid."""
        audio, _ = key
        cost = self.cost(key, size)
        if self._tokens - cost < (-AUDIO_RESERVE_BYTES if audio else 0):
            return False
        self._tokens -= cost
        self._remember(key, now)
        return True

    def spent_since(self, key: Key, since: float) -> bool:
        """Whether it was sent again after that."""
        last = self._sent.get(key)
        return last is not None and last[0] > since

    def _remember(self, key: Key, now: float) -> None:
        _, times = self._sent.pop(key, (now, 0))
        self._sent[key] = now, times + 1
        if len(self._sent) > RESENT_REMEMBERED:
            for each in list(self._sent)[: RESENT_REMEMBERED // 2]:
                del self._sent[each]
