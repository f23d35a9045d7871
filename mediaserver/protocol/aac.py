"""AudioSpecificConfig, what a decoder must know about an AAC track (ISO/IEC 14496-3 §1.6.2.1).

Taken: AAC-LC, and HE-AAC v1 and v2 with explicit signalling, which browsers play; frames of 1,024
samples only, because the rest of the server counts in them. HE-AAC with backward-compatible
signalling parses as the LC stream it contains; its config bytes are kept whole, so a player that
knows SBR still finds it.

`sample_rate` is that of the AAC-LC core, not of SBR's doubled output: a frame is then always 1,024
ticks of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from mediaserver.errors import ProtocolError
from mediaserver.media import Track

LC = 2
SBR = 5  # HE-AAC v1
PS = 29  # HE-AAC v2

SAMPLE_RATES = (
    *(96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000),
    *(22_050, 16_000, 12_000, 11_025, 8_000, 7_350),
)  # by samplingFrequencyIndex, §1.6.3.4
MAX_SAMPLE_RATE = 192_000  # no encoder goes higher; a rate given in 24 bits could
_EXPLICIT_RATE = 15
_ESCAPED_OBJECT_TYPE = 31
_CHANNELS = (0, 1, 2, 3, 4, 5, 6, 8)  # by channelConfiguration, §1.6.3.5
_CHOOSE_LC = "choose AAC (AAC-LC) as the audio encoder"


@dataclass(frozen=True, slots=True)
class AudioSpecificConfig:
    """`object_type` is 2 (LC), 5 (HE-AAC) or 29 (HE-AAC v2).

    `sample_rate` (Hz) and `channels` are the core's; `extension_sample_rate` is SBR's output or 0.
    """

    object_type: int
    sample_rate: int
    channels: int
    extension_sample_rate: int = 0

    @classmethod
    def parse(cls, config: bytes) -> AudioSpecificConfig:
        """Read a config; what follows GASpecificConfig is ignored; raises ProtocolError."""
        bits = _BitReader(config)
        object_type = _parse_object_type(bits)
        sample_rate = _parse_sample_rate(bits)
        channel_configuration = bits.read(4)
        extension_sample_rate = 0
        core_type = object_type
        if object_type in (SBR, PS):
            extension_sample_rate = _parse_sample_rate(bits)
            core_type = _parse_object_type(bits)
        if core_type != LC:
            raise ProtocolError(f"AAC object type {core_type} is not supported: {_CHOOSE_LC}")
        if not 1 <= channel_configuration < len(_CHANNELS):
            raise ProtocolError(
                f"AAC channel configuration {channel_configuration} is not supported:"
                " choose mono, stereo or 5.1"
            )
        if bits.read(1):
            raise ProtocolError(f"AAC frames of 960 samples are not supported: {_CHOOSE_LC}")
        return cls(
            object_type, sample_rate, _CHANNELS[channel_configuration], extension_sample_rate
        )

    def serialize(self) -> bytes:
        """The config with explicit signalling; raises ValueError for what `parse` would refuse."""
        bits = _BitWriter()
        bits.write(self.object_type, 5)
        _serialize_sample_rate(bits, self.sample_rate)
        bits.write(_CHANNELS.index(self.channels, 1), 4)
        if self.object_type in (SBR, PS):
            _serialize_sample_rate(bits, self.extension_sample_rate)
            bits.write(LC, 5)
        bits.write(0, 3)  # frameLengthFlag, dependsOnCoreCoder, extensionFlag
        return bits.to_bytes()


def codec_string(config: bytes) -> str:
    """RFC 6381 §3.3 name of an AudioSpecificConfig, like "mp4a.40.2"; raises ProtocolError."""
    return f"mp4a.40.{AudioSpecificConfig.parse(config).object_type}"


def audio_track(config: bytes) -> Track:
    """The track that an AudioSpecificConfig describes; raises ProtocolError."""
    parsed = AudioSpecificConfig.parse(config)
    channels = 2 if parsed.object_type == PS else parsed.channels
    return Track("audio", "aac", parsed.sample_rate, config, channels=channels)


def _parse_object_type(bits: _BitReader) -> int:
    object_type = bits.read(5)
    return 32 + bits.read(6) if object_type == _ESCAPED_OBJECT_TYPE else object_type


def _parse_sample_rate(bits: _BitReader) -> int:
    index = bits.read(4)
    if index == _EXPLICIT_RATE:
        rate = bits.read(24)
        if not 0 < rate <= MAX_SAMPLE_RATE:
            raise ProtocolError(f"AAC sample rate {rate} is out of range")
        return rate
    if index >= len(SAMPLE_RATES):
        raise ProtocolError(f"AAC sampling frequency index {index} is reserved")
    return SAMPLE_RATES[index]


def _serialize_sample_rate(bits: _BitWriter, rate: int) -> None:
    if rate in SAMPLE_RATES:
        bits.write(SAMPLE_RATES.index(rate), 4)
    else:
        bits.write(_EXPLICIT_RATE, 4)
        bits.write(rate, 24)


class _BitReader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def read(self, count: int) -> int:
        first, self._position = self._position, self._position + count
        if self._position > len(self._data) * 8:
            raise ProtocolError("AudioSpecificConfig is cut short")
        last_byte = (self._position + 7) // 8
        window = int.from_bytes(self._data[first // 8 : last_byte], "big")
        return (window >> (last_byte * 8 - self._position)) & ((1 << count) - 1)


class _BitWriter:
    def __init__(self) -> None:
        self._value = 0
        self._length = 0

    def write(self, value: int, count: int) -> None:
        if not 0 <= value < 1 << count:
            raise ValueError(f"{value} does not fit in {count} bits")
        self._value = self._value << count | value
        self._length += count

    def to_bytes(self) -> bytes:
        padding = -self._length % 8
        return (self._value << padding).to_bytes((self._length + padding) // 8, "big")
