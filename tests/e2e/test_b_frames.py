"""A source with B-frames: WebRTC viewers get it encoded anew, HLS as it is; the host is told."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.browser import browser, plays, transport
from tests.e2e.server import program, rtmp, running


async def test_viewers_get_a_mended_picture_by_webrtc_and_the_host_gets_a_notice(
    tmp_path: Path, whip_ffmpeg: str, chromium: str
) -> None:
    async with running(tmp_path) as server:
        key = await server.room()
        async with program(*rtmp(whip_ffmpeg, server, key, b_frames=2)):
            await server.live()
            async with browser(chromium) as opened:
                page = await opened.new_page()
                await page.goto(f"{server.url}/watch/show?lang=en")
                await transport(page, "webrtc")
                await plays(page)
            ingest = await server.api("GET", "/v1/rooms/show/ingest")
            (notice,) = [each for each in ingest["notices"] if each["code"] == "HasBFrames"]
            assert set(notice["text"]) == set(notice["fix"]) == {"en", "zh"}


async def test_without_a_transcoder_viewers_are_led_to_hls_with_words(
    tmp_path: Path, whip_ffmpeg: str, chromium: str, hls_js: Path
) -> None:
    async with running(tmp_path, "transcode.enabled=false") as server:
        key = await server.room()
        async with program(*rtmp(whip_ffmpeg, server, key, b_frames=2)):
            await server.live()
            async with browser(chromium) as opened:
                page = await opened.new_page()
                await page.goto(f"{server.url}/watch/show?lang=en")
                await transport(page, "hls")
                await plays(page)
                assert "B-frames" in await page.get_by_test_id("notice").inner_text()
