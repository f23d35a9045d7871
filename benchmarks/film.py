"""A publisher whose picture can be decoded: two seconds of 720p, encoded once and sent over and over.

H.264 baseline with a keyframe every 2 s, as OBS has it for live; by RTMP in real time, without sound.
"""

from __future__ import annotations

import asyncio
import io
import itertools
import time
from collections.abc import Iterator
from fractions import Fraction

import av

from benchmarks.loads import Commands

WIDTH, HEIGHT = 1280, 720
FRAMES_PER_S = 30
GOP_FRAMES = 60
BITS_PER_S = 2_500_000
STRIPE = 160  # columns: a bright stripe wanders over a slope
GREY = b"\x80"


def encode() -> bytes:
    """One group of pictures as an H.264 byte stream."""
    context = av.CodecContext.create("libx264", "w")
    assert isinstance(context, av.VideoCodecContext)
    context.width, context.height, context.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    context.time_base, context.framerate = Fraction(1, FRAMES_PER_S), Fraction(FRAMES_PER_S)
    context.bit_rate, context.gop_size = BITS_PER_S, GOP_FRAMES
    context.thread_count = 1  # a slice for each otherwise
    context.options = {"preset": "ultrafast", "tune": "zerolatency", "profile": "baseline"}
    context.options |= {"x264-params": f"keyint={GOP_FRAMES}:scenecut=0:repeat-headers=1"}
    packets = [packet for frame in _frames() for packet in context.encode(frame)]
    return b"".join(bytes(packet) for packet in [*packets, *context.encode(None)])


async def publish(commands: Commands, url: str, film: bytes) -> None:
    """Publish until the end; `url` holds the stream key. Muxing blocks, so it has a thread."""
    ended = asyncio.Event()
    frames = asyncio.get_running_loop().run_in_executor(None, _publish, url, film, ended)
    commands.answer("on the air")
    try:
        await commands.next()
    finally:
        ended.set()
        await frames


def _publish(url: str, film: bytes, ended: asyncio.Event) -> None:
    rate = {"framerate": str(FRAMES_PER_S)}
    with (
        av.open(io.BytesIO(film), "r", format="h264", options=rate) as described,
        av.open(url, "w", format="flv") as container,
    ):
        stream = container.add_stream_from_template(described.streams.video[0])
        group = [(bytes(each), each.is_keyframe) for each in described.demux() if each.size]
        began_at = time.monotonic()
        for number, (data, keyframe) in enumerate(itertools.cycle(group)):
            if ended.is_set():
                return
            time.sleep(max(0.0, began_at + number / FRAMES_PER_S - time.monotonic()))
            packet = av.Packet(data)
            packet.stream = stream
            packet.pts = packet.dts = number
            packet.time_base = Fraction(1, FRAMES_PER_S)
            packet.is_keyframe = keyframe
            container.mux(packet)


def _frames() -> Iterator[av.VideoFrame]:
    slope = bytes(40 + 160 * column // WIDTH for column in range(WIDTH))
    for number in range(GOP_FRAMES):
        at = number * (WIDTH - STRIPE) // GOP_FRAMES
        row = slope[:at] + b"\xeb" * STRIPE + slope[at + STRIPE :]
        frame = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
        luma, *chroma = frame.planes
        luma.update(row.ljust(luma.line_size, b"\0") * HEIGHT)
        for plane in chroma:
            plane.update(GREY * plane.buffer_size)
        frame.pts = number
        yield frame
