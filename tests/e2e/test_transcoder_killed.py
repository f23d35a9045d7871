"""The ladder's process killed under its viewers: they stay, and see pictures again when it is back."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.webrtc_client import VIDEO_PAYLOAD_TYPE, Refused, WebRtcClient
from mediaserver.protocol.rtp import RtpPacket
from mediaserver.rtc.dtls import Certificate
from tests.e2e.server import Server, program, rtmp, running

MENDED_VIEWERS = 50
PLAIN_VIEWERS = 10
AGAIN_S = 10.0  # the worker's restart, and a keyframe of the source
POLL_S = 0.05
PICTURES = 30


@dataclass
class Viewer:
    """What one of them has got."""

    pictures: int = 0
    gaps: int = 0
    client: WebRtcClient = field(init=False)

    def on_rtp(self, packet: RtpPacket, gap: bool) -> None:
        self.gaps += gap
        self.pictures += packet.payload_type == VIDEO_PAYLOAD_TYPE and packet.marker


async def test_all_viewers_of_what_it_makes_stay_and_the_others_lose_nothing(
    tmp_path: Path, ffmpeg: str
) -> None:
    async with running(tmp_path) as server:
        keys = [await server.room(id) for id in ("mended", "plain")]
        async with AsyncExitStack() as stack:
            for key, b_frames in zip(keys, (2, 0), strict=True):
                command = rtmp(ffmpeg, server, key, b_frames=b_frames)
                await stack.enter_async_context(program(*command))
            await server.live("mended")
            await server.live("plain")
            mended = await stack.enter_async_context(_viewers(server, "mended", MENDED_VIEWERS))
            plain = await stack.enter_async_context(_viewers(server, "plain", PLAIN_VIEWERS))
            await _see(mended)
            await _see(plain)
            os.kill(killed := _ladder(server), signal.SIGKILL)
            killed_at = time.monotonic()
            async with asyncio.timeout(AGAIN_S):
                await _see(mended)
            print(f"{PICTURES} pictures more after {time.monotonic() - killed_at:.1f} s")
            assert _ladder(server) != killed
            await _see(plain)
            assert not [each for each in mended + plain if each.client.closed.done()]
            assert [each.gaps + each.client.nacked for each in plain] == [0] * PLAIN_VIEWERS


@asynccontextmanager
async def _viewers(server: Server, room: str, count: int) -> AsyncIterator[list[Viewer]]:
    certificate = Certificate.generateCertificate()
    viewers: list[Viewer] = []
    try:
        while len(viewers) < count:
            viewer = Viewer()
            viewer.client = WebRtcClient(certificate, on_rtp=viewer.on_rtp)
            try:
                await viewer.client.watch(server.http, f"{server.url}/whep/{room}")
            except Refused:  # it is not known yet what the stream needs
                await asyncio.sleep(POLL_S)
            else:
                viewers.append(viewer)
        yield viewers
    finally:
        await asyncio.gather(*(each.client.close() for each in viewers))


async def _see(viewers: list[Viewer]) -> None:
    """Wait until each has got PICTURES more."""
    goals = [each.pictures + PICTURES for each in viewers]
    while any(each.pictures < goal for each, goal in zip(viewers, goals, strict=True)):
        await asyncio.sleep(POLL_S)


def _ladder(server: Server) -> int:
    """The pid of the process that makes pictures."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
    for pid in children.read_text().split():
        if b"mediaserver.transcode.video_worker" in Path(f"/proc/{pid}/cmdline").read_bytes():
            return int(pid)
    raise AssertionError("there is no ladder worker")
