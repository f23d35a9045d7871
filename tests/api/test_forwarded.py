"""Requests that come through a proxy, real ones over loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from ipaddress import ip_network
from typing import Any

import pytest
from aiohttp import ClientSession, WSMsgType, web

from mediaserver.api.forwarded import client, forwarded

TRUSTED = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]
Serve = Callable[[list[str]], Coroutine[Any, Any, str]]


@pytest.mark.parametrize(
    ("told", "address"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("203.0.113.7, 10.0.0.2", "203.0.113.7"),
        ("198.51.100.1, 203.0.113.7, 10.0.0.2", "203.0.113.7"),
        ("2001:db8::7, fd00::2", "2001:db8::7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("unknown, 10.0.0.2", "10.0.0.2"),
        ("<script>", None),
        ("", None),
        (",".join(["10.0.0.1"] * 5000), "10.0.0.1"),
    ],
)
def test_the_client_is_the_last_address_that_no_trusted_proxy_has(
    told: str, address: str | None
) -> None:
    assert client(told, TRUSTED) == address


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    runners: list[web.AppRunner] = []

    async def who(request: web.Request) -> web.StreamResponse:
        if "Upgrade" not in request.headers:
            return web.json_response([request.remote, request.scheme, await request.text()])
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str(request.remote or "")
        await socket.close()
        return socket

    async def start(trusted: list[str]) -> str:
        app = web.Application(middlewares=[forwarded(trusted)])
        app.router.add_route("*", "/", who)
        runner = web.AppRunner(app)
        runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}/"

    yield start
    for runner in runners:
        await runner.cleanup()


HEADERS = {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https"}


async def test_a_trusted_proxy_says_who_asks_and_how(serve: Serve) -> None:
    url = await serve(["127.0.0.1"])
    async with ClientSession() as http:
        async with http.post(url, headers=HEADERS, data="body") as response:
            assert await response.json() == ["203.0.113.7", "https", "body"]
        async with http.ws_connect(url, headers=HEADERS) as socket:
            message = await socket.receive()
            assert (message.type, message.data) == (WSMsgType.TEXT, "203.0.113.7")
        async with http.get(url, headers={"X-Forwarded-Proto": "gopher"}) as response:
            assert await response.json() == ["127.0.0.1", "http", ""]


async def test_nobody_else_may_say_so(serve: Serve) -> None:
    url = await serve(["192.0.2.0/24"])
    async with ClientSession() as http, http.get(url, headers=HEADERS) as response:
        assert await response.json() == ["127.0.0.1", "http", ""]
