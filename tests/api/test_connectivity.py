"""Reaching the UDP port through the API: credentials for checks, and sessions that only send back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from benchmarks.webrtc_client import WebRtcClient
from mediaserver.api import problem
from mediaserver.api.connectivity import CHECKED_S, ECHO_BYTES, ConnectivityApi
from mediaserver.api.limits import AddressLimiter
from mediaserver.protocol import sdp
from mediaserver.rtc.dtls import Certificate
from mediaserver.rtc.session import CONNECT_S
from mediaserver.rtc.transport import SWEEP_S, Transport
from tests.rtc.house import Received
from tests.virtual_time import now, virtual_time

OFFER = {"Content-Type": "application/sdp"}


class Here:
    """The API behind a real HTTP server, and the port that it speaks of."""

    def __init__(self, transport: Transport, url: str, http: aiohttp.ClientSession) -> None:
        self.transport = transport
        self.url = url
        self.http = http

    async def post(self, offer: str | bytes) -> tuple[int, str, str]:
        """The status, the media type and the body."""
        async with self.http.post(self.url, data=offer, headers=OFFER) as reply:
            return reply.status, reply.content_type, await reply.text()

    async def gone(self) -> None:
        """Return once the port has no session."""
        while self.transport.sessions:
            await asyncio.sleep(SWEEP_S / 10)

    async def connected(self, received: Received) -> WebRtcClient:
        """A client of a session that was offered data channels alone."""
        client = WebRtcClient(Certificate.generateCertificate(), clock=now)
        client.on_message = received.on_message
        status, kind, answer = await self.post(data_only(client))
        assert (status, kind) == (201, "application/sdp")
        await client.connect(sdp.parse(answer))
        return client


@asynccontextmanager
async def serving(burst: int = 100) -> AsyncIterator[Here]:
    transport = Transport("127.0.0.1", 0, clock=now)
    await transport.start()
    app = web.Application()
    problem.install(app)
    limiter = AddressLimiter(per_s=1, burst=burst, monotonic=now)
    app.add_routes(ConnectivityApi(transport, limiter).routes())
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    try:
        async with aiohttp.ClientSession() as http:
            yield Here(transport, f"http://{host}:{port}/v1/connectivity", http)
    finally:
        await runner.cleanup()
        await transport.stop()


def data_only(client: WebRtcClient) -> str:
    """The client's offer with its m-line of data channels and no other."""
    head, *sections = client.offer().split("m=")
    return head.replace("BUNDLE 0 1 2", "BUNDLE 2") + "m=" + sections[-1]


async def until_closed(client: WebRtcClient) -> float:
    """When the server said goodbye."""
    await client.closed
    return now()


@virtual_time
async def test_without_an_offer_there_are_credentials_for_checks_as_json() -> None:
    async with serving() as here, here.http.post(here.url) as reply:
        assert (reply.status, reply.content_type) == (201, "application/json")
        told = await reply.json()
        (session,) = here.transport.sessions.values()
        assert (told["ufrag"], told["password"]) == (session.ufrag, session.password)
        port = here.transport.port
        assert told["candidates"] == [
            {"address": "127.0.0.1", "port": port, "protocol": each} for each in ("udp", "tcp")
        ]


@virtual_time
async def test_an_offer_of_data_channels_connects_and_what_is_sent_comes_back() -> None:
    async with serving() as here:
        received = Received()
        client = await here.connected(received)
        try:
            assert client.channels is not None
            while client.channels.channels[0].readyState != "open":
                await asyncio.sleep(0.01)
            assert client.channels.send(0, "x" * (ECHO_BYTES + 1))
            assert client.channels.send(0, "hello")
            await received.until(lambda: bool(received.messages))
            assert received.messages == [(0, "hello")]
        finally:
            await client.close()


@virtual_time
async def test_a_connected_session_is_closed_by_the_server_ten_seconds_later() -> None:
    async with serving() as here:
        client = await here.connected(Received())
        try:
            begun = now()
            assert CHECKED_S - 1 <= await until_closed(client) - begun <= CHECKED_S + 1
            assert not here.transport.sessions
        finally:
            await client.close()


@virtual_time
async def test_a_session_whose_client_leaves_is_gone_at_once() -> None:
    async with serving() as here:
        client = await here.connected(Received())
        begun = now()
        await client.close()
        await here.gone()
        assert now() - begun < CHECKED_S / 2


@virtual_time
async def test_a_session_that_does_not_connect_is_closed_in_the_usual_time() -> None:
    async with serving() as here:
        client = WebRtcClient(Certificate.generateCertificate(), clock=now)
        begun = now()
        assert (await here.post(data_only(client)))[0] == 201
        await here.gone()
        assert CONNECT_S <= now() - begun <= CONNECT_S + 2 * SWEEP_S
        await client.close()


@virtual_time
async def test_of_a_viewers_offer_only_the_data_channels_are_accepted() -> None:
    async with serving() as here:
        client = WebRtcClient(Certificate.generateCertificate(), clock=now)
        status, _, answer = await here.post(client.offer())
        assert status == 201
        assert [media.port > 0 for media in sdp.parse(answer).medias] == [False, False, True]
        await client.close()


@pytest.mark.parametrize("offer", [b"", b"v=0\r\n", b"\xff" * 40])
def test_what_is_no_offer_is_refused_and_opens_no_session(offer: bytes) -> None:
    @virtual_time
    async def refused() -> None:
        async with serving() as here:
            status, kind, _ = await here.post(offer)
            assert (status, kind) == (400, "application/problem+json")
            assert not here.transport.sessions

    refused()


@virtual_time
async def test_an_offer_without_data_channels_is_refused() -> None:
    async with serving() as here:
        client = WebRtcClient(Certificate.generateCertificate(), clock=now)
        assert (await here.post(client.offer(data=False)))[0] == 406
        assert not here.transport.sessions
        await client.close()


@virtual_time
async def test_offers_count_like_other_requests_of_an_address() -> None:
    async with serving(burst=1) as here:
        client = WebRtcClient(Certificate.generateCertificate(), clock=now)
        assert (await here.post(data_only(client)))[0] == 201
        assert (await here.post(data_only(client)))[0] == 429
        await client.close()
