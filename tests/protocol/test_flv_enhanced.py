"""Enhanced RTMP: headers, tracks and codecs that Adobe's FLV does not know."""

from __future__ import annotations

import random

import pytest

from benchmarks.fuzzing import mutations
from mediaserver.errors import ProtocolError
from mediaserver.media import Codec
from mediaserver.protocol import av1, flv_enhanced, h264, opus
from mediaserver.protocol.flv import DATA, SEQUENCE_HEADER, FlvDemuxer, Frame, VideoTag
from mediaserver.protocol.flv_enhanced import (
    AUDIO_MULTITRACK,
    CODED_FRAMES,
    CODED_FRAMES_X,
    MAX_TRACKS,
    METADATA,
    SEQUENCE_END,
    SEQUENCE_START,
    TrackTag,
    parse_audio,
    parse_video,
    serialize_audio,
    serialize_video,
    serialize_video_tracks,
)
from tests.protocol import encoded
from tests.protocol.rtmp_client import AVC_HEADER, IDR_TAG, SLICE_TAG

FUZZ_INPUTS = 100_000

FOUR_CCS: dict[Codec, bytes] = {
    "h264": b"avc1",
    "h265": b"hvc1",
    "av1": b"av01",
    "vp9": b"vp09",
    "vp8": b"vp08",
}
HEAD = opus.OpusHead(2).serialize()
OPUS_FRAME = b"\xfc" + bytes(40)  # 20 ms
MOD_EX = b"\x02\x00\x00\x07"  # three bytes of nanoseconds; what type follows stands apart


def video(
    packet_type: int, four_cc: bytes, data: bytes, number: int = 0, composition_ms: int = 0
) -> bytes:
    return serialize_video(TrackTag(packet_type, four_cc, data, number, composition_ms), 1)


def start(codec: Codec, number: int = 0) -> bytes:
    config = encoded.packets(codec)[0].track.config
    return video(SEQUENCE_START, FOUR_CCS[codec], config, number)


@pytest.mark.parametrize("number", [0, 1, 255])
@pytest.mark.parametrize("packet_type", [SEQUENCE_START, CODED_FRAMES, CODED_FRAMES_X, METADATA])
@pytest.mark.parametrize("four_cc", [b"hvc1", b"av01"])
def test_a_tag_of_one_track_serializes_back(packet_type: int, four_cc: bytes, number: int) -> None:
    composition_ms = -40 if (packet_type, four_cc) == (CODED_FRAMES, b"hvc1") else 0
    tag = TrackTag(packet_type, four_cc, b"data", number, composition_ms)
    assert parse_video(serialize_video(tag, 2)) == [tag]
    sound = TrackTag(CODED_FRAMES, b"Opus", b"data", number)
    assert parse_audio(serialize_audio(sound)) == [sound]


def test_a_tag_of_several_tracks_and_codecs_serializes_back() -> None:
    tags = [
        TrackTag(CODED_FRAMES, b"avc1", b"zero", 0, 80),
        TrackTag(CODED_FRAMES, b"av01", b"", 1),
        TrackTag(CODED_FRAMES, b"hvc1", b"two", 7, -1),
    ]
    assert parse_video(serialize_video_tracks(tags, 2)) == tags


def test_several_tracks_of_one_codec_name_it_once() -> None:
    body = b"\xa6\x13avc1" + b"\x00\x00\x00\x02ab" + b"\x02\x00\x00\x01c"
    assert parse_video(body) == [
        TrackTag(CODED_FRAMES_X, b"avc1", b"ab", 0),
        TrackTag(CODED_FRAMES_X, b"avc1", b"c", 2),
    ]


def test_modifiers_before_a_tag_are_passed_over() -> None:
    assert parse_video(b"\x97" + MOD_EX + b"\x03av01data") == [
        TrackTag(CODED_FRAMES_X, b"av01", b"data")
    ]
    long = b"\xff\x01\x2b" + bytes(300) + b"\x03"
    assert parse_video(b"\x97" + MOD_EX + b"\x07" + long + b"vp09d") == [
        TrackTag(CODED_FRAMES_X, b"vp09", b"d")
    ]
    assert parse_audio(b"\x97" + MOD_EX + b"\x01Opusd") == [TrackTag(CODED_FRAMES, b"Opus", b"d")]


def test_a_command_holds_no_track_and_colours_no_frame() -> None:
    assert parse_video(b"\xd1\x00") == []
    demuxer = FlvDemuxer()
    assert not demuxer.video(video(METADATA, b"hvc1", b"\x02\x00\x09colorInfo\x03\x00\x00\x09"))
    assert not demuxer.video(video(SEQUENCE_END, b"hvc1", b"x"))


@pytest.mark.parametrize("body", [b"\x90", b"\x90av0", b"\x91hvc1\0\0", b"\x97", b"\x97\x02\0\0"])
def test_a_tag_that_is_cut_short_is_an_error(body: bytes) -> None:
    with pytest.raises(ProtocolError, match="cut short"):
        parse_video(body)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"\x96\x36avc1\x00", "of an unknown kind"),
        (b"\x96\x06avc1\x00", "of an unknown kind"),  # a multitrack within
        (b"\x96\x13avc1" + bytes(4 * (MAX_TRACKS + 1)), "more than 16 tracks"),
        (b"\x97" + (MOD_EX + b"\x07") * 9, "more than 8 modifiers"),
        (b"\x96\x13avc1\x00\x00\x00\x09ab", "cut short"),
    ],
)
def test_what_has_no_bounds_or_sense_is_an_error(body: bytes, reason: str) -> None:
    with pytest.raises(ProtocolError, match=reason):
        parse_video(body)


@pytest.mark.parametrize("packet_type", [CODED_FRAMES, CODED_FRAMES_X])
@pytest.mark.parametrize("codec", FOUR_CCS)
def test_each_codec_becomes_packets_of_its_track(codec: Codec, packet_type: int) -> None:
    demuxer = FlvDemuxer()
    assert not demuxer.video(start(codec))
    for packet in encoded.packets(codec):
        [frame] = demuxer.video(video(packet_type, FOUR_CCS[codec], packet.payload))
        assert frame == Frame(packet.track, packet.keyframe, 0, packet.payload)


@pytest.mark.parametrize("codec", ["h264", "h265", "av1", "vp9", "vp8"])
def test_a_sequence_header_that_never_comes_is_made_up_for_by_the_first_keyframe(
    codec: Codec,
) -> None:
    demuxer = FlvDemuxer()
    packets, coded = encoded.packets(codec), encoded.raw(codec, 30, encoded.SIZE)
    if codec not in ("vp9", "vp8", "av1"):
        later = video(CODED_FRAMES_X, FOUR_CCS[codec], packets[1].payload)
        assert not demuxer.video(later)
    for packet, (data, _) in zip(packets[:12], coded, strict=False):
        whole = data
        if codec in ("h264", "h265"):
            whole = h264.join_length_prefixed(h264.split_annex_b(data))
        [frame] = demuxer.video(video(CODED_FRAMES_X, FOUR_CCS[codec], whole))
        assert (frame.track, frame.keyframe) == (packet.track, packet.keyframe)
        assert frame.payload == packet.payload


def test_an_av1_keyframe_gets_the_sequence_header_of_the_configuration() -> None:
    demuxer = FlvDemuxer()
    demuxer.video(start("av1"))
    packet = encoded.packets("av1")[0]
    obus = av1.split_temporal_unit(packet.payload)
    bare = b"".join(obu for obu in obus if av1.obu_type(obu) != av1.OBU_SEQUENCE_HEADER)
    [frame] = demuxer.video(video(CODED_FRAMES, b"av01", bare))
    assert frame.keyframe
    assert frame.payload == packet.payload


def test_a_new_codec_in_the_same_track_begins_anew() -> None:
    demuxer = FlvDemuxer()
    demuxer.video(AVC_HEADER)
    [frame] = demuxer.video(IDR_TAG)
    assert frame.track.codec == "h264"
    demuxer.video(start("h265"))
    packet = encoded.packets("h265")[0]
    [frame] = demuxer.video(video(CODED_FRAMES_X, b"hvc1", packet.payload))
    assert frame.track == packet.track
    assert demuxer.video_track == packet.track
    assert not demuxer.video(SLICE_TAG)  # H.264 again, without its configuration


def test_tracks_have_their_own_configuration_and_number() -> None:
    demuxer = FlvDemuxer()
    demuxer.video(AVC_HEADER)
    demuxer.video(start("h264", number=3))
    assert {number: track.width for number, track in demuxer.video_tracks.items()} == {
        0: 160,
        3: 320,
    }
    packet = encoded.packets("h264")[0]
    [frame] = demuxer.video(video(CODED_FRAMES, b"avc1", packet.payload, 3, 40))
    assert frame == Frame(packet.track, True, 40, packet.payload, 3)
    [frame] = demuxer.video(IDR_TAG)
    assert (frame.number, frame.track.width) == (0, 160)


def test_the_number_of_tracks_is_bounded() -> None:
    demuxer = FlvDemuxer()
    for number in range(255):
        demuxer.video(start("h264", number))
    assert len(demuxer.video_tracks) == 10


def test_opus_and_aac_by_their_four_letters() -> None:
    demuxer = FlvDemuxer()
    demuxer.audio(serialize_audio(TrackTag(SEQUENCE_START, b"Opus", HEAD)))
    [frame] = demuxer.audio(serialize_audio(TrackTag(CODED_FRAMES, b"Opus", OPUS_FRAME)))
    assert frame == Frame(opus.opus_track(2), True, 0, OPUS_FRAME)
    demuxer.audio(serialize_audio(TrackTag(SEQUENCE_START, b"mp4a", b"\x11\x90")))
    [frame] = demuxer.audio(serialize_audio(TrackTag(CODED_FRAMES, b"mp4a", b"\x21" * 9)))
    assert (frame.track.codec, frame.payload) == ("aac", b"\x21" * 9)


def test_of_several_tracks_of_sound_the_first_is_taken() -> None:
    demuxer = FlvDemuxer()
    for number in (2, 5):
        tag = TrackTag(SEQUENCE_START, b"Opus", HEAD, number)
        assert serialize_audio(tag)[0] == 0x90 | AUDIO_MULTITRACK
        demuxer.audio(serialize_audio(tag))
    frames = [
        frame
        for number in (5, 2, 5)
        for frame in demuxer.audio(
            serialize_audio(TrackTag(CODED_FRAMES, b"Opus", OPUS_FRAME, number))
        )
    ]
    assert len(frames) == 1


def test_any_bytes_are_tracks_or_the_peers_error() -> None:
    chance = random.Random(6)
    seeds = [
        *(start(codec) for codec in FOUR_CCS),
        *(video(CODED_FRAMES, FOUR_CCS[c], encoded.packets(c)[0].payload[:80]) for c in FOUR_CCS),
        serialize_video_tracks(
            [TrackTag(SEQUENCE_START, b"avc1", AVC_HEADER[5:], n) for n in (0, 4)], 1
        ),
        b"\x97" + MOD_EX + b"\x06\x11hvc1" + b"\x00\x00\x00\x02ab" + b"\x02\x00\x00\x01c",
        serialize_audio(TrackTag(SEQUENCE_START, b"Opus", HEAD)),
        serialize_audio(TrackTag(CODED_FRAMES, b"Opus", OPUS_FRAME, 1)),
    ]
    demuxer, taken = FlvDemuxer(), 0
    for seed in seeds:
        take = demuxer.audio if seed[0] >> 4 == flv_enhanced.EX_AUDIO and b"Opus" in seed else None
        for data in mutations(seed, FUZZ_INPUTS // len(seeds) + 1, chance):
            try:
                taken += len((take or demuxer.video)(data))
            except ProtocolError:
                continue
            assert len(demuxer.video_tracks) <= 10
    assert taken > 0


def test_hevc_by_its_unofficial_codec_number_is_the_same() -> None:
    demuxer = FlvDemuxer()
    packets = encoded.packets("h265")
    config = VideoTag(SEQUENCE_HEADER, True, 0, packets[0].track.config, b"hvc1")
    assert not demuxer.video(config.serialize())
    for packet in packets[:12]:
        tag = VideoTag(DATA, packet.keyframe, 80, packet.payload, b"hvc1")
        assert demuxer.video(tag.serialize()) == (
            Frame(packet.track, packet.keyframe, 80, packet.payload),
        )


def test_hevc_parameter_sets_within_the_stream_make_a_new_track() -> None:
    demuxer = FlvDemuxer()
    demuxer.video(start("h265"))
    larger = encoded.raw("h265", 3, (640, 360))[0][0]
    body = video(CODED_FRAMES_X, b"hvc1", h264.join_length_prefixed(h264.split_annex_b(larger)))
    [frame] = demuxer.video(body)
    assert (frame.track.width, frame.track.height, frame.keyframe) == (640, 360, True)
    [again] = demuxer.video(body)
    assert again.track is frame.track
