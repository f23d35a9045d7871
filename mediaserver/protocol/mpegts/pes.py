"""PES packets (ISO/IEC 13818-1 §2.4.3.6): put together from payloads, with their time stamps.

A packet of which something is missing is dropped whole. One that does not say how long it is (nearly
all video) ends where the next begins: the last one of a stream is never known to be whole, and dropped.
"""

from __future__ import annotations

from dataclasses import dataclass

MAX_PES_BYTES = 4 << 20  # far above what a live encoder uses for one picture
_PREFIX = b"\x00\x00\x01"
_LENGTH_AT, _HEADER_BYTES = 4, 9
# padding, private 2, ECM, EMM, DSM-CC, H.222.1 E, directory: without header (Table 2-22)
_BARE = frozenset({0xBC, 0xBE, 0xBF, 0xF0, 0xF1, 0xF2, 0xF8, 0xFF})


@dataclass(slots=True)
class Pes:
    """`pts` and `dts` are 33 bits of 90 kHz; `dts` is `pts` where it is not given; None: no time."""

    pts: int | None
    dts: int | None
    payload: bytes


class Assembler:
    """Payloads of one PID to PES packets; `broken` counts those that were dropped."""

    def __init__(self) -> None:
        self.broken = 0
        self._data = bytearray()
        self._open = False
        self._end = 0  # 0: not said, or not known yet

    def feed(self, payload: bytes, *, start: bool) -> list[Pes]:
        """The packets that this payload ends."""
        found: list[Pes] = []
        if start:
            if self._open:
                self._finish(found)
            self._open = True
        elif not self._open:
            return found
        data = self._data
        data += payload
        if not self._end and len(data) >= _LENGTH_AT + 2:
            length = data[_LENGTH_AT] << 8 | data[_LENGTH_AT + 1]
            self._end = length + _LENGTH_AT + 2 if length else MAX_PES_BYTES
        if self._end and len(data) >= self._end:
            if self._end == MAX_PES_BYTES:
                self.lose()
            else:
                self._finish(found)
        return found

    def lose(self) -> None:
        """Packets are missing here: what is open is dropped."""
        self.broken += self._open
        self._clear()

    def _clear(self) -> None:
        self._data.clear()
        self._open = False
        self._end = 0

    def _finish(self, found: list[Pes]) -> None:
        short = self._end != MAX_PES_BYTES and len(self._data) < self._end
        pes = None if short else parse(bytes(self._data[: self._end or None]))
        self.broken += pes is None
        self._clear()
        if pes is not None:
            found.append(pes)


def parse(data: bytes) -> Pes | None:
    """A whole PES packet; None for one without a header, or that is none."""
    if len(data) < _HEADER_BYTES or data[:3] != _PREFIX or data[3] in _BARE:
        return None
    start = _HEADER_BYTES + data[8]
    if data[6] & 0xC0 != 0x80 or start > len(data):
        return None
    given = data[7] >> 6  # PTS_DTS_flags
    needed = {2: 14, 3: 19}.get(given, 0)
    if start < needed:
        return None
    pts = _timestamp(data, 9) if needed else None
    dts = _timestamp(data, 14) if given == 3 else pts
    return Pes(pts, dts, data[start:])


def _timestamp(data: bytes, at: int) -> int:
    """33 bits in five bytes, with marker bits between."""
    high = data[at] >> 1 & 7
    middle = (data[at + 1] << 8 | data[at + 2]) >> 1
    low = (data[at + 3] << 8 | data[at + 4]) >> 1
    return high << 30 | middle << 15 | low
