"""Glass to glass: the moment burned into a frame against the moment Chromium shows it."""

from __future__ import annotations

import statistics
from pathlib import Path

import numpy as np

from mediaserver.ingest.testpattern.frame_number import frame_utc_ms, read_frame_number
from tests.e2e.browser import browser, frames_beyond, transport
from tests.e2e.server import running

FRAMES = 45
# at each frame's presentation: the UTC ms, and a row through the strip of blocks, as grey values
WATCH = """async ({ count, width, height }) => {
  const video = document.querySelector("[data-testid=player]");
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const seen = [];
  while (seen.length < count) {
    await new Promise((resolve) => video.requestVideoFrameCallback(resolve));
    const at = Date.now();
    context.drawImage(video, 0, 0, width, height);
    const { data } = context.getImageData(0, Math.round(height / 60), width, 1);
    seen.push([at, Array.from({ length: width }, (_, pixel) => data[4 * pixel + 1])]);
  }
  return seen;
}"""
WIDTH, HEIGHT = 640, 360


async def test_a_viewer_is_less_than_a_second_behind(tmp_path: Path, chromium: str) -> None:
    async with running(tmp_path, command="demo") as server:
        await server.live("demo")
        async with browser(chromium) as opened:
            page = await opened.new_page()
            await page.goto(f"{server.url}/watch/demo")
            await transport(page, "webrtc")
            await frames_beyond(page, 90)  # the joiner's catching up is over
            size = {"count": FRAMES, "width": WIDTH, "height": HEIGHT}
            seen = await page.evaluate(WATCH, size)
    delays_ms = []
    for at_ms, grey in seen:
        number = read_frame_number(np.tile(np.array(grey, dtype=float), (HEIGHT, 1)))
        if number is not None:
            delays_ms.append(at_ms - frame_utc_ms(number, at_ms))
    assert len(delays_ms) > FRAMES / 2
    p50, p95 = statistics.median(delays_ms), statistics.quantiles(delays_ms, n=20)[18]
    print(f"glass to glass: p50 {p50:.0f} ms, p95 {p95:.0f} ms")
    assert 0 < p50 < 1000
