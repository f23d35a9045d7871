"""The video that the fan-out benchmarks send: H.264 access units of one size, the same in every run.

Slices are random bytes behind a real NAL header and stand behind real parameter sets: a sender that
only packetises and encrypts can't tell, and a decoder never sees them.
"""

from __future__ import annotations

import random

from mediaserver.media import VIDEO_CLOCK_RATE, Track
from mediaserver.protocol.h264 import join_length_prefixed, video_track

FRAMES_PER_S = 30
GOP_FRAMES = 60
FRAME_BYTES = 8 * 1200 + 700  # nine packets; 2.5 Mbit/s
KEYFRAME_BYTES = 80_000  # of a 720p stream: about 70 packets at once
SPS = bytes.fromhex("6742c01fd9005005bb0110000003001000000303c0f1832480")  # x264, 1280x720
PPS = bytes.fromhex("68cb83cb20")

_IDR, _SLICE = 0x65, 0x61
FIRST_SLICE = 0x88


class Picture:
    """One group of pictures, sent over and over; keyframes are of the others' size unless said."""

    def __init__(self, keyframe_bytes: int = FRAME_BYTES, frame_bytes: int = FRAME_BYTES) -> None:
        source = random.Random(FRAME_BYTES)
        sizes = [keyframe_bytes] + [frame_bytes] * (GOP_FRAMES - 1)
        self.track: Track = video_track((SPS,), (PPS,))
        self._nals = [
            bytes((_SLICE if number else _IDR, FIRST_SLICE)) + _no_zeros(source, size - 2)
            for number, size in enumerate(sizes)
        ]
        self._payloads = [join_length_prefixed([nal]) for nal in self._nals]

    def keyframe(self, frame: int) -> bool:
        return frame % GOP_FRAMES == 0

    def nal(self, frame: int) -> bytes:
        """The one slice of this frame."""
        return self._nals[frame % GOP_FRAMES]

    def payload(self, frame: int) -> bytes:
        """The access unit as `media.Packet` has it: NAL units behind their lengths."""
        return self._payloads[frame % GOP_FRAMES]

    def timestamp(self, frame: int) -> int:
        """Decode time in ticks of 1/90,000 s."""
        return frame * VIDEO_CLOCK_RATE // FRAMES_PER_S


def _no_zeros(source: random.Random, size: int) -> bytes:
    """Random bytes in which no muxer finds a start code."""
    return source.randbytes(size).replace(b"\0", b"\1")
