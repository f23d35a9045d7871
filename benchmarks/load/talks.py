"""How a buyer or chatter speaks to the room: over HTTP, a WebSocket or a viewer's data channel.

All three take the same acts: `act(type, data)` gives what the reply says, or raises ActRefused.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias

import aiohttp

from benchmarks.load.viewer import LoadViewer
from overlay.events import BadMessage, Event, parse

ANSWER_S = 10.0
OPEN_S = 10.0
POLL_S = 0.02
RELIABLE = 0

OnEvent: TypeAlias = Callable[[Event], None]


class ActRefused(Exception):
    """The server said no; `code` is its problem code, `status` the HTTP status or 0."""

    def __init__(self, code: str, status: int = 0) -> None:
        super().__init__(f"{status} {code}")
        self.code = code
        self.status = status


class Talk(Protocol):
    """`name` is the carrier's; raises ActRefused, TimeoutError, OSError or aiohttp.ClientError."""

    name: str

    async def act(self, type: str, data: Mapping[str, Any]) -> Mapping[str, Any]: ...


class HttpTalk:
    """`buy` and `pay` as POSTs with an Idempotency-Key."""

    name = "http"

    def __init__(self, http: aiohttp.ClientSession, url: str, token: str) -> None:
        self._http = http
        self._url = url
        self._token = token

    async def act(self, type: str, data: Mapping[str, Any]) -> Mapping[str, Any]:
        body = {name: value for name, value in data.items() if name not in ("key", "order")}
        path = "/v1/orders" if type == "buy" else f"/v1/orders/{data['order']}/payments"
        headers = {"Authorization": f"Bearer {self._token}", "Idempotency-Key": data["key"]}
        async with self._http.post(f"{self._url}{path}", json=body, headers=headers) as reply:
            answer: dict[str, Any] = await reply.json(content_type=None)
            if reply.status >= 400:
                raise ActRefused(str(answer.get("code", "")), reply.status)
        return {"order" if type == "buy" else "payment": answer}


class _Answers:
    """Matches replies to acts by their `rid`; the rest goes to `on_event`."""

    def __init__(self, on_event: OnEvent) -> None:
        self._on_event = on_event
        self._rids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Event]] = {}

    async def ask(
        self, send: Callable[[str], Any], type: str, data: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        rid = next(self._rids)
        waiting = self._waiting[rid] = asyncio.get_running_loop().create_future()
        try:
            sending = send(json.dumps({"rid": rid, "t": type, "d": data}))
            if asyncio.iscoroutine(sending):
                await sending
            async with asyncio.timeout(ANSWER_S):
                answer = await waiting
        finally:
            del self._waiting[rid]
        if answer.type == "error":
            raise ActRefused(str(answer.data.get("code", "")))
        reply: Mapping[str, Any] = answer.data
        return reply

    def take(self, message: str | bytes) -> None:
        event = parse(message)
        if event.type not in ("reply", "error"):
            self._on_event(event)
            return
        waiting = self._waiting.get(event.data.get("rid", 0))
        if waiting is not None and not waiting.done():
            waiting.set_result(event)


class SocketTalk:
    """Over a WebSocket, JSON; `read` runs as long as it is open."""

    name = "websocket"

    def __init__(self, on_event: OnEvent) -> None:
        self._answers = _Answers(on_event)
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self.closed = False

    async def open(self, http: aiohttp.ClientSession, url: str, room: str, token: str) -> None:
        """Raises aiohttp.ClientError."""
        self._socket = await http.ws_connect(
            f"{url}/v1/rooms/{room}/events",
            headers={"Authorization": f"Bearer {token}"},
            protocols=["hawker.v1.json"],
        )

    async def read(self) -> None:
        """Until it closes, which `closed` says then."""
        assert self._socket is not None
        async for message in self._socket:
            if message.type == aiohttp.WSMsgType.TEXT:
                self._answers.take(message.data)
        self.closed = True

    async def act(self, type: str, data: Mapping[str, Any]) -> Mapping[str, Any]:
        assert self._socket is not None
        return await self._answers.ask(self._socket.send_str, type, data)

    async def close(self) -> None:
        if self._socket is not None:
            await self._socket.close()


class ChannelTalk:
    """Over the data channels of a viewer's session."""

    name = "data channel"

    def __init__(self, viewer: LoadViewer, on_event: OnEvent) -> None:
        self._viewer = viewer
        self._answers = _Answers(on_event)
        viewer.on_message = self._on_message

    async def act(self, type: str, data: Mapping[str, Any]) -> Mapping[str, Any]:
        return await self._answers.ask(self._send, type, data)

    async def opened(self) -> None:
        """Wait for the channel; raises TimeoutError."""
        async with asyncio.timeout(OPEN_S):
            while (channels := self._viewer.channels) is None or (
                channels.channels[RELIABLE].readyState != "open"
            ):
                await asyncio.sleep(POLL_S)

    def _send(self, message: str) -> None:
        channels = self._viewer.channels
        if channels is None or not channels.send(RELIABLE, message):
            raise ConnectionError("the data channel takes nothing")

    def _on_message(self, channel: int, data: str | bytes) -> None:
        try:
            self._answers.take(data)
        except BadMessage:
            self._viewer.undecryptable += 1
