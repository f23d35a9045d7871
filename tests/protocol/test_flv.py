"""FLV tags: H.264 and AAC in Packet's form, everything else refused in words."""

from __future__ import annotations

import random

import pytest

from mediaserver.errors import ProtocolError
from mediaserver.protocol.flv import (
    DATA,
    END_OF_SEQUENCE,
    SEQUENCE_HEADER,
    AudioTag,
    FlvDemuxer,
    VideoTag,
)
from mediaserver.protocol.h264 import AvcConfig, join_length_prefixed, split_length_prefixed
from tests.protocol.rtmp_client import (
    AAC_FRAME,
    AAC_HEADER,
    AVC_HEADER,
    IDR,
    IDR_TAG,
    PPS,
    SLICE,
    SLICE_TAG,
    SPS,
    mutations,
)

FUZZ_INPUTS = 100_000

AUD, FILLER, SEI = b"\x09\xf0", b"\x0c\xff\xff\x80", b"\x06\x05\x01\x00\x80"
OTHER_SPS = bytes.fromhex("6742c01eda0280bfe5c04400000300040000030320f1722a")  # 640x360
OTHER_PPS = bytes.fromhex("68ce3c80")


def access_unit(*nals: bytes, key: bool = False, composition_ms: int = 0) -> bytes:
    return VideoTag(DATA, key, composition_ms, join_length_prefixed(nals)).serialize()


def started() -> FlvDemuxer:
    demuxer = FlvDemuxer()
    assert demuxer.video(AVC_HEADER) is None
    assert demuxer.audio(AAC_HEADER) is None
    return demuxer


@pytest.mark.parametrize("composition_ms", [0, 1, 80, -1, -40, 0x7FFFFF, -0x800000])
@pytest.mark.parametrize("packet_type", [SEQUENCE_HEADER, DATA, END_OF_SEQUENCE])
@pytest.mark.parametrize("key", [True, False])
def test_a_video_tag_serializes_back(key: bool, packet_type: int, composition_ms: int) -> None:
    tag = VideoTag(packet_type, key, composition_ms, b"data")
    assert VideoTag.parse(tag.serialize()) == tag
    assert len(tag.serialize()) == 9


def test_an_audio_tag_serializes_back() -> None:
    for packet_type in (SEQUENCE_HEADER, DATA):
        tag = AudioTag(packet_type, b"data")
        assert AudioTag.parse(tag.serialize()) == tag
    assert AudioTag(DATA, b"").serialize() == b"\xaf\x01"


def test_the_sequence_headers_make_the_tracks() -> None:
    demuxer = started()
    video, audio = demuxer.video_track, demuxer.audio_track
    assert video is not None
    assert audio is not None
    assert (video.codec, video.clock_rate, video.width, video.height) == ("h264", 90_000, 160, 120)
    assert video.config == AvcConfig((SPS,), (PPS,)).serialize()
    assert (audio.codec, audio.clock_rate, audio.channels) == ("aac", 48_000, 2)


def test_frames_carry_what_packets_promise() -> None:
    demuxer = started()
    frame = demuxer.video(access_unit(IDR, key=True, composition_ms=-40))
    assert frame is not None
    assert (frame.keyframe, frame.composition_ms) == (True, -40)
    assert frame.payload == join_length_prefixed([IDR])
    assert frame.track is demuxer.video_track
    frame = demuxer.video(SLICE_TAG)
    assert frame is not None
    assert not frame.keyframe
    frame = demuxer.audio(AAC_FRAME)
    assert frame is not None
    assert (frame.payload, frame.keyframe, frame.composition_ms) == (AAC_FRAME[2:], True, 0)


def test_lengths_become_four_bytes() -> None:
    for size in (1, 2):
        demuxer = FlvDemuxer()
        config = AvcConfig((SPS,), (PPS,), size).serialize()
        demuxer.video(VideoTag(SEQUENCE_HEADER, True, 0, config).serialize())
        data = b"".join(len(nal).to_bytes(size, "big") + nal for nal in (SEI, SLICE))
        frame = demuxer.video(VideoTag(DATA, False, 0, data).serialize())
        assert frame is not None
        assert split_length_prefixed(frame.payload) == [SEI, SLICE]
        assert AvcConfig.parse(frame.track.config).length_size == 4


def test_delimiters_filler_and_parameter_sets_are_taken_out() -> None:
    demuxer = started()
    before = demuxer.video_track
    frame = demuxer.video(access_unit(AUD, SPS, PPS, SEI, IDR, FILLER))
    assert frame is not None
    assert split_length_prefixed(frame.payload) == [SEI, IDR]
    assert frame.track is before


def test_a_unit_of_nothing_but_these_is_no_frame() -> None:
    assert started().video(access_unit(AUD, SPS, PPS)) is None
    assert started().video(b"\x27\x01\x00\x00\x00") is None


def test_new_parameter_sets_within_the_stream_make_a_new_track() -> None:
    demuxer = started()
    before = demuxer.video_track
    frame = demuxer.video(access_unit(OTHER_SPS, OTHER_PPS, IDR))
    assert frame is not None
    assert frame.track != before
    assert (frame.track.width, frame.track.height) == (640, 360)
    assert AvcConfig.parse(frame.track.config) == AvcConfig((OTHER_SPS,), (OTHER_PPS,))
    again = demuxer.video(SLICE_TAG)
    assert again is not None
    assert again.track is frame.track


def test_a_picture_parameter_set_of_another_id_joins_those_there() -> None:
    demuxer = started()
    second = b"\x68\x5a\x80"  # id 1
    frame = demuxer.video(access_unit(second, IDR))
    assert frame is not None
    assert AvcConfig.parse(frame.track.config).pps == (PPS, second)


def test_a_repeated_sequence_header_keeps_the_track_and_a_new_one_replaces_it() -> None:
    demuxer = started()
    video, audio = demuxer.video_track, demuxer.audio_track
    demuxer.video(AVC_HEADER)
    demuxer.audio(AAC_HEADER)
    assert demuxer.video_track is video
    assert demuxer.audio_track is audio
    config = AvcConfig((OTHER_SPS,), (OTHER_PPS,)).serialize()
    demuxer.video(VideoTag(SEQUENCE_HEADER, True, 0, config).serialize())
    demuxer.audio(b"\xaf\x00\x12\x10")
    assert demuxer.video_track is not None
    assert demuxer.video_track.width == 640
    assert demuxer.audio_track is not None
    assert demuxer.audio_track.clock_rate == 44_100


def test_parameter_sets_within_the_stream_are_enough() -> None:
    demuxer = FlvDemuxer()
    assert demuxer.video(SLICE_TAG) is None
    frame = demuxer.video(access_unit(SPS, PPS, IDR))
    assert frame is not None
    assert frame.keyframe


def test_frames_before_their_configuration_are_dropped() -> None:
    demuxer = FlvDemuxer()
    assert demuxer.video(IDR_TAG) is None
    assert demuxer.audio(AAC_FRAME) is None


def test_a_keyframe_is_a_picture_that_decoding_can_start_from() -> None:
    marked = started().video(access_unit(SLICE, key=True))
    unmarked = started().video(access_unit(IDR, key=False))
    assert marked is not None
    assert not marked.keyframe
    assert unmarked is not None
    assert unmarked.keyframe


@pytest.mark.parametrize(
    "body",
    [
        b"\x57\x00",  # a command frame
        b"\x17\x02\x00\x00\x00",  # the end of the sequence
        b"\x17\x00\x00\x00\x00",  # an empty header, as FFmpeg writes before it knows
        b"\x17\x09\x00\x00\x00abc",
    ],
)
def test_tags_without_a_frame_are_passed_over(body: bytes) -> None:
    demuxer = started()
    assert demuxer.video(body) is None
    assert demuxer.video(SLICE_TAG) is not None


@pytest.mark.parametrize("body", [b"\xaf\x00", b"\xaf\x01", b"\xaf\x02abc"])
def test_audio_tags_without_a_frame_are_passed_over(body: bytes) -> None:
    demuxer = started()
    assert demuxer.audio(body) is None
    assert demuxer.audio(AAC_FRAME) is not None


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"\x1c\x00\x00\x00\x00abc", "HEVC video is not supported: in OBS choose an H.264"),
        (b"\x12abc", "Sorenson H.263 video is not supported"),
        (b"\x1fabc", "codec 15 video is not supported"),
        (b"\x90hvc1abc", "Enhanced RTMP (HEVC) is not supported: in OBS choose an H.264"),
        (b"\x91av01abc", "Enhanced RTMP (AV1)"),
        (b"\x90\x00\n\x1b[", "Enhanced RTMP (an unknown codec)"),
        (b"", "empty video tag"),
        (b"\x17\x01\x00", "video tag is cut short"),
        (b"\x17\x00\x00\x00\x00\x01", "AVCDecoderConfigurationRecord"),
        (b"\x17\x01\x00\x00\x00\x00\x00\x01\x00ab", "longer than its sample"),
    ],
)
def test_video_that_cannot_be_taken_is_refused_in_words(body: bytes, reason: str) -> None:
    with pytest.raises(ProtocolError) as refusal:
        started().video(body)
    assert reason in refusal.value.detail


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"\x2fabc", "MP3 audio is not supported: in OBS choose AAC"),
        (b"\xbfabc", "Speex audio is not supported"),
        (b"\xffabc", "codec 15 audio is not supported"),
        (b"\x90Opusabc", "Enhanced RTMP (Opus) is not supported: in OBS choose AAC"),
        (b"", "empty audio tag"),
        (b"\xaf", "audio tag is cut short"),
        (b"\xaf\x00\x0a\x10", "AAC object type 1"),
    ],
)
def test_audio_that_cannot_be_taken_is_refused_in_words(body: bytes, reason: str) -> None:
    with pytest.raises(ProtocolError) as refusal:
        started().audio(body)
    assert reason in refusal.value.detail


def test_any_bytes_are_frames_or_the_peers_error() -> None:
    chance = random.Random(5)
    units = access_unit(AUD, OTHER_SPS, OTHER_PPS, SEI, IDR[:20], FILLER, key=True)
    videos = [AVC_HEADER, units, SLICE_TAG[:60]]
    audios = [AAC_HEADER, AAC_FRAME]
    demuxer, frames = started(), 0
    for index in range(len(videos)):
        for data in mutations(videos[index], FUZZ_INPUTS // 4, chance):
            try:
                frames += demuxer.video(data) is not None
            except ProtocolError:
                demuxer = started()
            assert len(demuxer._pps) < 256
    for index in range(len(audios)):
        for data in mutations(audios[index], FUZZ_INPUTS // 8, chance):
            try:
                frames += demuxer.audio(data) is not None
            except ProtocolError:
                demuxer = started()
    assert frames > 0
