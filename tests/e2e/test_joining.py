"""Joining a show that is on the air."""

from __future__ import annotations

from pathlib import Path

from benchmarks.webrtc_client import VIDEO_PAYLOAD_TYPE, WebRtcClient
from mediaserver.protocol.rtp import RtpPacket
from mediaserver.rtc.dtls import Certificate
from tests.e2e.browser import browser, until
from tests.e2e.server import program, rtmp, running

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
                    async with page.expect_request(lambda asked: "/whep/" in asked.url):
                        await page.goto(f"{server.url}/watch/show")
                    on_the_air = newest  # when the viewer has just asked
                    await until(page, "window.firstShown !== undefined")
                    behind = (on_the_air - await page.evaluate("window.firstShown")) % 2**32
                    shown_from_before += behind < 2**31
                    await page.close()
            await first.close()
    # a keyframe may come just while one connects; who waits for one never sees an earlier frame
    assert shown_from_before >= 3
