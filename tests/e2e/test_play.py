"""Publisher by player: whatever publishes is seen and heard in Chromium on the watch page."""

from __future__ import annotations

import statistics
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from tests.e2e.browser import FAKE_CAMERA, browser, frames_beyond, plays, stats, transport
from tests.e2e.server import Server, program, rtmp, running, whip

DTLS_ACTIVE = ("-whip_flags", "dtls_active")


@asynccontextmanager
async def _chromium_whip(chromium: str, server: Server, key: str) -> AsyncIterator[None]:
    async with browser(chromium, *FAKE_CAMERA) as opened:
        page = await opened.new_page()
        await page.goto(f"{server.url}/studio/show#key={key}")
        await page.get_by_test_id("publish-start").click()
        yield
        await page.get_by_test_id("publish-stop").click()


def _publisher(
    name: str, server: Server, key: str, whip_ffmpeg: str, chromium: str
) -> AbstractAsyncContextManager[object]:
    match name:
        case "rtmp":
            return program(*rtmp(whip_ffmpeg, server, key))
        case "whip-passive":
            return program(*whip(whip_ffmpeg, server, key))
        case "whip-active":
            return program(*whip(whip_ffmpeg, server, key, *DTLS_ACTIVE))
        case _:
            return _chromium_whip(chromium, server, key)


@pytest.mark.parametrize("publisher", ["rtmp", "whip-passive", "whip-active", "chromium"])
async def test_picture_and_sound_by_webrtc_and_by_hls(
    publisher: str, tmp_path: Path, whip_ffmpeg: str, chromium: str, hls_js: Path
) -> None:
    async with running(tmp_path) as server:
        key = await server.room()
        async with _publisher(publisher, server, key, whip_ffmpeg, chromium):
            await server.live()
            async with browser(chromium) as opened:
                page = await opened.new_page()
                await page.goto(f"{server.url}/watch/show")
                await transport(page, "webrtc")
                await plays(page)
                assert (await stats(page))["audioEnergy"] > 0
                await page.goto(f"{server.url}/watch/show?player=hls")
                await transport(page, "hls")
                await plays(page)


async def test_a_second_viewer_sees_the_picture_without_waiting_for_a_keyframe(
    tmp_path: Path, whip_ffmpeg: str, chromium: str
) -> None:
    async with running(tmp_path) as server:
        key = await server.room()
        # keyframes 2.4 s apart: a viewer that had to wait for one would wait 1.2 s in the mean
        async with program(*rtmp(whip_ffmpeg, server, key, gop=72)):
            await server.live()
            async with browser(chromium) as opened:
                first = await opened.new_page()
                await first.goto(f"{server.url}/watch/show")
                await frames_beyond(first, 30)
                waits_s = []
                for _ in range(5):
                    page = await opened.new_page()
                    began_at = time.monotonic()
                    await page.goto(f"{server.url}/watch/show")
                    await frames_beyond(page, 0)
                    waits_s.append(time.monotonic() - began_at)
                    await page.close()
                assert statistics.median(waits_s) < 1.2, waits_s  # with loading the page
