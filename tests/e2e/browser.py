"""Chromium for the end-to-end tests, and what the watch page tells of itself."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from playwright.async_api import Browser, Page, async_playwright, expect

ARGUMENTS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--autoplay-policy=no-user-gesture-required",
]
FAKE_CAMERA = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream=fps=30"]
PATIENCE_S = 60.0  # for a small machine that does much else
POLL_S = 0.1


@asynccontextmanager
async def browser(executable: str, *more: str) -> AsyncIterator[Browser]:
    expect.set_options(timeout=PATIENCE_S * 1000)
    async with async_playwright() as playwright:
        opened = await playwright.chromium.launch(
            executable_path=executable, headless=True, args=[*ARGUMENTS, *more]
        )
        try:
            yield opened
        finally:
            await opened.close()


async def transport(page: Page, expected: str) -> None:
    """Wait until the page, be it still opening, says that it plays by `webrtc` or `hls`."""
    said = page.get_by_test_id("transport").filter(has_text=re.compile(f"^{expected}$"))
    await said.wait_for(state="attached", timeout=PATIENCE_S * 1000)


async def stats(page: Page) -> dict[str, Any]:
    found = await page.evaluate("hawker.stats()")
    assert found is not None
    return dict(found)


async def until(page: Page, predicate: str, patience_s: float = PATIENCE_S) -> None:
    """Wait until an async JavaScript expression of the page is true."""
    async with asyncio.timeout(patience_s):
        while not await page.evaluate(f"(async () => {predicate})()"):
            await asyncio.sleep(POLL_S)


async def frames_beyond(page: Page, count: int) -> None:
    """Wait until more than `count` frames have been decoded."""
    await until(page, f"((await hawker.stats())?.framesDecoded ?? 0) > {count}")


async def plays(page: Page, *, frames: int = 60) -> None:
    """Picture: frames decoded grow. Sound: what comes out of the player is louder than silence."""
    begun = (await stats(page))["framesDecoded"]
    await page.get_by_test_id("unmute").click()
    await frames_beyond(page, begun + frames)
    await page.evaluate(LISTEN)
    await until(page, "loudness() > 0.01")


# the loudest sample of the player's sound in the last 40 ms or so
LISTEN = """() => {
  const context = new AudioContext();
  const analyser = context.createAnalyser();
  const video = document.querySelector("[data-testid=player]");
  const stream = video.srcObject ?? video.captureStream();
  context.createMediaStreamSource(new MediaStream(stream.getAudioTracks())).connect(analyser);
  const samples = new Float32Array(analyser.fftSize);
  window.loudness = () => {
    analyser.getFloatTimeDomainData(samples);
    return Math.max(...samples);
  };
}"""
