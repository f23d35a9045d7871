"""The types that flow between a wire and a screen: `Track` and `Packet`.

Timestamps are integers in ticks of the track's `clock_rate`, counted from the start of the stream's
session, so that both tracks of a stream share one zero: media time in milliseconds is
`pts * 1000 // clock_rate` for either. `pts` is the time at which the first sample a decoder puts out
for the packet belongs, codec delay included: an encoder that primes 1,024 samples starts 1,024 ticks
early, and nothing downstream needs an edit list.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["video", "audio"]
Codec = Literal["h264", "h265", "vp8", "vp9", "av1", "aac", "opus"]

VIDEO_CLOCK_RATE = 90_000
OPUS_CLOCK_RATE = 48_000
AAC_FRAME_SAMPLES = 1024


@dataclass(frozen=True, slots=True)
class Track:
    """One elementary stream; a change of configuration makes a new Track.

    `config` is the decoder configuration in ISO BMFF form: AVCDecoderConfigurationRecord for h264
    and HEVCDecoderConfigurationRecord for h265 (ISO/IEC 14496-15 §5.3.3.1, §8.3.3.1), vpcC for vp8
    and vp9, av1C for av1, AudioSpecificConfig for aac (ISO/IEC 14496-3 §1.6.2.1), OpusHead for opus
    (RFC 7845 §5.1).
    """

    kind: Kind
    codec: Codec
    clock_rate: int
    config: bytes
    width: int = 0
    height: int = 0
    channels: int = 0


@dataclass(slots=True)
class Packet:
    """One access unit or one audio frame.

    `payload`: h264 and h265 are NAL units each behind a four-byte length, without parameter sets,
    access unit delimiters or filler; vp8 and vp9 are one frame (or superframe); av1 is one temporal
    unit without temporal delimiters, each OBU with its size; aac is one raw frame without ADTS; opus
    is one Opus packet.
    `wallclock_ms` is the UTC time, in ms, that the stream's clock gives to `pts`.
    """

    track: Track
    pts: int
    dts: int
    wallclock_ms: int
    keyframe: bool
    payload: bytes

    @property
    def media_time_ms(self) -> int:
        return self.pts * 1000 // self.track.clock_rate
