"""A source with B-frames: viewers are led to HLS and told why; the host is told what to change."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.browser import browser, plays, transport
from tests.e2e.server import program, rtmp, running


async def test_viewers_are_led_to_hls_with_words_and_the_host_gets_a_notice(
    tmp_path: Path, whip_ffmpeg: str, chromium: str, hls_js: Path
) -> None:
    async with running(tmp_path) as server:
        key = await server.room()
        async with program(*rtmp(whip_ffmpeg, server, key, b_frames=2)):
            await server.live()
            async with browser(chromium) as opened:
                page = await opened.new_page()
                await page.goto(f"{server.url}/watch/show?lang=en")
                await transport(page, "hls")
                await plays(page)
                assert "B-frames" in await page.get_by_test_id("notice").inner_text()
            ingest = await server.api("GET", "/v1/rooms/show/ingest")
            (notice,) = [each for each in ingest["notices"] if each["code"] == "HasBFrames"]
            assert set(notice["text"]) == set(notice["fix"]) == {"en", "zh"}
