"""Whether a caller reaches the UDP port: credentials for connectivity checks and nothing else.

A check (RFC 8445 §7) with these is answered on every candidate like that of any session; no DTLS
follows, so the session is gone after the ten seconds that a peer has to connect.
"""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web
from pydantic import BaseModel

from mediaserver.api.limits import AddressLimiter
from mediaserver.api.operation import operation
from mediaserver.api.preconditions import NO_STORE
from mediaserver.protocol import rtcp
from mediaserver.rtc.session import Address, Session
from mediaserver.rtc.transport import Transport


class CandidateDocument(BaseModel):
    address: str
    port: int
    protocol: str


class ConnectivityDocument(BaseModel):
    """What a STUN Binding request needs: USERNAME is `ufrag:` and anything, the key is `password`."""

    ufrag: str
    password: str
    candidates: list[CandidateDocument]


class Nobody:
    """The handler of a session that only answers checks."""

    def on_connected(self, session: Session) -> None: ...
    def on_rtp(self, data: bytes, now: float) -> None: ...
    def on_rtcp(self, packets: Sequence[rtcp.RtcpPacket], now: float) -> None: ...
    def on_message(self, channel: int, data: str | bytes) -> None: ...
    def on_moved(self, address: Address) -> None: ...
    def on_closed(self, reason: str) -> None: ...


class ConnectivityApi:
    """The handler of `/v1/connectivity`; `limiter` is for each address."""

    def __init__(self, transport: Transport, limiter: AddressLimiter) -> None:
        self._transport = transport
        self._limiter = limiter

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/v1/connectivity", self._open)]

    @operation(
        "Get credentials for connectivity checks of the UDP port",
        "server",
        reply=ConnectivityDocument,
        status=201,
        errors={429: "too_many", 503: "unavailable"},
    )
    async def _open(self, request: web.Request) -> web.Response:
        self._limiter.check(request.remote)
        transport = self._transport
        session = transport.open(Nobody(), transport.certificate(), "server", [])
        candidates = [
            {"address": each.address, "port": each.port, "protocol": "udp"}
            for each in transport.candidates()
        ]
        body = {"ufrag": session.ufrag, "password": session.password, "candidates": candidates}
        return web.json_response(body, status=201, headers=NO_STORE)
