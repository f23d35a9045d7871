"""ICE-TCP: passive candidates on the number of the UDP port (RFC 6544), datagrams framed by RFC 4571.

A connection is a way for datagrams and nothing more: STUN first, and until a check on it has verified
nothing else is heard. A connection that isn't verified in UNVERIFIED_S is closed, as are those
whose framing breaks, and all that a session had when it ends. What a slow peer does not take is dropped
packet by packet, as a full UDP socket does, so that nobody waits and little is late.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections import Counter
from collections.abc import Callable
from typing import cast

from mediaserver.errors import ProtocolError
from mediaserver.protocol import tcp_framing
from mediaserver.rtc.address import TcpAddress, customer
from mediaserver.rtc.sockets import BACKLOG

log = logging.getLogger("hawker.rtc")

UNVERIFIED_S = 5.0  # a check comes one round trip after the connection
UNVERIFIED = 512  # connections at one time, of all; the oldest gives way
UNVERIFIED_FRAMES = 4  # a check, and again after a role conflict
# of them, of one customer: a school whose firewall has no UDP joins at once
CUSTOMER_UNVERIFIED = 128
CUSTOMER_CONNECTIONS = 2048  # in all: browsers open one to each address they are told
READ_BYTES = 8 << 10  # heard at one time: the loop is held for 0.5 ms
WRITE_BYTES = 256 << 10  # a second of a good picture; who is further behind is not live
NOT_SENT_BYTES = 32 << 10  # of it in the kernel, beside what travels: the rest is counted here
TCP_NOTSENT_LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", 25)  # linux/tcp.h


class IceTcpConnection(asyncio.BufferedProtocol):
    """One connection; `address` is what it is to sessions."""

    def __init__(self, listener: IceTcp) -> None:
        self._listener = listener
        self._deframer = tcp_framing.Deframer()
        self._buffer = bytearray(READ_BYTES)
        self._transport: asyncio.Transport | None = None
        self._frames = 0
        self._deadline: asyncio.TimerHandle | None = None
        self.verified = False
        self.address = TcpAddress("", 0, self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        peer = transport.get_extra_info("peername")
        if peer is None:  # it has gone already
            transport.close()
            return
        self._transport = cast(asyncio.Transport, transport)
        self.address = TcpAddress(peer[0], peer[1], self)
        sock = transport.get_extra_info("socket")
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT, NOT_SENT_BYTES)
        self._deadline = asyncio.get_running_loop().call_later(UNVERIFIED_S, self.close)
        self._listener.opened(self)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        try:
            for datagram in self._deframer.feed(bytes(memoryview(self._buffer)[:nbytes])):
                if self._transport is None:
                    return
                self._hear(datagram)
        except ProtocolError:
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._end()

    def transmit(self, data: bytes) -> bool:
        """Send one datagram; False when the peer is behind or gone."""
        transport = self._transport
        if transport is None or transport.get_write_buffer_size() + len(data) > WRITE_BYTES:
            self._listener.dropped += 1
            return False
        transport.write(tcp_framing.serialize(data))
        return True

    def close(self) -> None:
        """Close it, once what was sent has left; at once where that can't be soon."""
        transport = self._transport
        if transport is None:
            return
        self._end()
        if transport.get_write_buffer_size():
            asyncio.get_running_loop().call_later(UNVERIFIED_S, transport.abort)
        transport.close()

    def abort(self) -> None:
        """Close it without sending what waits."""
        transport = self._transport
        self._end()
        if transport is not None:
            transport.abort()

    def _hear(self, datagram: bytes) -> None:
        known = self._listener.receive(datagram, self.address)
        if self.verified:
            return
        self._frames += 1
        if known:
            self.verified = True
            self._disarm()
            self._listener.verified(self)
        elif self._frames >= UNVERIFIED_FRAMES:
            self.close()

    def _end(self) -> None:
        if self._transport is not None:
            self._transport = None
            self._disarm()
            self._listener.closed(self)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class IceTcp:
    """The listener. `receive(datagram, address)` says whether a session knows the address now."""

    def __init__(
        self,
        sock: socket.socket,
        receive: Callable[[bytes, TcpAddress], bool],
        forget: Callable[[TcpAddress], None],
        most: int,
    ) -> None:
        """`most` connections at one time; `forget` is told of those that have closed."""
        self._socket = sock
        self._forget = forget
        self._most = most
        self._server: asyncio.Server | None = None
        self._connections: set[IceTcpConnection] = set()
        self._unverified: dict[IceTcpConnection, None] = {}  # the oldest first
        self._by_customer: Counter[str] = Counter()
        self._unverified_by_customer: Counter[str] = Counter()
        self.receive = receive
        self.dropped = 0  # datagrams that slow peers did not take
        self.refused = 0  # connections over a limit

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: IceTcpConnection(self), sock=self._socket, backlog=BACKLOG
        )

    async def stop(self) -> None:
        """Close the listener and all connections."""
        self._most = 0  # for those who are being accepted
        if self._server is not None:
            self._server.close()
        for each in list(self._connections):
            each.abort()
        if self._server is not None:
            await self._server.wait_closed()

    @property
    def connections(self) -> int:
        return len(self._connections)

    @property
    def unverified(self) -> int:
        return len(self._unverified)

    def opened(self, connection: IceTcpConnection) -> None:
        """Count a new connection; over a limit it or an older one is closed."""
        who = customer(connection.address.host)
        self._connections.add(connection)
        self._unverified[connection] = None
        self._by_customer[who] += 1
        self._unverified_by_customer[who] += 1
        if (
            len(self._connections) > self._most
            or self._by_customer[who] > CUSTOMER_CONNECTIONS
            or self._unverified_by_customer[who] > CUSTOMER_UNVERIFIED
        ):
            self.refused += 1
            connection.abort()
        elif len(self._unverified) > UNVERIFIED:
            self.refused += 1
            next(iter(self._unverified)).abort()

    def verified(self, connection: IceTcpConnection) -> None:
        del self._unverified[connection]
        _less(self._unverified_by_customer, customer(connection.address.host))

    def closed(self, connection: IceTcpConnection) -> None:
        who = customer(connection.address.host)
        self._connections.discard(connection)
        _less(self._by_customer, who)
        if connection in self._unverified:
            del self._unverified[connection]
            _less(self._unverified_by_customer, who)
        if connection.verified:
            self._forget(connection.address)


def _less(counter: Counter[str], who: str) -> None:
    counter[who] -= 1
    if not counter[who]:
        del counter[who]
