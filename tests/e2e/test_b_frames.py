"""A source with B-frames, and nobody to encode it anew for WebRTC."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.browser import browser, plays, transport
from tests.e2e.server import program, rtmp, running


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
