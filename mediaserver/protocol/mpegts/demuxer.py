"""A transport stream to the frames of its first programme's picture and sound.

Taken: H.264, H.265, AAC in ADTS, Opus; of each kind the first stream in the PMT. What else there is of
picture and sound stands by name in `unsupported`; subtitles and data are left aside. Four PIDs at most
are looked at, each with one section or PES packet open (MAX_SECTION_BYTES, MAX_PES_BYTES).
"""

from __future__ import annotations

from collections.abc import Callable

from mediaserver.errors import ProtocolError
from mediaserver.media import Kind
from mediaserver.protocol.mpegts import psi
from mediaserver.protocol.mpegts.adts import AdtsFrames
from mediaserver.protocol.mpegts.frame import Elementary, Frame
from mediaserver.protocol.mpegts.opus_frames import OpusFrames
from mediaserver.protocol.mpegts.packets import Line, Splitter, pid_of
from mediaserver.protocol.mpegts.pes import Assembler
from mediaserver.protocol.mpegts.psi import ElementaryInfo
from mediaserver.protocol.mpegts.video import H264, H265, Pictures

MAX_BROKEN = 50  # units in a row: a second or more of nothing usable is no accident
_PRIVATE = 0x06

# By stream_type (Table 2-34, and what ATSC and others assigned), or by registration where it is private.
_TAKEN: dict[int | bytes, tuple[Kind, Callable[[ElementaryInfo], Elementary]]] = {
    0x0F: ("audio", lambda info: AdtsFrames()),
    0x1B: ("video", lambda info: Pictures(H264)),
    0x24: ("video", lambda info: Pictures(H265)),
    b"HEVC": ("video", lambda info: Pictures(H265)),
    b"Opus": ("audio", lambda info: OpusFrames(info.extension)),
}
_NOT_TAKEN: dict[int | bytes, tuple[Kind, str]] = {
    0x01: ("video", "MPEG-1 video"),
    0x02: ("video", "MPEG-2 video"),
    0x10: ("video", "MPEG-4 Visual"),
    0x33: ("video", "VVC"),
    b"AV01": ("video", "AV1"),
    b"VVC ": ("video", "VVC"),
    0x03: ("audio", "MPEG audio"),
    0x04: ("audio", "MPEG audio"),
    0x11: ("audio", "AAC in LATM"),
    0x81: ("audio", "AC-3"),
    0x82: ("audio", "DTS"),
    0x87: ("audio", "E-AC-3"),
    b"AC-3": ("audio", "AC-3"),
    b"EAC3": ("audio", "E-AC-3"),
    b"BSSD": ("audio", "SMPTE 302M"),
}


class Demuxer:
    """Bytes in, frames out; what is damaged is dropped and counted."""

    def __init__(self) -> None:
        self.unsupported: dict[Kind, str] = {}  # where nothing of that kind is taken
        self._splitter = Splitter()
        self._pat: Line[bytes] = Line(psi.Sections())
        self._pmt: Line[bytes] | None = None
        self._pmt_pid = -1
        self._streams: dict[int, tuple[ElementaryInfo, Line[Frame]]] = {}
        self._gone = (0, 0)  # losses and broken units of streams that the PMT no longer has

    @property
    def taken(self) -> bool:
        """Whether there is a stream that is taken."""
        return bool(self._streams)

    @property
    def losses(self) -> int:
        """How often packets of the streams taken were missing."""
        return self._gone[0] + sum(line.losses for _, line in self._streams.values())

    @property
    def broken(self) -> int:
        """Units dropped because something of them was missing or wrong."""
        return self._gone[1] + sum(_units(line).broken for _, line in self._streams.values())

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that these bytes end, in their order.

        Raises ProtocolError where nothing in it can be used: no transport stream, or unit after unit
        that is broken.
        """
        frames: list[Frame] = []
        streams = self._streams
        for packet in self._splitter.feed(data):
            pid = pid_of(packet)
            if (stream := streams.get(pid)) is not None:
                if found := stream[1].feed(packet):
                    frames += found
            elif pid == psi.PAT_PID:
                for section in self._pat.feed(packet):
                    self._take_pat(section)
            elif pid == self._pmt_pid and self._pmt is not None:
                for section in self._pmt.feed(packet):
                    self._take_pmt(section)
        return frames

    def lose(self) -> None:
        """So many packets are missing here that continuity counters, of four bits, may not show it."""
        for _, line in self._streams.values():
            line.lose()

    def _take_pat(self, section: bytes) -> None:
        pid = psi.parse_pat(section)
        if pid is not None and pid != self._pmt_pid:
            self._pmt_pid, self._pmt = pid, Line(psi.Sections())

    def _take_pmt(self, section: bytes) -> None:
        infos = psi.parse_pmt(section)
        if not infos:
            return
        chosen: dict[Kind, ElementaryInfo] = {}
        self.unsupported = {}
        for info in infos:
            key: int | bytes = (
                info.registration if info.stream_type == _PRIVATE else info.stream_type
            )
            if key in _TAKEN:
                chosen.setdefault(_TAKEN[key][0], info)
            elif key in _NOT_TAKEN:
                kind, name = _NOT_TAKEN[key]
                self.unsupported.setdefault(kind, name)
        for kind in chosen:
            self.unsupported.pop(kind, None)
        self._choose(list(chosen.values()))

    def _choose(self, chosen: list[ElementaryInfo]) -> None:
        pids = {info.pid for info in chosen}
        for pid, (_, line) in list(self._streams.items()):
            if pid not in pids:
                losses, broken = self._gone
                self._gone = losses + line.losses, broken + _units(line).broken
                del self._streams[pid]
        for info in chosen:
            known = self._streams.get(info.pid)
            if known is None or known[0] != info:
                self._streams[info.pid] = info, Line(_Units(_elementary(info)))


class _Units:
    """PES packets of one PID, and the frames in them."""

    def __init__(self, elementary: Elementary) -> None:
        self._assembler = Assembler()
        self._elementary = elementary
        self._wrong = 0
        self._in_a_row = 0

    @property
    def broken(self) -> int:
        return self._assembler.broken + self._wrong

    def packet(self, payload: bytes, *, start: bool, lost: bool) -> list[Frame]:
        if lost:
            self._assembler.lose()
            self._elementary.lose()
        frames: list[Frame] = []
        before = self._assembler.broken
        whole = self._assembler.feed(payload, start=start)
        if self._assembler.broken != before:
            self._elementary.lose()
        for pes in whole:
            try:
                frames += self._elementary.feed(pes)
                self._in_a_row = 0
            except ProtocolError:
                self._elementary.lose()
                self._wrong += 1
                self._in_a_row += 1
                if self._in_a_row > MAX_BROKEN:
                    raise
        return frames


def _elementary(info: ElementaryInfo) -> Elementary:
    key: int | bytes = info.registration if info.stream_type == _PRIVATE else info.stream_type
    return _TAKEN[key][1](info)


def _units(line: Line[Frame]) -> _Units:
    assert isinstance(line.sink, _Units)
    return line.sink
