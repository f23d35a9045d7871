"""RTP packets (RFC 3550 §5.1) and their header extensions (RFC 8285).

Hot path of every publisher: one `parse` per packet, extensions only when somebody asks for one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from struct import Struct

from mediaserver.errors import ProtocolError

HEADER_BYTES = 12
ONE_BYTE_PROFILE = 0xBEDE
TWO_BYTE_PROFILE = 0x1000  # the low four bits are free (RFC 8285 §4.3)
MAX_ONE_BYTE_VALUE = 16

_HEADER = Struct(">BBHII")
_EXTENSION_HEADER = Struct(">HH")
_EXTENDED_HEADER = Struct(">BBHIIHH")


@dataclass(slots=True)
class RtpPacket:
    """One packet: `payload` is without padding, CSRCs are dropped.

    `extension_profile` and `extension_data` are the header extension as it came (0 and empty
    without one); `extension(id)` reads an element of it.
    """

    payload_type: int
    marker: bool
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes
    extension_profile: int = 0
    extension_data: bytes = b""

    def extension(self, identifier: int) -> bytes | None:
        """The value of one element (mid, rid, audio level...), None if it is not there."""
        if not self.extension_data:
            return None
        for found, start, end in _elements(self.extension_profile, self.extension_data):
            if found == identifier:
                return self.extension_data[start:end]
        return None

    def extension_u16(self, identifier: int) -> int | None:
        """An element of two bytes, None if it is not there; for one that is asked of every packet."""
        data = self.extension_data
        # Mostly it is the first, in the one-byte form.
        if (
            len(data) >= 3
            and data[0] == identifier << 4 | 1
            and self.extension_profile == ONE_BYTE_PROFILE
        ):
            return data[1] << 8 | data[2]
        value = self.extension(identifier)
        return int.from_bytes(value, "big") if value is not None and len(value) == 2 else None

    def extensions(self) -> dict[int, bytes]:
        """All elements by id; where one is cut short, those before it."""
        data = self.extension_data
        return {
            found: data[start:end] for found, start, end in _elements(self.extension_profile, data)
        }


def header_length(data: bytes) -> int:
    """Bytes of fixed header, CSRCs and extension: what SRTP leaves in the clear."""
    size = len(data)
    if size < HEADER_BYTES:
        raise ProtocolError("RTP packet shorter than its header")
    first = data[0]
    if first >> 6 != 2:
        raise ProtocolError("not RTP version 2")
    length = HEADER_BYTES + 4 * (first & 0x0F)
    if first & 0x10:
        if length + 4 > size:
            raise ProtocolError("RTP header extension cut short")
        length += 4 + 4 * (data[length + 2] << 8 | data[length + 3])
    if length > size:
        raise ProtocolError("RTP header longer than the packet")
    return length


def parse(data: bytes) -> RtpPacket:
    """Read one packet; ProtocolError when it is not one."""
    end = len(data)
    if end < HEADER_BYTES:
        raise ProtocolError("RTP packet shorter than its header")
    if data[0] == 0x90 and end >= _EXTENDED_HEADER.size:  # as browsers send nearly all of them
        return _parse_extended(data, end)
    first, second, sequence, timestamp, ssrc = _HEADER.unpack_from(data)
    start, profile, extension = HEADER_BYTES, 0, b""
    if first != 0x80:  # more than the fixed header, or padding
        start = header_length(data)
        if first & 0x10:
            offset = HEADER_BYTES + 4 * (first & 0x0F)
            profile = data[offset] << 8 | data[offset + 1]
            extension = data[offset + 4 : start]
        if first & 0x20:
            padding = data[-1]
            if not padding or start + padding > end:
                raise ProtocolError("RTP padding longer than the packet")
            end -= padding
    return RtpPacket(
        second & 0x7F,
        second > 0x7F,
        sequence,
        timestamp,
        ssrc,
        data[start:end],
        profile,
        extension,
    )


def _parse_extended(data: bytes, end: int) -> RtpPacket:
    """A packet with a header extension, without CSRCs and padding."""
    _, second, sequence, timestamp, ssrc, profile, words = _EXTENDED_HEADER.unpack_from(data)
    start = 16 + 4 * words
    if start > end:
        raise ProtocolError("RTP header longer than the packet")
    return RtpPacket(
        second & 0x7F,
        second > 0x7F,
        sequence,
        timestamp,
        ssrc,
        data[start:],
        profile,
        data[16:start],
    )


def serialize_header(
    payload_type: int,
    marker: bool,
    sequence: int,
    timestamp: int,
    ssrc: int,
    padding: bool = False,
    extension: bytes = b"",
) -> bytes:
    """The header: 12 bytes, and `extension`, which `serialize_extensions` makes."""
    return (
        _HEADER.pack(
            (0x90 if extension else 0x80) | (0x20 if padding else 0),
            (payload_type | 0x80) if marker else payload_type,
            sequence,
            timestamp,
            ssrc,
        )
        + extension
    )


def serialize_extensions(values: Mapping[int, bytes]) -> bytes:
    """The extension block with these elements, in the one-byte form if it can hold them."""
    if not values:
        return b""
    if all(
        0 < identifier < 15 and 0 < len(value) <= MAX_ONE_BYTE_VALUE
        for identifier, value in values.items()
    ):
        profile = ONE_BYTE_PROFILE
        parts = [bytes((i << 4 | len(value) - 1,)) + value for i, value in values.items()]
    else:
        profile = TWO_BYTE_PROFILE
        parts = [bytes((i, len(value))) + value for i, value in values.items()]
    body = b"".join(parts)
    body += bytes(-len(body) & 3)
    return _EXTENSION_HEADER.pack(profile, len(body) // 4) + body


def _elements(profile: int, data: bytes) -> Iterator[tuple[int, int, int]]:
    if profile == ONE_BYTE_PROFILE:
        return _one_byte_elements(data)
    if profile & 0xFFF0 == TWO_BYTE_PROFILE:
        return _two_byte_elements(data)
    return iter(())


def _one_byte_elements(data: bytes) -> Iterator[tuple[int, int, int]]:
    offset, size = 0, len(data)
    while offset < size:
        identifier, length = data[offset] >> 4, (data[offset] & 0x0F) + 1
        offset += 1
        if identifier == 0:
            if length != 1:
                return  # RFC 8285 §4.2: id 0 with a length ends the reading
            continue
        if identifier == 15 or offset + length > size:
            return
        yield identifier, offset, offset + length
        offset += length


def _two_byte_elements(data: bytes) -> Iterator[tuple[int, int, int]]:
    offset, size = 0, len(data)
    while offset < size:
        identifier = data[offset]
        offset += 1
        if identifier == 0:
            continue
        if offset == size:
            return
        length = data[offset]
        offset += 1
        if offset + length > size:
            return
        yield identifier, offset, offset + length
        offset += length


def extend(sequence: int, reference: int) -> int:
    """The number nearest to `reference` whose low 16 bits are `sequence`.

    Negative when a packet from before 0 is meant: it came before the first one.
    """
    return reference + ((sequence - reference + 0x8000) & 0xFFFF) - 0x8000


def extend_timestamp(timestamp: int, reference: int) -> int:
    """The number of ticks nearest to `reference` whose low 32 bits are `timestamp`."""
    return reference + ((timestamp - reference + 0x8000_0000) & 0xFFFF_FFFF) - 0x8000_0000


class SequenceUnwrapper:
    """Sequence numbers that go on counting at the wrap; `highest` is the newest seen."""

    __slots__ = ("highest",)

    def __init__(self) -> None:
        self.highest: int | None = None

    def unwrap(self, sequence: int) -> int:
        """The extended number of a packet, late ones included; the first stands for itself."""
        if self.highest is None:
            self.highest = sequence
            return sequence
        extended = extend(sequence, self.highest)
        if extended > self.highest:
            self.highest = extended
        return extended
