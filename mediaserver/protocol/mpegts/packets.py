"""Transport stream packets (ISO/IEC 13818-1 §2.4.3): finding them, and noticing which are missing."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

from mediaserver.errors import ProtocolError

PACKET_BYTES = 188
MAX_LOST_SYNC_BYTES = 64 << 10  # 350 packets: what has none in it is no transport stream
_SYNC = 0x47
_NO_PAYLOAD, _ADAPTED = 0x10, 0x20  # adaptation_field_control
_ERROR, _START = 0x80, 0x40
_SCRAMBLED = 0xC0
_DISCONTINUITY = 0x80

T = TypeVar("T")


class Splitter:
    """Bytes to whole packets, wherever they were cut."""

    def __init__(self) -> None:
        self._left = b""
        self._skipped = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The packets that are complete; raises ProtocolError where there is no sync for too long."""
        if self._left:
            data = self._left + data
        packets: list[bytes] = []
        position, end = 0, len(data)
        while end - position >= PACKET_BYTES:
            if data[position] != _SYNC:
                position = self._resync(data, position)
                continue
            packets.append(data[position : position + PACKET_BYTES])
            position += PACKET_BYTES
        if packets:
            self._skipped = 0
        self._left = data[position:]
        return packets

    def _resync(self, data: bytes, position: int) -> int:
        """The next sync byte that has another a packet later, as far as can be seen."""
        begun, end = position, len(data)
        while True:
            position = data.find(_SYNC, position + 1)
            if position < 0:
                position = end
            following = position + PACKET_BYTES
            if following >= end or data[following] == _SYNC:
                break
        self._skipped += position - begun
        if self._skipped > MAX_LOST_SYNC_BYTES:
            raise ProtocolError("this is no MPEG transport stream")
        return position


class Sink(Protocol[T]):
    """Who takes the payloads of one PID."""

    def packet(self, payload: bytes, *, start: bool, lost: bool) -> list[T]:
        """What this payload ends. `start`: a section or PES packet begins in it.

        `lost`: packets before it are missing.
        """


class Line(Generic[T]):
    """One PID: its continuity counter and its sink."""

    __slots__ = ("_counter", "_payload", "_told", "losses", "sink")

    def __init__(self, sink: Sink[T]) -> None:
        self.sink = sink
        self.losses = 0
        self._counter = -1
        self._payload = b""
        self._told = False

    def lose(self) -> None:
        """Packets are missing before the next one, whatever its counter says."""
        self._told = True

    def feed(self, packet: bytes) -> list[T]:
        """Take a packet of this PID."""
        flags, control = packet[1], packet[3]
        if flags & _ERROR or control & _SCRAMBLED or not control & _NO_PAYLOAD:
            return []  # nothing in it to be had; one in error is missed by its successor
        start, jumped = 4, False
        if control & _ADAPTED:
            length = packet[4]
            start = 5 + length
            jumped = bool(length and packet[5] & _DISCONTINUITY)
        counter, last = control & 15, self._counter
        payload = packet[start:]
        if counter == last and payload == self._payload:
            return []  # sent twice (§2.4.3.3)
        self._counter, self._payload = counter, payload
        lost = self._told or (not jumped and last >= 0 and counter != last + 1 & 15)
        self._told = False
        self.losses += lost
        return self.sink.packet(payload, start=bool(flags & _START), lost=lost)


def pid_of(packet: bytes) -> int:
    """The PID (§2.4.3.2)."""
    return (packet[1] & 0x1F) << 8 | packet[2]
