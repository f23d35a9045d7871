"""Buyers who order over HTTP, and viewers who chat over WebSocket, at a steady rate.

Orders are begun when they are due, whether earlier ones are answered or not, so that a slow server is
not spared; at most IN_FLIGHT_MAX wait at once, and what is not begun for that is counted.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from benchmarks.loads import Commands

IN_FLIGHT_MAX = 500
TICK_S = 0.01
ANSWER_S = 10.0
SETTLE_S = 3.0  # for answers, and for chat that is still on its way


@dataclass(frozen=True, slots=True)
class Wanted:
    """The rates while it is busy, and whose tokens are used."""

    orders_per_s: float
    chat_per_s: float
    sku: str
    room: str
    buyers: Sequence[str]
    chatters: Sequence[str]


@dataclass(slots=True)
class Done:
    """What one busy stretch came to; `answers_ms` of orders, `statuses` of all answers."""

    seconds: float = 0.0
    statuses: dict[str, int] = field(default_factory=dict)
    answers_ms: list[float] = field(default_factory=list)
    not_begun: int = 0
    said: int = 0
    refused_lines: int = 0
    heard: int = 0
    cpu_s: float = 0.0


async def shop(commands: Commands, url: str, wanted: Wanted) -> None:
    """Commands: `go`, and `rest`, which answers what was Done since."""
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=ANSWER_S)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as http:
        shoppers = Shoppers(http, url, wanted)
        await shoppers.open()
        commands.answer("ready")
        try:
            while True:
                if await commands.next() == "go":
                    shoppers.go()
                    commands.answer("went")
                else:
                    commands.answer(await shoppers.rest())
        finally:
            await shoppers.close()


class Shoppers:
    """All of them, on one loop."""

    def __init__(self, http: aiohttp.ClientSession, url: str, wanted: Wanted) -> None:
        self._http = http
        self._url = url
        self._wanted = wanted
        self._done = Done()
        self._sockets: list[aiohttp.ClientWebSocketResponse] = []
        self._readers: list[asyncio.Task[None]] = []
        self._pacing: list[asyncio.Task[None]] = []
        self._asking: set[asyncio.Task[None]] = set()
        self._began = (0.0, 0.0)

    async def open(self) -> None:
        """Connect who chats."""
        for token in self._wanted.chatters:
            socket = await self._http.ws_connect(
                f"{self._url}/v1/rooms/{self._wanted.room}/events",
                headers={"Authorization": f"Bearer {token}"},
                protocols=["hawker.v1.json"],
            )
            self._sockets.append(socket)
            self._readers.append(asyncio.create_task(self._read(socket)))

    async def close(self) -> None:
        for task in (*self._pacing, *self._readers, *self._asking):
            task.cancel()
        for socket in self._sockets:
            await socket.close()

    def go(self) -> None:
        """Begin to order and to chat."""
        self._done = Done()
        self._began = time.monotonic(), time.process_time()
        self._pacing = [
            asyncio.create_task(self._pace(self._wanted.orders_per_s, self._begin_order)),
            asyncio.create_task(self._pace(self._wanted.chat_per_s, self._say)),
        ]

    async def rest(self) -> Done:
        """Stop, and wait for what is under way."""
        began_at, cpu_at = self._began
        self._done.seconds = time.monotonic() - began_at
        for task in self._pacing:
            task.cancel()
        if self._asking:
            await asyncio.wait(self._asking, timeout=ANSWER_S)
        until = time.monotonic() + SETTLE_S
        expected = self._done.said * len(self._sockets)
        while self._done.heard < expected and time.monotonic() < until:
            await asyncio.sleep(TICK_S)
        self._done.cpu_s = time.process_time() - cpu_at
        return self._done

    async def _pace(self, per_s: float, begin: Any) -> None:
        began_at, begun = time.monotonic(), 0
        for number in itertools.count():
            due = int((time.monotonic() - began_at) * per_s)
            for _ in range(due - begun):
                await begin()
            begun = due
            await asyncio.sleep(max(0.0, began_at + (number + 1) * TICK_S - time.monotonic()))

    async def _begin_order(self) -> None:
        if len(self._asking) >= IN_FLIGHT_MAX:
            self._done.not_begun += 1
            return
        task = asyncio.create_task(self._order())
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _order(self) -> None:
        token = secrets.choice(self._wanted.buyers)
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": secrets.token_hex(8)}
        body = {"lines": [{"sku": self._wanted.sku, "qty": 1}]}
        began_at = time.monotonic()
        try:
            async with self._http.post(
                f"{self._url}/v1/orders", json=body, headers=headers
            ) as reply:
                await reply.read()
                status = str(reply.status)
        except (aiohttp.ClientError, TimeoutError) as error:
            status = type(error).__name__
        statuses = self._done.statuses
        statuses[status] = statuses.get(status, 0) + 1
        self._done.answers_ms.append((time.monotonic() - began_at) * 1000)

    async def _say(self) -> None:
        number = self._done.said
        socket = self._sockets[number % len(self._sockets)]
        await socket.send_json({"rid": number + 1, "t": "chat.send", "d": {"text": f"{number}"}})
        self._done.said += 1

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for message in socket:
            if message.type != aiohttp.WSMsgType.TEXT:
                continue
            event = json.loads(message.data)
            if event["t"] == "chat":
                self._done.heard += len(event["d"]["messages"])
            elif event["t"] == "error":
                self._done.refused_lines += 1
