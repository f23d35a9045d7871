"""TCP connections whose input is read for all of them together, a few ms apart when there is much of it.

asyncio reads each socket when something has come for it, which with a thousand publishers is one message
at a time, each with the whole way through the loop. Here one callback reads what is ready, of BATCH
sockets at most before the loop gets its turn. After a round, each socket once, that had BUSY or more, it
naps, the longer the more there were, and the next round brings more of each. With few publishers nothing
waits. Linux only (epoll(7)).
"""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Callable
from typing import Any

READ_BYTES = 64 << 10
BATCH = 64  # sockets: 0.6 ms with a message each
BUSY = 16
NAP_S = 0.005  # viewers have it later by half of that on average
NAP_GROWS = 64  # sockets of a round: with twice as many it naps twice as long,
MAX_NAP_S = 0.025  # but never longer than most frames last


class Poller:
    """Every socket of it belongs to one `PolledTransport`."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._epoll = select.epoll()
        self._transports: dict[int, PolledTransport] = {}
        self._timer: asyncio.Handle | None = None
        self._round = 0
        self._loop.add_reader(self._epoll.fileno(), self._wake)

    def add(self, sock: socket.socket, protocol: asyncio.Protocol) -> None:
        """Take a connected socket; the protocol hears of its connection at once."""
        sock.setblocking(False)
        transport = PolledTransport(self, self._loop, sock, protocol)
        protocol.connection_made(transport)
        if not transport.is_closing():
            transport.resume_reading()

    def close(self) -> None:
        """When all its connections are."""
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()

    def watch(self, transport: PolledTransport, fd: int, before: int, events: int) -> None:
        """Change what is waited for on a socket, by epoll's bits; 0 is nothing."""
        if events and before:
            self._epoll.modify(fd, events)
        elif events:
            self._transports[fd] = transport
            self._epoll.register(fd, events)
        elif before:
            self._epoll.unregister(fd)
            del self._transports[fd]

    def _wake(self) -> None:
        self._round = 0
        self._read()

    def _read(self) -> None:
        """Read of BATCH sockets, and see to what comes next."""
        ready = self._epoll.poll(0, BATCH)
        try:
            for fd, events in ready:
                transport = self._transports.get(fd)
                if transport is not None:  # else closed by one before it
                    transport.handle(events)
        finally:
            self._go_on(len(ready))

    def _go_on(self, count: int) -> None:
        self._round += count
        if count == BATCH and self._round < len(self._transports):
            self._later(self._loop.call_soon(self._read))
        elif self._round >= BUSY:
            nap_s = min(MAX_NAP_S, NAP_S * max(1.0, self._round / NAP_GROWS))
            self._later(self._loop.call_later(nap_s, self._wake))
        elif self._timer is not None:
            self._timer = None
            self._loop.add_reader(self._epoll.fileno(), self._wake)

    def _later(self, timer: asyncio.Handle) -> None:
        if self._timer is None:
            self._loop.remove_reader(self._epoll.fileno())
        self._timer = timer


class PolledTransport(asyncio.Transport):
    """What a protocol needs of a socket; what it writes is little, and its buffer not bounded here."""

    def __init__(
        self,
        poller: Poller,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        protocol: asyncio.Protocol,
    ) -> None:
        super().__init__()
        self._poller = poller
        self._loop = loop
        self._sock = sock
        self._fd = sock.fileno()
        self._receive: Callable[[int], bytes] = sock.recv
        self._protocol = protocol
        self._buffer = bytearray()
        self._events = 0
        self._reading = False
        self._end_of_output = self._half_closed = False  # wished for, and done
        self._closing = False
        self._lost = False

    def handle(self, events: int) -> None:
        """What epoll has told of the socket."""
        try:
            if events & ~select.EPOLLOUT and self._reading:
                self._read()
            if events & ~select.EPOLLIN and not self._lost:
                self._flush()
        except BaseException:
            self.abort()
            raise

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name != "peername":
            return default
        try:
            return self._sock.getpeername()
        except OSError:  # it has gone already
            return default

    def is_closing(self) -> bool:
        return self._closing or self._lost

    def get_write_buffer_size(self) -> int:
        return len(self._buffer)

    def pause_reading(self) -> None:
        self._reading = False
        self._watch()

    def resume_reading(self) -> None:
        if not self.is_closing():
            self._reading = True
            self._watch()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self.is_closing() or self._end_of_output:
            return
        self._buffer += data
        self._flush()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """Half-close once all is written."""
        if not self._end_of_output:
            self._end_of_output = True
            self._flush()

    def close(self) -> None:
        """Once all is written."""
        if self.is_closing():
            return
        self._closing, self._reading = True, False
        self._watch()
        if not self._buffer:
            self._lose(None)

    def abort(self) -> None:
        self._lose(None)

    def _read(self) -> None:
        try:
            data = self._receive(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._lose(error)
            return
        if data:
            self._protocol.data_received(data)
        else:
            self.pause_reading()
            if not self._protocol.eof_received():
                self.close()

    def _flush(self) -> None:
        try:
            while self._buffer:
                del self._buffer[: self._sock.send(self._buffer)]
            if self._end_of_output and not self._half_closed:
                self._half_closed = True
                self._sock.shutdown(socket.SHUT_WR)
        except (BlockingIOError, InterruptedError):
            self._watch()
            return
        except OSError as error:
            self._lose(error)
            return
        self._watch()
        if self._closing:
            self._lose(None)

    def _watch(self) -> None:
        if self._lost:
            return
        events = self._reading * select.EPOLLIN | bool(self._buffer) * select.EPOLLOUT
        if events != self._events:
            self._poller.watch(self, self._fd, self._events, events)
            self._events = events

    def _lose(self, error: Exception | None) -> None:
        if self._lost:
            return
        self._reading = False
        self._buffer.clear()
        self._watch()
        self._lost = True
        self._loop.call_soon(self._tell, error)

    def _tell(self, error: Exception | None) -> None:
        self._sock.close()
        self._protocol.connection_lost(error)
