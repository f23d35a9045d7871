"""RTMPS: the same publishers within TLS, and those who never get that far."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator

import pytest
import uvloop

from mediaserver.api.tls import own_certificate
from mediaserver.hub import Hub
from mediaserver.ingest import tls_listener
from mediaserver.ingest.rtmp import RtmpServer
from tests.ingest.test_rtmp import (
    KEY,
    Changes,
    Client,
    Keys,
    check_two_seconds,
    encode,
    packets,
    run,
)

LOOPBACK = "127.0.0.1"


@pytest.fixture(scope="session")
def context(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    return own_certificate(tmp_path_factory.mktemp("tls"), [LOOPBACK])


@pytest.fixture
def hub() -> Hub:
    return Hub(grace_s=0.05)


@pytest.fixture
async def server(hub: Hub, context: ssl.SSLContext) -> AsyncIterator[RtmpServer]:
    server = RtmpServer(hub, Keys({KEY: "show"}), LOOPBACK, 0, tls=context, max_connections=2)
    await server.start()
    server.start_tls()
    yield server
    await server.stop()


class TlsClient(Client):
    @classmethod
    async def open(cls, port: int) -> Client:
        trusting = ssl.create_default_context()
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        return cls(*await asyncio.open_connection(LOOPBACK, port, ssl=trusting))


def test_ffmpeg_publishes_by_rtmps(whip_ffmpeg: str, context: ssl.SSLContext) -> None:
    async def publish() -> None:
        hub = Hub(grace_s=0.05)
        changes = Changes(hub)
        server = RtmpServer(hub, Keys({KEY: "show"}), LOOPBACK, 0, tls=context)
        await server.start()
        server.start_tls()
        url = f"rtmps://{LOOPBACK}:{server.tls_port}/live"
        wrong = await run(*encode(whip_ffmpeg), "-tls_verify", "0", f"{url}/wrong")
        assert "NetStream.Publish.Denied" in wrong[1]
        command = (*encode(whip_ffmpeg, "-bf", "0"), "-tls_verify", "0", f"{url}/{KEY}")
        assert (await run(*command))[0] == 0
        check_two_seconds(await packets(changes.readers["show"]))
        await server.stop()

    uvloop.run(publish())


async def test_a_publisher_by_rtmps_is_told_why_it_is_closed(server: RtmpServer, hub: Hub) -> None:
    refused = await TlsClient.open(server.tls_port)
    refused.send(refused.encoder.opening("wrong"))
    assert await refused.statuses() == ["NetStream.Publish.Denied"]
    first = await TlsClient.open(server.tls_port)
    first.send(first.encoder.opening(KEY) + first.encoder.media())
    await first.until(b"NetStream.Publish.Start")
    hub.end("show", "the room was closed")
    await first.until(b"NetStream.Failed")
    await first.closed()


async def test_what_is_no_tls_is_closed_and_said_and_does_no_harm(
    server: RtmpServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "hawker.rtmp")
    plain = await Client.open(server.tls_port)
    plain.send(plain.encoder.opening(KEY))
    await plain.closed()
    assert any("no TLS" in record.getMessage() for record in caplog.records)
    client = await TlsClient.open(server.tls_port)
    client.send(client.encoder.opening(KEY))
    await client.until(b"NetStream.Publish.Start")
    client.close()


async def test_who_never_shakes_hands_is_closed(
    server: RtmpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_listener, "HANDSHAKE_S", 0.05)
    client = await Client.open(server.tls_port)
    await client.closed()


async def test_handshakes_under_way_are_bounded_and_end_with_the_server(
    server: RtmpServer, caplog: pytest.LogCaptureFixture
) -> None:
    waiting = [await Client.open(server.tls_port) for _ in range(2)]
    refused = await Client.open(server.tls_port)
    await refused.closed()
    assert "too many connections" in caplog.text
    server.drain()
    for each in waiting:
        await each.closed()
    with pytest.raises(ConnectionRefusedError):
        await Client.open(server.tls_port)


async def test_a_taken_port_is_said(server: RtmpServer, hub: Hub, context: ssl.SSLContext) -> None:
    second = RtmpServer(hub, Keys({}), LOOPBACK, 0, tls=context, tls_port=server.tls_port)
    with pytest.raises(OSError, match="in use"):
        second.start_tls()


def test_without_a_certificate_there_is_no_rtmps(hub: Hub) -> None:
    server = RtmpServer(hub, Keys({}), LOOPBACK, 0, tls_port=1936)
    server.start_tls()
    assert not server.listening
