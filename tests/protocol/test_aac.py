"""AudioSpecificConfig: what is read, what is refused, and that it serializes back."""

from __future__ import annotations

import random

import pytest

from mediaserver.errors import ProtocolError
from mediaserver.protocol.aac import (
    LC,
    PS,
    SAMPLE_RATES,
    SBR,
    AudioSpecificConfig,
    audio_track,
    codec_string,
)

LC_44100_STEREO = bytes.fromhex("1210")
LC_48000_STEREO_SYNC_EXTENSION = bytes.fromhex("119056e500")  # as FFmpeg's encoder writes it
HE_24000_STEREO = bytes.fromhex("2b118800")


def test_the_config_of_an_lc_stream_is_two_bytes() -> None:
    assert AudioSpecificConfig.parse(LC_44100_STEREO) == AudioSpecificConfig(LC, 44_100, 2)
    assert AudioSpecificConfig(LC, 44_100, 2).serialize() == LC_44100_STEREO


def test_what_follows_the_config_is_ignored_and_kept_in_the_track() -> None:
    parsed = AudioSpecificConfig.parse(LC_48000_STEREO_SYNC_EXTENSION)
    assert parsed == AudioSpecificConfig(LC, 48_000, 2)
    track = audio_track(LC_48000_STEREO_SYNC_EXTENSION)
    assert track.config == LC_48000_STEREO_SYNC_EXTENSION
    assert (track.kind, track.codec) == ("audio", "aac")
    assert (track.clock_rate, track.channels) == (48_000, 2)


def test_he_aac_counts_in_the_samples_of_its_core() -> None:
    parsed = AudioSpecificConfig.parse(HE_24000_STEREO)
    assert parsed == AudioSpecificConfig(SBR, 24_000, 2, 48_000)
    assert codec_string(HE_24000_STEREO) == "mp4a.40.5"
    assert audio_track(HE_24000_STEREO).clock_rate == 24_000


def test_parametric_stereo_is_two_channels_from_one() -> None:
    config = AudioSpecificConfig(PS, 22_050, 1, 44_100)
    assert AudioSpecificConfig.parse(config.serialize()) == config
    assert audio_track(config.serialize()).channels == 2


@pytest.mark.parametrize("sample_rate", [*SAMPLE_RATES, 47_999, 192_000])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 6, 8])
@pytest.mark.parametrize("object_type", [LC, SBR, PS])
def test_every_config_serializes_back(object_type: int, sample_rate: int, channels: int) -> None:
    extension = 0 if object_type == LC else 48_000
    config = AudioSpecificConfig(object_type, sample_rate, channels, extension)
    data = config.serialize()
    assert AudioSpecificConfig.parse(data) == config
    assert AudioSpecificConfig.parse(data + b"\xff\x00") == config
    assert AudioSpecificConfig.parse(data).serialize() == data


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("", "cut short"),
        ("12", "cut short"),
        ("0a10", "object type 1 "),
        ("f94610", "object type 42 "),
        ("1690", "reserved"),
        ("1200", "channel configuration 0"),
        ("1214", "960 samples"),
        ("1780000010", "out of range"),
    ],
)
def test_what_cannot_be_played_is_refused_in_words(config: str, reason: str) -> None:
    with pytest.raises(ProtocolError, match=reason):
        AudioSpecificConfig.parse(bytes.fromhex(config))


def test_any_bytes_parse_or_raise_the_peers_error() -> None:
    random_bytes = random.Random(1)
    for _ in range(100_000):
        config = random_bytes.randbytes(random_bytes.randrange(8))
        try:
            parsed = AudioSpecificConfig.parse(config)
        except ProtocolError:
            continue
        assert AudioSpecificConfig.parse(parsed.serialize()) == parsed
