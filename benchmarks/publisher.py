"""A publisher that costs next to nothing: the benchmarks' picture over RTMP in real time, no encoder.

Each frame says when it was handed to the connection (`stamps.py`).
"""

from __future__ import annotations

import asyncio
import io
import itertools
import time
from fractions import Fraction

import av

from benchmarks.loads import Commands
from benchmarks.picture import FRAME_BYTES, FRAMES_PER_S, PPS, SPS, Picture
from benchmarks.stamps import stamped

_START = b"\0\0\0\1"
_PARAMETER_SETS = b"".join(_START + each for each in (SPS, PPS))


async def publish(
    commands: Commands,
    url: str,
    keyframe_bytes: int = FRAME_BYTES,
    frame_bytes: int = FRAME_BYTES,
    frames_per_s: int = FRAMES_PER_S,
) -> None:
    """Publish until the end; `url` holds the stream key. Muxing blocks, so it has a thread."""
    ended = asyncio.Event()
    frames = asyncio.get_running_loop().run_in_executor(
        None, _publish, url, Picture(keyframe_bytes, frame_bytes), frames_per_s, ended
    )
    commands.answer("on the air")
    try:
        await commands.next()
    finally:
        ended.set()
        await frames


def _publish(url: str, picture: Picture, frames_per_s: int, ended: asyncio.Event) -> None:
    sample = b"".join([_PARAMETER_SETS, *(_START + picture.nal(frame) for frame in range(3))])
    rate = {"framerate": str(frames_per_s)}
    with (
        av.open(io.BytesIO(sample), "r", format="h264", options=rate) as described,
        av.open(url, "w", format="flv") as container,
    ):
        stream = container.add_stream_from_template(described.streams.video[0])
        began_at = time.monotonic()
        for frame in itertools.count():
            if ended.is_set():
                return
            time.sleep(max(0.0, began_at + frame / frames_per_s - time.monotonic()))
            packet = _packet(picture, frame, stream)
            packet.time_base = Fraction(1, frames_per_s)
            container.mux(packet)


def _packet(picture: Picture, frame: int, stream: av.VideoStream) -> av.Packet[av.stream.Stream]:
    begin = _PARAMETER_SETS if picture.keyframe(frame) else b""
    packet = av.Packet(begin + _START + stamped(picture.nal(frame), time.time_ns()))
    packet.stream = stream
    packet.pts = packet.dts = frame
    packet.is_keyframe = picture.keyframe(frame)
    return packet
