"""UDP sockets that stand for viewers: unread ones that drop at once, or ones read in a process apart.

A viewer that doesn't read costs the sender the kernel's receive half up to the full socket; one that
reads costs it the wake-up as well.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import resource
import selectors
import socket
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # the readers' process need not load it
    from mediaserver.rtc.address import UdpAddress

READ_RCVBUF_BYTES = 1 << 20
UNREAD_RCVBUF_BYTES = 1  # the kernel rounds up to its least: two datagrams
SPARE_DESCRIPTORS = 256
STOP_TIMEOUT_S = 10.0

# Processes are forked off a server that has only imported: fresh, and there at once.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["__main__", "benchmarks.runs"])

_BUFFER = bytearray(2048)  # what is read is thrown away


class Sinks(Protocol):
    """Viewers' sockets; `received` ends the reading, None where nobody reads."""

    addresses: Sequence[UdpAddress]

    def received(self) -> int | None: ...


@contextlib.contextmanager
def opened(count: int, *, read: bool) -> Iterator[Sinks]:
    """That many sockets on loopback, closed at the end."""
    with contextlib.ExitStack() as stack:
        if read:
            yield stack.enter_context(contextlib.closing(_Readers(count)))
        else:
            sockets = open_sockets(count, UNREAD_RCVBUF_BYTES)
            for each in sockets:
                stack.enter_context(each)
            yield _Unread([each.getsockname() for each in sockets])


def open_sockets(count: int, receive_buffer_bytes: int) -> list[socket.socket]:
    """Sockets on ports of the kernel's choice on loopback; the caller closes them."""
    _allow_descriptors(count + SPARE_DESCRIPTORS)
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(count)]
    for each in sockets:
        each.setblocking(False)
        each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        each.bind(("127.0.0.1", 0))
    return sockets


def drain(sockets: Sequence[socket.socket], control: Connection) -> int:
    """Read the sockets until something comes over `control`; how many RTP packets came."""
    received = 0
    with selectors.DefaultSelector() as selector:
        for each in sockets:
            selector.register(each, selectors.EVENT_READ, each)
        selector.register(control, selectors.EVENT_READ, None)
        while True:
            for key, _ in selector.select():
                if key.data is None:
                    return received + sum(map(_empty, sockets))
                received += _empty(key.data)


def is_rtp(datagram: bytes | bytearray) -> bool:
    """Neither STUN nor DTLS nor RTCP (RFC 7983 §7, RFC 5761 §4)."""
    return datagram[0] >> 6 == 2 and not 192 <= datagram[1] <= 223


class _Unread:
    def __init__(self, addresses: Sequence[UdpAddress]) -> None:
        self.addresses = addresses

    def received(self) -> int | None:
        return None


class _Readers:
    def __init__(self, count: int) -> None:
        self._control, theirs = PROCESSES.Pipe()
        self._process = PROCESSES.Process(target=_read, args=(count, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self.addresses: Sequence[UdpAddress] = self._control.recv()

    def received(self) -> int | None:
        self._control.send("stop")
        count: int = self._control.recv()
        return count

    def close(self) -> None:
        self._control.close()  # which ends the process, if it has not ended
        self._process.join(STOP_TIMEOUT_S)
        self._process.close()


def _read(count: int, control: Connection) -> None:
    with contextlib.ExitStack() as stack:
        sockets = open_sockets(count, READ_RCVBUF_BYTES)
        for each in sockets:
            stack.enter_context(each)
        control.send([each.getsockname() for each in sockets])
        received = drain(sockets, control)
        with contextlib.suppress(BrokenPipeError):
            control.send(received)


def _empty(sock: socket.socket) -> int:
    count = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            sock.recv_into(_BUFFER)
            count += is_rtp(_BUFFER)
    return count


def _allow_descriptors(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count and soft != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, hard), hard))
