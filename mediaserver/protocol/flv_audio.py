"""The sound inside FLV, by codec, in the form that `Packet` promises.

AAC without its configuration is mended: frames with ADTS headers (ISO/IEC 14496-3 §1.A.2) say what they
are, and after CONFIG_WAIT frames without any the encoder's metadata is believed.
"""

from __future__ import annotations

from typing import Protocol

from mediaserver.errors import ProtocolError
from mediaserver.media import Track
from mediaserver.protocol import opus
from mediaserver.protocol.aac import LC, SAMPLE_RATES, AudioSpecificConfig, audio_track

CONFIG_WAIT = 50  # a second of frames: the configuration comes before the first
_ADTS_BYTES = 7
_CRC_BYTES = 2


class AudioTrack(Protocol):
    track: Track | None

    def configure(self, record: bytes) -> None:
        """Take a sequence header; raises ProtocolError for what can't be played."""

    def frame(self, body: bytes, start: int = 0) -> bytes | None:
        """The payload from `start` on, None if there is none to hand on; raises ProtocolError."""

    def expect(self, sample_rate: int, channels: int) -> None:
        """What the encoder's metadata says, 0 where it does not."""


class AacTrack:
    def __init__(self) -> None:
        self.track: Track | None = None
        self._waited = 0
        self._expected = (0, 0)

    def configure(self, record: bytes) -> None:
        if self.track is None or self.track.config != record:
            self.track = audio_track(record)

    def frame(self, body: bytes, start: int = 0) -> bytes | None:
        if self.track is None or body[start] == 0xFF:
            return self._mended(body[start:])
        return body[start:]

    def expect(self, sample_rate: int, channels: int) -> None:
        self._expected = sample_rate, channels

    def _mended(self, data: bytes) -> bytes | None:
        if len(data) > _ADTS_BYTES and data[0] == 0xFF and data[1] & 0xF6 == 0xF0:
            return self._without_adts(data)
        if self.track is None:
            self._waited += 1
            rate, channels = self._expected
            if self._waited < CONFIG_WAIT:
                return None
            if rate not in SAMPLE_RATES or channels not in (1, 2):
                raise ProtocolError("AAC without its configuration")
            self.configure(AudioSpecificConfig(LC, rate, channels).serialize())
        return data

    def _without_adts(self, data: bytes) -> bytes | None:
        """The frame behind an ADTS header; what only looks like one is taken as it is."""
        length = int.from_bytes(data[3:6], "big") >> 5 & 0x1FFF
        rate_index, channels = data[2] >> 2 & 15, (data[2] & 1) << 2 | data[3] >> 6
        if length != len(data) or data[6] & 3 or rate_index >= len(SAMPLE_RATES):
            return data if self.track is not None else None
        if channels and self.track is None:
            profile = (data[2] >> 6) + 1
            if profile != LC:
                raise ProtocolError(f"AAC object type {profile} is not supported: choose AAC-LC")
            count = 8 if channels == 7 else channels
            config = AudioSpecificConfig(LC, SAMPLE_RATES[rate_index], count)
            self.configure(config.serialize())
        return data[_ADTS_BYTES + (0 if data[1] & 1 else _CRC_BYTES) :]


class OpusTrack:
    """Opus in mono or stereo; packets say their length themselves."""

    def __init__(self) -> None:
        self.track: Track | None = None

    def configure(self, record: bytes) -> None:
        head = opus.OpusHead.parse(record)
        track = opus.opus_track(head.channels, head.pre_skip)
        if track != self.track:
            self.track = track

    def frame(self, body: bytes, start: int = 0) -> bytes | None:
        data = body[start:]
        opus.packet_duration(data)
        if self.track is None:  # the first packet tells enough
            self.track = opus.opus_track(2 if data[0] & 4 else 1)
        return data

    def expect(self, sample_rate: int, channels: int) -> None:
        """Opus needs none of it."""
