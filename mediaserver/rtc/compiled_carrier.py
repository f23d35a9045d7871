"""The compiled sender's side in Python: what compiled.c reads, laid out for it, and its calls.

Structures stand here as they stand there. A call releases the GIL; nothing that it reads is freed
meanwhile, since a batch keeps its routes, their legs and its runs.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from array import array
from pathlib import Path

from mediaserver.rtc.address import TcpAddress, UdpAddress
from mediaserver.rtc.sender import TAG_BYTES, Batch, Route, Run
from mediaserver.rtc.srtp import Srtp

_RUN = struct.Struct("=IIII")  # packets, bytes of each, bytes of the last, SSRC
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

    def move(self, address: UdpAddress) -> None:
        """Send to another address from now on; `(host, port)`, or four of IPv6."""
        data = sockaddr(address)
        self.address_bytes = len(data)
        ctypes.memmove(ctypes.addressof(self) + Leg.address.offset, data, len(data))


class Work(ctypes.Structure):
    """A batch and how far it got."""

    _fields_ = (
        ("legs", ctypes.c_void_p),
        ("runs", ctypes.c_void_p),
        ("leg_count", ctypes.c_int32),
        ("run_count", ctypes.c_int32),
        ("fd", ctypes.c_int32),
        ("start", ctypes.c_int32),
        ("done", ctypes.c_int32),
        ("run", ctypes.c_int32),
        ("segment", ctypes.c_int32),
    )
    kept: tuple[object, ...]  # what the pointers point at


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
        library.hawker_send.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int32]
        library.hawker_send.restype = ctypes.c_int
        self.libcrypto = libcrypto
        self.aes_by = "/".join(Path(libcrypto).parts[-2:])  # for people
        self._library = library
        self._send = library.hawker_send
        self._sender = library.hawker_open(libcrypto.encode())
        if self._sender is None:
            raise OSError(f"{libcrypto} has no AES-GCM to be had from outside")

    def send(self, batch: Batch, fd: int, routes: int) -> int:
        """Serve that many routes more at most: 0, or why it stands: an errno, or NOT_OURS."""
        work = batch.work
        if work is None:
            work = batch.work = self._lay(batch, fd)
        else:  # Python may have served a route, or given one up
            work.done, work.run, work.segment = batch.done, batch.run, batch.segment
        number: int = self._send(self._sender, ctypes.addressof(work), routes)
        batch.done, batch.run, batch.segment = work.done, work.run, work.segment
        return number

    def _lay(self, batch: Batch, fd: int) -> Work:
        routes, runs = batch.routes, batch.runs
        legs = array("Q", [each.leg_at or self._leg(each) for each in routes])
        plans = [each.plan or _plan(each) for each in runs]
        pointers = (ctypes.c_char_p * len(plans))(*plans)
        work = Work(
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
        work.kept = legs, pointers
        return work

    def _leg(self, route: Route) -> int:
        """Where the leg of a route stands; 0 when it is none of ours."""
        if route.aead is None or isinstance(route.address, TcpAddress):
            return 0
        leg = route.leg
        if not isinstance(leg, Leg):
            leg = route.leg = Leg(
                cipher=self._cipher(route.srtp).address,
                offset=route.offset,
                rollover=route.rollover,
                salt=(ctypes.c_uint8 * 12)(*route.salt.to_bytes(12, "big")),
            )
        leg.gso = route.gso
        try:
            leg.move(route.address)
        except OSError:  # an address by name
            return 0
        route.leg_at = ctypes.addressof(leg)
        return route.leg_at

    def _cipher(self, srtp: Srtp) -> Cipher:
        if srtp.cipher is None:
            srtp.cipher = Cipher(self._library, self._sender, srtp.key)
        assert isinstance(srtp.cipher, Cipher)
        return srtp.cipher


def _plan(run: Run) -> bytes:
    """A run as C reads it: the indices, then the plain packets."""
    packets = [header + payload for header, payload in zip(run.headers, run.payloads, strict=True)]
    head = _RUN.pack(
        len(packets), len(packets[0]) + TAG_BYTES, len(packets[-1]) + TAG_BYTES, run.ssrc
    )
    run.plan = b"".join((head, struct.pack(f"={len(packets)}Q", *run.indices), *packets))
    return run.plan


def sockaddr(address: UdpAddress) -> bytes:
    """The kernel's form of `(host, port)` or `(host, port, flow, scope)`."""
    host, port = address[0].partition("%")[0], address[1]
    if ":" not in host:
        packed = struct.pack("=H", socket.AF_INET) + struct.pack("!H", port)
        return packed + socket.inet_aton(host) + bytes(8)
    flow, scope = (address[2], address[3]) if len(address) == 4 else (0, 0)
    head = struct.pack("=H", socket.AF_INET6) + struct.pack("!HI", port, flow)
    return head + socket.inet_pton(socket.AF_INET6, host) + struct.pack("=I", scope)
