"""H.264 helpers against x264's own bitstreams, hand-written parameter sets, and anything at all."""

from __future__ import annotations

import io
import random
from dataclasses import dataclass, field

import av
import pytest
from av.video.codeccontext import VideoCodecContext
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.fuzzing import mutations
from mediaserver.errors import ProtocolError
from mediaserver.protocol.h264 import (
    MAX_NALS,
    MAX_PARAMETER_SET_BYTES,
    NAL_IDR,
    NAL_PPS,
    NAL_SEI,
    NAL_SLICE,
    NAL_SPS,
    AvcConfig,
    codec_string,
    join_length_prefixed,
    nal_type,
    parse_sps,
    split_annex_b,
    split_length_prefixed,
    video_track,
)


@dataclass
class Bits:
    """Writes the codes that a parameter set is made of."""

    bits: list[int] = field(default_factory=list)

    def u(self, count: int, value: int) -> Bits:
        self.bits += [value >> shift & 1 for shift in reversed(range(count))]
        return self

    def ue(self, *values: int) -> Bits:
        for value in values:
            size = (value + 1).bit_length()
            self.u(size - 1, 0).u(size, value + 1)
        return self

    def se(self, value: int) -> Bits:
        return self.ue(2 * value - 1 if value > 0 else -2 * value)

    def nal(self, header: int) -> bytes:
        """The NAL unit: trailing bits, then emulation prevention (§7.4.1.1)."""
        bits = [*self.bits, 1]
        bits += [0] * (-len(bits) % 8)
        raw = bytes(int("".join(map(str, bits[i : i + 8])), 2) for i in range(0, len(bits), 8))
        out = bytearray((header,))
        for byte in raw:
            if out[-2:] == b"\0\0" and byte <= 3:
                out.append(3)
            out.append(byte)
        return bytes(out)


def baseline_sps(
    *, width_mbs: int = 40, height_mbs: int = 30, order_type: int = 0, level: int = 31
) -> Bits:
    bits = Bits().u(8, 66).u(8, 0xC0).u(8, level).ue(0, 0, order_type)
    if order_type == 0:
        bits.ue(2)
    return bits.ue(1).u(1, 0).ue(width_mbs - 1, height_mbs - 1).u(1, 1).u(1, 1).u(1, 0)


def restricted(bits: Bits, reorder: int) -> bytes:
    """An SPS whose VUI says only how far pictures are reordered."""
    bits.u(1, 1).u(1, 0).u(1, 0).u(1, 0).u(1, 0).u(1, 0).u(1, 0).u(1, 0).u(1, 0)
    return bits.u(1, 1).u(1, 1).ue(0, 0, 16, 16, reorder, 16).nal(0x67)


def encoder(width: int = 640, height: int = 360, **options: str) -> VideoCodecContext:
    pixels = options.pop("pix_fmt", "yuv420p")
    rate = int(options.pop("rate", "30"))
    context = av.CodecContext.create("libx264", "w")
    assert isinstance(context, VideoCodecContext)
    context.width, context.height, context.pix_fmt, context.framerate = width, height, pixels, rate
    context.options = {"preset": "ultrafast", **options}
    context.flags |= av.codec.context.Flags.global_header
    context.open()
    return context


def parameter_sets(context: VideoCodecContext) -> tuple[bytes, bytes]:
    nals = split_annex_b(context.extradata or b"")
    (sps,) = [nal for nal in nals if nal_type(nal) == NAL_SPS]
    (pps,) = [nal for nal in nals if nal_type(nal) == NAL_PPS]
    return sps, pps


# NAL units


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=20))
def test_nal_units_joined_come_apart_again(nals: list[bytes]) -> None:
    joined = join_length_prefixed(nals)
    assert split_length_prefixed(joined) == nals
    assert split_length_prefixed(memoryview(joined)) == nals


def test_a_memoryview_is_split_without_copying() -> None:
    payload = join_length_prefixed([b"\x65abc", b"\x41de"])
    parts = split_length_prefixed(memoryview(payload))
    assert all(isinstance(part, memoryview) and part.obj is payload for part in parts)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_lengths_of_one_two_and_four_bytes_are_read(size: int) -> None:
    payload = (3).to_bytes(size, "big") + b"\x65ab" + (1).to_bytes(size, "big") + b"\x41"
    assert split_length_prefixed(payload, size) == [b"\x65ab", b"\x41"]


def test_a_sample_cut_anywhere_but_between_units_is_refused() -> None:
    payload = join_length_prefixed([b"\x65abc", b"\x41de"])
    whole = {0, 8, len(payload)}
    for end in range(len(payload) + 1):
        if end in whole:
            split_length_prefixed(payload[:end])
        else:
            with pytest.raises(ProtocolError):
                split_length_prefixed(payload[:end])


def test_empty_units_are_left_out() -> None:
    assert split_length_prefixed(b"\0\0\0\0\0\0\0\x01\x65") == [b"\x65"]


def test_a_sample_of_too_many_units_is_refused() -> None:
    most = join_length_prefixed([b"\x41"] * MAX_NALS)
    assert len(split_length_prefixed(most)) == MAX_NALS
    with pytest.raises(ProtocolError):
        split_length_prefixed(most + b"\0\0\0\x01\x41")
    with pytest.raises(ProtocolError):
        split_annex_b(b"\0\0\x01\x41" * (MAX_NALS + 1))


def test_a_byte_stream_is_split_at_both_start_codes_without_trailing_zeros() -> None:
    stream = b"\0\0\0\0\x01\x67ab\0\0\x01\x68\0\0\0\x01\x65\0\0\x03\x01z\0\0"
    assert split_annex_b(stream) == [b"\x67ab", b"\x68", b"\x65\0\0\x03\x01z"]
    assert split_annex_b(memoryview(stream)) == split_annex_b(stream)
    assert split_annex_b(b"") == []


def test_a_byte_stream_must_begin_with_a_start_code() -> None:
    with pytest.raises(ProtocolError):
        split_annex_b(b"\x67abc")


def test_a_type_is_read_and_an_empty_unit_has_none() -> None:
    types = [nal_type(bytes((byte,))) for byte in (0x65, 0x41, 0x06, 0x67, 0x68)]
    assert types == [NAL_IDR, NAL_SLICE, NAL_SEI, NAL_SPS, NAL_PPS]
    with pytest.raises(ProtocolError):
        nal_type(b"")


# Sequence parameter sets


@pytest.mark.parametrize(
    ("width", "height"), [(640, 360), (1920, 1080), (1918, 1078), (16, 16), (854, 480)]
)
def test_the_size_is_that_of_the_cropped_picture(width: int, height: int) -> None:
    sps = parse_sps(parameter_sets(encoder(width, height))[0])
    assert (sps.width, sps.height) == (width, height)


@pytest.mark.parametrize(("pixels", "chroma"), [("yuv420p", 1), ("yuv422p", 2), ("yuv444p", 3)])
def test_cropping_counts_in_chroma_samples(pixels: str, chroma: int) -> None:
    sps = parse_sps(parameter_sets(encoder(636, 358, pix_fmt=pixels))[0])
    assert (sps.width, sps.height, sps.chroma_format_idc) == (636, 358, chroma)


def test_cropping_of_fields_counts_in_pairs_of_lines() -> None:
    sps = parse_sps(parameter_sets(encoder(1920, 1080, **{"x264-params": "interlaced=1"}))[0])
    assert (sps.width, sps.height) == (1920, 1080)


def test_bit_depth_is_read() -> None:
    sps = parse_sps(parameter_sets(encoder(pix_fmt="yuv420p10le"))[0])
    assert (sps.bit_depth_luma, sps.bit_depth_chroma) == (10, 10)


@pytest.mark.parametrize("rate", ["25", "30", "60"])
def test_the_frame_rate_is_what_the_vui_says(rate: str) -> None:
    assert parse_sps(parameter_sets(encoder(rate=rate))[0]).frame_rate == float(rate)


@pytest.mark.parametrize(
    ("b_frames", "pyramid", "reorder"), [("0", "none", 0), ("2", "none", 1), ("3", "normal", 2)]
)
def test_reordering_is_what_the_vui_says(b_frames: str, pyramid: str, reorder: int) -> None:
    context = encoder(preset="medium", bf=b_frames, **{"b-pyramid": pyramid})
    assert parse_sps(parameter_sets(context)[0]).max_reorder_frames == reorder


def test_without_a_vui_only_what_follows_from_the_rest_is_said() -> None:
    baseline = parse_sps(baseline_sps().u(1, 0).nal(0x67))
    assert (baseline.frame_rate, baseline.max_reorder_frames) == (None, 0)
    in_order = Bits().u(8, 77).u(8, 0).u(8, 31).ue(0, 0, 2, 1).u(1, 0).ue(9, 9).u(4, 0b1100)
    assert parse_sps(in_order.nal(0x67)).max_reorder_frames == 0
    main = Bits().u(8, 77).u(8, 0).u(8, 31).ue(0, 0, 0, 0, 1).u(1, 0).ue(9, 9).u(4, 0b1100)
    assert parse_sps(main.nal(0x67)).max_reorder_frames is None


def test_scaling_lists_hrd_and_every_other_option_are_stepped_over() -> None:
    bits = Bits().u(8, 100).u(8, 0).u(8, 40).ue(0)
    bits.ue(1, 0, 0).u(1, 0).u(1, 1)
    for index in range(8):
        bits.u(1, index % 2)  # seq_scaling_list_present_flag
        if index % 2:
            for step in range(16 if index < 6 else 64):
                bits.se(1 if step % 2 else -1)
    bits.ue(0, 1).u(1, 0).se(-3).se(4).ue(2).se(1).se(-1)  # pic_order_cnt_type 1
    bits.ue(4).u(1, 1).ue(119, 33).u(1, 0).u(1, 1).u(1, 1)  # 1920x1088 of field pairs
    bits.u(1, 1).ue(0, 0, 0, 2)  # less 4 x 2 lines
    bits.u(1, 1).u(1, 1).u(8, 255).u(32, 0x00010001)  # VUI, extended aspect ratio
    bits.u(1, 1).u(1, 1).u(1, 1).u(4, 0).u(1, 1).u(24, 0x010101).u(1, 1).ue(0, 0)
    bits.u(1, 1).u(32, 1001).u(32, 60_000).u(1, 1)
    for _ in range(2):
        bits.u(1, 1).ue(1).u(8, 0x11)
        for _ in range(2):
            bits.ue(70_000, 90_000).u(1, 0)
        bits.u(20, 0x12345)
    bits.u(1, 0).u(1, 1).u(1, 1).u(1, 1).ue(0, 0, 10, 10, 2, 4)
    sps = parse_sps(bits.nal(0x67))
    assert (sps.width, sps.height, sps.level_idc) == (1920, 1080, 40)
    assert sps.frame_rate == pytest.approx(29.97, abs=0.001)
    assert sps.max_reorder_frames == 2


def test_zeros_that_would_look_like_a_start_code_are_read_as_written() -> None:
    timing = baseline_sps().u(1, 1).u(4, 0).u(1, 1).u(32, 1).u(32, 0x32).u(1, 1).u(4, 0)
    nal = timing.nal(0x67)
    assert b"\0\0\x03" in nal
    assert parse_sps(nal).frame_rate == 25.0


def test_a_vui_that_breaks_off_is_taken_as_absent() -> None:
    whole = restricted(baseline_sps(), 2)
    assert parse_sps(whole).max_reorder_frames == 2
    assert parse_sps(whole[:-3]).max_reorder_frames == 0  # the profile has no B-frames


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\x68\xce\x3c\x80", id="a PPS"),
        pytest.param(b"\x67" + bytes(MAX_PARAMETER_SET_BYTES), id="too long"),
        pytest.param(b"\x67\x42\xc0\x1f" + bytes(40), id="an endless code"),
        pytest.param(baseline_sps(width_mbs=1025).u(1, 0).nal(0x67), id="too wide"),
        pytest.param(Bits().u(24, 0x64001F).ue(0, 4).nal(0x67), id="chroma format 4"),
        pytest.param(Bits().u(24, 0x64001F).ue(0, 1, 7, 0).nal(0x67), id="15 bits deep"),
        pytest.param(Bits().u(24, 0x42C01F).ue(0, 0, 3).nal(0x67), id="picture order type 3"),
        pytest.param(
            Bits().u(24, 0x42C01F).ue(0, 0, 1).u(1, 0).se(0).se(0).ue(256).nal(0x67),
            id="long cycle",
        ),
        pytest.param(
            Bits().u(24, 0x42C01F).ue(0, 0, 2, 1).u(1, 0).ue(0, 0).u(3, 7).ue(8, 0, 0, 0).nal(0x67),
            id="cropped to nothing",
        ),
    ],
)
def test_a_broken_sps_is_the_peers_error(broken: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse_sps(broken)


# Configuration records


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv422p10le"])
def test_a_configuration_is_what_ffmpeg_writes(pixels: str) -> None:
    """FFmpeg's own avcC, taken from an FLV's sequence header, parses and serializes back."""
    sink = io.BytesIO()
    with av.open(sink, "w", format="flv") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 64, pixels
        container.mux(stream.encode(av.VideoFrame(64, 64, pixels)))
        container.mux(stream.encode(None))
    with av.open(io.BytesIO(sink.getvalue())) as container:
        record = container.streams.video[0].codec_context.extradata
    assert record is not None
    config = AvcConfig.parse(record)
    assert config.serialize() == record
    assert codec_string(record) == f"avc1.{record[1:4].hex().upper()}"


def test_a_configuration_serializes_and_parses_whole() -> None:
    sps, pps = parameter_sets(encoder())
    config = AvcConfig((sps, sps), (pps, pps, pps), length_size=2)
    assert AvcConfig.parse(config.serialize()) == config
    assert AvcConfig.parse(memoryview(config.serialize() + b"trailing")) == config


def test_a_configuration_cut_anywhere_is_refused() -> None:
    sps, pps = baseline_sps().u(1, 0).nal(0x67), b"\x68\xce\x3c\x80"
    record = AvcConfig((sps,), (pps,)).serialize()
    for end in range(len(record)):
        with pytest.raises(ProtocolError):
            AvcConfig.parse(record[:end])


def test_a_configuration_without_or_with_wrong_parameter_sets_is_refused() -> None:
    sps, pps = baseline_sps().u(1, 0).nal(0x67), b"\x68\xce\x3c\x80"
    for wrong in [((), (pps,)), ((sps,), ()), ((sps,) * 32, (pps,)), ((sps,), (pps,) * 256)]:
        with pytest.raises(ProtocolError):
            AvcConfig(*wrong).serialize()
    with pytest.raises(ProtocolError):
        AvcConfig((sps,), (b"\x68" + bytes(MAX_PARAMETER_SET_BYTES),)).serialize()
    record = bytearray(AvcConfig((sps,), (pps,)).serialize())
    record[4] = 0xFE
    with pytest.raises(ProtocolError, match="three bytes"):
        AvcConfig.parse(record)
    swapped = AvcConfig((sps,), (pps,)).serialize().replace(b"\x68\xce", b"\x67\xce")
    with pytest.raises(ProtocolError):
        AvcConfig.parse(swapped)


def test_a_track_holds_the_record_and_the_size() -> None:
    sps, pps = parameter_sets(encoder(1280, 720))
    track = video_track((sps,), (pps,))
    assert (track.kind, track.codec, track.clock_rate) == ("video", "h264", 90_000)
    assert (track.width, track.height) == (1280, 720)
    assert AvcConfig.parse(track.config) == AvcConfig((sps,), (pps,), 4)


def test_a_codec_string_has_upper_case_digits() -> None:
    sps = baseline_sps().u(1, 0).nal(0x67)
    assert codec_string(AvcConfig((sps,), (b"\x68\xce",)).serialize()) == "avc1.42C01F"


# Anything at all


def test_what_parses_as_a_configuration_serializes_or_is_refused() -> None:
    sps, pps = parameter_sets(encoder())
    kept = 0
    for data in mutations(AvcConfig((sps,), (pps,)).serialize(), 5_000, random.Random(264)):
        try:
            config = AvcConfig.parse(data)
            assert AvcConfig.parse(config.serialize()) == config
            kept += 1
        except ProtocolError:
            continue
    assert kept > 100
