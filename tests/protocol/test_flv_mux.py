"""Packets to FLV tags and back through our own demuxer."""

from __future__ import annotations

import pytest

from mediaserver.media import Packet, Track
from mediaserver.protocol.aac import audio_track
from mediaserver.protocol.flv import FlvDemuxer, Frame
from mediaserver.protocol.flv_mux import ENHANCED, PLAIN, FlvMuxer, Tag, codecs_of, metadata
from mediaserver.protocol.h264 import join_length_prefixed, video_track
from mediaserver.protocol.opus import opus_track
from tests.protocol.rtmp_client import IDR, PPS, SLICE, SPS

H264 = video_track((SPS,), (PPS,))
AAC = audio_track(b"\x11\x90")
OPUS = opus_track(2, 312)
IDR_UNIT, SLICE_UNIT = join_length_prefixed([IDR]), join_length_prefixed([SLICE])


def packet(track: Track, dts: int, payload: bytes, later: int = 0, keyframe: bool = True) -> Packet:
    return Packet(track, dts + later, dts, 0, keyframe, payload)


def demuxed(tags: list[Tag]) -> list[tuple[int, Frame]]:
    demuxer = FlvDemuxer()
    return [
        (tag.timestamp_ms, frame)
        for tag in tags
        for frame in (demuxer.video if tag.kind == "video" else demuxer.audio)(tag.body)
    ]


@pytest.mark.parametrize("sound", [AAC, OPUS], ids=["aac", "opus"])
def test_packets_come_back_from_the_demuxer_as_they_were(sound: Track) -> None:
    muxer = FlvMuxer()
    rate = sound.clock_rate
    tags = [
        *muxer.from_packet(packet(H264, 900_000, IDR_UNIT, later=7200)),
        *muxer.from_packet(packet(sound, 10 * rate + rate // 50, b"\xfc" + b"s" * 60)),
        *muxer.from_packet(packet(H264, 903_600, SLICE_UNIT, later=-90, keyframe=False)),
    ]
    picture, heard, second = demuxed(tags)
    assert picture == (0, Frame(H264, True, 80, IDR_UNIT))
    assert heard == (20, Frame(sound, True, 0, b"\xfc" + b"s" * 60))
    assert second == (40, Frame(H264, False, -1, SLICE_UNIT))


def test_a_track_that_changes_is_configured_again() -> None:
    muxer = FlvMuxer()
    other = video_track((SPS[:1] + b"\x4d" + SPS[2:],), (PPS,))
    for track in (H264, H264, other):
        tags = muxer.from_packet(packet(track, 0, IDR_UNIT))
    assert len(tags) == 2 and tags[0].body.endswith(other.config)


def test_sound_from_before_the_picture_stands_at_zero_and_time_wraps() -> None:
    muxer = FlvMuxer()
    muxer.from_packet(packet(H264, 90_000, IDR_UNIT))
    assert muxer.from_packet(packet(AAC, 0, b"s"))[-1].timestamp_ms == 0
    late = packet(H264, 90 * ((1 << 32) + 1005), IDR_UNIT)
    assert muxer.from_packet(late)[-1].timestamp_ms == 5


def test_a_composition_time_beyond_24_bits_is_cut() -> None:
    body = FlvMuxer().from_packet(packet(H264, 0, IDR_UNIT, later=1 << 40))[-1].body
    assert body[2:5] == b"\x7f\xff\xff"


def test_a_server_takes_what_everybody_takes_and_what_it_lists() -> None:
    assert codecs_of(()) == PLAIN
    assert codecs_of(("hvc1", "vvc1")) == PLAIN | {"h265"}
    assert codecs_of(("*",)) == ENHANCED


def test_the_metadata_say_what_the_tracks_are() -> None:
    assert metadata([H264, AAC]) == {
        "duration": 0,
        "encoder": "Hawker",
        "videocodecid": 7,
        "width": 160,
        "height": 120,
        "audiocodecid": 10,
        "audiosamplerate": 48_000,
        "audiosamplesize": 16,
        "audiochannels": 2,
        "stereo": True,
    }
    assert metadata([OPUS])["audiocodecid"] == int.from_bytes(b"Opus", "big")
