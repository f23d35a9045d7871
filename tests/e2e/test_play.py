"""Publisher by player: whatever publishes is seen and heard in Chromium on the watch page."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from benchmarks.webrtc_client import VIDEO_PAYLOAD_TYPE, WebRtcClient
from mediaserver.protocol.rtp import RtpPacket
from mediaserver.rtc.dtls import Certificate
from tests.e2e.browser import FAKE_CAMERA, browser, plays, stats, transport, until
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


FIRST_SHOWN = """addEventListener("DOMContentLoaded", () => {
  const video = document.querySelector("[data-testid=player]");
  video.requestVideoFrameCallback((_, shown) => { window.firstShown = shown.rtpTimestamp; });
});"""
JOINERS = 5


async def test_a_second_viewer_sees_the_picture_without_waiting_for_a_keyframe(
    tmp_path: Path, whip_ffmpeg: str, chromium: str
) -> None:
    newest = 0

    def see(packet: RtpPacket, gap: bool) -> None:
        nonlocal newest
        if packet.payload_type == VIDEO_PAYLOAD_TYPE:
            newest = packet.timestamp

    async with running(tmp_path) as server:
        key = await server.room()
        async with program(*rtmp(whip_ffmpeg, server, key, gop=72)):
            await server.live()
            first = WebRtcClient(Certificate.generateCertificate(), on_rtp=see)
            await first.watch(server.http, f"{server.url}/whep/show")
            async with browser(chromium) as opened:
                shown_from_before = 0
                for _ in range(JOINERS):
                    page = await opened.new_page()
                    await page.add_init_script(FIRST_SHOWN)
                    on_the_air = newest  # when the viewer has not even asked
                    await page.goto(f"{server.url}/watch/show")
                    await until(page, "window.firstShown !== undefined")
                    behind = (on_the_air - await page.evaluate("window.firstShown")) % 2**32
                    shown_from_before += behind < 2**31
                    await page.close()
            await first.close()
    # a keyframe may come just while one connects; who waits for one never sees an earlier frame
    assert shown_from_before >= 2
