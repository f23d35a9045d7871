"""EXT-X-TARGETDURATION of a stream, fixed once for all its playlists (RFC 8216bis §6.2.1).

It is the larger of the planned segment and the first one, in whole seconds, up: the first segment ends
with a whole keyframe interval of the publisher, so an even interval always fits. No segment's length
may round to more (§4.4.3.1); `limit_s` is what the segmenter keeps to.
"""

from __future__ import annotations

import math

MAX_GOP_S = 10  # x264's and OBS's longest default keyframe interval: 250 frames at 25/s
ROUNDING_S = 0.4  # half a second rounds down; audio segments end up to two frames later
JITTER_S = 0.1  # timestamps that jitter around a whole second must not cost another


class TargetDuration:
    def __init__(self, segment_ms: int) -> None:
        self.seconds: int | None = None
        self._planned_s = math.ceil(segment_ms / 1000)
        self._longest_s = self._planned_s + MAX_GOP_S

    def fix(self, segment_s: float) -> int:
        """The target in seconds; the first call, by the first segment that ends, fixes it."""
        if self.seconds is None:
            seen_s = min(self._longest_s, math.ceil(segment_s - JITTER_S))
            self.seconds = max(self._planned_s, seen_s)
        return self.seconds

    @property
    def limit_s(self) -> float:
        """How long a segment may be; before the first has ended, as long as any target allows."""
        return (self.seconds or self._longest_s) + ROUNDING_S
