"""H.264 bitstreams, ITU-T H.264 (08/2021), and their packing in ISO/IEC 14496-15 (AVC file format).

NAL units travel in two packings: each behind its length (§5.3.4 of 14496-15; RTMP, fMP4, our Packets)
or behind start codes (H.264 Annex B). Splitting and joining run once per frame and viewer rendition, so
they stay plain loops over slices. Slices are of the type that came in: `bytes` are copied, a
`memoryview` is not.

Every parser here is total and bounded: whatever the bytes, it returns or raises ProtocolError.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

from mediaserver.errors import ProtocolError
from mediaserver.media import VIDEO_CLOCK_RATE, Track
from mediaserver.protocol.bits import BitReader

Nal = bytes | memoryview

NAL_SLICE = 1
NAL_IDR = 5
NAL_SEI = 6
NAL_SPS = 7
NAL_PPS = 8
NAL_AUD = 9
NAL_FILLER = 12

MAX_NALS = 1024  # per access unit: level 6.2 has 600 slices at most (Table A-6); the rest is SEI
MAX_PARAMETER_SET_BYTES = 4096  # every scaling list and both HRDs written out in full come to 2 KiB
MAX_DIMENSION = 16_384  # level 6.2 allows 16,880, browsers decode at most 16,384
MAX_FRAME_RATE = 1000.0
MAX_DPB_FRAMES = 16  # §A.3.1 h

_START_CODE = b"\x00\x00\x01"
_length4 = struct.Struct(">I").unpack_from

# Profiles whose SPS carries chroma format, bit depths and scaling lists (§7.3.2.1.1).
_HIGH_PROFILES = frozenset({44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244})
_INTRA_PROFILES = frozenset({44, 86, 100, 110, 122, 244})  # with constraint_set3_flag (§E.2.1)
_BASELINE, _MAIN, _EXTENDED = 66, 77, 88
_CONSTRAINT_SET3 = 0x10
_EXTENDED_SAR = 255
_SUBSAMPLING = {1: (2, 2), 2: (2, 1), 3: (1, 1)}  # chroma_format_idc: SubWidthC, SubHeightC


def nal_type(nal: Nal) -> int:
    """The nal_unit_type of a NAL unit (§7.3.1); raises ProtocolError if it is empty."""
    if not nal:
        raise ProtocolError("an empty NAL unit")
    return nal[0] & 0x1F


def split_length_prefixed(payload: Nal, length_size: int = 4) -> list[Nal]:
    """The NAL units of a sample, each behind a big-endian length of `length_size` bytes.

    Empty units are left out. Raises ProtocolError if a length exceeds what follows it.
    """
    nals: list[Nal] = []
    position, end = 0, len(payload)
    while position < end:
        start = position + length_size
        if start > end:
            raise ProtocolError("a NAL unit's length is cut off")
        if length_size == 4:
            position = start + _length4(payload, position)[0]
        else:
            position = start + int.from_bytes(payload[position:start], "big")
        if position > end:
            raise ProtocolError("a NAL unit is longer than its sample")
        if position > start:
            nals.append(payload[start:position])
            if len(nals) > MAX_NALS:
                raise ProtocolError(f"more than {MAX_NALS} NAL units in one sample")
    return nals


def join_length_prefixed(nals: Iterable[Nal]) -> bytes:
    """A sample of these NAL units, each behind a length of four bytes."""
    parts: list[Nal] = []
    for nal in nals:
        parts.append(len(nal).to_bytes(4, "big"))
        parts.append(nal)
    return b"".join(parts)


def split_annex_b(data: Nal) -> list[bytes]:
    """The NAL units of a byte stream (Annex B), without start codes and trailing zero bytes.

    Raises ProtocolError if bytes other than zeros stand before the first start code.
    """
    before, *units = bytes(data).split(_START_CODE, MAX_NALS + 1)
    if before.strip(b"\x00"):
        raise ProtocolError("a byte stream that does not begin with a start code")
    if len(units) > MAX_NALS:
        raise ProtocolError(f"more than {MAX_NALS} NAL units in one access unit")
    return [nal for unit in units if (nal := unit.rstrip(b"\x00"))]


@dataclass(frozen=True, slots=True)
class Sps:
    """What a sequence parameter set says (§7.3.2.1.1, VUI Annex E).

    `width` and `height` are of the cropped picture in luma samples; `frame_rate` in frames/s as the VUI
    gives it, None if absent; `max_reorder_frames` is how many frames may precede a frame in decoding
    order and follow it in output order: 0 is "no B-frames", None is "not said".
    """

    profile_idc: int
    constraint_flags: int
    level_idc: int
    width: int
    height: int
    frame_rate: float | None
    max_reorder_frames: int | None
    chroma_format_idc: int = 1
    bit_depth_luma: int = 8
    bit_depth_chroma: int = 8


def parse_sps(sps: Nal) -> Sps:
    """Parse a sequence parameter set NAL unit, header included; raises ProtocolError.

    A VUI that breaks off is taken as absent, as decoders do: it holds only hints.
    """
    if nal_type(sps) != NAL_SPS or len(sps) > MAX_PARAMETER_SET_BYTES:
        raise ProtocolError("not a sequence parameter set, or one too long")
    bits = BitReader(bytes(sps[1:]).replace(b"\x00\x00\x03", b"\x00\x00"))  # §7.4.1.1
    profile_idc, constraint_flags, level_idc = bits.u(8), bits.u(8), bits.u(8)
    bits.ue()  # seq_parameter_set_id
    chroma, depth_luma, depth_chroma, separate_planes = 1, 8, 8, False
    if profile_idc in _HIGH_PROFILES:
        chroma, separate_planes, depth_luma, depth_chroma = _parse_chroma(bits)
    bits.ue()  # log2_max_frame_num_minus4
    in_order = _parse_picture_order(bits)
    bits.ue()  # max_num_ref_frames
    bits.u(1)  # gaps_in_frame_num_value_allowed_flag
    width, height = _parse_size(bits, 0 if separate_planes else chroma)
    frame_rate, reorder = _parse_vui(bits) if bits.flag() else (None, None)
    intra_only = profile_idc in _INTRA_PROFILES and constraint_flags & _CONSTRAINT_SET3
    if reorder is None and (in_order or intra_only or profile_idc == _BASELINE):
        reorder = 0
    return Sps(
        profile_idc=profile_idc,
        constraint_flags=constraint_flags,
        level_idc=level_idc,
        width=width,
        height=height,
        frame_rate=frame_rate,
        max_reorder_frames=reorder,
        chroma_format_idc=chroma,
        bit_depth_luma=depth_luma,
        bit_depth_chroma=depth_chroma,
    )


def _parse_chroma(bits: BitReader) -> tuple[int, bool, int, int]:
    chroma = bits.ue()
    if chroma > 3:
        raise ProtocolError(f"chroma_format_idc {chroma}")
    separate_planes = bits.flag() if chroma == 3 else False
    depth_luma, depth_chroma = 8 + bits.ue(), 8 + bits.ue()
    if max(depth_luma, depth_chroma) > 14:
        raise ProtocolError("a bit depth over 14")
    bits.u(1)  # qpprime_y_zero_transform_bypass_flag
    if bits.flag():  # seq_scaling_matrix_present_flag
        for index in range(12 if chroma == 3 else 8):
            if bits.flag():
                _skip_scaling_list(bits, 16 if index < 6 else 64)
    return chroma, separate_planes, depth_luma, depth_chroma


def _skip_scaling_list(bits: BitReader, size: int) -> None:
    last = 8
    for _ in range(size):
        last = (last + bits.se()) % 256
        if last == 0:
            return


def _parse_picture_order(bits: BitReader) -> bool:
    """Whether pictures are output in decoding order by definition (pic_order_cnt_type 2)."""
    order_type = bits.ue()
    if order_type == 0:
        bits.ue()  # log2_max_pic_order_cnt_lsb_minus4
    elif order_type == 1:
        bits.u(1)
        bits.se()
        bits.se()
        cycle = bits.ue()
        if cycle > 255:
            raise ProtocolError("num_ref_frames_in_pic_order_cnt_cycle over 255")
        for _ in range(cycle):
            bits.se()
    elif order_type > 2:
        raise ProtocolError(f"pic_order_cnt_type {order_type}")
    return order_type == 2


def _parse_size(bits: BitReader, chroma_array_type: int) -> tuple[int, int]:
    width = (bits.ue() + 1) * 16
    map_units = bits.ue() + 1
    frame_mbs_only = bits.u(1)
    height = map_units * 16 * (2 - frame_mbs_only)
    if not frame_mbs_only:
        bits.u(1)  # mb_adaptive_frame_field_flag
    bits.u(1)  # direct_8x8_inference_flag
    if bits.flag():  # frame_cropping_flag, equations 7-19 to 7-22
        unit_x, unit_y = _SUBSAMPLING.get(chroma_array_type, (1, 1))
        unit_y *= 2 - frame_mbs_only
        width -= (bits.ue() + bits.ue()) * unit_x
        height -= (bits.ue() + bits.ue()) * unit_y
    if not (0 < width <= MAX_DIMENSION and 0 < height <= MAX_DIMENSION):
        raise ProtocolError(f"a picture of {width}x{height}")
    return width, height


def _parse_vui(bits: BitReader) -> tuple[float | None, int | None]:
    frame_rate: float | None = None
    try:
        _skip_vui_picture(bits)
        if bits.flag():  # timing_info_present_flag
            units_in_tick, time_scale = bits.u(32), bits.u(32)
            bits.u(1)  # fixed_frame_rate_flag
            if units_in_tick and 0 < time_scale / (2 * units_in_tick) <= MAX_FRAME_RATE:
                frame_rate = time_scale / (2 * units_in_tick)
        nal_hrd = bits.flag() and _skip_hrd(bits)
        vcl_hrd = bits.flag() and _skip_hrd(bits)
        if nal_hrd or vcl_hrd:
            bits.u(1)  # low_delay_hrd_flag
        bits.u(1)  # pic_struct_present_flag
        return frame_rate, _parse_bitstream_restriction(bits) if bits.flag() else None
    except ProtocolError:
        return frame_rate, None


def _skip_vui_picture(bits: BitReader) -> None:
    if bits.flag() and bits.u(8) == _EXTENDED_SAR:
        bits.u(32)
    if bits.flag():  # overscan_info_present_flag
        bits.u(1)
    if bits.flag():  # video_signal_type_present_flag
        bits.u(4)
        if bits.flag():  # colour_description_present_flag
            bits.u(24)
    if bits.flag():  # chroma_loc_info_present_flag
        bits.ue()
        bits.ue()


def _skip_hrd(bits: BitReader) -> bool:
    count = bits.ue() + 1
    if count > 32:
        raise ProtocolError("cpb_cnt over 32")
    bits.u(8)
    for _ in range(count):
        bits.ue()
        bits.ue()
        bits.u(1)
    bits.u(20)
    return True


def _parse_bitstream_restriction(bits: BitReader) -> int | None:
    bits.u(1)  # motion_vectors_over_pic_boundaries_flag
    for _ in range(4):
        bits.ue()
    reorder = bits.ue()
    return reorder if reorder <= MAX_DPB_FRAMES else None


@dataclass(frozen=True, slots=True)
class AvcConfig:
    """AVCDecoderConfigurationRecord (ISO/IEC 14496-15 §5.3.3.1), what FLV and `avcC` carry.

    Parameter sets are whole NAL units; `length_size` is how many bytes stand before a NAL unit.
    """

    sps: tuple[bytes, ...]
    pps: tuple[bytes, ...]
    length_size: int = 4

    @classmethod
    def parse(cls, config: Nal) -> AvcConfig:
        """Parse a record; raises ProtocolError, also if it holds no SPS or no PPS."""
        data = bytes(config)
        if len(data) < 7 or data[0] != 1:
            raise ProtocolError("not an AVCDecoderConfigurationRecord of version 1")
        length_size = (data[4] & 3) + 1
        if length_size == 3:
            raise ProtocolError("NAL unit lengths of three bytes")
        sps, position = _parse_sets(data, 6, data[5] & 0x1F, NAL_SPS)
        if position >= len(data):
            raise ProtocolError("an AVCDecoderConfigurationRecord is cut off")
        pps, _ = _parse_sets(data, position + 1, data[position], NAL_PPS)
        return cls(sps, pps, length_size)

    def serialize(self) -> bytes:
        """The record; raises ProtocolError if the parameter sets are not fit for one."""
        if not (0 < len(self.sps) < 32 and 0 < len(self.pps) < 256):
            raise ProtocolError("no parameter sets, or too many")
        if max(map(len, self.sps + self.pps)) > MAX_PARAMETER_SET_BYTES:
            raise ProtocolError(f"a parameter set of more than {MAX_PARAMETER_SET_BYTES} bytes")
        first = parse_sps(self.sps[0])
        parts = [
            b"\x01",
            self.sps[0][1:4],
            bytes((0xFC | (self.length_size - 1), 0xE0 | len(self.sps))),
        ]
        for sps in self.sps:
            parts += (len(sps).to_bytes(2, "big"), sps)
        parts.append(bytes((len(self.pps),)))
        for pps in self.pps:
            parts += (len(pps).to_bytes(2, "big"), pps)
        if first.profile_idc not in (_BASELINE, _MAIN, _EXTENDED):
            parts.append(
                bytes(
                    (
                        0xFC | first.chroma_format_idc,
                        0xF8 | (first.bit_depth_luma - 8),
                        0xF8 | (first.bit_depth_chroma - 8),
                        0,  # no SPS extensions
                    )
                )
            )
        return b"".join(parts)


def _parse_sets(data: bytes, position: int, count: int, kind: int) -> tuple[tuple[bytes, ...], int]:
    if count == 0:
        raise ProtocolError("a configuration without parameter sets")
    sets = []
    shortest = 4 if kind == NAL_SPS else 1
    for _ in range(count):
        start = position + 2
        position = start + int.from_bytes(data[position:start], "big")
        nal = data[start:position]
        if position > len(data) or len(nal) < shortest or nal_type(nal) != kind:
            raise ProtocolError("a parameter set is cut off or of another type")
        if len(nal) > MAX_PARAMETER_SET_BYTES:
            raise ProtocolError(f"a parameter set of more than {MAX_PARAMETER_SET_BYTES} bytes")
        sets.append(nal)
    return tuple(sets), position


def codec_string(config: Nal) -> str:
    """RFC 6381 §3.3 name of an AVCDecoderConfigurationRecord, like "avc1.42E01F"."""
    return "avc1." + AvcConfig.parse(config).sps[0][1:4].hex().upper()


def track_from_nals(nals: Iterable[bytes]) -> Track:
    """The Track of the parameter sets among these NAL units; raises ProtocolError."""
    kept = list(nals)
    sps = tuple(nal for nal in kept if nal_type(nal) == NAL_SPS)
    pps = tuple(nal for nal in kept if nal_type(nal) == NAL_PPS)
    if not sps:
        raise ProtocolError("no sequence parameter set")
    return video_track(sps, pps)


def video_track(sps: tuple[bytes, ...], pps: tuple[bytes, ...]) -> Track:
    """The Track of these parameter sets (NAL units); raises ProtocolError."""
    config = AvcConfig(sps, pps, length_size=4).serialize()
    size = parse_sps(sps[0])
    return Track(
        kind="video",
        codec="h264",
        clock_rate=VIDEO_CLOCK_RATE,
        config=config,
        width=size.width,
        height=size.height,
    )
