"""The stream that every peer gets: the benchmarks' picture at a rate that can be changed, no encoder.

Hawker gets it by RTMP, the others as RTP by UDP, cut into the very packets that Hawker cuts it into.
Commands are frame rates, 0 for silence; the answer is how many RTP packets all frames so far make,
once no more is on its way out of here.
"""

from __future__ import annotations

import asyncio
import io
import secrets
import socket
import threading
import time
from collections.abc import Callable
from fractions import Fraction
from typing import TypeAlias

import av

from benchmarks.loads import Commands
from benchmarks.picture import GOP_FRAMES, PPS, SPS, Picture
from mediaserver.media import VIDEO_CLOCK_RATE
from mediaserver.protocol.rtp import serialize_header
from mediaserver.protocol.rtp_h264 import packetize
from mediaserver.protocol.rtp_payload import RtpPayload
from mediaserver.rtc.layer import MAX_PAYLOAD_BYTES

PAYLOAD_TYPE = 96
MS = Fraction(1, 1000)
_START = b"\0\0\0\1"

Send: TypeAlias = Callable[[int, float], None]  # the frame's number, seconds since the first


async def feed_rtp(commands: Commands, address: tuple[str, int]) -> None:
    """Send to an address until the end."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(address)
        await _feed(commands, RtpStream(sock).send)


async def feed_rtmp(commands: Commands, url: str) -> None:
    """Publish until the end; `url` holds the stream key."""
    picture = Picture()
    sample = b"".join(_annex_b(picture, frame) for frame in range(3))
    with (
        av.open(io.BytesIO(sample), "r", format="h264") as described,
        av.open(url, "w", format="flv") as container,
    ):
        stream = container.add_stream_from_template(described.streams.video[0])
        last_ms = -1

        def send(frame: int, elapsed_s: float) -> None:
            nonlocal last_ms
            last_ms = max(round(elapsed_s * 1000), last_ms + 1)
            packet = av.Packet(_annex_b(picture, frame))
            packet.stream, packet.time_base = stream, MS
            packet.pts = packet.dts = last_ms
            packet.is_keyframe = picture.keyframe(frame)
            container.mux(packet)

        await _feed(commands, send)


def nals(picture: Picture, frame: int) -> list[bytes]:
    """A frame as it is published: parameter sets ahead of keyframes."""
    return [SPS, PPS, picture.nal(frame)] if picture.keyframe(frame) else [picture.nal(frame)]


class RtpStream:
    """Frames as RTP packets with one SSRC; timestamps are of the wall clock."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._frames = _packets(Picture())
        self._ssrc = secrets.randbits(32)
        self._sequence = 0

    def send(self, frame: int, elapsed_s: float) -> None:
        timestamp = round(elapsed_s * VIDEO_CLOCK_RATE) & 0xFFFFFFFF
        for payload, padding, marker in self._frames[frame % GOP_FRAMES]:
            header = serialize_header(
                PAYLOAD_TYPE, marker, self._sequence, timestamp, self._ssrc, padding
            )
            self._sock.send(header + payload)
            self._sequence = (self._sequence + 1) & 0xFFFF


async def _feed(commands: Commands, send: Send) -> None:
    pace = _Pace(send)
    commands.answer("ready")
    try:
        while True:
            rate = float(await commands.next())
            await pace.end()
            commands.answer(pace.packets)
            if rate:
                pace.begin(rate)
    finally:
        await pace.end()


class _Pace:
    """Sends frames in time, in a thread: sending blocks, and a loop's timers are too coarse."""

    def __init__(self, send: Send) -> None:
        self.packets = 0
        self._counts = [len(each) for each in _packets(Picture())]
        self._send = send
        self._frame = 0
        self._first_at = time.monotonic()
        self._ended = threading.Event()
        self._sending: asyncio.Future[None] | None = None

    def begin(self, frames_per_s: float) -> None:
        self._ended.clear()
        loop = asyncio.get_running_loop()
        self._sending = loop.run_in_executor(None, self._run, frames_per_s)

    async def end(self) -> None:
        if self._sending is not None:
            self._ended.set()
            await self._sending
            self._sending = None

    def _run(self, frames_per_s: float) -> None:
        began_at, begun = time.monotonic(), self._frame
        while not self._ended.is_set():
            due = began_at + (self._frame - begun) / frames_per_s
            time.sleep(max(0.0, due - time.monotonic()))
            self._send(self._frame, time.monotonic() - self._first_at)
            self.packets += self._counts[self._frame % GOP_FRAMES]
            self._frame += 1


def _packets(picture: Picture) -> list[list[RtpPayload]]:
    return [packetize(nals(picture, frame), MAX_PAYLOAD_BYTES) for frame in range(GOP_FRAMES)]


def _annex_b(picture: Picture, frame: int) -> bytes:
    return b"".join(_START + nal for nal in nals(picture, frame))
