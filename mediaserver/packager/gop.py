"""The publisher's keyframe interval: what its encoder says of itself, and what was seen of it."""

from __future__ import annotations

import re
from collections import deque

from mediaserver.errors import ProtocolError
from mediaserver.media import Packet
from mediaserver.protocol.h264 import AvcConfig, parse_sps

REMEMBERED = 8  # intervals; an encoder that was set to another is believed after so many
OPTIONS_BYTES = 4096  # x264's options come first in the first keyframe and take 700 bytes
_X264_INTERVAL = re.compile(rb"x264 - core .{1,1000}? keyint=(\d{1,5}) ", re.DOTALL)


def promised_interval_s(keyframe: Packet) -> float | None:
    """The longest interval x264 may leave between keyframes, in seconds.

    It writes its options as text into an SEI (user_data_unregistered) of its first keyframe. With
    scene-cut detection the intervals seen first may be much shorter than those to come. None for
    other encoders, and for a stream that was joined later.
    """
    found = _X264_INTERVAL.search(keyframe.payload[:OPTIONS_BYTES])
    if found is None or keyframe.track.codec != "h264":
        return None
    try:
        frame_rate = parse_sps(AvcConfig.parse(keyframe.track.config).sps[0]).frame_rate
    except ProtocolError:
        return None
    return int(found[1]) / frame_rate if frame_rate else None


class KeyframeIntervals:
    """The latest intervals between keyframes, in ticks of decode time."""

    def __init__(self) -> None:
        self._latest: deque[int] = deque(maxlen=REMEMBERED)
        self._last_dts: int | None = None

    def begin(self, dts: int) -> None:
        """A keyframe after a break: what lies before it is no interval."""
        self._last_dts = dts

    def add(self, dts: int) -> None:
        if self._last_dts is not None:
            self._latest.append(dts - self._last_dts)
        self._last_dts = dts

    @property
    def longest(self) -> int:
        return max(self._latest, default=0)
