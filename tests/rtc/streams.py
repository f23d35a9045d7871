"""Packets for a broadcast: H.264 access units of a wanted size, and Opus frames.

The pictures are no pictures: slices with a right header and random payload, numbered so that a test
knows them again. Nothing between the hub and a player's decoder looks further.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from mediaserver.media import OPUS_CLOCK_RATE, VIDEO_CLOCK_RATE, Packet, Track
from mediaserver.protocol.h264 import join_length_prefixed, video_track
from mediaserver.protocol.opus import opus_track

SPS = bytes.fromhex("6742c01fd9005005bb016a02020280000003008000001e478c1924")
PPS = bytes.fromhex("68cb8cb2")
VIDEO = video_track((SPS,), (PPS,))
AUDIO = opus_track(2)
EPOCH_MS = 1_790_000_000_000  # UTC of media time 0


@dataclass
class Pictures:
    """Access units in order, `fps` a second; a keyframe every `gop` of them and when `want`ed."""

    fps: int = 30
    gop: int = 60
    picture_bytes: int = 6_000
    keyframe_bytes: int = 30_000
    track: Track = VIDEO
    number: int = 0
    want: bool = True
    payloads: list[bytes] = field(default_factory=list)  # of the slices, in order
    dice: random.Random = field(default_factory=lambda: random.Random(7))

    def next(self, *, keyframe: bool | None = None, size: int | None = None) -> Packet:
        """The next access unit: one slice of `size` bytes."""
        if keyframe is None:
            keyframe = self.want or self.number % self.gop == 0
        self.want = False
        size = size or (self.keyframe_bytes if keyframe else self.picture_bytes)
        head = bytes((0x65 if keyframe else 0x41, 0x88)) + self.number.to_bytes(4, "big")
        slice_ = head + self.dice.randbytes(size - len(head))
        self.payloads.append(slice_)
        pts = self.number * VIDEO_CLOCK_RATE // self.fps
        self.number += 1
        return packet(self.track, pts, join_length_prefixed([slice_]), keyframe)


@dataclass
class Sound:
    """Opus frames of 20 ms."""

    number: int = 0

    def next(self, size: int = 160) -> Packet:
        payload = bytes((0xFC,)) + self.number.to_bytes(4, "big") + bytes(size - 5)
        pts = self.number * OPUS_CLOCK_RATE // 50
        self.number += 1
        return packet(AUDIO, pts, payload, True)


def packet(track: Track, pts: int, payload: bytes, keyframe: bool) -> Packet:
    wallclock_ms = EPOCH_MS + pts * 1000 // track.clock_rate
    return Packet(track, pts, pts, wallclock_ms, keyframe, payload)
