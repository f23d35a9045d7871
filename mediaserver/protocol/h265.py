"""H.265 bitstreams, ITU-T H.265 (09/2023), and their packing in ISO/IEC 14496-15 (HEVC file format).

NAL units stand behind lengths of four bytes as those of H.264 do: h264.split_length_prefixed and
join_length_prefixed serve both. Every parser here is total and bounded.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mediaserver.errors import ProtocolError
from mediaserver.media import VIDEO_CLOCK_RATE, Track
from mediaserver.protocol.bits import BitReader

Nal = bytes | memoryview

NAL_HEADER_BYTES = 2
NAL_LAST_VCL = 31
NAL_FIRST_IRAP, NAL_LAST_IRAP = 16, 21  # BLA, IDR, CRA (Table 7-1)
NAL_VPS = 32
NAL_SPS = 33
NAL_PPS = 34
NAL_AUD = 35
NAL_FILLER = 38
NAL_PREFIX_SEI = 39

MAX_PARAMETER_SET_BYTES = 4096  # as for H.264; encoders' own come to 100
MAX_PARAMETER_SETS = 64  # of a kind (§7.4.3.3)
MAX_DIMENSION = 16_384  # level 6.2 allows 16,888, browsers decode at most 16,384
_SUBSAMPLING = {1: (2, 2), 2: (2, 1), 3: (1, 1), 0: (1, 1)}  # SubWidthC, SubHeightC (Table 6-1)
_PROFILE_TIER_LEVEL_BYTES = 12  # the general part, up to its level
_RECORD_BYTES = 23


def nal_type(nal: Nal) -> int:
    """The nal_unit_type of a NAL unit (§7.3.1.2); raises ProtocolError if its header is cut off."""
    if len(nal) < NAL_HEADER_BYTES:
        raise ProtocolError("an H.265 NAL unit without its header")
    return nal[0] >> 1 & 0x3F


def is_irap(kind: int) -> bool:
    """Whether decoding may begin at a picture of such NAL units."""
    return NAL_FIRST_IRAP <= kind <= NAL_LAST_IRAP


@dataclass(frozen=True, slots=True)
class Sps:
    """What a sequence parameter set says (§7.3.2.2); the size is that of the cropped picture.

    `profile_tier_level` is the general part as it stands: profile space, tier, profile, compatibility,
    constraints and level.
    """

    profile_tier_level: bytes
    temporal_layers: int
    temporal_id_nested: bool
    chroma_format_idc: int
    bit_depth_luma: int
    bit_depth_chroma: int
    width: int
    height: int


def parse_sps(sps: Nal) -> Sps:
    """Parse a sequence parameter set NAL unit, header included; raises ProtocolError."""
    if nal_type(sps) != NAL_SPS or len(sps) > MAX_PARAMETER_SET_BYTES:
        raise ProtocolError("not an H.265 sequence parameter set, or one too long")
    rbsp = bytes(sps[NAL_HEADER_BYTES:]).replace(b"\x00\x00\x03", b"\x00\x00")  # §7.4.2
    bits = BitReader(rbsp)
    bits.u(4)  # sps_video_parameter_set_id
    sub_layers = bits.u(3)
    nested = bits.flag()
    general = bits.u(8 * _PROFILE_TIER_LEVEL_BYTES).to_bytes(_PROFILE_TIER_LEVEL_BYTES, "big")
    _skip_sub_layers(bits, sub_layers)
    bits.ue()  # sps_seq_parameter_set_id
    chroma = bits.ue()
    if chroma > 3:
        raise ProtocolError(f"chroma_format_idc {chroma}")
    separate_planes = bits.flag() if chroma == 3 else False
    width, height = _parse_size(bits, 0 if separate_planes else chroma)
    luma, chroma_depth = 8 + bits.ue(), 8 + bits.ue()
    if max(luma, chroma_depth) > 15:
        raise ProtocolError("a bit depth over 15")
    return Sps(general, sub_layers + 1, nested, chroma, luma, chroma_depth, width, height)


def _skip_sub_layers(bits: BitReader, count: int) -> None:
    if not count:
        return
    present = [(bits.flag(), bits.flag()) for _ in range(count)]
    bits.u(2 * (8 - count))
    for profile, level in present:
        bits.u(88 * profile + 8 * level)


def _parse_size(bits: BitReader, chroma: int) -> tuple[int, int]:
    width, height = bits.ue(), bits.ue()
    if bits.flag():  # conformance_window_flag
        unit_x, unit_y = _SUBSAMPLING[chroma]
        width -= (bits.ue() + bits.ue()) * unit_x
        height -= (bits.ue() + bits.ue()) * unit_y
    if not (0 < width <= MAX_DIMENSION and 0 < height <= MAX_DIMENSION):
        raise ProtocolError(f"a picture of {width}x{height}")
    return width, height


@dataclass(frozen=True, slots=True)
class HevcConfig:
    """HEVCDecoderConfigurationRecord (ISO/IEC 14496-15 §8.3.3.1), what `hvcC` carries.

    Parameter sets are whole NAL units; what else a record holds (SEI) is left out.
    """

    vps: tuple[bytes, ...]
    sps: tuple[bytes, ...]
    pps: tuple[bytes, ...]
    length_size: int = 4

    @classmethod
    def parse(cls, record: Nal) -> HevcConfig:
        """Parse a record; raises ProtocolError, also if a kind of parameter set is missing."""
        data = bytes(record)
        if len(data) < _RECORD_BYTES or data[0] != 1:
            raise ProtocolError("not an HEVCDecoderConfigurationRecord of version 1")
        sets: dict[int, list[bytes]] = {NAL_VPS: [], NAL_SPS: [], NAL_PPS: []}
        position = _RECORD_BYTES
        for _ in range(data[_RECORD_BYTES - 1]):
            if position + 3 > len(data):
                raise ProtocolError("an HEVCDecoderConfigurationRecord is cut off")
            kind = data[position] & 0x3F
            count = int.from_bytes(data[position + 1 : position + 3], "big")
            nals, position = _parse_array(data, position + 3, count)
            if kind in sets:
                sets[kind] += [nal for nal in nals if nal_type(nal) == kind]
        vps, sps, pps = (tuple(each) for each in sets.values())
        config = cls(vps, sps, pps, (data[21] & 3) + 1)
        config._check()
        return config

    def _check(self) -> None:
        for sets in (self.vps, self.sps, self.pps):
            if not 0 < len(sets) <= MAX_PARAMETER_SETS:
                raise ProtocolError("no parameter sets, or too many")
            if max(map(len, sets)) > MAX_PARAMETER_SET_BYTES:
                raise ProtocolError("a parameter set too long")

    def serialize(self) -> bytes:
        """The record; raises ProtocolError if the parameter sets are not fit for one."""
        self._check()
        sps = parse_sps(self.sps[0])
        layers = sps.temporal_layers << 3 | sps.temporal_id_nested << 2 | (self.length_size - 1)
        parts = [
            b"\x01",
            sps.profile_tier_level,
            b"\xf0\x00\xfc",  # no segmentation or parallelism is promised
            bytes((0xFC | sps.chroma_format_idc,)),
            bytes((0xF8 | (sps.bit_depth_luma - 8), 0xF8 | (sps.bit_depth_chroma - 8))),
            b"\0\0",  # average frame rate: not said
            bytes((layers, 3)),
        ]
        for kind, sets in ((NAL_VPS, self.vps), (NAL_SPS, self.sps), (NAL_PPS, self.pps)):
            # array_completeness: all there are, as hvc1 wants it
            parts += (bytes((0x80 | kind,)), len(sets).to_bytes(2, "big"))
            for nal in sets:
                parts += (len(nal).to_bytes(2, "big"), nal)
        return b"".join(parts)


def _parse_array(data: bytes, position: int, count: int) -> tuple[list[bytes], int]:
    nals = []
    for _ in range(count):
        start = position + 2
        position = start + int.from_bytes(data[position:start], "big")
        if position > len(data) or position < start + NAL_HEADER_BYTES:
            raise ProtocolError("a parameter set is cut off")
        nals.append(data[start:position])
    return nals, position


def track_from_nals(nals: Iterable[bytes]) -> Track:
    """The Track of the parameter sets among these NAL units; raises ProtocolError."""
    kept = list(nals)
    if not any(nal_type(nal) == NAL_SPS for nal in kept):
        raise ProtocolError("no sequence parameter set")
    kinds = (NAL_VPS, NAL_SPS, NAL_PPS)
    return video_track(*([nal for nal in kept if nal_type(nal) == kind] for kind in kinds))


def video_track(vps: Iterable[bytes], sps: Iterable[bytes], pps: Iterable[bytes]) -> Track:
    """The Track of these parameter sets (NAL units); raises ProtocolError."""
    config = HevcConfig(tuple(vps), tuple(sps), tuple(pps))
    record = config.serialize()
    size = parse_sps(config.sps[0])
    return Track("video", "h265", VIDEO_CLOCK_RATE, record, size.width, size.height)


def codec_string(record: Nal) -> str:
    """The name in CODECS, like "hvc1.1.6.L93.B0" (ISO/IEC 14496-15 §E.3); raises ProtocolError."""
    data = bytes(record)
    if len(data) < _RECORD_BYTES or data[0] != 1:
        raise ProtocolError("not an HEVCDecoderConfigurationRecord of version 1")
    space = ("", "A", "B", "C")[data[1] >> 6]
    tier = "H" if data[1] & 0x20 else "L"
    compatibility = int(f"{int.from_bytes(data[2:6], 'big'):032b}"[::-1], 2)
    constraints = data[6:12].rstrip(b"\0")
    name = f"hvc1.{space}{data[1] & 0x1F}.{compatibility:X}.{tier}{data[12]}"
    return ".".join((name, *(f"{byte:X}" for byte in constraints)))
