"""The compiled receiver's side in Python: batches whose RTP compiled_receive.c decrypts and reads.

It serves sources that Python has heard and found right: an SSRC from one address under its session's
keys. All else stands in the batch as it came and goes the way of Python, so that what is dropped,
counted or answered is the same with it and without.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import socket
import struct
import time
from collections.abc import Callable

from aiortc.rtcdtlstransport import SRTP_AEAD_AES_128_GCM

from mediaserver.errors import ProtocolError
from mediaserver.protocol.rtp import RtpPacket, parse, serialize_extensions, serialize_header
from mediaserver.rtc.address import UdpAddress
from mediaserver.rtc.compiled_carrier import sockaddr
from mediaserver.rtc.compiled_records import Lane
from mediaserver.rtc.datagrams import (
    BATCH,
    NAME_BYTES,
    STRIDE,
    WAITED_MOST_S,
    Batches,
    Hear,
    HearRtp,
)
from mediaserver.rtc.dtls import SrtpKeys
from mediaserver.rtc.srtp import Srtp, unprotect_address

SOURCES = 16  # of one address; a publisher of three layers has seven
PARSED, DECRYPTED, ACKNOWLEDGED = 1, 2, 4  # enum kind
Acknowledged = Callable[[int, int], None]  # cumulative TSN, window in bytes
# Arrival and route; in the memory: extension, payload, end; timestamp, SSRC, sequence, the profile of
# the extension, kind, payload type, marker.
_RECORD = struct.Struct("=dQIIIIIHHBB?5x")


class Batch(ctypes.Structure):
    """struct batch."""

    _fields_ = (
        ("memory", ctypes.c_void_p),
        ("messages", ctypes.c_void_p),
        ("envelopes", ctypes.c_void_p),
        ("records", ctypes.c_void_p),
        ("stride", ctypes.c_uint32),
        ("count", ctypes.c_uint32),
        ("now", ctypes.c_double),
        ("ahead_s", ctypes.c_double),
        ("waited_most_s", ctypes.c_double),
    )


class Opened:
    """`Datagrams` of which known sources' RTP is handed on decrypted and parsed.

    `refused` is called for each packet of a known source that is forged, replayed or makes no sense.
    """

    def __init__(
        self,
        library: ctypes.CDLL,
        batches: Batches,
        clock: Callable[[], float],
        refused: Callable[[], None],
    ) -> None:
        self._library = _declared(library)
        self._table = library.hawker_table(unprotect_address())
        if self._table is None:
            raise MemoryError("no memory for a table of routes")
        self._open = library.hawker_open_batch
        self._batches = batches
        self._clock = clock
        self._refused = refused
        self.only_acknowledged = False  # whether the last batch was of nothing else
        self._numbers = itertools.count(1)
        # By number who hears of it, and what C points at; by address the numbers of its SSRCs.
        self._routes: dict[int, tuple[HearRtp, Srtp]] = {}
        self._sources: dict[UdpAddress, dict[int, int]] = {}
        self._lanes: dict[UdpAddress, int] = {}
        self._acknowledged: dict[int, tuple[Acknowledged, Lane]] = {}
        self._records = (ctypes.c_char * (BATCH * _RECORD.size))()
        self._view = memoryview(self._records).cast("B")
        self._batch = Batch(
            ctypes.addressof(batches.memory),
            ctypes.addressof(batches.messages),
            ctypes.addressof(batches.envelopes),
            ctypes.addressof(self._records),
            STRIDE,
            waited_most_s=WAITED_MOST_S,
        )

    def learn(self, address: UdpAddress, ssrc: int, srtp: Srtp, hear: HearRtp) -> None:
        """RTP of this SSRC came from there and was right: what follows goes to `hear`."""
        sources = self._sources.setdefault(address, {})
        if ssrc in sources or len(sources) >= SOURCES:
            return
        number, name = next(self._numbers), _name(address)
        if self._library.hawker_learn(self._table, name, ssrc, srtp.inbound_address, number):
            sources[ssrc] = number
            self._routes[number] = hear, srtp

    def learn_lane(self, address: UdpAddress, lane: Lane, hear: Acknowledged) -> None:
        """Plain acknowledgements from there are read by this lane and go to `hear`."""
        if address in self._lanes:
            return
        number = next(self._numbers)
        if self._library.hawker_learn_lane(self._table, _name(address), lane.at, number):
            self._lanes[address] = number
            self._acknowledged[number] = hear, lane

    def forget(self, address: UdpAddress) -> None:
        """Nobody is at this address any more, or somebody else."""
        for ssrc, number in self._sources.pop(address, {}).items():
            self._library.hawker_unlearn(self._table, _name(address), ssrc)
            del self._routes[number]
        lane = self._lanes.pop(address, None)
        if lane is not None:
            self._library.hawker_unlearn_lane(self._table, _name(address))
            del self._acknowledged[lane]

    def close(self) -> None:
        """Nothing may be read afterwards."""
        for address in [*self._sources, *self._lanes]:
            self.forget(address)
        self._library.hawker_table_free(self._table)

    def read(self, hear: Hear) -> bool:
        batch, memory, routes = self._batch, self._batches.memory, self._routes
        lanes = self._acknowledged
        count = batch.count = self._batches.receive()
        self.only_acknowledged, acknowledged = False, 0
        if not count:
            return False
        batch.now = self._clock()
        batch.ahead_s = batch.now - time.time()
        self._open(self._table, batch)
        for (
            arrival,
            number,
            extension,
            start,
            end,
            timestamp,
            ssrc,
            sequence,
            profile,
            kind,
            payload_type,
            marker,
        ) in _RECORD.iter_unpack(self._view[: count * _RECORD.size]):
            if kind == ACKNOWLEDGED and number in lanes:
                lanes[number][0](timestamp, ssrc)
                acknowledged += 1
                continue
            route = routes.get(number)
            if route is None:  # perhaps forgotten by what stood before it
                hear(memory[start:end], self._batches.sender(start // STRIDE), arrival)
                continue
            try:
                if kind == PARSED:
                    packet = RtpPacket(
                        payload_type,
                        marker,
                        sequence,
                        timestamp,
                        ssrc,
                        memory[start:end],
                        profile,
                        memory[extension:start],
                    )
                elif kind == DECRYPTED:
                    packet = parse(memory[start:end])
                else:
                    self._refused()
                    continue
                route[0](packet, arrival)
            except ProtocolError:
                self._refused()
        self.only_acknowledged = acknowledged == count
        return count == BATCH


def right(library: ctypes.CDLL) -> bool:
    """Whether it opens one packet as `Srtp` and `rtp.parse` do."""
    key, salt = bytes(range(16)), bytes(12)
    srtp = Srtp(SrtpKeys(SRTP_AEAD_AES_128_GCM, key, salt, key, salt))
    extension = serialize_extensions({3: b"ab"})
    plain = serialize_header(96, True, 7, 9, 5, extension=extension) + bytes(200)
    heard: list[RtpPacket] = []
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        sock.setblocking(False)
        sock.bind(("127.0.0.1", 0))
        try:
            opened = Opened(library, Batches(sock, time.monotonic), time.monotonic, heard.clear)
        except MemoryError:
            return False
        opened.learn(sock.getsockname(), 5, srtp, lambda packet, arrival: heard.append(packet))
        with contextlib.suppress(OSError):
            sock.sendto(srtp.protect(plain), sock.getsockname())
            opened.read(lambda data, address, arrival: None)
        opened.close()
    return heard == [parse(plain)]


def _name(address: UdpAddress) -> bytes:
    return sockaddr(address).ljust(NAME_BYTES, b"\0")


def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    pointer, number = ctypes.c_void_p, ctypes.c_uint64
    library.hawker_table.argtypes = [pointer]
    library.hawker_table.restype = pointer
    library.hawker_table_free.argtypes = [pointer]
    library.hawker_table_free.restype = None
    library.hawker_learn.argtypes = [pointer, ctypes.c_char_p, ctypes.c_uint32, pointer, number]
    library.hawker_learn.restype = ctypes.c_int
    library.hawker_unlearn.argtypes = [pointer, ctypes.c_char_p, ctypes.c_uint32]
    library.hawker_unlearn.restype = None
    library.hawker_learn_lane.argtypes = [pointer, ctypes.c_char_p, pointer, number]
    library.hawker_learn_lane.restype = ctypes.c_int
    library.hawker_unlearn_lane.argtypes = [pointer, ctypes.c_char_p]
    library.hawker_unlearn_lane.restype = None
    library.hawker_open_batch.argtypes = [pointer, ctypes.POINTER(Batch)]
    library.hawker_open_batch.restype = None
    return library
