"""EXT-X-TARGETDURATION of a stream, fixed once for all its playlists (RFC 8216bis §6.2.1).

No segment's length may round to more (§4.4.3.1), and a player stays three of it behind the live edge:
it must be neither too short nor too long for keyframe intervals that are not known yet. It is the
largest of these, in whole seconds, up:

* the planned segment, with REQUEST_ROOM_S if keyframes come on request;
* the first segment, which ends with a whole interval, so an even interval always fits;
* the interval that the encoder says it may leave (gop.py), unless the first segment is of whole
  seconds: that is a keyframe forced by the clock, and the encoder's own limit is never reached.
"""

from __future__ import annotations

import math

MAX_GOP_S = 10  # x264's and OBS's longest default keyframe interval: 250 frames at 25/s
ROUNDING_S = 0.4  # half a second rounds down; audio segments end up to two frames later
JITTER_S = 0.05  # timestamps that jitter around a whole second must not cost another
REQUEST_ROOM_S = 1  # a keyframe comes a round trip after it was asked for, or a retry later


class TargetDuration:
    def __init__(self, segment_ms: int) -> None:
        self.seconds: int | None = None
        self._planned_s = math.ceil(segment_ms / 1000)
        self._longest_s = self._planned_s + MAX_GOP_S
        self._room_s = 0
        self._promised_s = 0.0

    def expect_interval(self, seconds: float | None) -> None:
        """The encoder says that keyframes may be so far apart; None if it says nothing."""
        self._promised_s = seconds or 0.0

    def expect_requests(self) -> None:
        """Keyframes come when they are asked for."""
        self._room_s = REQUEST_ROOM_S

    def fix(self, segment_s: float) -> int:
        """The target in seconds; the first call, by the first segment that ends, fixes it."""
        if self.seconds is None:
            by_the_clock = abs(segment_s - round(segment_s)) <= JITTER_S
            needed_s = segment_s if by_the_clock else max(segment_s, self._promised_s)
            wanted_s = max(self._planned_s + self._room_s, math.ceil(needed_s - JITTER_S))
            self.seconds = min(self._longest_s, wanted_s)
        return self.seconds

    @property
    def limit_s(self) -> float:
        """How long a segment may be; before the first has ended, as long as any target allows."""
        return (self.seconds or self._longest_s) + ROUNDING_S
