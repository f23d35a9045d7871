"""RTMPS on the whole server: the ready line says where, with the certificate of https."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

from tests.e2e.server import Server, running
from tests.protocol.rtmp_client import Encoder


async def publishes(server: Server, key: str) -> None:
    """Open a connection by the ready line's address and be let in with the key."""
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    host, _, port = str(server.ready["rtmps"]).removeprefix("rtmps://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port.partition("/")[0]), ssl=trusting)
    encoder = Encoder()
    writer.write(encoder.opening(key) + encoder.media())
    await reader.readuntil(b"NetStream.Publish.Start")
    writer.close()


async def test_rtmps_is_in_the_ready_line_and_a_taken_port_gives_way(tmp_path: Path) -> None:
    async with running(tmp_path / "first", "rtmps.port=0") as first:
        await publishes(first, await first.room())
        taken = str(first.ready["rtmps"]).rpartition(":")[2].partition("/")[0]
        async with running(tmp_path / "second", f"rtmps.port={taken}") as second:
            assert len(second.logged("rtmps.port")) == 1
            await publishes(second, await second.room())


async def test_rtmps_can_be_turned_off(tmp_path: Path) -> None:
    async with running(tmp_path, "rtmps.port=-1") as server:
        assert server.ready["rtmps"] is None
