"""One RTMP connection to a target: `RtmpClient` and the muxer between packets and a socket.

What waits for a slow target is in the transport's buffer, and bounded: with MAX_WAITING_BYTES there,
pictures are skipped up to a keyframe, and sound while it stays so. A target that takes nothing for
STALL_S is given up.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable
from typing import cast

from mediaserver.egress.restream.address import Address
from mediaserver.egress.restream.health import Code, Health
from mediaserver.errors import ProtocolError
from mediaserver.media import Codec, Packet, Track
from mediaserver.protocol.flv_mux import ENHANCED, FlvMuxer, codecs_of, metadata
from mediaserver.protocol.rtmp.client import Accepted, Event, Refused, RtmpClient

CONNECT_TIMEOUT_S = 10.0
MAX_WAITING_BYTES = 2 << 20  # 3 s at 6 Mbit/s: a viewer of the target is 3 s late at most
STALL_S = 15.0
KEY_REFUSALS = frozenset({"NetStream.Publish.BadName", "NetStream.Publish.Denied"})
GOODBYE_S = 1.0


class Rejected(Exception):
    """The target will not have it, and trying again at once is no use; pages have words for `code`."""

    def __init__(self, code: Code, words: str) -> None:
        super().__init__(words)
        self.code = code


class Stalled(ConnectionError):
    """The target takes nothing any more."""


class Push(asyncio.Protocol):
    """`opened` is done once media may be sent; `closed` tells why there is no connection any more."""

    def __init__(
        self,
        address: Address,
        key: str,
        health: Health,
        *,
        enhanced: bool,
        clock: Callable[[], float],
    ) -> None:
        loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[frozenset[Codec]] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()
        self._client = RtmpClient(address.url, address.app, key, clock(), os.urandom(1528))
        self._health = health
        self._enhanced = enhanced
        self._clock = clock
        self._muxer = FlvMuxer()
        self._told: set[Track] = set()
        self._skipping = False
        self._flowed_at = clock()
        self._waited_bytes = 0
        self._error: Exception | None = None

    @classmethod
    async def connect(
        cls,
        address: Address,
        key: str,
        health: Health,
        tls: ssl.SSLContext,
        *,
        enhanced: bool,
        allow_private: bool,
    ) -> Push:
        """An open connection; raises UnusableUrl, Rejected, ProtocolError or OSError."""
        loop = asyncio.get_running_loop()
        error: OSError = OSError("it has no address")
        for ip in await address.resolve(allow_private=allow_private):
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    _, push = await loop.create_connection(
                        lambda: cls(address, key, health, enhanced=enhanced, clock=loop.time),
                        ip,
                        address.port,
                        ssl=tls if address.tls else None,
                        server_hostname=address.host if address.tls else None,
                    )
            except OSError as failed:  # a timeout is one
                error = failed
            else:
                await push._open()
                return push
        raise error

    async def _open(self) -> None:
        timeout = self._client.next_timeout(self._clock()) or 0.0
        try:
            await asyncio.wait(
                (self.opened, self.closed), timeout=timeout, return_when="FIRST_COMPLETED"
            )
            if self.opened.done():
                return
            if self.closed.done():
                raise self._error or ConnectionError("it closed the connection before it answered")
            self._client.handle_timeout(self._clock() + 1)
        except BaseException:
            self.abort()
            raise

    @property
    def error(self) -> Exception:
        """Why the connection has ended."""
        return self._error or ConnectionError("it closed the connection")

    @property
    def stalled(self) -> bool:
        """Whether nothing has gone out for STALL_S, though something waits."""
        waiting = self._transport.get_write_buffer_size()
        if not waiting or waiting < self._waited_bytes:
            self._flowed_at = self._clock()
        self._waited_bytes = waiting
        return self._clock() - self._flowed_at > STALL_S

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._client.data_to_send())

    def data_received(self, data: bytes) -> None:
        try:
            for event in self._client.receive_data(data, self._clock()):
                self._handle(event)
        except ProtocolError as error:
            self._fail(error)
            return
        if answer := self._client.data_to_send():
            self._transport.write(answer)

    def connection_lost(self, exception: Exception | None) -> None:
        self._error = self._error or exception
        self.closed.set_result(None)

    def write(self, packet: Packet) -> None:
        """Send a packet, or skip it where too much waits already."""
        if self._transport.is_closing() or self._skips(packet):
            return
        track = packet.track
        data = b""
        for tag in self._muxer.from_packet(packet):
            if track not in self._told:
                self._told = {each for each in self._told if each.kind != track.kind} | {track}
                data += self._client.metadata(tag.timestamp_ms, metadata(self._told))
            message = self._client.video if tag.kind == "video" else self._client.audio
            data += message(tag.timestamp_ms, tag.body)
        self._transport.write(data)
        self._health.sent(len(data))

    def close(self) -> None:
        """Say goodbye and close; what waits is sent first, unless the target takes nothing."""
        if self._transport.is_closing():
            return
        self._transport.write(self._client.close())
        asyncio.get_running_loop().call_later(GOODBYE_S, self._transport.abort)
        self._transport.close()

    def abort(self) -> None:
        self._transport.abort()

    def _skips(self, packet: Packet) -> bool:
        full = self._transport.get_write_buffer_size() > MAX_WAITING_BYTES
        if packet.track.kind == "audio":
            return full
        if full or (self._skipping and not packet.keyframe):
            self._skipping = True
            self._health.frames_skipped += 1
            return True
        self._skipping = False
        return False

    def _handle(self, event: Event) -> None:
        match event:
            case Accepted(four_ccs):
                self.opened.set_result(ENHANCED if self._enhanced else codecs_of(four_ccs))
            case Refused(code, description):
                self._fail(_rejected(code, description))

    def _fail(self, error: Exception) -> None:
        self._error = error
        self._transport.abort()


def _rejected(code: str, description: str) -> Rejected:
    words = description.removeprefix(code).lstrip(": ") or "no reason given"
    told = f"({code or 'no code'}: {words})"
    if code in KEY_REFUSALS:
        return Rejected("key_refused", f"the key is refused, or in use already {told}")
    return Rejected("refused", f"the server refuses the stream {told}")
