"""How soon a browser publishes at the rate that the studio asks for: 2.5 Mbit/s of 720p."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.browser import FAKE_CAMERA, browser
from tests.e2e.server import Server, program, running

WITHIN_S = 8.0
BITRATE_BPS = 2_000_000
SOUND_BPS = 200_000  # of it at most


def camera_film(ffmpeg: str, path: Path) -> list[str]:
    """A picture with so much in it that 720p fills the rate; the fake camera's own needs a third."""
    picture = "testsrc2=size=1280x720:rate=30,noise=alls=7:allf=t"
    film = ["-t", "2", "-pix_fmt", "yuvj420p", "-q:v", "4", "-f", "mjpeg", str(path)]
    return [ffmpeg, "-v", "error", "-f", "lavfi", "-i", picture, *film]


async def bitrate_reached(server: Server) -> dict[str, Any]:
    """What the server says of its publisher once that sends enough."""
    while (ingest := await server.api("GET", "/v1/rooms/show/ingest"))["bitrate_bps"] < (
        BITRATE_BPS + SOUND_BPS
    ):
        await asyncio.sleep(0.1)
    return dict(ingest)


@pytest.mark.timeout(90)
async def test_chromium_publishes_two_megabits_within_eight_seconds(
    tmp_path: Path, whip_ffmpeg: str, chromium: str
) -> None:
    film = tmp_path / "film.mjpeg"
    async with program(*camera_film(whip_ffmpeg, film)) as filming:
        assert await filming.wait() == 0
    camera = [*FAKE_CAMERA, f"--use-file-for-fake-video-capture={film}"]
    async with running(tmp_path / "data") as server, browser(chromium, *camera) as opened:
        key = await server.room()
        page = await opened.new_page()
        await page.goto(f"{server.url}/studio/show#key={key}")
        await page.get_by_test_id("publish-start").click()
        await server.live()
        begun = time.monotonic()
        async with asyncio.timeout(WITHIN_S):
            ingest = await bitrate_reached(server)
        print(f"{ingest['bitrate_bps'] / 1e6:.2f} Mbit/s after {time.monotonic() - begun:.1f} s")
        width, _, height = ingest["resolution"].partition("x")
        assert int(width) * int(height) >= 640 * 360
        await page.get_by_test_id("publish-stop").click()
