"""A loop whose UDP sockets say when the kernel received a datagram, and take many at once (Linux).

SO_TIMESTAMPNS stamps a datagram as it reaches the socket: what the client itself takes to read it does
not count. UDP_GRO hands over consecutive datagrams of one flow in one read, with the stamp of the
first: on loopback what the server sent in one call, behind a network card what came in one poll of the
driver (some 0.1 ms). Only the first of them is copied. Elsewhere the stamp is the time of reading.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import time
from collections.abc import Callable
from struct import Struct
from typing import Any, Protocol

import uvloop

SO_TIMESTAMPNS = 35  # asm-generic/socket.h; the socket module has no name for it
SOL_UDP, UDP_GRO = 17, 104  # linux/udp.h
HEAD_BYTES = 2048  # more than one datagram of ours has
CONTROL_BYTES = 128

_TIMESPEC = Struct("@ll")
_INT = Struct("@i")


class RunProtocol(Protocol):
    """`run_received` gets the first of equally long datagrams, of which the last may be shorter.

    They have `length` bytes together. `head` is valid during the call only; `stamp_ns` is UTC.
    """

    def connection_made(self, transport: asyncio.BaseTransport) -> None: ...
    def run_received(self, head: memoryview, length: int, size: int, stamp_ns: int) -> None: ...


class StampedTransport(asyncio.DatagramTransport):
    """A connected UDP socket on the loop; what the socket cannot take at once is lost."""

    def __init__(self, loop: HeadLoop, sock: socket.socket, protocol: RunProtocol) -> None:
        super().__init__({"socket": sock})
        self._loop = loop
        self._socket = sock
        self._protocol = protocol
        self._closing = False
        if sys.platform == "linux":
            sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            with contextlib.suppress(OSError):  # older than 5.0: one by one
                sock.setsockopt(SOL_UDP, UDP_GRO, 1)
        loop.add_reader(sock, self._read)

    def sendto(self, data: Any, addr: Any = None) -> None:
        with contextlib.suppress(OSError):
            self._socket.send(data)

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._loop.remove_reader(self._socket)
            self._socket.close()

    abort = close

    def _read(self) -> None:
        """Once per wake-up: what is left wakes the loop again, and the others have their turn."""
        head = self._loop.head
        try:
            length, control, _, _ = self._socket.recvmsg_into(
                [head], CONTROL_BYTES, socket.MSG_TRUNC
            )
        except OSError:  # nothing there after all, or nobody listens just now (ICMP)
            return
        if length:
            size, stamp_ns = _of(control)
            self._protocol.run_received(head, length, size or length, stamp_ns or time.time_ns())


class HeadLoop(uvloop.Loop):
    """Its datagram endpoints are StampedTransports; only connected sockets are made."""

    def __init__(self) -> None:
        super().__init__()
        self.head = memoryview(bytearray(HEAD_BYTES))

    async def create_datagram_endpoint(  # type: ignore[override]
        self, protocol_factory: Callable[[], Any], *args: Any, sock: socket.socket, **options: Any
    ) -> tuple[StampedTransport, Any]:
        protocol = protocol_factory()
        transport = StampedTransport(self, sock, protocol)
        protocol.connection_made(transport)
        return transport, protocol


def _of(control: list[tuple[int, int, bytes]]) -> tuple[int, int]:
    """Bytes of one datagram and the stamp in ns; 0 for what the kernel did not say."""
    size = stamp_ns = 0
    for level, kind, value in control:
        if kind == SO_TIMESTAMPNS and level == socket.SOL_SOCKET:
            seconds, nanoseconds = _TIMESPEC.unpack_from(value)
            stamp_ns = seconds * 1_000_000_000 + nanoseconds
        elif level == SOL_UDP and kind == UDP_GRO:
            size = _INT.unpack_from(value)[0]
    return size, stamp_ns
