"""The WebRTC house of tests/rtc behind a real HTTP server on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web

from mediaserver.access import Access
from mediaserver.api import problem
from mediaserver.api.limits import AddressLimiter
from mediaserver.api.whep import WhepApi
from mediaserver.api.whip import WhipApi
from mediaserver.egress.watching import OneProcess
from mediaserver.errors import NotFound, Unauthorized
from tests.rtc.house import KEY, ROOM, House, open_house

PRIVATE = "private"
TOKEN = "a viewer token"


class Rooms:
    """ROOM is open to all, PRIVATE wants TOKEN, and there is no other; KEY publishes ROOM."""

    async def publish(self, key: str) -> str:
        if key != KEY:
            raise Unauthorized("no such stream key")
        return ROOM

    async def watch(self, stream: str, token: str | None) -> None:
        if stream not in (ROOM, PRIVATE):
            raise NotFound("no such room")
        if stream == PRIVATE and token != TOKEN:
            raise Unauthorized("this room wants a token")


class HttpHouse:
    """`house` behind `url`, with an HTTP client."""

    def __init__(self, house: House, url: str, http: aiohttp.ClientSession) -> None:
        self.house = house
        self.url = url
        self.http = http

    async def post(
        self, path: str, body: str | bytes, *, token: str | None = None, kind: str | None = None
    ) -> aiohttp.ClientResponse:
        """POST an offer; the body is read already."""
        headers = {"Content-Type": kind or "application/sdp"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        async with self.http.post(self.url + path, data=body, headers=headers) as reply:
            await reply.read()
            return reply

    async def delete(self, path: str) -> int:
        async with self.http.delete(self.url + path) as reply:
            return reply.status


@asynccontextmanager
async def open_http_house(**options: int | float) -> AsyncIterator[HttpHouse]:
    access: Access = Rooms()
    async with open_house(**options) as house:
        app = web.Application()
        problem.install(app)
        limiter = AddressLimiter(per_s=1000, burst=1000)
        app.add_routes(WhipApi(house.whip, limiter).routes())
        app.add_routes(WhepApi(OneProcess(house.whep, house.hub), access, limiter).routes())
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            host, port = runner.addresses[0][:2]
            async with aiohttp.ClientSession() as http:
                yield HttpHouse(house, f"http://{host}:{port}", http)
        finally:
            await runner.cleanup()
