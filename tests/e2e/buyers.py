"""Buyers over the three ways to buy: HTTP, WebSocket and the data channel of a WHEP session.

Each keeps its Idempotency-Key over every cut, as the page does, and asks until it has an answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import aiohttp

from benchmarks.webrtc_client import Refused, WebRtcClient
from mediaserver.rtc.dtls import Certificate
from overlay.events import BadMessage, Event, Request, parse, serialize_request
from tests.e2e.server import Server

ROOM = "show"
RELIABLE = 0
ANSWER_S = 10.0
AGAIN_S = 0.2
CUT = (aiohttp.ClientError, ConnectionError, TimeoutError, Refused)


@dataclass(frozen=True, slots=True)
class Answer:
    """An order's document, or the code of the refusal with its members."""

    order: Mapping[str, Any] | None
    code: str = ""
    members: Mapping[str, Any] = field(default_factory=dict)


class Way(Protocol):
    async def ask(self, server: Server, token: str, act: str, data: Mapping[str, Any]) -> Answer:
        """One try; raises one of CUT where no answer came."""

    async def close(self) -> None: ...


@dataclass
class Buyer:
    """One viewer with a token, who wants `lines`."""

    name: str
    way: Way
    token: str
    lines: list[dict[str, Any]]
    key: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    tries: int = 0

    async def buy(self, server: Callable[[], Server]) -> Answer:
        """The answer, however often the way there is cut; `server` gives the one that runs now."""
        while True:
            self.tries += 1
            try:
                data = {"key": self.key, "lines": self.lines, "room": ROOM}
                return await self.way.ask(server(), self.token, "buy", data)
            except CUT:
                await self.way.close()
                await asyncio.sleep(AGAIN_S)


class OverHttp:
    async def ask(self, server: Server, token: str, act: str, data: Mapping[str, Any]) -> Answer:
        body = {name: value for name, value in data.items() if name != "key"}
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": data["key"]}
        timeout = aiohttp.ClientTimeout(total=ANSWER_S)
        async with server.http.post(
            f"{server.url}/v1/orders", json=body, headers=headers, timeout=timeout
        ) as reply:
            document = await reply.json(content_type=None)
        if reply.status == 201:
            return Answer(document)
        if reply.status >= 500:
            raise ConnectionError(document["code"])
        return Answer(None, document["code"], document)

    async def close(self) -> None:
        """Nothing is kept open."""


class Spoken:
    """What WebSocket and data channel share: a message with `rid`, and its answer among others."""

    def __init__(self) -> None:
        self._waiting: dict[str, asyncio.Future[Event]] = {}
        self.events: list[Event] = []

    async def ask(self, server: Server, token: str, act: str, data: Mapping[str, Any]) -> Answer:
        await self.open(server, token)
        rid = secrets.token_hex(4)
        answer = self._waiting[rid] = asyncio.get_running_loop().create_future()
        await self.send(serialize_request(Request(rid, act, data), "msgpack"))
        async with asyncio.timeout(ANSWER_S):
            event = await answer
        if event.type == "reply":
            return Answer(event.data["order"])
        if event.data["code"] in ("store_unavailable", "outcome_unknown", "internal_error"):
            raise ConnectionError(event.data["code"])
        return Answer(None, event.data["code"], event.data)

    async def open(self, server: Server, token: str) -> None:
        raise NotImplementedError

    async def send(self, message: bytes | str) -> None:
        raise NotImplementedError

    def heard(self, data: bytes | str) -> None:
        with contextlib.suppress(BadMessage):
            event = parse(data)
            self.events.append(event)
            waiting = self._waiting.pop(event.data.get("rid"), None)
            if waiting is not None and not waiting.done():
                waiting.set_result(event)

    def cut(self) -> None:
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(ConnectionError("cut"))
        self._waiting.clear()


class OverWebSocket(Spoken):
    def __init__(self) -> None:
        super().__init__()
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._reading: asyncio.Task[None] | None = None

    async def open(self, server: Server, token: str) -> None:
        if self._socket is None:
            self._socket = await server.http.ws_connect(
                f"{server.url}/v1/rooms/{ROOM}/events",
                params={"token": token},
                protocols=("hawker.v1.msgpack",),
            )
            self._reading = asyncio.create_task(self._read(self._socket))

    async def send(self, message: bytes | str) -> None:
        assert self._socket is not None
        assert isinstance(message, bytes)
        await self._socket.send_bytes(message)

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for message in socket:
            self.heard(message.data)
        self.cut()

    async def close(self) -> None:
        if self._socket is not None and self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
            await self._socket.close()
        self._socket = None
        self.cut()


class OverDataChannel(Spoken):
    def __init__(self, certificate: Certificate) -> None:
        super().__init__()
        self._certificate = certificate
        self._client: WebRtcClient | None = None

    async def open(self, server: Server, token: str) -> None:
        if self._client is None:
            client = WebRtcClient(self._certificate, nack=False)
            client.on_message = lambda channel, data: self.heard(data)
            self._client = client
            await client.watch(server.http, f"{server.url}/whep/{ROOM}", token)
            client.closed.add_done_callback(lambda _: self.cut())

    async def send(self, message: bytes | str) -> None:
        assert self._client is not None and self._client.channels is not None
        async with asyncio.timeout(ANSWER_S):
            while not self._client.channels.send(RELIABLE, message):
                await asyncio.sleep(0.02)

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()
        self.cut()
