"""Program specific information (ISO/IEC 13818-1 §2.4.4): which PIDs make up the programme."""

from __future__ import annotations

from dataclasses import dataclass

from mediaserver.errors import ProtocolError

PAT_PID = 0
MAX_SECTION_BYTES = 1024  # of a PAT or PMT (§2.4.4.4, §2.4.4.9)
_PAT, _PMT, _STUFFING = 0x00, 0x02, 0xFF
_CURRENT = 0x01
_REGISTRATION = 0x05  # §2.6.8
_EXTENSION = 0x7F  # of DVB; Opus in TS uses one of its own
_HEADER_BYTES, _CRC_BYTES = 8, 4


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte << 24
        for _ in range(8):
            crc = crc << 1 ^ (0x04C11DB7 if crc & 0x80000000 else 0)
        table.append(crc & 0xFFFFFFFF)
    return tuple(table)


_CRC_TABLE = _crc_table()


def crc32(data: bytes) -> int:
    """CRC_32 of Annex A; 0 over a section that holds its own."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc << 8 & 0xFFFFFFFF) ^ _CRC_TABLE[crc >> 24 ^ byte]
    return crc


class Sections:
    """Payloads of a PID to sections; one that says what the last one said is left out."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._open = False
        self._last = b""

    def packet(self, payload: bytes, *, start: bool, lost: bool) -> list[bytes]:
        if lost:
            self._open = False
        if not start or not payload:
            return self._take(payload) if self._open else []
        begin = 1 + payload[0]  # pointer_field
        found = self._take(payload[1:begin]) if self._open else []
        self._data.clear()
        self._open = True
        return found + self._take(payload[begin:])

    def _take(self, data: bytes) -> list[bytes]:
        held = self._data
        held += data
        found: list[bytes] = []
        while len(held) >= 3 and held[0] != _STUFFING:
            length = 3 + ((held[1] & 0x0F) << 8 | held[2])
            if length > MAX_SECTION_BYTES:
                self._open = False
                break
            if len(held) < length:
                return found
            section = bytes(held[:length])
            del held[:length]
            if section != self._last and not crc32(section):
                self._last = section
                found.append(section)
        if not self._open or held[:1] == b"\xff":
            held.clear()
            self._open = False
        return found


@dataclass(frozen=True, slots=True)
class ElementaryInfo:
    """One elementary stream of a PMT; the last two are bodies of descriptors, or empty."""

    stream_type: int
    pid: int
    registration: bytes
    extension: bytes


def parse_pat(section: bytes) -> int | None:
    """The PID of the first programme's PMT, if the section holds one that applies now."""
    if section[0] != _PAT or len(section) < _HEADER_BYTES or not section[5] & _CURRENT:
        return None
    for at in range(_HEADER_BYTES, len(section) - _CRC_BYTES - 3, 4):
        if section[at : at + 2] != b"\0\0":  # programme 0 is the network's
            return (section[at + 2] & 0x1F) << 8 | section[at + 3]
    return None


def parse_pmt(section: bytes) -> list[ElementaryInfo]:
    """The elementary streams, none if the section is of another kind; raises ProtocolError."""
    if section[0] != _PMT or len(section) < _HEADER_BYTES + 8 or not section[5] & _CURRENT:
        return []
    end = len(section) - _CRC_BYTES
    at = 12 + ((section[10] & 0x0F) << 8 | section[11])
    found = []
    while at + 5 <= end:
        stream_type, pid = section[at], (section[at + 1] & 0x1F) << 8 | section[at + 2]
        begin = at + 5
        at = begin + ((section[at + 3] & 0x0F) << 8 | section[at + 4])
        if at > end:
            raise ProtocolError("a PMT is cut off")
        bodies = _descriptors(section[begin:at])
        registration, extension = bodies.get(_REGISTRATION, b""), bodies.get(_EXTENSION, b"")
        found.append(ElementaryInfo(stream_type, pid, registration[:4], extension))
    return found


def _descriptors(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    at = 0
    while at + 2 <= len(data):
        begin = at + 2
        at = begin + data[begin - 1]
        found.setdefault(data[begin - 2], data[begin:at])
    return found
