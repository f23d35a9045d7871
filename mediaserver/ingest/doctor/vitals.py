"""What a stream's packets say of its health: rates, keyframes, and how sound and picture go together.

Packets are taken once a look, not one by one as they come, so a figure is the mean of WINDOW looks.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from mediaserver.media import Packet

WINDOW = 5  # looks
BASELINE_LOOKS = 5  # whose skew is what later ones are compared with


@dataclass(slots=True)
class Look:
    """One look's sums."""

    at: float
    frames: int = 0
    video_bytes: int = 0
    audio_bytes: int = 0


class Vitals:
    """Of one publication; `look` is called about once a second with what has come since."""

    def __init__(self, now: float) -> None:
        self.began_at = now
        self.frames = 0
        self._looks: deque[Look] = deque([Look(now)], maxlen=WINDOW + 1)
        self._keyframe_s: float | None = None  # media time of the last one
        self._interval_s = 0.0  # between the last two
        self._video_s: float | None = None  # media time reached
        self._audio_s: float | None = None
        self._skews: deque[float] = deque(maxlen=WINDOW)
        self._baseline: list[float] = []

    def look(self, packets: Sequence[Packet], now: float) -> None:
        look = Look(now)
        for packet in packets:
            at_s = packet.dts / packet.track.clock_rate
            if packet.track.kind == "audio":
                look.audio_bytes += len(packet.payload)
                self._audio_s = at_s
                continue
            look.frames += 1
            look.video_bytes += len(packet.payload)
            self._video_s = at_s
            if packet.keyframe:
                if self._keyframe_s is not None:
                    self._interval_s = at_s - self._keyframe_s
                self._keyframe_s = at_s
        self.frames += look.frames
        self._looks.append(look)
        self._compare()

    def _compare(self) -> None:
        if self._video_s is None or self._audio_s is None:
            return
        skew = self._audio_s - self._video_s
        if len(self._baseline) < BASELINE_LOOKS:
            self._baseline.append(skew)
        self._skews.append(skew)

    @property
    def has_video(self) -> bool:
        return self._video_s is not None

    @property
    def has_audio(self) -> bool:
        return self._audio_s is not None

    @property
    def frame_rate(self) -> float:
        """Frames that came a second, whatever their timestamps say; 0 before the second look."""
        return sum(look.frames for look in self._recent()) / self._window_s()

    @property
    def video_bps(self) -> int:
        return round(8 * sum(look.video_bytes for look in self._recent()) / self._window_s())

    @property
    def audio_bps(self) -> int:
        return round(8 * sum(look.audio_bytes for look in self._recent()) / self._window_s())

    @property
    def keyframe_interval_s(self) -> float:
        """Between the last two keyframes, or since the last one where that is longer."""
        if self._keyframe_s is None or self._video_s is None:
            return 0.0
        return max(self._interval_s, self._video_s - self._keyframe_s)

    @property
    def drift_ms(self) -> float:
        """By how much sound has moved against the picture since the first looks."""
        if len(self._baseline) < BASELINE_LOOKS:
            return 0.0
        return 1000 * (statistics.median(self._skews) - statistics.median(self._baseline))

    def _recent(self) -> list[Look]:
        return list(self._looks)[1:]

    def _window_s(self) -> float:
        return max(1e-3, self._looks[-1].at - self._looks[0].at)
