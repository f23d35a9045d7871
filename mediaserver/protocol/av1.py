"""AV1 temporal units: AV1 Bitstream & Decoding Process Specification, and AV1 in ISOBMFF for av1C."""

from __future__ import annotations

from dataclasses import dataclass

from mediaserver.errors import ProtocolError
from mediaserver.media import VIDEO_CLOCK_RATE, Track
from mediaserver.protocol.bits import BitReader

OBU_SEQUENCE_HEADER = 1
OBU_TEMPORAL_DELIMITER = 2
OBU_FRAME_HEADER = 3
OBU_TILE_GROUP = 4
OBU_FRAME = 6
OBU_TILE_LIST = 8
OBU_PADDING = 15

MAX_OBUS = 512  # of a temporal unit: level 6.3 has 128 tiles, each in a group of its own at most
MAX_SEQUENCE_HEADER_BYTES = 1024  # 32 operating points with all they may have come to 500
_MAX_LEB128_BYTES = 8  # §4.10.5
_EXTENSION, _HAS_SIZE = 0x04, 0x02
_SELECT = 2
_BT709, _SRGB, _IDENTITY = 1, 13, 0


def obu_type(obu: bytes) -> int:
    """The obu_type (§5.3.2) of an OBU; 0, which is reserved, for an empty one."""
    return obu[0] >> 3 & 15 if obu else 0


def header_bytes(obu: bytes) -> int:
    """How long its header is, the size field not counted."""
    return 2 if obu[0] & _EXTENSION else 1


def write_leb128(number: int) -> bytes:
    """§4.10.5"""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def read_leb128(data: bytes, position: int) -> tuple[int, int]:
    """The number at `position` and where it ends; raises ProtocolError."""
    number = 0
    for index in range(_MAX_LEB128_BYTES):
        if position >= len(data):
            break
        byte = data[position]
        position += 1
        number |= (byte & 0x7F) << 7 * index
        if not byte & 0x80:
            return number, position
    raise ProtocolError("AV1: a leb128 number that does not end")


def without_size(obu: bytes) -> bytes:
    """An OBU without its size field, as RTP wants it; raises ProtocolError if the size is wrong."""
    if not obu:
        raise ProtocolError("AV1: an empty OBU")
    if not obu[0] & _HAS_SIZE:
        return obu
    header = header_bytes(obu)
    size, start = read_leb128(obu, header)
    if start + size > len(obu):
        raise ProtocolError("AV1: an OBU larger than what holds it")
    return bytes((obu[0] & ~_HAS_SIZE,)) + obu[1:header] + obu[start : start + size]


def with_size(obu: bytes) -> bytes:
    """An OBU with its size field, as files want it, from one without."""
    header = header_bytes(obu)
    size = write_leb128(max(len(obu) - header, 0))
    return bytes((obu[0] | _HAS_SIZE,)) + obu[1:header] + size + obu[header:]


def split_temporal_unit(data: bytes) -> list[bytes]:
    """The OBUs of a temporal unit, each with its size field; raises ProtocolError."""
    obus: list[bytes] = []
    position = 0
    while position < len(data):
        if len(obus) == MAX_OBUS:
            raise ProtocolError(f"AV1: more than {MAX_OBUS} OBUs in a temporal unit")
        if not data[position] & _HAS_SIZE:
            obus.append(with_size(data[position:]))  # only the last may leave it out
            return obus
        header = 2 if data[position] & _EXTENSION else 1
        size, start = read_leb128(data, position + header)
        end = start + size
        if end > len(data):
            raise ProtocolError("AV1: an OBU larger than its temporal unit")
        obus.append(data[position:end])
        position = end
    return obus


@dataclass(frozen=True, slots=True)
class SequenceHeader:
    """What av1C and players want to know of a sequence header OBU (§5.5); the size is in pixels."""

    profile: int
    level: int  # seq_level_idx
    tier: int
    width: int
    height: int
    high_bitdepth: bool
    twelve_bit: bool
    monochrome: bool
    subsampling_x: int
    subsampling_y: int
    chroma_sample_position: int

    @property
    def bit_depth(self) -> int:
        if not self.high_bitdepth:
            return 8
        return 12 if self.twelve_bit else 10


def parse_sequence_header(obu: bytes) -> SequenceHeader:
    """Parse a sequence header OBU, with or without its size field; raises ProtocolError."""
    if obu_type(obu) != OBU_SEQUENCE_HEADER or len(obu) > MAX_SEQUENCE_HEADER_BYTES:
        raise ProtocolError("AV1: not a sequence header, or one too long")
    obu = without_size(obu)
    bits = BitReader(obu[header_bytes(obu) :])
    profile = bits.u(3)
    bits.u(1)  # still_picture
    reduced = bits.flag()
    if profile > 2:
        raise ProtocolError(f"AV1 of profile {profile}")
    level, tier = (bits.u(5), 0) if reduced else _parse_operating_points(bits)
    width_bits, height_bits = bits.u(4) + 1, bits.u(4) + 1
    width, height = bits.u(width_bits) + 1, bits.u(height_bits) + 1
    if not reduced and bits.flag():  # frame_id_numbers_present_flag
        bits.u(7)
    bits.u(3)  # superblocks of 128, filter intra, intra edge filter
    if not reduced:
        _skip_tools(bits)
    bits.u(3)  # superres, cdef, restoration
    return SequenceHeader(profile, level, tier, width, height, *_parse_color(bits, profile))


def _parse_operating_points(bits: BitReader) -> tuple[int, int]:
    """Level and tier of the first, which is all layers' (§5.5.1)."""
    delay_bits = 0
    if bits.flag():  # timing_info_present_flag
        bits.u(64)
        if bits.flag():  # equal_picture_interval
            bits.ue()
        if bits.flag():  # decoder_model_info_present_flag
            delay_bits = bits.u(5) + 1
            bits.u(42)
    display_delay = bits.flag()
    points = []
    for _ in range(bits.u(5) + 1):
        bits.u(12)  # operating_point_idc
        level = bits.u(5)
        points.append((level, bits.u(1) if level > 7 else 0))
        if delay_bits and bits.flag():
            bits.u(2 * delay_bits + 1)
        if display_delay and bits.flag():
            bits.u(4)
    return points[0]


def _skip_tools(bits: BitReader) -> None:
    bits.u(4)  # interintra and masked compound, warped motion, dual filter
    order_hint = bits.flag()
    if order_hint:
        bits.u(2)
    screen_content = _SELECT if bits.flag() else bits.u(1)
    if screen_content and not bits.flag():  # seq_choose_integer_mv
        bits.u(1)
    if order_hint:
        bits.u(3)


def _parse_color(bits: BitReader, profile: int) -> tuple[bool, bool, bool, int, int, int]:
    """color_config (§5.5.2): depth flags, monochrome, subsampling x and y, sample position."""
    high = bits.flag()
    twelve = bits.flag() if profile == 2 and high else False
    monochrome = bits.flag() if profile != 1 else False
    colours = (bits.u(8), bits.u(8), bits.u(8)) if bits.flag() else (2, 2, 2)
    if monochrome:
        return high, twelve, True, 1, 1, 0
    if colours == (_BT709, _SRGB, _IDENTITY):
        return high, twelve, False, 0, 0, 0
    bits.u(1)  # color_range
    if profile == 0:
        x, y = 1, 1
    elif profile == 1:
        x, y = 0, 0
    elif twelve:
        x = bits.u(1)
        y = bits.u(1) if x else 0
    else:
        x, y = 1, 0
    return high, twelve, False, x, y, bits.u(2) if x and y else 0


def is_key_frame(obu: bytes) -> bool:
    """Whether a frame (header) OBU begins a shown key frame (§5.9.2), with or without a size field.

    Not for the reduced headers of still pictures, which have no frame type.
    """
    if obu_type(obu) not in (OBU_FRAME, OBU_FRAME_HEADER):
        return False
    obu = without_size(obu)
    start = header_bytes(obu)
    # show_existing_frame 0, frame_type 00, show_frame 1
    return len(obu) > start and obu[start] & 0xF0 == 0x10


@dataclass(frozen=True, slots=True)
class Av1Config:
    """AV1CodecConfigurationRecord (AV1 in ISOBMFF §2.3); `obus` are its configOBUs."""

    header: SequenceHeader
    obus: tuple[bytes, ...]

    @classmethod
    def parse(cls, record: bytes) -> Av1Config:
        """Parse a record; raises ProtocolError, also if it holds no sequence header."""
        if len(record) < 4 or record[0] != 0x81:
            raise ProtocolError("not an AV1CodecConfigurationRecord of version 1")
        obus = tuple(split_temporal_unit(record[4:]))
        found = [obu for obu in obus if obu_type(obu) == OBU_SEQUENCE_HEADER]
        if not found:
            raise ProtocolError("an AV1 configuration without a sequence header")
        return cls(parse_sequence_header(found[0]), obus)

    def serialize(self) -> bytes:
        h = self.header
        return b"".join(
            (
                b"\x81",
                bytes((h.profile << 5 | h.level,)),
                bytes(
                    (
                        h.tier << 7
                        | h.high_bitdepth << 6
                        | h.twelve_bit << 5
                        | h.monochrome << 4
                        | h.subsampling_x << 3
                        | h.subsampling_y << 2
                        | h.chroma_sample_position,
                    )
                ),
                b"\0",  # no initial presentation delay
                *self.obus,
            )
        )


def video_track(sequence_header: bytes) -> Track:
    """The Track that begins with this sequence header OBU, size field included."""
    header = parse_sequence_header(sequence_header)
    config = Av1Config(header, (sequence_header,)).serialize()
    return Track("video", "av1", VIDEO_CLOCK_RATE, config, header.width, header.height)


def codec_string(record: bytes) -> str:
    """The name in CODECS, like "av01.0.05M.08" (AV1 in ISOBMFF §5); raises ProtocolError."""
    header = Av1Config.parse(record).header
    tier = "H" if header.tier else "M"
    return f"av01.{header.profile}.{header.level:02}{tier}.{header.bit_depth:02}"
