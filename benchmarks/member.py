"""A viewer of whom a thousand fit beside each other on one core: it counts reads, not packets.

A read is a run of datagrams that the kernel hands over together (UDP_GRO), with the stamp of when it got
them. From the first packet's header and the length of the read follow all numbers in it, so that each
packet that does not come is noticed. It never asks for one again: what is lost stays lost. Of every
SAMPLE-th read one packet is decrypted; the `timekeeper` of a process decrypts the first packet of each
frame, and so learns for everybody when it was sent.
"""

from __future__ import annotations

import socket
import sys
from collections import Counter
from dataclasses import dataclass, field
from struct import Struct
from typing import Any

from benchmarks import stamps
from benchmarks.webrtc_client import VIDEO_PAYLOAD_TYPE, WebRtcClient
from mediaserver.errors import ProtocolError
from mediaserver.protocol import rtcp

SAMPLE = 64
RTP_BYTES = 12
STEP_NS = 100_000
FRAMES_KEPT = 90  # 3 s: older ones that nobody has dated are not counted
SO_MEMINFO, SK_MEMINFO_DROPS = 55, 8  # linux/sock_diag.h

_HEADER = Struct(">BBHII")
_MEMINFO = Struct("=9I")


@dataclass(slots=True)
class Delays:
    """Times in ns by steps of 0.1 ms, and their exact sum."""

    steps: Counter[int] = field(default_factory=Counter)
    total_ns: int = 0
    highest_ns: int = 0

    def add(self, ns: int, times: int = 1) -> None:
        self.steps[ns // STEP_NS] += times
        self.total_ns += ns * times
        self.highest_ns = max(self.highest_ns, ns)

    def merge(self, other: Delays) -> None:
        self.steps.update(other.steps)
        self.total_ns += other.total_ns
        self.highest_ns = max(self.highest_ns, other.highest_ns)

    @property
    def count(self) -> int:
        return self.steps.total()

    @property
    def mean_ms(self) -> float:
        return self.total_ns / max(1, self.count) / 1e6

    @property
    def highest_ms(self) -> float:
        return self.highest_ns / 1e6

    def percentile_ms(self, percent: float) -> float:
        """True to 0.1 ms; 0 when nothing was measured."""
        left = self.count * percent / 100
        for step in sorted(self.steps):
            left -= self.steps[step]
            if left <= 0:
                return (step + 1) * STEP_NS / 1e6
        return 0.0


class FrameBook:
    """The frames of one stream by RTP time: when each was sent, and when its packets came.

    All viewers of a stream get the same RTP times. Frames sent before `since_ns` are not counted.
    """

    def __init__(self) -> None:
        self.since_ns: int | None = None
        self.delays = Delays()
        self._sent: dict[int, int] = {}
        self._came: dict[int, list[tuple[int, int]]] = {}

    def sent(self, timestamp: int, utc_ns: int) -> None:
        self._sent.setdefault(timestamp, utc_ns)
        while len(self._sent) > FRAMES_KEPT:
            oldest = next(iter(self._sent))
            self._settle(oldest, self._sent.pop(oldest))

    def came(self, timestamp: int, stamp_ns: int, packets: int) -> None:
        came = self._came.get(timestamp)
        if came is None:
            came = self._came[timestamp] = []
        came.append((stamp_ns, packets))

    def settle(self) -> Delays:
        """What was measured since the last call; of old frames nothing is kept."""
        for timestamp, sent_ns in self._sent.items():
            self._settle(timestamp, sent_ns)
        while len(self._came) > FRAMES_KEPT:
            del self._came[next(iter(self._came))]
        delays, self.delays = self.delays, Delays()
        return delays

    def _settle(self, timestamp: int, sent_ns: int) -> None:
        came = self._came.pop(timestamp, ())
        if self.since_ns is not None and sent_ns >= self.since_ns:
            for stamp_ns, packets in came:
                self.delays.add(stamp_ns - sent_ns, packets)


@dataclass
class Member(WebRtcClient):
    """`book` is shared by the process's viewers; `report` is called once a second by who plays them."""

    book: FrameBook = field(default_factory=FrameBook)
    timekeeper: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.packets = self.reads = self.lost = self.decrypted = 0
        self.stamp_ns = 0  # of the datagrams that are being read
        self._video = 0
        self._next = -1
        self._reported = (0, 0)
        self._expected = 0

    def run_received(self, head: memoryview, length: int, size: int, stamp_ns: int) -> None:
        """Of the loop: `length` bytes of datagrams of `size`, received at `stamp_ns` (UTC)."""
        self.stamp_ns = stamp_ns
        if length >= RTP_BYTES:
            _, kind, sequence, timestamp, ssrc = _HEADER.unpack_from(head)
            if ssrc == self._video and kind & 0x7F == VIDEO_PAYLOAD_TYPE:
                packets = -(-length // size)
                self._count(sequence, packets)
                self.book.came(timestamp, stamp_ns, packets)
                self.reads += 1
                if self.timekeeper or self.reads % SAMPLE == 0:
                    self._decrypt(bytes(head[: min(size, length)]), timestamp)
                return
        # datagrams of other kinds come one by one; of a run before the SSRC is known, the first counts
        self.datagram_received(bytes(head[: min(size, length)]), None)

    def report(self) -> None:
        """Send a receiver report, as a viewer does once a second."""
        if self._next < 0 or self.srtp is None:
            return
        expected, received = self._expected, self.packets
        before, had = self._reported
        self._reported = expected, received
        missed = max(0, expected - before - (received - had))
        block = rtcp.ReportBlock(
            self._video,
            min(255, missed * 256 // max(1, expected - before)),
            min(max(0, expected - received), 0x7FFFFF),
            (self._next - 1) & 0xFFFF,
            0,
            0,
            0,
        )
        self.send_rtcp(rtcp.serialize_receiver_report(rtcp.ReceiverReport(self.ssrc, [block])))

    def unread(self) -> int:
        """What this viewer's own kernel threw away, because it was not read in time."""
        sock: Any = self._transport and self._transport.get_extra_info("socket")
        if sys.platform != "linux" or sock is None or sock.fileno() < 0:
            return 0
        memory = sock.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, _MEMINFO.size)
        return int(_MEMINFO.unpack(memory)[SK_MEMINFO_DROPS])

    async def _tick_forever(self) -> None:
        """Nothing is asked for again."""

    def _on_srtp(self, data: bytes) -> None:
        """The first packet of the video names its SSRC; the others never come here."""
        if len(data) < RTP_BYTES or 192 <= data[1] <= 223 or self.srtp is None:
            return
        _, kind, sequence, timestamp, ssrc = _HEADER.unpack_from(data)
        if kind & 0x7F == VIDEO_PAYLOAD_TYPE and self._decrypt(data, timestamp):
            self._video = ssrc
            self._count(sequence, 1)

    def _count(self, sequence: int, packets: int) -> None:
        if self._next >= 0:
            gap = (sequence - self._next) & 0xFFFF
            if gap >= 0x8000:  # late: it was counted as lost
                self.lost -= packets
                self.packets += packets
                return
            self.lost += gap
            self._expected += gap
        self._expected += packets
        self._next = (sequence + packets) & 0xFFFF
        self.packets += packets

    def _decrypt(self, data: bytes, timestamp: int) -> bool:
        assert self.srtp is not None
        try:
            packet = self.srtp.unprotect(data)
        except ProtocolError:
            self.undecryptable += 1
            return False
        self.decrypted += 1
        if self.timekeeper and (sent_ns := stamps.sent_ns(packet[RTP_BYTES:])):
            self.book.sent(timestamp, sent_ns)
        return True
