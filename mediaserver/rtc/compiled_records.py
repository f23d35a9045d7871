"""A data channel's short way in compiled_records.c: messages of one chunk out, acknowledgements in.

A lane is one session whose association is set up: keys, record numbers and the window against replays
stand where C goes by them, and `LaneRecords` by them too, for all that stays with Python. A message is
sealed as soon as it is said and leaves with those of other lanes: when 32 wait, in the loop's next turn,
or before anything else of a lane.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import socket
import struct
from collections.abc import Callable

from aiortc.rtcsctptransport import crc32c  # type: ignore[attr-defined]

from mediaserver.rtc.address import Address, TcpAddress
from mediaserver.rtc.compiled_carrier import Compiled, sockaddr
from mediaserver.rtc.dtls_records import APPLICATION_DATA, FIRST, GcmRecords, RecordKeys

ADDRESS_BYTES = 28  # sockaddr_in6
SACK_BYTES = 65  # the datagram of a plain acknowledgement


class LaneFields(ctypes.Structure):
    """struct lane."""

    _fields_ = (
        ("outlet", ctypes.c_void_p),
        ("sealer", ctypes.c_void_p),
        ("opener", ctypes.c_void_p),
        ("number", ctypes.c_uint64),
        ("nonce", ctypes.c_uint64),
        ("newest", ctypes.c_uint64),
        ("seen", ctypes.c_uint64),
        ("left_in", ctypes.c_uint64),
        ("tag", ctypes.c_uint32),
        ("address_bytes", ctypes.c_uint32),
        ("sealer_salt", ctypes.c_uint8 * 4),
        ("opener_salt", ctypes.c_uint8 * 4),
        ("ports", ctypes.c_uint8 * 8),
        ("address", ctypes.c_uint8 * ADDRESS_BYTES),
    )


class LaneRecords(GcmRecords):
    """The records of a lane: those of before, whose numbers C has from now on."""

    __slots__ = ("_fields", "_flush")

    def __init__(self, before: GcmRecords, fields: LaneFields, flush: Callable[[], None]) -> None:
        self._fields = fields
        self._flush = flush
        self._keys = before._keys
        self._next, self._nonce = before._next, before._nonce
        self._newest, self._seen = before._newest, before._seen
        self._tx, self._rx = before._tx, before._rx

    def seal(self, data: bytes, kind: int = APPLICATION_DATA) -> bytes:
        self._flush()  # what was said before leaves before
        return super().seal(data, kind)

    @property
    def _next(self) -> int:
        return int(self._fields.number)

    @_next.setter
    def _next(self, number: int) -> None:
        self._fields.number = number

    @property
    def _nonce(self) -> int:
        return int(self._fields.nonce)

    @_nonce.setter
    def _nonce(self, nonce: int) -> None:
        self._fields.nonce = nonce

    @property
    def _newest(self) -> int:
        return int(self._fields.newest)

    @_newest.setter
    def _newest(self, number: int) -> None:
        self._fields.newest = number

    @property
    def _seen(self) -> int:
        return int(self._fields.seen)

    @_seen.setter
    def _seen(self, bits: int) -> None:
        self._fields.seen = bits


class Lane:
    """One session's; `records` are to stand in the place of those of before."""

    __slots__ = ("_outlet", "_say", "at", "fields", "records")

    def __init__(self, outlet: Outlet, records: GcmRecords) -> None:
        """Raises MemoryError when there are no contexts."""
        self.at: int | None = None
        self.fields = fields = LaneFields()
        self.at = outlet.open(fields, records)
        self.records = LaneRecords(records, fields, outlet.flush)
        self._outlet = outlet
        self._say = outlet.library.hawker_say

    def __del__(self) -> None:
        if self.at is not None:
            self._outlet.library.hawker_lane_close(self.at)

    def associate(self, ports: bytes, tag: int) -> None:
        """How our packets begin, ports and tag, and the tag that the peer's bear."""
        self.fields.ports[:] = ports
        self.fields.tag = tag

    def move(self, address: Address) -> None:
        """Send there from now on; over TCP, or to a name, only Python gets."""
        self.fields.address_bytes = 0
        if not isinstance(address, TcpAddress):
            with contextlib.suppress(OSError):
                name = sockaddr(address)
                self.fields.address[: len(name)] = name
                self.fields.address_bytes = len(name)

    def close(self) -> None:
        """Take nothing more; what was said has left."""
        self.fields.address_bytes = 0

    def say(self, what: int, tsn: int, sequence: int, data: bytes) -> bool:
        """Take a message; False when Python has to send it.

        `what` has the stream in its upper 16 bits, then the payload protocol and the flags.
        """
        waiting = self._say(self.at, what, tsn, sequence, data, len(data))
        if waiting == 1:
            self._outlet.flush_soon()
        return waiting >= 0  # type: ignore[no-any-return]


class Outlet:
    """What leaves through one UDP socket; `lost` is told how many the kernel did not take."""

    def __init__(self, compiled: Compiled, descriptor: int, lost: Callable[[int], None]) -> None:
        self.library = _declared(compiled.library)
        self._outlet = self.library.hawker_outlet(compiled.libcrypto.encode(), descriptor)
        if self._outlet is None:
            raise MemoryError("no memory for an outlet")
        self._flush = self.library.hawker_flush
        self._lost = lost
        self._flushing: asyncio.Handle | None = None

    def open(self, fields: LaneFields, records: GcmRecords) -> int:
        """Fill in a lane's contexts; they are freed with it."""
        keys, at = records._keys, ctypes.addressof(fields)
        made = self.library.hawker_lane_open(self._outlet, at, keys.tx_key, keys.rx_key)
        if not made:
            self.library.hawker_lane_close(at)
            raise MemoryError("libcrypto made no context")
        fields.sealer_salt[:], fields.opener_salt[:] = keys.tx_salt, keys.rx_salt
        return at

    def lane(self, records: GcmRecords) -> Lane:
        """One that goes on where these stand; raises MemoryError when there are no contexts."""
        return Lane(self, records)

    def flush(self) -> None:
        """Send what waits."""
        lost = self._flush(self._outlet)
        if lost:
            self._lost(lost)

    def flush_soon(self) -> None:
        if self._flushing is None:
            self._flushing = asyncio.get_running_loop().call_soon(self._flush_now)

    def close(self) -> None:
        """Send what waits, and nothing more."""
        self.flush()
        self.library.hawker_outlet_close(self._outlet)
        if self._flushing is not None:
            self._flushing.cancel()

    def __del__(self) -> None:
        if self._outlet is not None:
            self.library.hawker_outlet_free(self._outlet)

    def _flush_now(self) -> None:
        self._flushing = None
        self.flush()


def right(compiled: Compiled) -> bool:
    """Whether it seals one message as `GcmRecords` does."""
    keys = RecordKeys(bytes(range(16)), bytes(4), bytes(16), bytes(4))
    last = APPLICATION_DATA, FIRST, bytes(8)
    head, data = bytes(range(8)), bytes(range(201))
    chunk = struct.pack("!BBHLHHL", 0, 3, 217, 7, 1, 5, 53) + data + bytes(3)
    crc: int = crc32c(head + bytes(4) + chunk)
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        sock.setblocking(False)
        sock.bind(("127.0.0.1", 0))
        try:
            outlet = Outlet(compiled, sock.fileno(), lambda lost: None)
            lane = outlet.lane(GcmRecords(keys, last))
            lane.associate(head, 0)
            lane.move(sock.getsockname())
            outlet.library.hawker_say(lane.at, 1 << 16 | 53 << 8 | 3, 7, 5, data, len(data))
            outlet.flush()
            sent = sock.recv(2048)
        except (MemoryError, OSError):
            return False
    return sent == GcmRecords(keys, last).seal(head + crc.to_bytes(4, "little") + chunk)


def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    pointer, number = ctypes.c_void_p, ctypes.c_uint32
    library.hawker_outlet.argtypes = [ctypes.c_char_p, ctypes.c_int]
    library.hawker_outlet.restype = pointer
    library.hawker_outlet_free.argtypes = [pointer]
    library.hawker_outlet_free.restype = None
    library.hawker_outlet_close.argtypes = [pointer]
    library.hawker_outlet_close.restype = None
    library.hawker_lane_open.argtypes = [pointer, pointer, ctypes.c_char_p, ctypes.c_char_p]
    library.hawker_lane_open.restype = ctypes.c_int
    library.hawker_lane_close.argtypes = [pointer]
    library.hawker_lane_close.restype = None
    library.hawker_flush.argtypes = [pointer]
    library.hawker_flush.restype = ctypes.c_int
    library.hawker_say.argtypes = [pointer, number, number, number, ctypes.c_char_p, number]
    library.hawker_say.restype = ctypes.c_int
    return library
