"""One RTMP connection, between a transport and the hub.

Who closes whom: a publication that the hub closes (taken over, drained) closes its connection, and a
connection that ends closes its publication; `_publication_closed` is the one place where both meet.

A refused publisher is told why, then the connection is half-closed and lingers for a moment: closed at
once, with input unread, TCP would reset it and the answer be lost. TLS lingers by itself.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from typing import cast

from mediaserver.access import Access, split_key
from mediaserver.errors import PeerError, ProtocolError
from mediaserver.hub import BACKUP, MAIN, Hub, Publication
from mediaserver.ingest.connections import ConnectionCounts
from mediaserver.ingest.rtmp_media import RtmpMedia
from mediaserver.protocol.rtmp import (
    Event,
    Message,
    MetadataReceived,
    PublishEnded,
    PublishRequested,
    RtmpConnection,
    State,
)

log = logging.getLogger("hawker.rtmp")

MAX_WRITE_BYTES = 256 << 10  # all answers of a publisher's life come to less
LINGER_S = 2.0
CLOCK_RATE = 1000  # RTMP timestamps are milliseconds

DENIED = "NetStream.Publish.Denied"
REJECTED = "NetStream.Publish.Rejected"
FAILED = "NetStream.Failed"


class RtmpSession(asyncio.Protocol):
    """One connection, from accept to loss."""

    def __init__(
        self, hub: Hub, access: Access, counts: ConnectionCounts, sessions: set[RtmpSession]
    ) -> None:
        """It is in `sessions` while it is there."""
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._hub = hub
        self._access = access
        self._counts = counts
        self._sessions = sessions
        self._connection = RtmpConnection(time.monotonic(), os.urandom(1528))
        self._publication: Publication | None = None
        self._media: RtmpMedia | None = None  # while there is a publication
        self._decision: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._lingering = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername") or ("0.0.0.0", 0)  # it may be gone already
        self._address: str = peer[0]
        self.remote = f"{peer[0]}:{peer[1]}"
        if not self._counts.admit(self._address):
            log.warning("connection from %s refused: too many connections", self.remote)
            self._transport.abort()
            return
        self._sessions.add(self)
        self._arm(time.monotonic())

    def data_received(self, data: bytes) -> None:
        if self._lingering:
            return
        now, connection = time.monotonic(), self._connection
        try:
            for event in connection.receive_data(data, now):
                if type(event) is Message and self._media is not None:  # nearly always
                    self._media.write(event, now)
                else:
                    self._handle(event, now)
            if connection.output:
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
        if self in self._sessions:
            self._sessions.remove(self)
            self._counts.release(self._address)
        self.lost.set_result(None)

    def close(self, reason: str) -> None:
        """Tell the publisher, if it is one, and close."""
        if self._decision is not None:
            self._decision.cancel()
        if self._publication is not None:
            self._publication.close(reason)
        else:
            self._linger()

    def _handle(self, event: Event, arrival: float) -> None:
        match event:
            case PublishRequested():
                self._transport.pause_reading()  # what comes next waits in the kernel
                self._decision = asyncio.create_task(self._publish(event.stream_key))
                self._decision.add_done_callback(self._decided)
            case Message() if self._media is not None:
                self._media.write(event, arrival)
            case MetadataReceived() if self._media is not None:
                self._media.expect(event.values)
            case PublishEnded() if self._publication is not None:
                self._publication.close("publisher finished", finished=True)
                self._arm(arrival)

    def _decided(self, decision: asyncio.Task[None]) -> None:
        if decision.cancelled() or decision.exception() is not None:
            self._transport.abort()  # nothing would ever answer the publisher
        if not decision.cancelled():
            decision.result()  # a bug surfaces here, in the loop's exception handler

    async def _publish(self, stream_key: str) -> None:
        try:
            key, backup = split_key(stream_key)
            name = await self._access.publish(key)
            self._publication = self._hub.publish(
                name,
                protocol="rtmp",
                remote=self.remote,
                clock_rate=CLOCK_RATE,
                rank=BACKUP if backup else MAIN,
                on_close=self._publication_closed,
            )
        except PeerError as error:
            log.warning("publish from %s refused: %s", self.remote, error.detail)
            self._connection.reject_publish(DENIED, error.detail)
            self._linger()
            return
        self._media = RtmpMedia(self._publication)
        log.info("stream %s: publish from %s started", name, self.remote)
        self._start()

    def _start(self) -> None:
        now = time.monotonic()
        try:
            for event in self._connection.accept_publish():
                self._handle(event, now)
            self._send()
        except PeerError as error:
            self._fail(error)
            return
        self._arm(now)
        self._transport.resume_reading()

    def _publication_closed(self, reason: str) -> None:
        publication, self._publication, self._media = self._publication, None, None
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
        if not self._transport.can_write_eof():  # TLS, which says goodbye and waits for the peer's
            self._transport.close()
            return
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
