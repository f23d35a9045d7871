"""A viewer in Chromium whose link gets thin, and wide again: it goes down a layer, and up."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.codeccontext import VideoCodecContext
from playwright.async_api import Page

from mediaserver.hub import StreamEnded
from mediaserver.hub.relay import RelayClient
from mediaserver.media import Packet, Track
from mediaserver.protocol.h264 import (
    NAL_AUD,
    NAL_PPS,
    NAL_SPS,
    join_length_prefixed,
    nal_type,
    split_annex_b,
    video_track,
)
from tests.e2e.browser import stats
from tests.e2e.server import program, rtmp, running
from tests.e2e.test_loss import watching

CAP_BPS = 1_000_000
SOURCE_BITRATE = "2000k"
LOW_BPS = 350_000
LOW_SIZE = (320, 180)
FPS = 30
DOWN_S = 5.0
UP_S = 20.0
BUSY = 2  # how much longer it may take on a machine that has other work
CAPPED_S = 12.0
STEADY_S = 6.0
SOURCE_WIDTH = 640
FREEZE_MS = 1000
LEAST_FPS = 25
DROPPED = 0.1  # of the frames, at most

# the longest time between two shown frames, since it was last asked for
COUNT_GAPS = """() => {
  const video = document.querySelector("[data-testid=player]");
  let last = performance.now();
  window.longest = 0;
  window.takeLongest = () => { const found = window.longest; window.longest = 0; return found; };
  const look = () => {
    window.longest = Math.max(window.longest, performance.now() - last);
    last = performance.now();
    video.requestVideoFrameCallback(look);
  };
  video.requestVideoFrameCallback(look);
}"""


@pytest.fixture
def sockets(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of its own for the server's sockets, whose paths must be short."""
    with tempfile.TemporaryDirectory(prefix="layers") as folder:
        monkeypatch.setenv("TMPDIR", folder)
        yield Path(folder)


def low_layer(seconds: int = 4) -> list[Packet]:
    """Pictures of about LOW_BPS to be shown over and over; a keyframe every second."""
    context = av.CodecContext.create("libx264", "w")
    assert isinstance(context, VideoCodecContext)
    context.width, context.height = LOW_SIZE
    context.pix_fmt, context.framerate, context.bit_rate = "yuv420p", FPS, LOW_BPS
    context.options = {"preset": "ultrafast", "tune": "zerolatency", "bf": "0", "g": str(FPS)}
    context.flags |= av.codec.context.Flags.global_header
    context.open()
    sets = split_annex_b(context.extradata or b"")
    track = video_track(
        tuple(nal for nal in sets if nal_type(nal) == NAL_SPS),
        tuple(nal for nal in sets if nal_type(nal) == NAL_PPS),
    )
    frames = (picture(number) for number in range(seconds * FPS))
    coded = [packet for frame in (*frames, None) for packet in context.encode(frame)]
    return [as_packet(track, packet) for packet in coded]


def picture(number: int) -> av.VideoFrame:
    width, height = LOW_SIZE
    grain = np.random.default_rng(number).integers(0, 60, (height // 4, width // 4), np.uint8)
    full = np.full((height * 3 // 2, width), 128, np.uint8)
    full[:height] = 60 + np.kron(grain, np.ones((4, 4), np.uint8))
    full[:height, number % width] = 235
    return av.VideoFrame.from_ndarray(full, format="yuv420p")


def as_packet(track: Track, coded: Any) -> Packet:
    apart = (NAL_SPS, NAL_PPS, NAL_AUD)
    nals = [nal for nal in split_annex_b(bytes(coded)) if nal_type(nal) not in apart]
    return Packet(track, 0, 0, 0, bool(coded.is_keyframe), join_length_prefixed(nals))


@asynccontextmanager
async def rendition(sockets: Path, pictures: list[Packet]) -> AsyncIterator[None]:
    """`show/low` by the relay, with the media time of the source, as a transcoder would make it."""
    (path,) = sockets.glob("hawker-*/relay")
    client = await RelayClient.connect(path)
    source = client.subscribe("show", kinds=["video"], from_keyframe=False)
    low = client.publish("show", "low")

    async def follow() -> None:
        waiting = cycle(pictures)
        while True:
            try:
                for packet in await source.read():
                    each = next(waiting)
                    await low.write(
                        replace(
                            each, pts=packet.pts, dts=packet.dts, wallclock_ms=packet.wallclock_ms
                        )
                    )
            except StreamEnded:
                return

    task = asyncio.create_task(follow())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await client.close()


async def until_width(page: Page, width: int, patience_s: float) -> float:
    """Seconds until pictures are so wide."""
    began_at = time.monotonic()
    async with asyncio.timeout(patience_s):
        while (await stats(page))["width"] != width:
            await asyncio.sleep(0.05)
    return time.monotonic() - began_at


@pytest.mark.timeout(180)
async def test_a_capped_viewer_goes_down_a_layer_and_up_again(
    tmp_path: Path, sockets: Path, whip_ffmpeg: str, chromium: str
) -> None:
    pictures = low_layer()
    async with running(tmp_path) as server:
        key = await server.room()
        async with program(*rtmp(whip_ffmpeg, server, key, gop=2 * FPS, bitrate=SOURCE_BITRATE)):
            await server.live()
            async with rendition(sockets, pictures), watching(server, chromium) as viewer:
                page = viewer.page
                await page.evaluate(COUNT_GAPS)
                await asyncio.sleep(STEADY_S)
                begun = await stats(page)
                assert begun["width"] == SOURCE_WIDTH
                viewer.relay.set_rate("out", CAP_BPS)
                down_s = await until_width(page, LOW_SIZE[0], BUSY * DOWN_S)
                down_gap_ms = await page.evaluate("takeLongest()")
                capped = await stats(page)
                await asyncio.sleep(CAPPED_S)
                still = await stats(page)
                capped_gap_ms = await page.evaluate("takeLongest()")
                viewer.relay.set_rate("out", 0)
                up_s = await until_width(page, SOURCE_WIDTH, BUSY * UP_S)
                await asyncio.sleep(STEADY_S)
                ended = await stats(page)
                up_gap_ms = await page.evaluate("takeLongest()")
    dropped = ended["framesDropped"] - begun["framesDropped"]
    print(
        f"down after {down_s:.1f} s, longest gap {down_gap_ms:.0f} ms; "
        f"capped, longest gap {capped_gap_ms:.0f} ms; "
        f"up after {up_s:.1f} s, longest gap {up_gap_ms:.0f} ms; {dropped} frames dropped"
    )
    assert ended["transport"] == "webrtc"
    assert still["width"] == LOW_SIZE[0] and ended["width"] == SOURCE_WIDTH
    assert still["framesDecoded"] - capped["framesDecoded"] >= LEAST_FPS * CAPPED_S
    assert max(down_gap_ms, capped_gap_ms, up_gap_ms) <= BUSY * FREEZE_MS
    assert dropped <= DROPPED * (ended["framesDecoded"] - begun["framesDecoded"])
