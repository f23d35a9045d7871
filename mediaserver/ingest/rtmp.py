"""RTMP publishers on TCP: `RtmpConnection` between a socket and the hub.

Who closes whom: a publication that the hub closes (taken over, drained) closes its connection, and a
connection that ends closes its publication; `_publication_closed` is the one place where both meet.

A refused publisher is told why, then the connection is half-closed and lingers for a moment: closed at
once, with input unread, TCP would reset it and the answer be lost.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import Counter
from ipaddress import ip_address
from typing import cast

from mediaserver.access import Access
from mediaserver.errors import PeerError, ProtocolError
from mediaserver.hub import Hub, Publication
from mediaserver.protocol.flv import FlvDemuxer
from mediaserver.protocol.rtmp import (
    Event,
    MediaReceived,
    PublishEnded,
    PublishRequested,
    RtmpConnection,
    State,
)

log = logging.getLogger("hawker.rtmp")

MAX_CONNECTIONS = 2000  # a core serves about 1,000 publishers, and some connections wait or linger
MAX_CONNECTIONS_PER_ADDRESS = 256  # a studio behind one address has tens; it may not take them all
BACKLOG = 1024  # after a restart all publishers come back at once
MAX_WRITE_BYTES = 256 << 10  # all answers of a publisher's life come to less
LINGER_S = 2.0
CLOCK_RATE = 1000  # RTMP timestamps are milliseconds

DENIED = "NetStream.Publish.Denied"
REJECTED = "NetStream.Publish.Rejected"
FAILED = "NetStream.Failed"


class RtmpServer:
    """Listens for publishers; port 0 takes a free one, `port` then says which."""

    def __init__(
        self,
        hub: Hub,
        access: Access,
        host: str,
        port: int,
        *,
        max_connections: int = MAX_CONNECTIONS,
        max_connections_per_address: int = MAX_CONNECTIONS_PER_ADDRESS,
    ) -> None:
        self.hub = hub
        self.access = access
        self.host = host
        self.port = port
        self.counts = ConnectionCounts(max_connections, max_connections_per_address)
        self.sessions: set[_Session] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen; raises OSError if the port is taken."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Session(self), self.host, self.port, backlog=BACKLOG
        )
        self.port = self._server.sockets[0].getsockname()[1]

    @property
    def listening(self) -> bool:
        return self._server is not None and self._server.is_serving()

    def drain(self) -> None:
        """Take no new connections; those there are go on."""
        if self._server is not None:
            self._server.close()

    async def stop(self) -> None:
        """Tell every publisher, and return when all connections are closed, within LINGER_S."""
        self.drain()
        sessions = list(self.sessions)
        for session in sessions:
            session.close("server is stopping")
        await asyncio.gather(*(session.lost for session in sessions))


class ConnectionCounts:
    """How many connections there are, and whether one more from an address may come."""

    def __init__(self, most: int, most_per_address: int) -> None:
        self.total = 0
        self._most = most
        self._most_per_address = most_per_address
        self._per_address: Counter[str] = Counter()

    def admit(self, address: str) -> bool:
        """Count one more, unless that is too many."""
        # Load tools and local proxies come from loopback, and who is on the machine needs no limit.
        crowded = self._per_address[address] >= self._most_per_address
        if self.total >= self._most or (crowded and not ip_address(address).is_loopback):
            return False
        self.total += 1
        self._per_address[address] += 1
        return True

    def release(self, address: str) -> None:
        """Count one that was admitted less."""
        self.total -= 1
        self._per_address[address] -= 1
        if not self._per_address[address]:
            del self._per_address[address]


class _Session(asyncio.Protocol):
    """One connection, from accept to loss."""

    def __init__(self, server: RtmpServer) -> None:
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._server = server
        self._connection = RtmpConnection(time.monotonic(), os.urandom(1528))
        self._demuxer = FlvDemuxer()
        self._publication: Publication | None = None
        self._decision: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._lingering = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername") or ("0.0.0.0", 0)  # it may be gone already
        self._address: str = peer[0]
        self.remote = f"{peer[0]}:{peer[1]}"
        if not self._server.counts.admit(self._address):
            log.warning("connection from %s refused: too many connections", self.remote)
            self._transport.abort()
            return
        self._server.sessions.add(self)
        self._arm(time.monotonic())

    def data_received(self, data: bytes) -> None:
        if self._lingering:
            return
        now = time.monotonic()
        try:
            self._handle(self._connection.receive_data(data, now), now)
            self._send()
        except PeerError as error:
            self._fail(error)

    def eof_received(self) -> None:
        """Returning None lets the transport close."""

    def connection_lost(self, exception: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._decision is not None:
            self._decision.cancel()
        if self._publication is not None:
            self._publication.close("connection lost" if exception else "publisher left")
        if self in self._server.sessions:
            self._server.sessions.remove(self)
            self._server.counts.release(self._address)
        self.lost.set_result(None)

    def close(self, reason: str) -> None:
        """Tell the publisher, if it is one, and close."""
        if self._decision is not None:
            self._decision.cancel()
        if self._publication is not None:
            self._publication.close(reason)
        else:
            self._linger()

    def _handle(self, events: list[Event], arrival: float) -> None:
        for event in events:
            match event:
                case MediaReceived():
                    self._write(event, arrival)
                case PublishRequested():
                    self._transport.pause_reading()  # what comes next waits in the kernel
                    self._decision = asyncio.create_task(self._publish(event.stream_key))
                    self._decision.add_done_callback(self._decided)
                case PublishEnded() if self._publication is not None:
                    self._publication.close("publisher finished")
                    self._demuxer = FlvDemuxer()
                    self._arm(arrival)

    def _write(self, media: MediaReceived, arrival: float) -> None:
        demuxer = self._demuxer
        if media.kind == "video":
            frame = demuxer.video(media.payload)
        else:
            frame = demuxer.audio(media.payload)
        if frame is not None and self._publication is not None:
            self._publication.write(
                frame.track,
                media.timestamp_ms,
                frame.payload,
                keyframe=frame.keyframe,
                composition=frame.composition_ms,
                arrival=arrival,
            )

    def _decided(self, decision: asyncio.Task[None]) -> None:
        if decision.cancelled() or decision.exception() is not None:
            self._transport.abort()  # nothing would ever answer the publisher
        if not decision.cancelled():
            decision.result()  # a bug surfaces here, in the loop's exception handler

    async def _publish(self, stream_key: str) -> None:
        try:
            name = await self._server.access.publish(stream_key)
            self._publication = self._server.hub.publish(
                name,
                protocol="rtmp",
                remote=self.remote,
                clock_rate=CLOCK_RATE,
                on_close=self._publication_closed,
            )
        except PeerError as error:
            log.warning("publish from %s refused: %s", self.remote, error.detail)
            self._connection.reject_publish(DENIED, error.detail)
            self._linger()
            return
        log.info("stream %s: publish from %s started", name, self.remote)
        self._start()

    def _start(self) -> None:
        now = time.monotonic()
        try:
            self._handle(self._connection.accept_publish(), now)
            self._send()
        except PeerError as error:
            self._fail(error)
            return
        self._arm(now)
        self._transport.resume_reading()

    def _publication_closed(self, reason: str) -> None:
        publication, self._publication = self._publication, None
        assert publication is not None
        name = publication.stream.name
        log.info("stream %s: publish from %s ended: %s", name, self.remote, reason)
        if self._connection.state is State.PUBLISHING and not self._transport.is_closing():
            self._connection.reject_publish(FAILED, reason)
            self._linger()

    def _fail(self, error: PeerError) -> None:
        log.warning("connection from %s closed: %s", self.remote, error.detail)
        if self._connection.state is State.PUBLISHING:
            self._connection.reject_publish(REJECTED, error.detail)
            self._linger()
        else:
            self._transport.abort()
        if self._publication is not None:
            self._publication.close(error.detail)

    def _send(self) -> None:
        data = self._connection.data_to_send()
        if data:
            self._transport.write(data)
            if self._transport.get_write_buffer_size() > MAX_WRITE_BYTES:
                raise ProtocolError("it does not read its answers")

    def _linger(self) -> None:
        if self._lingering or self._transport.is_closing():
            return
        self._lingering = True
        self._transport.write(self._connection.data_to_send())
        self._transport.resume_reading()
        try:
            self._transport.write_eof()
        except OSError:  # the peer has reset the connection, and the loop has not seen it yet
            self._transport.abort()
            return
        asyncio.get_running_loop().call_later(LINGER_S, self._transport.abort)

    def _arm(self, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        delay = self._connection.next_timeout(now)
        if delay is not None:
            self._timer = asyncio.get_running_loop().call_later(delay, self._time_out)

    def _time_out(self) -> None:
        now = time.monotonic()
        try:
            self._connection.handle_timeout(now)
        except ProtocolError as error:
            self._fail(error)
        else:
            self._arm(now)
