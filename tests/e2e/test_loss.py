"""A bad network between the server and Chromium."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Page, Route

from tests.e2e.browser import FAKE_CAMERA, browser, frames_beyond, stats, transport, until
from tests.e2e.server import Server, program, rtmp, running, whip
from tests.udp_relay import UdpRelay

SEED = 20261122
MEASURED_FRAMES = 240
BLACKOUT_S = 3.0
GOP_S = 2.0
BUSY = 3  # how much longer it may take on a machine that has other work
# frames that were shown, whatever brought them: the page may begin a session anew
COUNT_SHOWN = """addEventListener("DOMContentLoaded", () => {
  window.shown = 0;
  const video = document.querySelector("[data-testid=player]");
  const count = () => { window.shown += 1; video.requestVideoFrameCallback(count); };
  video.requestVideoFrameCallback(count);
});"""


@asynccontextmanager
async def watching(server: Server, chromium: str, *, loss: float = 0.0) -> AsyncIterator[Watching]:
    """The watch page in a browser of its own, playing by WebRTC through a relay."""
    address = ("127.0.0.1", server.udp_port)
    async with (
        UdpRelay(address, SEED, loss_in=loss, loss_out=loss) as relay,
        browser(chromium) as opened,
    ):

        async def through_relay(route: Route) -> None:
            reply = await route.fetch()
            answer = re.sub(
                rf" {server.udp_port} typ host", f" {relay.port} typ host", await reply.text()
            )
            await route.fulfill(response=reply, body=answer)

        page = await opened.new_page()
        await page.add_init_script(COUNT_SHOWN)
        await page.route("**/whep/**", through_relay)
        await page.goto(f"{server.url}/watch/show")
        await transport(page, "webrtc")
        await frames_beyond(page, 60)
        yield Watching(page, relay)


class Watching:
    """A page and its way to the server."""

    def __init__(self, page: Page, relay: UdpRelay) -> None:
        self.page = page
        self.relay = relay

    async def frames_per_s(self) -> float:
        """Frames decoded in a second, over MEASURED_FRAMES."""
        begun, began_at = (await stats(self.page))["framesDecoded"], time.monotonic()
        await frames_beyond(self.page, begun + MEASURED_FRAMES)
        elapsed_s = time.monotonic() - began_at
        ended = await stats(self.page)
        assert ended["transport"] == "webrtc"
        return float((ended["framesDecoded"] - begun) / elapsed_s)

    async def recovers_after_a_blackout(self) -> float:
        """Lose everything both ways for BLACKOUT_S; seconds until the picture moves again."""
        self.relay.passes = lambda direction, data: False
        await asyncio.sleep(BLACKOUT_S)
        shown = await self.page.evaluate("window.shown")
        self.relay.passes = None
        lifted_at = time.monotonic()
        await until(self.page, f"window.shown > {shown + 3}")
        elapsed_s = time.monotonic() - lifted_at
        return elapsed_s


@asynccontextmanager
async def camera(server: Server, key: str, chromium: str) -> AsyncIterator[None]:
    """A WHIP publisher that makes a keyframe when it is asked to: the studio with a camera."""
    async with browser(chromium, *FAKE_CAMERA) as opened:
        page = await opened.new_page()
        await page.goto(f"{server.url}/studio/show#key={key}")
        await page.get_by_test_id("publish-start").click()
        await server.live()
        yield
        await page.get_by_test_id("publish-stop").click()


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("publisher", "loss"), [("whip", 0.02), ("whip", 0.05), ("rtmp", 0.05)])
async def test_retransmission_keeps_25_of_30_frames(
    publisher: str, loss: float, tmp_path: Path, whip_ffmpeg: str, chromium: str
) -> None:
    publish = whip if publisher == "whip" else rtmp
    async with running(tmp_path) as server:
        key = await server.room()
        async with program(*publish(whip_ffmpeg, server, key)):
            await server.live()
            async with watching(server, chromium, loss=loss) as viewer:
                frames_per_s = await viewer.frames_per_s()
                assert viewer.relay.counts_out.lost > 10
                assert frames_per_s >= 25, await stats(viewer.page)


@pytest.mark.timeout(120)
async def test_a_whip_source_is_seen_again_soon_after_a_blackout(
    tmp_path: Path, chromium: str
) -> None:
    async with running(tmp_path) as server:
        key = await server.room()
        async with camera(server, key, chromium), watching(server, chromium) as viewer:
            assert await viewer.recovers_after_a_blackout() <= BUSY * 1.0


@pytest.mark.timeout(120)
async def test_an_rtmp_source_is_seen_again_with_its_next_keyframe_after_a_blackout(
    tmp_path: Path, whip_ffmpeg: str, chromium: str
) -> None:
    async with running(tmp_path) as server:
        key = await server.room()
        async with program(*rtmp(whip_ffmpeg, server, key, gop=round(GOP_S * 30))):
            await server.live()
            async with watching(server, chromium) as viewer:
                elapsed_s = await viewer.recovers_after_a_blackout()
                assert elapsed_s <= GOP_S + BUSY * 0.5
