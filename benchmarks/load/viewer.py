"""A WHEP viewer that is cheap enough for a thousand in a process, and counts what it gets.

DTLS and ICE are those of the benchmarks' client. RTP headers are in the clear, so that packets are
counted without decrypting them; of every SAMPLE-th read one packet is decrypted. What the kernel hands
over together is counted as a whole by its first packet and its length: packets that changed places
within one read are not noticed. Where a loss is to be played, its datagrams go through a relay, which
adds what it takes to the delay.

Delay is from the media time of a packet, as the sender reports tell it in UTC, to the kernel's stamp at
this socket. The server ties media time 0 to the earliest arrivals of its publisher: the publisher's
own unevenness counts, and so do the server and the network behind it; the way from the publisher to
the server does not. It wants both machines' clocks to agree; on one machine it is true to about 1 ms.
A joiner's replay since the last keyframe is not counted, but what comes live behind it is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from struct import Struct

from benchmarks.load.figures import Figures
from benchmarks.load.line import Line
from benchmarks.load.relay import way
from benchmarks.webrtc_client import AUDIO_PAYLOAD_TYPE, VIDEO_PAYLOAD_TYPE, WebRtcClient
from mediaserver.errors import ProtocolError
from mediaserver.media import OPUS_CLOCK_RATE, VIDEO_CLOCK_RATE
from mediaserver.protocol import rtcp
from mediaserver.protocol.sdp import Candidate

SAMPLE = 64
REPORT_S = 1.0
RTP_BYTES = 12
RATES = {VIDEO_PAYLOAD_TYPE: VIDEO_CLOCK_RATE, AUDIO_PAYLOAD_TYPE: OPUS_CLOCK_RATE}

_HEADER = Struct(">BBHII")


@dataclass
class LoadViewer(WebRtcClient):
    """`figures` of the process get its times; `tick` is called by whoever plays many of them."""

    figures: Figures = field(default_factory=Figures)
    relay_port: int | None = None  # of relay.py, where its datagrams are to be lost

    def __post_init__(self) -> None:
        super().__post_init__()
        self.lines: dict[int, Line] = {}
        self.decrypted = 0
        self.heard = 0, 0.0  # packets, and when they were last seen to have grown
        self._reads = 0
        self._stamp_ns = 0
        self._since_ms = 0.0
        self._reported_at = 0.0

    def began(self) -> None:
        """Delay counts from now on."""
        self._since_ms = time.time() * 1000

    async def _open(
        self, candidates: Sequence[Candidate], port: int | None
    ) -> asyncio.DatagramTransport:
        if self.relay_port is not None:
            candidates = [await way(self.relay_port, candidates[0])]
        return await super()._open(candidates, port)

    def run_received(self, head: memoryview, length: int, size: int, stamp_ns: int) -> None:
        """Of the loop: the first of datagrams of `size` bytes, received at `stamp_ns` (UTC)."""
        self._stamp_ns = stamp_ns
        count = -(-length // size)
        if not self._counted(head, length, size, count) and (count == 1 or self.srtp is not None):
            first = bytes(head[: min(size, length)])
            self.datagram_received(first, None)
            if count > 1:
                self._counted_on(first, count - 1)

    def tick(self, now: float) -> None:
        """Ask for what is missing; report once a second."""
        for line in self.lines.values():
            if line.missing and (asked := line.due(now)):
                self._ask(line.ssrc, asked)
        if now - self._reported_at >= REPORT_S and self.lines:
            self._reported_at = now
            blocks = [line.report(now) for line in self.lines.values()]
            self.send_rtcp(rtcp.serialize_receiver_report(rtcp.ReceiverReport(self.ssrc, blocks)))

    @property
    def packets(self) -> int:
        return sum(line.packets for line in self.lines.values())

    def _counted(self, head: memoryview, length: int, size: int, count: int) -> bool:
        """Count a read of one stream that goes on; False when its first packet is to be looked at."""
        if length < RTP_BYTES:
            return False
        first, kind, sequence, timestamp, ssrc = _HEADER.unpack_from(head)
        line = self.lines.get(ssrc)
        if line is None or first >> 6 != 2 or 192 <= kind <= 223:
            return False
        if not line.run(sequence, count) and not (
            line.leap(sequence, self.clock()) and line.run(sequence, count)
        ):
            return False
        self._reads += 1
        if self._reads % SAMPLE == 0:
            self._decrypt(bytes(head[: min(size, length)]))
        self._timed(line, timestamp, count)
        return True

    def _counted_on(self, first: bytes, count: int) -> None:
        """Those behind a first packet that was looked at."""
        _, _, sequence, timestamp, ssrc = _HEADER.unpack_from(first)
        line = self.lines.get(ssrc)
        if line is not None and line.run((sequence + 1) & 0xFFFF, count):
            self._timed(line, timestamp, count)

    def _on_srtp(self, data: bytes) -> None:
        if len(data) < RTP_BYTES:
            return
        if 192 <= data[1] <= 223:
            super()._on_srtp(data)
            self._on_reports()
            return
        _, kind, sequence, timestamp, ssrc = _HEADER.unpack_from(data)
        line = self.lines.get(ssrc)
        if line is None:
            rate = RATES.get(kind & 0x7F)
            if rate is None or ssrc not in self._receivers or not self._decrypt(data):
                return
            line = self.lines[ssrc] = Line(ssrc, rate)
        if line.take(sequence, self.clock()):
            self._timed(line, timestamp, 1)

    async def _tick_forever(self) -> None:
        """One timer for all viewers of the process does it."""

    def _on_reports(self) -> None:
        for report in self.reports:
            if isinstance(report, rtcp.SenderReport) and report.ssrc in self.lines:
                self.lines[report.ssrc].on_sender_report(report, self.clock())
        self.reports.clear()

    def _decrypt(self, data: bytes) -> bool:
        assert self.srtp is not None
        try:
            self.srtp.unprotect(data)
        except ProtocolError:
            self.undecryptable += 1
            return False
        self.decrypted += 1
        return True

    def _timed(self, line: Line, timestamp: int, packets: int) -> None:
        if not self._since_ms or not self._stamp_ns:
            return
        jitter_ms = line.arrived(timestamp, self._stamp_ns / 1e9)
        media_ms = line.media_utc_ms(timestamp)
        if media_ms is None or media_ms < self._since_ms:
            return  # the replay
        self.figures.time("delay", self._stamp_ns / 1e6 - media_ms, packets)
        if jitter_ms is not None:
            self.figures.time("jitter", jitter_ms)
