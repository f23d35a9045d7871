"""A bad network between the server and Chromium."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from playwright.async_api import Route

from tests.e2e.browser import browser, frames_beyond, stats, transport
from tests.e2e.server import program, rtmp, running
from tests.udp_relay import UdpRelay

LOSS = 0.05
SEED = 20261122
MEASURED_FRAMES = 240


@pytest.mark.timeout(120)
async def test_nacks_keep_25_of_30_frames_at_5_percent_loss(
    tmp_path: Path, whip_ffmpeg: str, chromium: str
) -> None:
    async with running(tmp_path) as server:
        key = await server.room()
        relay = UdpRelay(("127.0.0.1", server.udp_port), SEED, loss_in=LOSS, loss_out=LOSS)
        await relay.start()

        async def through_relay(route: Route) -> None:
            reply = await route.fetch()
            answer = re.sub(
                rf" {server.udp_port} typ host", f" {relay.port} typ host", await reply.text()
            )
            await route.fulfill(response=reply, body=answer)

        try:
            async with program(*rtmp(whip_ffmpeg, server, key)):
                await server.live()
                async with browser(chromium) as opened:
                    page = await opened.new_page()
                    await page.route("**/whep/**", through_relay)
                    await page.goto(f"{server.url}/watch/show")
                    await transport(page, "webrtc")
                    await frames_beyond(page, 60)
                    begun, began_at = (await stats(page))["framesDecoded"], time.monotonic()
                    await frames_beyond(page, begun + MEASURED_FRAMES)
                    elapsed_s = time.monotonic() - began_at
                    ended = await stats(page)
                    assert ended["transport"] == "webrtc"
                    frames_per_s = (ended["framesDecoded"] - begun) / elapsed_s
                    assert relay.counts_out.lost > 30
                    assert frames_per_s >= 25, (frames_per_s, ended)
        finally:
            await relay.stop()
