"""FLV tags of H.264 and AAC in Packet's form; what else there is is refused in words or left out."""

from __future__ import annotations

import random

import pytest

from benchmarks.fuzzing import mutations
from mediaserver.errors import ProtocolError
from mediaserver.protocol.flv import (
    DATA,
    END_OF_SEQUENCE,
    SEQUENCE_HEADER,
    AudioTag,
    FlvDemuxer,
    VideoTag,
)
from mediaserver.protocol.flv_audio import CONFIG_WAIT
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
)

FUZZ_INPUTS = 100_000

AUD, FILLER, SEI = b"\x09\xf0", b"\x0c\xff\xff\x80", b"\x06\x05\x01\x00\x80"
OTHER_SPS = bytes.fromhex("6742c01eda0280bfe5c04400000300040000030320f1722a")  # 640x360
OTHER_PPS = bytes.fromhex("68ce3c80")


def access_unit(*nals: bytes, key: bool = False, composition_ms: int = 0) -> bytes:
    return VideoTag(DATA, key, composition_ms, join_length_prefixed(nals)).serialize()


def started() -> FlvDemuxer:
    demuxer = FlvDemuxer()
    assert not demuxer.video(AVC_HEADER)
    assert not demuxer.audio(AAC_HEADER)
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
    [frame] = demuxer.video(access_unit(IDR, key=True, composition_ms=-40))
    assert (frame.keyframe, frame.composition_ms) == (True, -40)
    assert frame.payload == join_length_prefixed([IDR])
    assert frame.track is demuxer.video_track
    [frame] = demuxer.video(SLICE_TAG)
    assert not frame.keyframe
    [frame] = demuxer.audio(AAC_FRAME)
    assert (frame.payload, frame.keyframe, frame.composition_ms) == (AAC_FRAME[2:], True, 0)


def test_lengths_become_four_bytes() -> None:
    for size in (1, 2):
        demuxer = FlvDemuxer()
        config = AvcConfig((SPS,), (PPS,), size).serialize()
        demuxer.video(VideoTag(SEQUENCE_HEADER, True, 0, config).serialize())
        data = b"".join(len(nal).to_bytes(size, "big") + nal for nal in (SEI, SLICE))
        [frame] = demuxer.video(VideoTag(DATA, False, 0, data).serialize())
        assert split_length_prefixed(frame.payload) == [SEI, SLICE]
        assert AvcConfig.parse(frame.track.config).length_size == 4


def test_delimiters_filler_and_parameter_sets_are_taken_out() -> None:
    demuxer = started()
    before = demuxer.video_track
    [frame] = demuxer.video(access_unit(AUD, SPS, PPS, SEI, IDR, FILLER))
    assert split_length_prefixed(frame.payload) == [SEI, IDR]
    assert frame.track is before


def test_a_unit_of_nothing_but_these_is_no_frame() -> None:
    assert not started().video(access_unit(AUD, SPS, PPS))
    assert not started().video(b"\x27\x01\x00\x00\x00")


def test_new_parameter_sets_within_the_stream_make_a_new_track() -> None:
    demuxer = started()
    before = demuxer.video_track
    [frame] = demuxer.video(access_unit(OTHER_SPS, OTHER_PPS, IDR))
    assert frame.track != before
    assert (frame.track.width, frame.track.height) == (640, 360)
    assert AvcConfig.parse(frame.track.config) == AvcConfig((OTHER_SPS,), (OTHER_PPS,))
    [again] = demuxer.video(SLICE_TAG)
    assert again.track is frame.track


def test_a_picture_parameter_set_of_another_id_joins_those_there() -> None:
    demuxer = started()
    second = b"\x68\x5a\x80"  # id 1
    [frame] = demuxer.video(access_unit(second, IDR))
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
    assert not demuxer.video(SLICE_TAG)
    [frame] = demuxer.video(access_unit(SPS, PPS, IDR))
    assert frame.keyframe


def test_frames_before_their_configuration_are_dropped() -> None:
    demuxer = FlvDemuxer()
    assert not demuxer.video(IDR_TAG)
    assert not demuxer.audio(AAC_FRAME)


def test_a_keyframe_is_a_picture_that_decoding_can_start_from() -> None:
    [marked] = started().video(access_unit(SLICE, key=True))
    [unmarked] = started().video(access_unit(IDR, key=False))
    assert not marked.keyframe
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
    assert not demuxer.video(body)
    assert demuxer.video(SLICE_TAG)


@pytest.mark.parametrize("body", [b"\xaf\x00", b"\xaf\x01", b"\xaf\x02abc"])
def test_audio_tags_without_a_frame_are_passed_over(body: bytes) -> None:
    demuxer = started()
    assert not demuxer.audio(body)
    assert demuxer.audio(AAC_FRAME)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"\x1c\x00\x00\x00\x00abc", "HEVCDecoderConfigurationRecord"),
        (b"\x12abc", "Sorenson H.263 video is not supported"),
        (b"\x1fabc", "codec 15 video is not supported"),
        (b"\x1d\x00\x00\x00\x00abc", "AV1 video is not supported: in OBS choose an H.264"),
        (b"\x90vvc1abc", "VVC video is not supported: in OBS choose an H.264"),
        (b"\x90\x00\n\x1b[", "an unknown codec video is not supported"),
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
        (b"\x2fabc", "MP3 audio"),
        (b"\xbfabc", "Speex audio"),
        (b"\xffabc", "codec 15 audio"),
        (b"\x90fLaCabc", "FLAC audio"),
        (b"\x90\0\0\0\0abc", "an unknown codec audio"),
        (b"\xaf\x00\x0a\x10", "AAC object type 1"),
        (b"\x90OpusOpusHead\x01\x06", "OpusHead is cut off"),
    ],
)
def test_sound_that_cannot_be_taken_is_left_out_and_said_in_words(body: bytes, reason: str) -> None:
    demuxer = started()
    assert not demuxer.audio(body)
    assert reason in demuxer.refused_audio
    assert demuxer.video(IDR_TAG)


@pytest.mark.parametrize("body", [b"", b"\xaf"])
def test_an_audio_tag_without_its_header_is_an_error(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        started().audio(body)


def test_a_sequence_header_in_annex_b_and_one_without_parameter_sets_do_no_harm() -> None:
    annex_b = b"\0\0\0\1" + SPS + b"\0\0\0\1" + PPS
    demuxer = FlvDemuxer()
    demuxer.video(VideoTag(SEQUENCE_HEADER, True, 0, annex_b).serialize())
    assert demuxer.video_track == started().video_track
    empty = b"\1\x42\xc0\x0b\xff\xe0\0"
    demuxer.video(VideoTag(SEQUENCE_HEADER, True, 0, empty).serialize())
    [frame] = demuxer.video(IDR_TAG)
    assert frame.track == started().video_track


def test_access_units_behind_start_codes_are_put_behind_lengths() -> None:
    data = b"".join(b"\0\0\0\1" + nal for nal in (AUD, SPS, PPS, IDR))
    [frame] = FlvDemuxer().video(VideoTag(DATA, True, 0, data).serialize())
    assert frame.keyframe
    assert frame.payload == join_length_prefixed([IDR])


def test_a_frame_that_needs_no_change_is_handed_on_as_it_is_and_others_are_sorted_out() -> None:
    quick, mended = started(), started()
    for nals in ((SLICE,), (SEI, SLICE, SLICE), (SEI, IDR, IDR)):
        [frame] = quick.video(access_unit(*nals))
        [other] = mended.video(access_unit(AUD, *nals, FILLER))
        assert frame == other


def test_hevc_by_the_codec_number_that_many_encoders_use() -> None:
    tag = VideoTag(DATA, True, 40, b"data", b"hvc1")
    assert tag.serialize()[0] == 0x1C
    assert VideoTag.parse(tag.serialize()) == tag


def adts(frame: bytes, rate_index: int = 4, channels: int = 2) -> bytes:
    length = 7 + len(frame)
    head = 0xFFF1 << 40 | 1 << 38 | rate_index << 34 | channels << 30 | length << 13 | 0x1FFC
    return head.to_bytes(7, "big") + frame


def test_aac_with_adts_headers_needs_no_configuration() -> None:
    demuxer = FlvDemuxer()
    [frame] = demuxer.audio(b"\xaf\x01" + adts(b"\x21" * 50))
    assert (frame.payload, frame.track.clock_rate, frame.track.channels) == (
        b"\x21" * 50,
        44_100,
        2,
    )
    [frame] = started().audio(b"\xaf\x01" + adts(b"\x21" * 50))
    assert frame.payload == b"\x21" * 50
    [frame] = started().audio(b"\xaf\x01\xff" + b"\x21" * 50)  # only looks like one
    assert frame.payload == b"\xff" + b"\x21" * 50


def test_aac_whose_configuration_never_comes_is_what_the_metadata_says() -> None:
    demuxer = FlvDemuxer()
    demuxer.expect_audio(44_100, 1)
    frames = [frame for _ in range(CONFIG_WAIT + 1) for frame in demuxer.audio(AAC_FRAME)]
    assert len(frames) == 2
    assert (frames[0].track.clock_rate, frames[0].track.channels) == (44_100, 1)
    silent = FlvDemuxer()
    for _ in range(CONFIG_WAIT + 1):
        assert not silent.audio(AAC_FRAME)
    assert silent.refused_audio == "AAC without its configuration"


def test_any_bytes_are_frames_or_the_peers_error() -> None:
    chance = random.Random(5)
    units = access_unit(AUD, OTHER_SPS, OTHER_PPS, SEI, IDR[:20], FILLER, key=True)
    videos = [AVC_HEADER, units, SLICE_TAG[:60]]
    audios = [AAC_HEADER, AAC_FRAME]
    demuxer, frames = started(), 0
    for index in range(len(videos)):
        for data in mutations(videos[index], FUZZ_INPUTS // 4, chance):
            try:
                frames += len(demuxer.video(data))
            except ProtocolError:
                demuxer = started()
    for index in range(len(audios)):
        for data in mutations(audios[index], FUZZ_INPUTS // 8, chance):
            try:
                frames += len(demuxer.audio(data))
            except ProtocolError:
                demuxer = started()
    assert frames > 0
