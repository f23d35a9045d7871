"""Transport streams: what FFmpeg muxes comes out as it went in, and what is missing is never shown."""

from __future__ import annotations

import io
import random
from contextlib import suppress
from itertools import pairwise

import av
import pytest

from benchmarks.fuzzing import mutations
from mediaserver.errors import ProtocolError
from mediaserver.protocol import h264
from mediaserver.protocol.mpegts import Demuxer, Frame
from mediaserver.protocol.mpegts.adts import AdtsFrames
from mediaserver.protocol.mpegts.demuxer import MAX_BROKEN
from mediaserver.protocol.mpegts.opus_frames import OpusFrames
from mediaserver.protocol.mpegts.packets import MAX_LOST_SYNC_BYTES, PACKET_BYTES
from mediaserver.protocol.mpegts.pes import MAX_PES_BYTES, Pes
from mediaserver.protocol.mpegts.pes import parse as parse_pes
from mediaserver.protocol.mpegts.psi import MAX_SECTION_BYTES, parse_pat, parse_pmt
from mediaserver.protocol.mpegts.video import H264, H265, Pictures
from tests.protocol.rtmp_client import AAC_FRAME, IDR, PPS, SLICE, SPS
from tests.protocol.ts_muxer import (
    AUDIO_ID,
    AUDIO_PID,
    PMT_PID,
    PRIVATE_ID,
    VIDEO_ID,
    VIDEO_PID,
    Muxer,
    by_ffmpeg,
    packet,
    pes,
    section,
)

FUZZ_INPUTS = 100_000

H264_TYPE, AAC_TYPE, PRIVATE_TYPE = 0x1B, 0x0F, 0x06
OPUS_DESCRIPTORS = b"\x05\x04Opus\x7f\x02\x80\x02"
OPUS_PACKET = b"\xfc" + b"opus" * 20  # 20 ms
AUD = b"\x09\xf0"
PARAMETER_SETS = (SPS, PPS)


def byte_stream(*nals: bytes) -> bytes:
    return b"".join(b"\0\0\0\1" + nal for nal in nals)


KEY_PICTURE = byte_stream(AUD, *PARAMETER_SETS, IDR)
PICTURE = byte_stream(AUD, SLICE)


def adts(raw: bytes, *, rate: int = 3, channels: int = 2, crc: bool = False) -> bytes:
    length = len(raw) + (9 if crc else 7)
    head = (
        0xFFF << 44
        | (not crc) << 40
        | 1 << 38
        | rate << 34
        | channels << 30
        | length << 13
        | 0x1FFC
    )
    return head.to_bytes(7, "big") + bytes(2 * crc) + raw


def started(*streams: tuple[int, int, bytes]) -> tuple[Demuxer, Muxer]:
    """A demuxer that has seen the tables; without streams: H.264 and AAC."""
    demuxer, muxer = Demuxer(), Muxer()
    streams = streams or ((H264_TYPE, VIDEO_PID, b""), (AAC_TYPE, AUDIO_PID, b""))
    assert feed(demuxer, muxer.pat() + muxer.pmt(*streams)) == []
    return demuxer, muxer


def feed(demuxer: Demuxer, packets: list[bytes]) -> list[Frame]:
    return demuxer.feed(b"".join(packets))


def video(muxer: Muxer, data: bytes, pts: int, dts: int | None = None) -> list[bytes]:
    return muxer.packets(VIDEO_PID, pes(VIDEO_ID, data, pts, dts, bounded=False))


def audio(muxer: Muxer, data: bytes, pts: int | None) -> list[bytes]:
    return muxer.packets(AUDIO_PID, pes(AUDIO_ID, data, pts))


def of_kind(kind: str, frames: list[Frame]) -> list[Frame]:
    return [frame for frame in frames if frame.track.kind == kind]


def demuxed(data: bytes) -> list[tuple[str, int, int, bool]]:
    """What FFmpeg's own demuxer says: kind, dts, pts, keyframe."""
    with av.open(io.BytesIO(data), format="mpegts") as container:
        found = [
            each for each in container.demux() if each.dts is not None and each.pts is not None
        ]
        return [(e.stream.type, e.dts or 0, e.pts or 0, e.is_keyframe) for e in found]


@pytest.mark.parametrize(
    ("encoders", "codecs"),
    [(("libx264", "aac"), ("h264", "aac")), (("libx265", "libopus"), ("h265", "opus"))],
)
def test_what_ffmpeg_muxes_comes_out_as_ffmpeg_demuxes_it(
    encoders: tuple[str, str], codecs: tuple[str, str]
) -> None:
    data = by_ffmpeg(*encoders)
    demuxer = Demuxer()
    frames = [f for at in range(0, len(data), 1316) for f in demuxer.feed(data[at : at + 1316])]
    for kind, codec in zip(("video", "audio"), codecs, strict=True):
        expected = [each[1:] for each in demuxed(data) if each[0] == kind]
        found = of_kind(kind, frames)
        assert {frame.track.codec for frame in found} == {codec}
        assert len({id(frame.track) for frame in found}) == 1
        times = [(f.dts, f.dts + f.composition, f.keyframe) for f in found]
        assert times == expected[: len(times)]
        assert len(expected) - len(times) == (kind == "video")  # the last is not known to be whole
    assert any(frame.composition for frame in frames)
    track = of_kind("video", frames)[0].track
    assert (track.width, track.height) == (160, 144)
    assert (demuxer.losses, demuxer.broken, demuxer.unsupported) == (0, 0, {})


def test_pictures_decode_without_their_start_codes_and_parameter_sets() -> None:
    frames = of_kind("video", Demuxer().feed(by_ffmpeg("libx264", "aac")))
    decoder = av.CodecContext.create("h264", "r")
    decoder.extradata = frames[0].track.config
    shown = [each for f in frames for each in decoder.decode(av.Packet(f.payload))]
    shown += decoder.decode(None)
    assert len(shown) == len(frames) == 49
    kinds = {nal[0] & 31 for f in frames for nal in h264.split_length_prefixed(f.payload)}
    assert not kinds & {h264.NAL_SPS, h264.NAL_PPS, h264.NAL_AUD, h264.NAL_FILLER}


@pytest.mark.parametrize("size", [1, 7, 187, 188, 189, 1316, 5000])
def test_it_does_not_matter_where_the_bytes_are_cut(size: int) -> None:
    data = by_ffmpeg("libx264", "aac")[: 300 * PACKET_BYTES]
    cut = Demuxer()
    found = [f for at in range(0, len(data), size) for f in cut.feed(data[at : at + size])]
    assert found == Demuxer().feed(data)
    assert found


def test_a_lost_packet_costs_the_picture_and_those_that_refer_to_it_and_no_sound() -> None:
    demuxer, muxer = started()
    large = KEY_PICTURE + bytes((7,)) * 1000
    parts = [video(muxer, large, 0), audio(muxer, adts(AAC_FRAME), 0)]
    parts += [video(muxer, PICTURE + bytes((7,)) * 1000, 3000)]
    parts += [audio(muxer, adts(AAC_FRAME), 1920), video(muxer, PICTURE, 6000)]
    parts += [
        video(muxer, KEY_PICTURE, 9000),
        video(muxer, PICTURE, 12000),
        video(muxer, PICTURE, 0),
    ]
    del parts[2][3]
    frames = feed(demuxer, [each for part in parts for each in part])
    assert [f.dts for f in of_kind("video", frames)] == [0, 9000, 12000]
    assert [f.dts for f in of_kind("audio", frames)] == [0, 1920]
    assert (demuxer.losses, demuxer.broken) == (1, 1)


def test_a_picture_whose_end_is_lost_is_not_taken_for_a_whole_one() -> None:
    demuxer, muxer = started()
    packets = video(muxer, KEY_PICTURE, 0)
    packets += video(muxer, PICTURE + bytes((7,)) * 1000, 3000)[:-1]
    packets += video(muxer, KEY_PICTURE, 6000) + video(muxer, PICTURE, 9000)
    assert [f.dts for f in feed(demuxer, packets)] == [0, 6000]


@pytest.mark.parametrize(("count", "told"), [(15, False), (16, True)])
def test_losses_that_the_counter_hides_are_seen(count: int, told: bool) -> None:
    """15: it stands as before, as if a packet came twice; 16: as if none were missing."""
    demuxer, muxer = started()
    large = PICTURE + random.Random(1).randbytes(4000)
    before = video(muxer, KEY_PICTURE, 0) + video(muxer, large, 3000)
    assert len(feed(demuxer, before[:3])) == 1
    if told:
        demuxer.lose()
    packets = before[3 + count :] + video(muxer, PICTURE, 6000) + video(muxer, KEY_PICTURE, 9000)
    assert [f.dts for f in feed(demuxer, packets + video(muxer, PICTURE, 0))] == [9000]
    assert demuxer.losses == 1


def test_a_packet_sent_twice_counts_once() -> None:
    demuxer, muxer = started()
    packets = [each for p in video(muxer, KEY_PICTURE + bytes((7,)) * 500, 0) for each in (p, p)]
    packets += video(muxer, PICTURE, 3000)
    (frame,) = feed(demuxer, packets)
    assert len(frame.payload) == 4 + len(IDR) + 500
    assert demuxer.losses == 0


def test_an_announced_discontinuity_is_no_loss() -> None:
    demuxer, muxer = started()
    packets = audio(muxer, adts(AAC_FRAME), 0)
    muxer.packets(AUDIO_PID, b"gone")
    again = pes(AUDIO_ID, adts(AAC_FRAME), 1920)
    packets += muxer.packets(AUDIO_PID, again, discontinuity=True)
    assert len(feed(demuxer, packets)) == 2
    assert demuxer.losses == 0


def test_packets_are_found_again_behind_bytes_that_are_none() -> None:
    demuxer, muxer = started()
    packets = video(muxer, KEY_PICTURE, 0)
    frames = feed(demuxer, [b"junk", *packets, bytes(100), *video(muxer, PICTURE, 1)])
    assert [frame.dts for frame in frames] == [0]


def test_what_is_no_transport_stream_is_refused() -> None:
    demuxer = Demuxer()
    with pytest.raises(ProtocolError, match="no MPEG transport stream"):
        for _ in range(MAX_LOST_SYNC_BYTES // 1000 + 1):
            demuxer.feed(bytes(1000))


def test_33_bits_of_time_wrap_between_decoding_and_showing() -> None:
    demuxer, muxer = started()
    late = (1 << 33) - 3000
    packets = video(muxer, KEY_PICTURE, 3000, late) + video(muxer, PICTURE, late, 0)
    frames = feed(demuxer, packets + video(muxer, PICTURE, 0))
    assert [(frame.dts, frame.composition) for frame in frames] == [(late, 6000), (0, -3000)]


def test_a_pes_packet_is_bounded() -> None:
    demuxer, muxer = started()
    payload = pes(VIDEO_ID, KEY_PICTURE + bytes(MAX_PES_BYTES), 0, bounded=False)
    packets = muxer.packets(VIDEO_PID, payload)
    assert feed(demuxer, packets) == []
    held = demuxer._streams[VIDEO_PID][1].sink
    assert not held._assembler._data  # type: ignore[attr-defined]
    assert demuxer.broken == 1
    packets = video(muxer, PICTURE, 1) + video(muxer, KEY_PICTURE, 2) + video(muxer, PICTURE, 3)
    assert [frame.dts for frame in feed(demuxer, packets)] == [2]


def test_tables_may_span_packets_and_change() -> None:
    demuxer, muxer = Demuxer(), Muxer()
    others = [(0x05, 0x200 + number, bytes((0x80, 50)) + bytes(50)) for number in range(10)]
    table = muxer.pmt(*others, (H264_TYPE, VIDEO_PID, b""))
    assert len(table) > 2
    packets = muxer.pat() + table + video(muxer, KEY_PICTURE, 0) + video(muxer, PICTURE, 1)
    assert len(feed(demuxer, packets)) == 1
    packets = muxer.pmt((H264_TYPE, 0x300, b""), version=1)
    packets += muxer.packets(0x300, pes(VIDEO_ID, KEY_PICTURE, 5))
    assert [frame.dts for frame in feed(demuxer, packets + video(muxer, PICTURE, 1))] == [5]
    packets = muxer.pat(0x1001, version=1) + muxer.pmt((AAC_TYPE, AUDIO_PID, b""), pid=0x1001)
    packets += audio(muxer, adts(AAC_FRAME), 9)
    assert [frame.track.codec for frame in feed(demuxer, packets)] == ["aac"]


@pytest.mark.parametrize("at", [1, 3, 8, 12, 13, 20])
def test_a_damaged_table_is_left_aside(at: int) -> None:
    demuxer, muxer = Demuxer(), Muxer()
    (table,) = muxer.pmt((H264_TYPE, VIDEO_PID, b""))
    begin = PACKET_BYTES - 22 + at
    damaged = table[:begin] + bytes((table[begin] ^ 0x10,)) + table[begin + 1 :]
    packets = [*muxer.pat(), damaged, *video(muxer, KEY_PICTURE, 0), *video(muxer, PICTURE, 1)]
    assert feed(demuxer, packets) == []
    assert not demuxer.taken


def test_a_section_is_bounded() -> None:
    demuxer, muxer = Demuxer(), Muxer()
    endless = b"\0\x00\xbf\xff" + bytes(MAX_SECTION_BYTES * 2)
    assert feed(demuxer, muxer.packets(0, endless)) == []
    assert not demuxer._pat.sink._data  # type: ignore[attr-defined]


def test_a_table_that_is_not_yet_current_is_not_followed() -> None:
    assert parse_pat(section(0, b"\0\1\xf0\0", current=False)) is None
    assert parse_pat(section(0, b"\0\0\xe0\x10\0\1\xf0\0")) == PMT_PID
    assert parse_pmt(section(2, b"\xe1\0\xf0\0\x1b\xe1\0\xf0\0", current=False)) == []


@pytest.mark.parametrize(
    ("stream_type", "descriptors", "kind", "name"),
    [
        (0x11, b"", "audio", "AAC in LATM"),
        (0x03, b"", "audio", "MPEG audio"),
        (0x81, b"", "audio", "AC-3"),
        (0x02, b"", "video", "MPEG-2 video"),
        (PRIVATE_TYPE, b"\x05\x04AV01", "video", "AV1"),
    ],
)
def test_what_is_not_taken_is_named(
    stream_type: int, descriptors: bytes, kind: str, name: str
) -> None:
    demuxer, muxer = started((stream_type, 0x300, descriptors), (0x06, 0x301, b"\x59\x00"))
    assert demuxer.unsupported == {kind: name}
    assert not demuxer.taken
    both = [
        (stream_type, 0x300, descriptors),
        (H264_TYPE, VIDEO_PID, b""),
        (AAC_TYPE, AUDIO_PID, b""),
    ]
    feed(demuxer, muxer.pmt(*both, version=1))
    assert demuxer.unsupported == {}
    assert demuxer.taken


def test_adts_frames_go_on_in_the_next_pes_packet() -> None:
    demuxer, muxer = started()
    data = b"".join(adts(bytes((number,)) * 300, crc=number == 2) for number in range(6))
    packets = audio(muxer, data[:800], 1000) + audio(muxer, data[800:1000], None)
    packets += audio(muxer, data[1000:], 1000 + 4 * 1920)
    frames = feed(demuxer, packets)
    assert [frame.payload for frame in frames] == [bytes((number,)) * 300 for number in range(6)]
    assert [frame.dts for frame in frames] == [1000 + 1920 * number for number in range(6)]


def test_sound_is_found_again_in_the_middle_of_a_frame() -> None:
    demuxer, muxer = started()
    data = b"".join(adts(bytes((number,)) * 300) for number in range(4))
    frames = feed(demuxer, audio(muxer, data[100:], 500))
    assert [(frame.dts, frame.payload[0]) for frame in frames] == [(500, 1), (2420, 2), (4340, 3)]


def test_a_change_of_the_sounds_rate_makes_another_track() -> None:
    demuxer, muxer = started()
    packets = audio(muxer, adts(AAC_FRAME) * 2, 0) + audio(
        muxer, adts(AAC_FRAME, rate=4, channels=1), 9
    )
    tracks = [frame.track for frame in feed(demuxer, packets)]
    assert tracks[0] is tracks[1]
    assert [(each.clock_rate, each.channels) for each in tracks[1:]] == [(48_000, 2), (44_100, 1)]


def test_opus_stands_behind_control_headers() -> None:
    demuxer, muxer = started((PRIVATE_TYPE, AUDIO_PID, OPUS_DESCRIPTORS))
    plain = b"\x7f\xe0" + bytes((len(OPUS_PACKET),)) + OPUS_PACKET
    long = OPUS_PACKET + bytes(300)
    trimmed = b"\x7f\xfc\xff" + bytes((len(long) - 255,)) + bytes(4) + b"\x01x" + long
    payload = pes(PRIVATE_ID, plain + trimmed + plain, 900)
    frames = feed(demuxer, muxer.packets(AUDIO_PID, payload))
    assert [frame.payload for frame in frames] == [OPUS_PACKET, long, OPUS_PACKET]
    assert [frame.dts for frame in frames] == [900, 2700, 4500]
    assert (frames[0].track.codec, frames[0].track.channels) == ("opus", 2)


def test_opus_of_more_than_two_channels_is_refused() -> None:
    with pytest.raises(ProtocolError, match="mono and stereo"):
        started((PRIVATE_TYPE, AUDIO_PID, OPUS_DESCRIPTORS[:-1] + b"\x06"))


def test_pictures_that_never_make_sense_end_in_words() -> None:
    demuxer, muxer = started()
    with pytest.raises(ProtocolError, match="start code"):
        for number in range(MAX_BROKEN + 3):
            feed(demuxer, video(muxer, b"no byte stream", number))
    assert demuxer.broken == MAX_BROKEN + 1


def test_a_broken_picture_among_good_ones_is_left_out() -> None:
    demuxer, muxer = started()
    packets = (
        video(muxer, KEY_PICTURE, 0) + video(muxer, b"?" + PICTURE, 1) + video(muxer, PICTURE, 2)
    )
    packets += video(muxer, KEY_PICTURE, 3) + video(muxer, PICTURE, 4)
    assert [frame.dts for frame in feed(demuxer, packets)] == [0, 3]
    assert demuxer.broken == 1


def test_other_parameter_sets_make_another_track() -> None:
    other_pps = bytes.fromhex("68ce3c80")
    demuxer, muxer = started()
    packets = video(muxer, KEY_PICTURE, 0) + video(muxer, KEY_PICTURE, 1)
    packets += video(muxer, byte_stream(SPS, other_pps, IDR), 2) + video(muxer, PICTURE, 3)
    tracks = [frame.track for frame in feed(demuxer, packets)]
    assert tracks[0] is tracks[1] is not tracks[2]


def test_scrambled_packets_and_those_in_error_are_not_read() -> None:
    demuxer, muxer = started()
    packets = video(muxer, KEY_PICTURE, 0)
    for byte, flag in ((3, 0x80), (1, 0x80)):
        spoiled = bytearray(packets[0])
        spoiled[byte] |= flag
        assert feed(demuxer, [bytes(spoiled)]) == []
    assert len(feed(demuxer, packets + video(muxer, PICTURE, 1))) == 1


PMT_BODY = b"\xe1\0\xf0\0\x1b\xe1\0\xf0\0\x06\xe1\x01\xf0\x0a" + OPUS_DESCRIPTORS


def whole() -> bytes:
    """A short stream that has some of everything."""
    muxer = Muxer()
    streams = ((H264_TYPE, VIDEO_PID, b""), (PRIVATE_TYPE, AUDIO_PID, OPUS_DESCRIPTORS))
    packets = muxer.pat() + muxer.pmt(*streams) + video(muxer, KEY_PICTURE, 0)
    opus = b"\x7f\xe0" + bytes((len(OPUS_PACKET),)) + OPUS_PACKET
    packets += muxer.packets(AUDIO_PID, pes(PRIVATE_ID, opus, 900)) + video(muxer, PICTURE, 3000, 0)
    return b"".join([*packets, packet(0x1FFF, b"", 0)])


def test_any_bytes_are_frames_or_the_peers_error() -> None:
    frames = 0
    data = whole()
    for each in mutations(data, FUZZ_INPUTS // 4, random.Random(11)):
        demuxer = Demuxer()
        with suppress(ProtocolError):
            frames += len(demuxer.feed(each[:700]) + demuxer.feed(each[700:]))
    assert frames > FUZZ_INPUTS // 4


@pytest.mark.parametrize("part", ["pictures 4", "pictures 5", "adts", "opus", "pes", "pmt"])
def test_any_bytes_below_the_packets_are_frames_or_the_peers_error(part: str) -> None:
    opus = b"\x7f\xfc" + bytes((len(OPUS_PACKET),)) + bytes(4) + b"\0" + OPUS_PACKET
    units = {
        "pictures 4": (lambda data: Pictures(H264).feed(Pes(0, 0, data)), KEY_PICTURE),
        "pictures 5": (lambda data: Pictures(H265).feed(Pes(0, 0, data)), hevc_keyframe()),
        "adts": (lambda data: AdtsFrames().feed(Pes(0, 0, data)), adts(b"raw" * 9) * 3),
        "opus": (lambda data: OpusFrames(b"\x80\x02").feed(Pes(0, 0, data)), opus * 2),
        "pes": (lambda data: [parse_pes(data)], pes(VIDEO_ID, b"payload", 5, 3)),
        "pmt": (lambda data: parse_pmt(data) if data else [], section(2, PMT_BODY)),
    }
    parse, seed = units[part]
    found = 0
    for data in mutations(seed, FUZZ_INPUTS // 8, random.Random(12)):
        with suppress(ProtocolError):
            found += bool(parse(data))
    assert found


def hevc_keyframe() -> bytes:
    """The first picture of a stream, as it stands in its PES packet."""
    data = by_ffmpeg("libx265", "libopus")
    demuxer = Demuxer()
    track = of_kind("video", demuxer.feed(data))[0].track
    sets = track.config[23:]
    nals, at = [], 0
    for _ in range(3):
        size = int.from_bytes(sets[at + 3 : at + 5], "big")
        nals.append(sets[at + 5 : at + 5 + size])
        at += 5 + size
    return byte_stream(*nals, b"\x26\x01" + bytes((9,)) * 20)


def test_times_of_pictures_follow_each_other() -> None:
    frames = of_kind("video", Demuxer().feed(by_ffmpeg("libx264", "aac")))
    assert {later.dts - earlier.dts for earlier, later in pairwise(frames)} == {3600}
    shown = sorted(frame.dts + frame.composition for frame in frames)
    assert {later - earlier for earlier, later in pairwise(shown)} <= {3600, 7200}
