"""A room's scheduled channel over HTTP, in the whole server: planned, played, and played again."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.server import ADMIN, program, rtmp, running
from tests.ingest.test_channel import film, x264

HEADERS = {"Authorization": f"Bearer {ADMIN}"}


async def test_a_planned_channel_is_on_the_air_and_comes_back_after_a_restart(
    tmp_path: Path, ffmpeg: str
) -> None:
    media = tmp_path / "media"
    media.mkdir()
    film(ffmpeg, media / "loop.mp4", codecs=x264("-bf", "0"))
    path = "/v1/rooms/show/channel"
    async with running(tmp_path) as server:
        key = await server.room()
        none = await server.api("GET", path)
        assert (none["state"], none["files"], none["available"]) == (None, [], ["loop.mp4"])
        async with server.http.delete(f"{server.url}{path}", headers=HEADERS) as reply:
            assert (reply.status, (await reply.json())["code"]) == (404, "channel_not_found")
        for files in (["missing.mp4"], ["../secret.mp4"], []):
            plan = {"files": files, "loop": True}
            async with server.http.put(f"{server.url}{path}", json=plan, headers=HEADERS) as reply:
                assert (reply.status, (await reply.json())["code"]) == (422, "invalid")
        made = await server.api("PUT", path, {"files": ["loop.mp4"], "loop": True})
        assert (made["files"], made["available"]) == (["loop.mp4"], ["loop.mp4"])
        await server.live()
        assert (await server.api("GET", "/v1/rooms/show/ingest"))["protocol"] == "channel"
        async with program(*rtmp(ffmpeg, server, key)):  # the host goes live
            while (await server.api("GET", "/v1/rooms/show/ingest"))["protocol"] != "rtmp":
                pass
    async with running(tmp_path) as server:
        await server.live()
        assert (await server.api("GET", path))["state"] == "playing"
        await server.api("DELETE", path)
        assert not (await server.api("GET", "/v1/rooms/show/ingest"))["live"]
        later = {"files": ["loop.mp4"], "starts_at": "2999-01-01T00:00:00Z"}
        assert (await server.api("PUT", path, later))["state"] == "waiting"
        await server.api("DELETE", "/v1/rooms/show")
        await server.room()
        made = await server.api("PUT", path, {"files": ["loop.mp4"], "loop": True})
        assert made["state"] in ("waiting", "playing")
        asked = {"authentication": "no-key", "preferences": {}}
        told = await server.api("POST", "/v1/obs/client-configuration", asked)
        assert told["status"]["result"] == "error"
