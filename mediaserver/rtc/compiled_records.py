"""DTLS records sealed and sent by compiled_records.c: those of a turn of the loop in one call.

A record takes its number when it is put here and leaves when 32 wait, or in the loop's next turn at the
latest. Sealed and sent one by one in Python it costs 12 µs more.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import struct
from collections.abc import Callable

from mediaserver.rtc.address import Address, TcpAddress
from mediaserver.rtc.compiled_carrier import Cipher, Compiled, sockaddr
from mediaserver.rtc.dtls_records import APPLICATION_DATA, GcmRecords

RECORDS = 32  # of one call, as there
PACKET_BYTES = 1216  # a longer one is Python's to send; none of SCTP's is
ADDRESS_BYTES = 28  # sockaddr_in6
_ENTRY = struct.Struct("=QQQII")  # way, number, nonce, bytes, kind
_STRIDE = _ENTRY.size + PACKET_BYTES


class Way(ctypes.Structure):
    """struct way."""

    _fields_ = (
        ("cipher", ctypes.c_void_p),
        ("salt", ctypes.c_uint8 * 4),
        ("address", ctypes.c_uint8 * ADDRESS_BYTES),
        ("address_bytes", ctypes.c_uint32),
    )


class Exit:
    """Where one session's records leave, under its key."""

    __slots__ = ("_cipher", "address", "at", "way")

    def __init__(self, cipher: Cipher, salt: bytes) -> None:
        self._cipher = cipher  # it lives as long
        self.way = Way(cipher=cipher.address, salt=(ctypes.c_uint8 * 4)(*salt))
        self.at = ctypes.addressof(self.way)
        self.address: Address | None = None

    def move(self, address: Address) -> bool:
        """Send there from now on; False where only Python gets to."""
        self.address = None
        if isinstance(address, TcpAddress):
            return False
        with contextlib.suppress(OSError):
            name = sockaddr(address)
            ctypes.memmove(self.at + Way.address.offset, name, len(name))
            self.way.address_bytes = len(name)
            self.address = address
        return self.address is not None


class Outlet:
    """What leaves through one UDP socket; `lost` is told how many the kernel did not take."""

    def __init__(self, compiled: Compiled, descriptor: int, lost: Callable[[int], None]) -> None:
        library = _declared(compiled.library)
        self._compiled = compiled
        self._outlet = library.hawker_outlet(compiled.libcrypto.encode())
        if self._outlet is None:
            raise MemoryError("no memory for an outlet")
        self._send = library.hawker_outlet_send
        self._free = library.hawker_outlet_free
        self._descriptor = descriptor
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._entries = ctypes.create_string_buffer(RECORDS * _STRIDE)
        self._view = memoryview(self._entries).cast("B")
        self._exits: list[Exit] = []  # of the entries: they must not go before these have left
        self._flushing: asyncio.Handle | None = None
        self._closed = False

    def put(
        self, address: Address, records: GcmRecords, packet: bytes, kind: int = APPLICATION_DATA
    ) -> bool:
        """Take a packet to be sealed and sent within this turn; False when Python has to do it."""
        size, exit = len(packet), records.exit
        if size > PACKET_BYTES or self._closed:
            return False
        if not isinstance(exit, Exit):
            cipher = self._compiled.cipher(records.keys.tx_key)
            exit = records.exit = Exit(cipher, records.keys.tx_salt)
        if exit.address is not address:
            self.flush()  # what waits of it goes where it was meant to
            if not exit.move(address):
                return False
        exits = self._exits
        start = len(exits) * _STRIDE
        number, nonce = records.take_number()
        _ENTRY.pack_into(self._entries, start, exit.at, number, nonce, size, kind)
        start += _ENTRY.size
        self._view[start : start + size] = packet
        exits.append(exit)
        if len(exits) == RECORDS:
            self.flush()
        elif self._flushing is None:
            self._flushing = self._loop.call_soon(self._flush_now)
        return True

    def flush(self) -> None:
        """Send what waits."""
        count = len(self._exits)
        if count:
            lost = self._send(self._outlet, self._entries, count, self._descriptor)
            self._exits.clear()
            if lost:
                self._lost(lost)

    def close(self) -> None:
        """Send what waits, and take nothing more."""
        self.flush()
        self._closed = True
        if self._flushing is not None:
            self._flushing.cancel()
        self._free(self._outlet)

    def _flush_now(self) -> None:
        self._flushing = None
        self.flush()


def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    pointer, number = ctypes.c_void_p, ctypes.c_int
    library.hawker_outlet.argtypes = [ctypes.c_char_p]
    library.hawker_outlet.restype = pointer
    library.hawker_outlet_free.argtypes = [pointer]
    library.hawker_outlet_free.restype = None
    library.hawker_outlet_send.argtypes = [pointer, pointer, number, number]
    library.hawker_outlet_send.restype = number
    return library
