"""A room's events over WebSocket (RFC 6455): `/v1/rooms/{room}/events`.

`?token=` or `Authorization` says who it is, `?after=` and `?safter=` where to resume. Subprotocols
`hawker.v1.msgpack` and `hawker.v1.json`; who names none gets JSON. What the messages mean is the
session's; here they are carried.

A slow reader costs nobody else: writing waits for it alone, its session's queue is bounded, aiohttp and
the kernel hold at most some 100 kB more, and whose socket takes nothing for STALLED_S is cut off. A
close frame names the session's reason.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Literal, Protocol, TypeAlias

from aiohttp import WSCloseCode, WSMsgType, web

from mediaserver.api.event_documents import EVENTS, Event, EventsQuery
from mediaserver.api.limits import AddressLimiter
from mediaserver.api.operation import WATCHER, operation
from mediaserver.api.signalling import bearer
from mediaserver.errors import PeerError

Format: TypeAlias = Literal["msgpack", "json"]

SUBPROTOCOLS: dict[str, Format] = {"hawker.v1.msgpack": "msgpack", "hawker.v1.json": "json"}
FRAME_BYTES_MAX = 64 << 10  # a session answers messages over its own limit; beyond this, closed
HEARTBEAT_S = 20.0
STALLED_S = 5.0
CLOSE_S = 2.0  # for the viewer's half of the closing handshake
CLOSE_CODES = {
    "rate_limited": WSCloseCode.POLICY_VIOLATION,
    "bad_message": WSCloseCode.POLICY_VIOLATION,
    "too_slow": WSCloseCode.TRY_AGAIN_LATER,
    "going_away": WSCloseCode.GOING_AWAY,
}


class EventSession(Protocol):
    """One viewer's session."""

    @property
    def closed(self) -> str | None: ...
    def receive(self, data: bytes | str) -> None: ...
    async def next(self) -> Sequence[bytes | str]: ...
    def close(self, reason: str) -> None: ...


class EventSessions(Protocol):
    async def open(
        self,
        room: str,
        token: str | None,
        *,
        format: Format,
        after: int | None = None,
        safter: int | None = None,
    ) -> EventSession: ...


class UpgradeRequired(PeerError):
    status = 426
    code = "upgrade_required"
    title = "WebSocket wanted"


class EventsApi:
    """The handler of `/v1/rooms/{room}/events`."""

    def __init__(
        self, sessions: EventSessions, limiter: AddressLimiter, *, stalled_s: float = STALLED_S
    ) -> None:
        self._sessions = sessions
        self._limiter = limiter
        self._stalled_s = stalled_s

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/v1/rooms/{room}/events", self._get)]

    @operation(
        "Follow a room and act in it, over WebSocket",
        "events",
        auth=WATCHER,
        reply=Event,
        status=101,
        query=EventsQuery,
        errors={
            400: "bad_request subprotocol_unknown",
            426: "upgrade_required",
            429: "too_many",
            503: "unavailable store_unavailable",
        },
        description=EVENTS,
    )
    async def _get(self, request: web.Request) -> web.StreamResponse:
        self._limiter.check(request.remote)
        format = _format(request)
        socket = web.WebSocketResponse(
            protocols=tuple(SUBPROTOCOLS),
            heartbeat=HEARTBEAT_S,
            max_msg_size=FRAME_BYTES_MAX,
            compress=False,  # would be done for each viewer anew
            timeout=CLOSE_S,
        )
        if not socket.can_prepare(request).ok:
            raise UpgradeRequired("this is a WebSocket", headers={"Upgrade": "websocket"})
        session = await self._sessions.open(
            request.match_info["room"],
            request.query.get("token") or bearer(request),
            format=format,
            after=_number(request, "after"),
            safter=_number(request, "safter"),
        )
        try:
            await socket.prepare(request)
            await self._carry(request, socket, session)
        finally:
            session.close("left")
        return socket

    async def _carry(
        self, request: web.Request, socket: web.WebSocketResponse, session: EventSession
    ) -> None:
        writer = asyncio.get_running_loop().create_task(self._write(request, socket, session))
        try:
            async for message in socket:
                if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    session.receive(message.data)
        finally:
            session.close("left")
            await writer

    async def _write(
        self, request: web.Request, socket: web.WebSocketResponse, session: EventSession
    ) -> None:
        with contextlib.suppress(ConnectionError):  # the viewer has left meanwhile
            try:
                while messages := await session.next():
                    for message in messages:
                        async with asyncio.timeout(self._stalled_s):
                            if isinstance(message, str):
                                await socket.send_str(message)
                            else:
                                await socket.send_bytes(message)
                async with asyncio.timeout(CLOSE_S):
                    await _close(socket, session.closed or "left")
            except TimeoutError:
                session.close("too_slow")
                if request.transport is not None:
                    request.transport.abort()


async def _close(socket: web.WebSocketResponse, reason: str) -> None:
    code = CLOSE_CODES.get(reason, WSCloseCode.OK)
    await socket.close(code=code, message=reason.encode())


def _format(request: web.Request) -> Format:
    """By the subprotocol that aiohttp is going to choose: the viewer's first that is ours."""
    offered = request.headers.get("Sec-WebSocket-Protocol")
    if offered is None:
        return "json"
    for name in map(str.strip, offered.split(",")):
        if name in SUBPROTOCOLS:
            return SUBPROTOCOLS[name]
    raise PeerError(f"subprotocols here: {', '.join(SUBPROTOCOLS)}", code="subprotocol_unknown")


def _number(request: web.Request, name: str) -> int | None:
    given = request.query.get(name)
    if not given:
        return None
    if not (given.isascii() and given.isdecimal() and len(given) <= 15):
        raise PeerError(f"{name}: a number", code="bad_request")
    return int(given)
