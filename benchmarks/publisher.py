"""A publisher that costs next to nothing: the benchmarks' picture over RTMP in real time, no encoder."""

from __future__ import annotations

import asyncio
import io
import itertools
import time
from fractions import Fraction

import av

from benchmarks.loads import Commands
from benchmarks.picture import FRAMES_PER_S, PPS, SPS, Picture

_START = b"\0\0\0\1"
_PARAMETER_SETS = b"".join(_START + each for each in (SPS, PPS))


async def publish(commands: Commands, url: str) -> None:
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
    picture = Picture()
    sample = b"".join([_PARAMETER_SETS, *(_START + picture.nal(frame) for frame in range(3))])
    rate = {"framerate": str(FRAMES_PER_S)}
    with (
        av.open(io.BytesIO(sample), "r", format="h264", options=rate) as described,
        av.open(url, "w", format="flv") as container,
    ):
        stream = container.add_stream_from_template(described.streams.video[0])
        began_at = time.monotonic()
        for frame in itertools.count():
            if ended.is_set():
                return
            time.sleep(max(0.0, began_at + frame / FRAMES_PER_S - time.monotonic()))
            container.mux(_packet(picture, frame, stream))


def _packet(picture: Picture, frame: int, stream: av.VideoStream) -> av.Packet[av.stream.Stream]:
    begin = _PARAMETER_SETS if picture.keyframe(frame) else b""
    packet = av.Packet(begin + _START + picture.nal(frame))
    packet.stream = stream
    packet.pts = packet.dts = frame
    packet.time_base = Fraction(1, FRAMES_PER_S)
    packet.is_keyframe = picture.keyframe(frame)
    return packet
