"""The first start, readiness, and what is printed once."""

from __future__ import annotations

import asyncio
import signal
import stat
import time
from pathlib import Path

from tests.e2e.server import running


async def test_a_first_start_prints_the_admin_token_once_and_keeps_it_to_itself(
    tmp_path: Path,
) -> None:
    for start in (1, 2):
        async with running(tmp_path, "auth.admin_token=") as server:
            async with server.http.get(f"{server.url}/readyz") as reply:
                assert (await reply.json())["checks"] == {
                    "store": "ok",
                    "rtmp": "ok",
                    "webrtc": "ok",
                }
            token = (tmp_path / "admin-token").read_text().strip()
            headers = {"Authorization": f"Bearer {token}"}
            url = f"{server.url}/v1/rooms"
            room = {"id": f"room-{start}", "title": "Show"}
            async with server.http.post(url, json=room, headers=headers) as reply:
                assert reply.status == 201
            async with server.http.post(url, json=room, headers={"Authorization": "x"}) as reply:
                assert reply.status == 401
        assert bool(server.logged(token)) == (start == 1)
    for kept in ("admin-token", "viewer-secret", "hawker.db"):
        assert stat.S_IMODE((tmp_path / kept).stat().st_mode) == 0o600


async def test_a_taken_https_port_gives_way_to_a_free_one(tmp_path: Path) -> None:
    async with running(tmp_path / "first", "http.https_port=0") as first:
        taken = str(first.ready["https"]).rpartition(":")[2]
        async with running(tmp_path / "second", f"http.https_port={taken}") as second:
            assert len(second.logged("http.https_port")) == 1
            url = str(second.ready["https"])
            assert url.rpartition(":")[2] not in ("0", taken)
            async with second.http.get(f"{url}/healthz", ssl=False) as reply:
                assert reply.status == 200


async def test_a_request_whose_body_never_comes_does_not_hold_up_the_drain(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        await server.room()
        host, _, port = server.url.removeprefix("http://").partition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        head = "POST /whip HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\n"
        writer.write(f"{head}Content-Type: application/sdp\r\nContent-Length: 100\r\n\r\n".encode())
        await writer.drain()
        async with server.http.get(f"{server.url}/healthz") as reply:
            assert reply.status == 200
        began_at = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        await server.process.wait()
        assert time.monotonic() - began_at < 8
        writer.close()
        assert server.process.returncode == 0
    assert not list(tmp_path.glob("*-wal"))  # the store was closed in order
