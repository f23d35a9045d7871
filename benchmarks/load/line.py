"""One RTP stream as a viewer counts it: what came, what is missing and asked for, what is lost for good.

Sans-IO; `now` is monotonic seconds. A run of packets that follows what came before is counted at once,
which is what makes a thousand viewers fit into a process.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mediaserver.protocol import rtcp
from mediaserver.protocol.rtp import extend

ASK_AFTER_S = 0.015  # packets that a link reorders come within this
ASK_AGAIN_S = 0.06
GIVE_UP_S = 1.0
MISSING_MAX = 1024  # beyond it the sender began anew
ASKED_AT_ONCE = 256
NEVER_S = -1000.0


@dataclass(slots=True)
class Missing:
    since: float
    asked_at: float = NEVER_S


@dataclass(slots=True)
class Line:
    """Numbers are sequence numbers that go on beyond 16 bits."""

    ssrc: int
    clock_rate: int
    first: int = -1
    next: int = -1
    packets: int = 0
    frames: int = 0
    lost: int = 0
    recovered: int = 0
    jitter: float = 0.0  # ticks of `clock_rate` (RFC 3550 §6.4.1)
    missing: dict[int, Missing] = field(default_factory=dict)
    _timestamp: int = -1
    _transit: float = 0.0
    _report: rtcp.SenderReport | None = None
    _report_utc_ms: float = 0.0
    _report_at: float = 0.0
    _reported: tuple[int, int] = (0, 0)

    def run(self, first: int, count: int) -> bool:
        """Count packets that follow what came before; False, and nothing is counted, if they do not."""
        if self.next & 0xFFFF != first or self.next < 0:
            return False
        self.next += count
        self.packets += count
        return True

    def leap(self, sequence: int, now: float) -> bool:
        """Note as missing what lies before a later packet; False where nothing does."""
        number = extend(sequence, self.next)
        if self.next < 0 or not 0 < number - self.next <= MISSING_MAX - len(self.missing):
            return False
        for each in range(self.next, number):
            self.missing[each] = Missing(now)
        self.next = number
        return True

    def take(self, sequence: int, now: float) -> bool:
        """Count one packet, in whatever order; False for one that came before or was given up."""
        if self.next < 0:
            self.first = self.next = sequence
        number = extend(sequence, self.next)
        if number < self.next:
            if self.missing.pop(number, None) is None:
                return False
            self.recovered += 1
        elif number - self.next > MISSING_MAX:
            self.lost += len(self.missing)
            self.missing.clear()
            self.next = number + 1
        else:
            for each in range(self.next, number):
                self.missing[each] = Missing(now)
            self.next = number + 1
        self.packets += 1
        return True

    def due(self, now: float) -> list[int]:
        """Sequence numbers to ask for now; what is too old is given up."""
        asked: list[int] = []
        for number, each in list(self.missing.items()):
            if now - each.since >= GIVE_UP_S:
                del self.missing[number]
                self.lost += 1
            elif (
                len(asked) < ASKED_AT_ONCE
                and now - each.since >= ASK_AFTER_S
                and now - each.asked_at >= ASK_AGAIN_S
            ):
                each.asked_at = now
                asked.append(number & 0xFFFF)
        return asked

    def arrived(self, timestamp: int, stamp_s: float) -> float | None:
        """Note when a packet came; the change of transit in ms where a new frame began."""
        if timestamp == self._timestamp:
            return None
        began, self._timestamp = self._timestamp < 0, timestamp
        self.frames += 1
        transit = stamp_s * self.clock_rate - timestamp
        change, self._transit = abs(transit - self._transit), transit
        if began or change > self.clock_rate:  # the first, or the 32 bits wrapped
            return None
        self.jitter += (change - self.jitter) / 16
        return change / self.clock_rate * 1000

    def on_sender_report(self, report: rtcp.SenderReport, now: float) -> None:
        self._report, self._report_at = report, now
        self._report_utc_ms = rtcp.utc_ms_from_ntp(report.ntp)

    def media_utc_ms(self, timestamp: int) -> float | None:
        """UTC of an RTP time by the latest sender report; None before the first."""
        if self._report is None:
            return None
        ticks = (timestamp - self._report.rtp_timestamp) & 0xFFFFFFFF
        if ticks >> 31:
            ticks -= 1 << 32
        return self._report_utc_ms + ticks * 1000 / self.clock_rate

    def report(self, now: float) -> rtcp.ReportBlock:
        """The reception report since the last one; what came again counts as received."""
        expected = self.next - self.first
        before, received = self._reported
        self._reported = expected, self.packets
        interval, missed = expected - before, (expected - before) - (self.packets - received)
        fraction = min(255, max(0, missed) * 256 // interval) if interval > 0 else 0
        last_sr = rtcp.compact_ntp(self._report.ntp) if self._report is not None else 0
        delay = int((now - self._report_at) * 65536) if last_sr else 0
        highest = (self.next - 1) & 0xFFFFFFFF
        lost = min(max(0, expected - self.packets), 0x7FFFFF)
        return rtcp.ReportBlock(
            self.ssrc, fraction, lost, highest, int(self.jitter), last_sr, delay & 0xFFFFFFFF
        )
