"""The light client over ICE-TCP, or to whichever candidate a test names."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from benchmarks.webrtc_client import WebRtcClient
from mediaserver.protocol import sdp, tcp_framing


class Framed(asyncio.Protocol):
    """A connection with the face of a datagram transport."""

    def __init__(self, client: WebRtcClient) -> None:
        self._client = client
        self._deframer = tcp_framing.Deframer()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        for datagram in self._deframer.feed(data):
            self._client.datagram_received(datagram, None)

    def sendto(self, data: bytes, address: Any = None) -> None:
        assert self.transport is not None
        self.transport.write(tcp_framing.serialize(data))

    def is_closing(self) -> bool:
        return self.transport is None or self.transport.is_closing()

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()


@dataclass
class TcpClient(WebRtcClient):
    """A viewer whose network has no UDP."""

    async def _open(
        self, candidates: Sequence[sdp.Candidate], port: int | None
    ) -> asyncio.DatagramTransport:
        candidate = next(each for each in candidates if each.protocol == "tcp")
        loop = asyncio.get_running_loop()
        _, framed = await loop.create_connection(
            lambda: Framed(self), candidate.address, port or candidate.port
        )
        return cast(asyncio.DatagramTransport, framed)


@dataclass
class Ipv6Client(WebRtcClient):
    """A viewer that takes the first IPv6 candidate."""

    async def _open(
        self, candidates: Sequence[sdp.Candidate], port: int | None
    ) -> asyncio.DatagramTransport:
        return await super()._open([each for each in candidates if ":" in each.address], port)
