"""A host walks out of range for half a minute and comes back from another address."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from benchmarks.webrtc_client import VIDEO_PAYLOAD_TYPE, WebRtcClient
from mediaserver.media import VIDEO_CLOCK_RATE
from mediaserver.protocol import rtp
from mediaserver.rtc.dtls import Certificate
from tests.e2e.browser import browser, frames_beyond, stats, transport
from tests.e2e.server import Server, program, rtmp, running

AWAY_S = 30.0
PROMPTEST_OF = 120  # packets of video, some two seconds
SETTLES_S = 20.0
ELSEWHERE = "127.0.0.2"
CERTIFICATE = Certificate.generateCertificate()


class Route:
    """A way to the server's RTMP port from another address, which can be lost without a word."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._open = asyncio.Event()
        self._open.set()
        self._carrying: list[asyncio.Task[None]] = []

    def lose(self) -> None:
        self._open.clear()

    @asynccontextmanager
    async def url(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        try:
            yield f"rtmp://127.0.0.1:{server.sockets[0].getsockname()[1]}/live"
        finally:
            server.close()
            self._open.set()
            await asyncio.gather(*self._carrying)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._carrying.append(task)
        there = await asyncio.open_connection("127.0.0.1", self.port, local_addr=(ELSEWHERE, 0))
        ways = (self._pass_on(reader, there[1]), self._pass_on(there[0], writer))
        await asyncio.gather(*ways)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65_536):
                await self._open.wait()
                writer.write(data)
                await writer.drain()
        writer.close()


@dataclass
class Watcher:
    """One viewer; `pictures` is (arrival in s, RTP timestamp) of each packet of video."""

    client: WebRtcClient
    pictures: list[tuple[float, int]] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    ssrcs: set[int] = field(default_factory=set)

    def on_rtp(self, packet: rtp.RtpPacket, gap: bool) -> None:
        if packet.payload_type == VIDEO_PAYLOAD_TYPE:
            self.pictures.append((time.monotonic(), packet.timestamp))
            self.numbers.append(packet.sequence)
            self.ssrcs.add(packet.ssrc)

    def longest_pause_s(self) -> float:
        arrivals = [arrival for arrival, _ in self.pictures]
        return max(later - sooner for sooner, later in pairwise(arrivals))

    def drift_s(self, since: int) -> float:
        """By how much the RTP timestamps have gone another way than the clock, from that picture on.

        Of the latest pictures the promptest counts: a busy machine's publisher is late at times.
        """
        began, first = self.pictures[since]
        ahead = [
            ((timestamp - first) & 0xFFFFFFFF) / VIDEO_CLOCK_RATE - (arrival - began)
            for arrival, timestamp in self.pictures[-PROMPTEST_OF:]
        ]
        return min(abs(each) for each in ahead)

    async def settled(self, since: int) -> None:
        """Wait until the timestamps go with the clock; what has slipped once would stay so."""
        async with asyncio.timeout(SETTLES_S):
            while self.drift_s(since) >= 0.5:
                await asyncio.sleep(0.1)


@asynccontextmanager
async def watching(server: Server) -> AsyncIterator[Watcher]:
    watcher = Watcher(WebRtcClient(CERTIFICATE))
    watcher.client.on_rtp = watcher.on_rtp
    await watcher.client.watch(server.http, f"{server.url}/whep/show")
    try:
        yield watcher
    finally:
        await watcher.client.close()


async def test_a_host_who_is_out_of_range_for_30_s_finds_every_viewer_when_he_comes_back(
    tmp_path: Path, ffmpeg: str, chromium: str
) -> None:
    async with (
        running(tmp_path, "limits.publisher_grace_s=60") as server,
        browser(chromium) as opened,
    ):
        key = await server.room()
        route = Route(int(server.ready["rtmp"].rpartition(":")[2].partition("/")[0]))
        async with route.url() as url, program(*rtmp(ffmpeg, server, key, url=url)):
            await server.live()
            page = await opened.new_page()
            await page.goto(f"{server.url}/watch/show")
            await transport(page, "webrtc")
            async with watching(server) as watcher:
                await frames_beyond(page, 60)
                before = len(watcher.pictures) - 1
                route.lose()
                await _ingest(server, "slate")
                lost_at = time.monotonic()
                slate_at = len(watcher.pictures)
                await asyncio.sleep(AWAY_S)  # what is tested is this time
                assert len(watcher.pictures) > slate_at + 4 * AWAY_S  # the slate moves
                decoded = (await stats(page))["framesDecoded"]
                async with program(*rtmp(ffmpeg, server, key)):
                    await _ingest(server, "rtmp")
                    await frames_beyond(page, decoded + 60)  # the counter of the same connection
                    assert time.monotonic() - lost_at < AWAY_S + 20
                    await watcher.settled(before)
                assert watcher.longest_pause_s() < 4.0  # until the silence was noticed
                assert len(watcher.ssrcs) == 1
                assert _missing(watcher.numbers) == 0
        assert await server.metric("hawker_viewers") >= 1
        assert not server.logged("Traceback")


def _missing(numbers: list[int]) -> int:
    steps = (later - sooner & 0xFFFF for sooner, later in pairwise(numbers))
    return sum(step - 1 for step in steps)


async def _ingest(server: Server, protocol: str) -> None:
    """Wait until the room is on the air by this protocol."""
    async with asyncio.timeout(15):
        while (await server.api("GET", "/v1/rooms/show/ingest"))["protocol"] != protocol:
            await asyncio.sleep(0.05)
