"""A publisher of a still picture over RTMP: a stream is live, and sending it costs next to nothing."""

from __future__ import annotations

import asyncio
import io
import itertools
import time
from fractions import Fraction

import av

from benchmarks.loads import Commands
from benchmarks.picture import PPS, SPS, Picture

FRAMES_PER_S = 2  # keyframes, all of them
FRAME_BYTES = 1000  # one packet

_START = b"\0\0\0\1"


async def publish_still(commands: Commands, url: str) -> None:
    """Publish until the end; `url` holds the stream key. Muxing blocks, so it has a thread."""
    ended = asyncio.Event()
    frames = asyncio.get_running_loop().run_in_executor(None, _publish, url, ended)
    commands.answer("on the air")
    try:
        await commands.next()
    finally:
        ended.set()
        await frames


def _publish(url: str, ended: asyncio.Event) -> None:
    picture = Picture()  # keyframes alone do not tell a demuxer enough
    sample = b"".join(_START + unit for unit in (SPS, PPS, *(picture.nal(n) for n in range(3))))
    frame = b"".join(_START + unit for unit in (SPS, PPS, Picture(FRAME_BYTES).nal(0)))
    rate = {"framerate": str(FRAMES_PER_S)}
    with (
        av.open(io.BytesIO(sample), "r", format="h264", options=rate) as described,
        av.open(url, "w", format="flv") as container,
    ):
        stream = container.add_stream_from_template(described.streams.video[0])
        began_at = time.monotonic()
        for number in itertools.count():
            if ended.is_set():
                return
            time.sleep(max(0.0, began_at + number / FRAMES_PER_S - time.monotonic()))
            packet = av.Packet(frame)
            packet.stream, packet.pts, packet.dts = stream, number, number
            packet.time_base, packet.is_keyframe = Fraction(1, FRAMES_PER_S), True
            container.mux(packet)
