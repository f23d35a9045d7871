"""Opus packets (RFC 6716) and their identification header OpusHead (RFC 7845 §5.1).

Only mapping family 0 (mono, stereo) is spoken: it is what WebRTC, Enhanced RTMP and browsers share.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from mediaserver.errors import ProtocolError
from mediaserver.media import OPUS_CLOCK_RATE, Track

ENCODER_PRE_SKIP = 312  # samples at 48 kHz libopus looks ahead in its default application
MAX_PACKET_SAMPLES = 5760  # 120 ms (RFC 6716 §3.2.5, requirement R5)

_HEAD = struct.Struct("<8sBBHIhB")
_MAGIC = b"OpusHead"

# Samples at 48 kHz of one frame, by the TOC's configuration number (RFC 6716 §3.1, Table 2).
_FRAME_SAMPLES = (480, 960, 1920, 2880) * 3 + (480, 960) * 2 + (120, 240, 480, 960) * 4


def packet_duration(packet: bytes | memoryview) -> int:
    """Samples at 48 kHz that an Opus packet lasts (RFC 6716 §3.1); raises ProtocolError."""
    if not packet:
        raise ProtocolError("an empty Opus packet")
    toc = packet[0]
    code = toc & 3
    if code == 3:
        if len(packet) < 2:
            raise ProtocolError("an Opus packet without its frame count")
        frames = packet[1] & 0x3F
    else:
        frames = 1 if code == 0 else 2
    samples = frames * _FRAME_SAMPLES[toc >> 3]
    if not 0 < samples <= MAX_PACKET_SAMPLES:
        raise ProtocolError("an Opus packet of no frames, or of more than 120 ms")
    return samples


@dataclass(frozen=True, slots=True)
class OpusHead:
    """The identification header.

    `pre_skip`: samples at 48 kHz to drop at the start; `input_sample_rate` in Hz, informative, 0 if
    unknown; `output_gain` in 1/256 dB.
    """

    channels: int
    pre_skip: int = ENCODER_PRE_SKIP
    input_sample_rate: int = OPUS_CLOCK_RATE
    output_gain: int = 0

    @classmethod
    def parse(cls, head: bytes | memoryview) -> OpusHead:
        """Parse an OpusHead; raises ProtocolError. Trailing bytes are ignored (RFC 7845 §5.1)."""
        if len(head) < _HEAD.size:
            raise ProtocolError("an OpusHead is cut off")
        magic, version, channels, pre_skip, rate, gain, family = _HEAD.unpack_from(head)
        if magic != _MAGIC or version >> 4:
            raise ProtocolError("not an OpusHead, or of an unknown version")
        if family != 0 or channels not in (1, 2):
            raise ProtocolError("Opus is taken in mono and stereo only")
        return cls(channels, pre_skip, rate, gain)

    def serialize(self) -> bytes:
        return _HEAD.pack(
            _MAGIC,
            1,
            self.channels,
            self.pre_skip,
            self.input_sample_rate,
            self.output_gain,
            0,
        )


def opus_track(channels: int, pre_skip: int = ENCODER_PRE_SKIP) -> Track:
    """The Track of an Opus stream; `pre_skip` in samples at 48 kHz."""
    return Track(
        kind="audio",
        codec="opus",
        clock_rate=OPUS_CLOCK_RATE,
        config=OpusHead(channels, pre_skip).serialize(),
        channels=channels,
    )
