"""Many WHEP viewers in one process, who count what they get: RTP packets, gaps, and lines of chat."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from dataclasses import dataclass, field

import aiohttp

from benchmarks.loads import Commands
from benchmarks.webrtc_client import WebRtcClient
from mediaserver.protocol.rtp import RtpPacket, extend
from mediaserver.rtc.dtls import Certificates
from overlay.events import BadMessage, parse

JOIN_AT_ONCE = 10
SEEN = 256  # events whose copies are known


@dataclass(frozen=True, slots=True)
class Received:
    """All viewers together since they joined; `cpu_s` of the process that played them."""

    viewers: int
    packets: int
    lost: int
    undecryptable: int
    closed: int
    chat_lines: int
    events: int
    cpu_s: float


@dataclass(slots=True)
class Tally:
    """One viewer's counts; a packet is lost when a later one came and it did not."""

    first: dict[int, int] = field(default_factory=dict)  # by SSRC, sequence numbers that go on
    highest: dict[int, int] = field(default_factory=dict)
    packets: int = 0
    chat_lines: int = 0
    events: int = 0
    seen: deque[str] = field(default_factory=lambda: deque(maxlen=SEEN))

    def on_rtp(self, packet: RtpPacket, gap: bool) -> None:
        highest = self.highest.get(packet.ssrc)
        if highest is None:
            self.first[packet.ssrc] = highest = packet.sequence
        self.highest[packet.ssrc] = max(highest, extend(packet.sequence, highest))
        self.packets += 1

    def on_message(self, channel: int, data: bytes | str) -> None:
        with contextlib.suppress(BadMessage):
            event = parse(data)
            if event.id in self.seen:
                return
            self.seen.append(event.id)
            self.events += 1
            if event.type == "chat":
                self.chat_lines += len(event.data["messages"])

    @property
    def lost(self) -> int:
        spans = (self.highest[ssrc] - first + 1 for ssrc, first in self.first.items())
        return sum(spans) - self.packets


async def watch(commands: Commands, url: str, viewers: int, data: bool) -> None:
    """Have that many watch `url` (`…/whep/room`), with or without data channels, and stay."""
    certificate = Certificates().current()
    tallies = [Tally() for _ in range(viewers)]
    clients = [
        WebRtcClient(certificate, each.on_rtp, each.on_message, nack=False) for each in tallies
    ]
    async with aiohttp.ClientSession() as http:
        for start in range(0, viewers, JOIN_AT_ONCE):
            joining = clients[start : start + JOIN_AT_ONCE]
            await asyncio.gather(*(each.watch(http, url, data=data) for each in joining))
        commands.answer(_received(clients, tallies))
        while True:
            await commands.next()
            commands.answer(_received(clients, tallies))


def _received(clients: list[WebRtcClient], tallies: list[Tally]) -> Received:
    return Received(
        viewers=len(tallies),
        packets=sum(each.packets for each in tallies),
        lost=sum(each.lost for each in tallies),
        undecryptable=sum(each.undecryptable for each in clients),
        closed=sum(each.closed.done() for each in clients),
        chat_lines=sum(each.chat_lines for each in tallies),
        events=sum(each.events for each in tallies),
        cpu_s=time.process_time(),
    )
