"""The compiled sender's side in Python: what compiled.c reads, laid out for it, and its calls.

Structures stand here as they stand there. A call releases the GIL; nothing that it reads is freed
meanwhile, since a batch keeps its routes, their legs and its runs.
"""

from __future__ import annotations

import contextlib
import ctypes
import socket
import struct
from array import array
from collections.abc import Sequence
from pathlib import Path

from mediaserver.rtc.address import Address, TcpAddress, UdpAddress
from mediaserver.rtc.sender import GSO_SEGMENTS, Batch, Cohort, Route, Run
from mediaserver.rtc.srtp import Srtp

_RUN = struct.Struct("=IIII")  # packets, bytes of a payload, bytes of the last one, SSRC
_PACKETS = tuple(struct.Struct("=" + "QII" * count) for count in range(GSO_SEGMENTS + 1))
_WORK = struct.Struct("=QQiiiiiiixxxx")  # struct work
_PLACE = struct.Struct("=iii")  # what C changes of it
_PLACE_AT = 32
_ADDRESS_BYTES = 28  # sockaddr_in6


class Leg(ctypes.Structure):
    """A route as C sees it; changed in place, since batches on their way point at it."""

    _fields_ = (
        ("cipher", ctypes.c_void_p),
        ("offset", ctypes.c_int64),
        ("rollover", ctypes.c_int64),
        ("salt", ctypes.c_uint8 * 12),
        ("gso", ctypes.c_uint16),
        ("address_bytes", ctypes.c_uint16),
        ("address", ctypes.c_uint8 * _ADDRESS_BYTES),
    )

    def move(self, address: Address) -> None:
        """Send there from now on; an address over TCP, or by name, is left to Python."""
        self.address_bytes = 0
        if isinstance(address, TcpAddress) or self.cipher is None:
            return
        with contextlib.suppress(OSError):
            data = sockaddr(address)
            ctypes.memmove(ctypes.addressof(self) + Leg.address.offset, data, len(data))
            self.address_bytes = len(data)


class Cipher:
    """A context of libcrypto with one session's key, shared by its routes."""

    __slots__ = ("_library", "_sender", "address")

    def __init__(self, library: ctypes.CDLL, sender: int, key: bytes) -> None:
        self._library = library
        self._sender = sender
        self.address: int | None = library.hawker_cipher(sender, key)
        if self.address is None:
            raise MemoryError("libcrypto made no context")

    def __del__(self) -> None:
        if self.address is not None:
            self._library.hawker_forget(self._sender, self.address)


class Compiled:
    """Sends batches by the built library; `libcrypto` is the file whose AES it uses."""

    def __init__(self, library: ctypes.CDLL, libcrypto: str) -> None:
        """Raises OSError when that file has not what it takes."""
        library.hawker_open.argtypes = [ctypes.c_char_p]
        library.hawker_open.restype = ctypes.c_void_p
        library.hawker_cipher.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
        library.hawker_cipher.restype = ctypes.c_void_p
        library.hawker_forget.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        library.hawker_forget.restype = None
        library.hawker_send.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
        library.hawker_send.restype = ctypes.c_int
        self.libcrypto = libcrypto
        self.aes_by = "/".join(Path(libcrypto).parts[-2:])  # for people
        self._library = self.library = library  # the compiled receiver is in it too
        self._send = library.hawker_send
        self._sender = library.hawker_open(libcrypto.encode())
        if self._sender is None:
            raise OSError(f"{libcrypto} has no AES-GCM to be had from outside")
        self._work = ctypes.create_string_buffer(_WORK.size)
        self._work_at = ctypes.addressof(self._work)

    def send(self, batch: Batch, fd: int, limit_s: float) -> int:
        """Serve routes for so long: 0, or why it stands: an errno, or NOT_OURS."""
        routes, runs = batch.routes, batch.runs
        if batch.work is None:
            laid = routes.laid if isinstance(routes, Cohort) else None
            plans = [each.plan or _plan(each) for each in runs]
            batch.work = laid or self._lay(routes), (ctypes.c_char_p * len(plans))(*plans)
        legs, pointers = batch.work
        work = self._work
        _WORK.pack_into(
            work,
            0,
            legs.buffer_info()[0],
            ctypes.addressof(pointers),
            len(routes),
            len(runs),
            fd,
            batch.start,
            batch.done,
            batch.run,
            batch.segment,
        )
        number: int = self._send(self._sender, self._work_at, int(limit_s * 1e9))
        batch.done, batch.run, batch.segment = _PLACE.unpack_from(work, _PLACE_AT)
        return number

    def _lay(self, routes: Sequence[Route]) -> array[int]:
        """Where their legs are; kept for a cohort."""
        legs = array("Q", [ctypes.addressof(self._leg(each)) for each in routes])
        if isinstance(routes, Cohort):
            routes.laid = legs
        return legs

    def _leg(self, route: Route) -> Leg:
        leg = route.leg
        if not isinstance(leg, Leg):
            leg = route.leg = Leg(
                cipher=self._cipher(route.srtp).address if route.aead is not None else None,
                offset=route.offset,
                rollover=route.rollover,
                salt=(ctypes.c_uint8 * 12)(*route.salt.to_bytes(12, "big")),
                gso=route.gso,
            )
            leg.move(route.address)
        return leg

    def _cipher(self, srtp: Srtp) -> Cipher:
        if srtp.cipher is None:
            srtp.cipher = Cipher(self._library, self._sender, srtp.key)
        assert isinstance(srtp.cipher, Cipher)
        return srtp.cipher


def _plan(run: Run) -> bytes:
    """A run as C reads it: what differs in the headers, then the payloads."""
    payloads, payload_type = run.payloads, run.payload_type
    varying: list[int] = []
    for packet in run.packets:
        flags = 0xA000 if packet.padding else 0x8000
        flags |= payload_type | 0x80 if packet.marker else payload_type
        varying += (packet.index, packet.timestamp, flags)
    head = _RUN.pack(run.count, len(payloads[0]), len(payloads[-1]), run.ssrc)
    plan = run.plan = b"".join((head, _PACKETS[run.count].pack(*varying), *payloads))
    return plan


def sockaddr(address: UdpAddress) -> bytes:
    """The kernel's form of `(host, port)` or `(host, port, flow, scope)`."""
    host, port = address[0].partition("%")[0], address[1]
    if ":" not in host:
        packed = struct.pack("=H", socket.AF_INET) + struct.pack("!H", port)
        return packed + socket.inet_aton(host) + bytes(8)
    flow, scope = (address[2], address[3]) if len(address) == 4 else (0, 0)
    head = struct.pack("=H", socket.AF_INET6) + struct.pack("!HI", port, flow)
    return head + socket.inet_pton(socket.AF_INET6, host) + struct.pack("=I", scope)
