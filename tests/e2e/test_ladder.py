"""The ladder by HLS: renditions are listed, and made for who asks for them."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.e2e.browser import browser, frames_beyond, stats, transport
from tests.e2e.server import Server, program, rtmp, running

LADDER = "transcode.ladder=[{height = 180, bitrate_kbps = 300}]"
THIN_BYTES_PER_S = 70_000  # a fifth of the source


async def test_a_player_on_a_thin_line_gets_the_rung_that_fits(
    tmp_path: Path, ffmpeg: str, chromium: str, hls_js: Path
) -> None:
    async with running(tmp_path, LADDER) as server:
        key = await server.room()
        async with program(*rtmp(ffmpeg, server, key, bitrate="2500k")):
            await server.live()
            await _offered(server)
            async with browser(chromium) as opened:
                page = await opened.new_page()
                await page.goto(f"{server.url}/watch/show?player=hls")
                await transport(page, "hls")
                await frames_beyond(page, 30)
                assert (await stats(page))["width"] == 640  # the source, until the line is known
                network = await page.context.new_cdp_session(page)
                await network.send(
                    "Network.emulateNetworkConditions",
                    {
                        "offline": False,
                        "latency": 20,
                        "downloadThroughput": THIN_BYTES_PER_S,
                        "uploadThroughput": THIN_BYTES_PER_S,
                    },
                )
                async with asyncio.timeout(60):
                    while (await stats(page))["width"] != 320:
                        await asyncio.sleep(0.2)
                shown = (await stats(page))["framesDecoded"]
                await frames_beyond(page, shown + 60)


async def test_the_bit_rate_of_a_rendition_is_changed_while_it_is_watched(
    tmp_path: Path, ffmpeg: str
) -> None:
    path = "/v1/rooms/show/renditions"
    async with running(tmp_path, LADDER) as server:
        key = await server.room()
        async with program(*rtmp(ffmpeg, server, key)):
            await server.live()
            await _offered(server)
            (rung,) = (await server.api("GET", path))["items"]
            assert (rung["name"], rung["width"], rung["height"]) == ("180p", 320, 180)
            assert not rung["read"]
            high = await _segment_bytes(server)
            assert (await server.api("GET", path))["items"][0]["read"]
            await server.api("PATCH", f"{path}/180p", {"bitrate_kbps": 60})
            async with asyncio.timeout(40):
                while await _segment_bytes(server) > 0.5 * high:
                    await asyncio.sleep(0.5)


async def _segment_bytes(server: Server) -> int:
    """Of the rendition's newest segment."""
    folder = f"{server.url}/hls/show/180p"
    async with server.http.get(f"{folder}/video.m3u8") as reply:
        newest = [line for line in (await reply.text()).splitlines() if line.endswith(".m4s")][-1]
    async with server.http.get(f"{folder}/{newest}") as reply:
        return len(await reply.read())


async def test_a_rendition_plays_in_ffmpeg_and_what_is_none_is_not_found(
    tmp_path: Path, ffmpeg: str
) -> None:
    async with running(tmp_path, LADDER) as server:
        key = await server.room()
        async with program(*rtmp(ffmpeg, server, key)):
            await server.live()
            await _offered(server)
            url = f"{server.url}/hls/show/180p/video.m3u8"
            async with server.http.get(f"{server.url}/hls/show/240p/video.m3u8") as reply:
                assert reply.status == 404
            process = await asyncio.create_subprocess_exec(
                *(ffmpeg, "-hide_banner", "-loglevel", "info", "-i", url),
                *("-t", "3", "-f", "null", "-"),
                stderr=asyncio.subprocess.PIPE,
            )
            _, said = await asyncio.wait_for(process.communicate(), 40)
            assert process.returncode == 0
            assert b"320x180" in said
            assert not server.logged("Traceback")


async def _offered(server: Server) -> None:
    """Wait until the multivariant playlist has the source and its rung."""
    async with asyncio.timeout(30):
        while True:
            async with server.http.get(f"{server.url}/hls/show/index.m3u8") as reply:
                text = await reply.text()
            if reply.status == 200 and text.count("#EXT-X-STREAM-INF") == 2:
                assert "RESOLUTION=320x180" in text
                assert text.index("video.m3u8") < text.index("180p/video.m3u8")
                return
            await asyncio.sleep(0.1)
