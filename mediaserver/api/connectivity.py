"""Whether a caller reaches WebRTC's port: credentials for checks, or a session that carries no media.

A check (RFC 8445 §7) with the credentials is answered on every candidate like that of any session; no
DTLS follows, so the session is gone after the ten seconds that a peer has to connect. A browser sends
no checks by themselves: its offer of data channels is answered, and the session closed soon after.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from aiohttp import web
from pydantic import BaseModel

from mediaserver.api.limits import AddressLimiter
from mediaserver.api.operation import operation
from mediaserver.api.preconditions import NO_STORE
from mediaserver.api.signalling import OFFER_TYPE, read_offer
from mediaserver.protocol import rtcp, rtp, sdp
from mediaserver.rtc.address import Address
from mediaserver.rtc.session import Session
from mediaserver.rtc.transport import Transport

CHECKED_S = 10.0  # a connected session has told by then what there is to tell
ECHO_BYTES = 1024  # of a message that is sent back


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
    def on_rtp(self, packet: rtp.RtpPacket, now: float) -> None: ...
    def on_rtcp(self, packets: Sequence[rtcp.RtcpPacket], now: float) -> None: ...
    def on_message(self, channel: int, data: str | bytes) -> None: ...
    def on_moved(self, address: Address) -> None: ...
    def on_closed(self, reason: str) -> None: ...


class Echo(Nobody):
    """The handler of a session of data channels: it sends back what comes, for CHECKED_S."""

    def __init__(self, close: Callable[[Session, str], None]) -> None:
        self._close = close
        self._session: Session | None = None
        self._ending: asyncio.TimerHandle | None = None

    def on_connected(self, session: Session) -> None:
        self._session = session
        loop = asyncio.get_running_loop()
        self._ending = loop.call_later(CHECKED_S, self._close, session, "checked")

    def on_message(self, channel: int, data: str | bytes) -> None:
        channels = self._session.channels if self._session else None
        if channels is not None and len(data) <= ECHO_BYTES:
            channels.send(channel, data)

    def on_closed(self, reason: str) -> None:
        if self._ending is not None:
            self._ending.cancel()


class ConnectivityApi:
    """The handler of `/v1/connectivity`; `limiter` is for each address."""

    def __init__(self, transport: Transport, limiter: AddressLimiter) -> None:
        self._transport = transport
        self._limiter = limiter

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/v1/connectivity", self._open)]

    @operation(
        "Check whether the UDP port is reached",
        "server",
        reply=ConnectivityDocument,
        status=201,
        errors={
            400: "malformed",
            406: "not_acceptable",
            408: "too_slow",
            413: "too_large",
            415: "unsupported_coding",
            429: "too_many",
            503: "unavailable",
        },
        description="Without a body: credentials, with which a STUN client may check every candidate "
        "for ten seconds. With `Content-Type: application/sdp` the body is an offer of data channels "
        "and the reply is the answer, as `application/sdp`: a browser sees in its statistics which "
        "candidates answer and whether DTLS and SCTP come through. Channels are negotiated, ids 0 and "
        "1; a message of at most 1024 bytes comes back. The server closes the session ten seconds after "
        "it connected, or ten seconds after the offer if it doesn't connect.",
    )
    async def _open(self, request: web.Request) -> web.Response:
        self._limiter.check(request.remote)
        admission = self._transport.admission
        admission.check(request.remote)
        if request.content_type == OFFER_TYPE:
            offer = await read_offer(request)
            admission.check(request.remote)  # others may have come meanwhile
            session, answer = self._accept(offer)
            admission.count(request.remote, session.id)
            return web.Response(
                status=201, body=answer.encode(), content_type=OFFER_TYPE, headers=NO_STORE
            )
        session = self._transport.open(Nobody(), self._transport.certificate(), "server", [])
        admission.count(request.remote, session.id)
        return web.json_response(self._credentials(session), status=201, headers=NO_STORE)

    def _credentials(self, session: Session) -> dict[str, object]:
        candidates = [
            {"address": each.address, "port": each.port, "protocol": each.protocol}
            for each in self._transport.candidates()
        ]
        return {"ufrag": session.ufrag, "password": session.password, "candidates": candidates}

    def _accept(self, offer_sdp: bytes) -> tuple[Session, str]:
        """The session and the answer; raises ProtocolError, Unavailable."""
        offer = sdp.parse(offer_sdp)
        data = next((each for each in offer.medias if each.usable and each.is_data), None)
        accepted = sdp.AnswerMedia(max_message_size=ECHO_BYTES)
        medias = [accepted if each is data else None for each in offer.medias]
        sctp = (data.sctp_port or 5000, data.max_message_size) if data else None
        echo = Echo(self._transport.close)
        return self._transport.accept(echo, offer, medias, sctp=sctp)
