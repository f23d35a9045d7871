"""One incoming RTP stream: put in order, asked for again, reported on (RFC 3550 §6.4, RFC 4585 §6.2.1).

A gap is asked for once it is older than packets of a link that reorders are late, and then again when
the answer is overdue by the measured round trip. What has not come in time is given up and the next
packet says so, so that the depacketizer drops the damaged frame.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mediaserver.protocol import rtcp
from mediaserver.protocol.rtp import RtpPacket, extend

REORDER_S = 0.015  # Wi-Fi and mobile links hand a packet on by so much too late
WAIT_S = 0.25
LONGEST_WAIT_S = 0.5  # where two round trips are longer than WAIT_S
FIRST_RTT_S = 0.04  # before anything was measured
MAX_RTT_S = 1.0
MIN_RETRY_S = 0.02
RETRY_MARGIN_S = 0.01  # beside the round trip: timers here and pacing there
ASKS = 8  # for one packet
ASKED_AT_ONCE = 256  # what is missing scattered still fits into one datagram
HELD_PACKETS = 512
MAX_GAP = 1024  # a larger step is a restart of the sender


@dataclass(slots=True)
class Missing:
    """`first_asked_at` and `asked_at` mean nothing before it was `asked` for."""

    since: float
    asked: int = 0
    first_asked_at: float = 0.0
    asked_at: float = 0.0


class RtpReceiver:
    """Reorders the packets of one SSRC and hands them on as `deliver(packet, gap)`.

    `ask(ssrc, sequences)` sends a NACK. Others wait for a missing packet for `wait_s`, or for two
    round trips if that is longer, but never beyond `longest_wait_s`. While something is `missing`,
    `tick` is called every few milliseconds.
    """

    def __init__(
        self,
        clock_rate: int,
        deliver: Callable[[RtpPacket, bool], None],
        ask: Callable[[int, list[int]], None],
        wait_s: float = WAIT_S,
        longest_wait_s: float = LONGEST_WAIT_S,
    ) -> None:
        self.ssrc = 0
        self.received = 0
        self.given_up = 0
        self.rtt_s = FIRST_RTT_S  # from asking for a packet to its arrival
        self._clock_rate = clock_rate
        self._deliver = deliver
        self._ask = ask
        self._wait_s = wait_s
        self._longest_wait_s = longest_wait_s
        self._next = -1
        self._first = 0
        self._highest = 0
        self._expected_stray = -1
        self._held: dict[int, RtpPacket] = {}
        self.missing: dict[int, Missing] = {}
        self._jitter = 0.0
        self._transit = 0.0
        self._last_sr = 0
        self._last_sr_at = 0.0
        self._reported_expected = 0
        self._reported_received = 0

    def receive(self, packet: RtpPacket, now: float) -> None:
        """Take one packet; late and doubled ones are dropped."""
        # What nearly every packet is: the next one, and nothing missing before it.
        following = self._next
        if (
            packet.sequence == following & 0xFFFF
            and not self._held
            and packet.ssrc == self.ssrc
            and self.received
        ):
            self._highest = following
            self._next = following + 1
            self.received += 1
            rate = self._clock_rate  # as _measure_jitter, whose call costs as much as the rest
            transit = now * rate - packet.timestamp
            change = abs(transit - self._transit)
            self._transit = transit
            if change < rate:
                self._jitter += (change - self._jitter) / 16
            self._deliver(packet, False)
            return
        self._receive_any(packet, now)

    def _receive_any(self, packet: RtpPacket, now: float) -> None:
        restarted = packet.ssrc != self.ssrc
        index = extend(packet.sequence, self._highest)
        if not restarted and abs(index - self._next) > MAX_GAP:
            # A very late packet, or a sender that began anew: its next packet tells (RFC 3550 §A.1).
            restarted = packet.sequence == self._expected_stray
            self._expected_stray = (packet.sequence + 1) & 0xFFFF
            if not restarted:
                return
        if restarted:
            gap = self.received > 0
            self._restart(packet)
            index = self._next
        else:
            gap = False
        self.received += 1
        self._measure_jitter(packet.timestamp, now)
        if index < self._next or index in self._held:
            return
        self._held[index] = packet
        if index > self._highest:
            for each in range(max(self._highest + 1, self._next), index):
                self.missing[each] = Missing(now)
            self._highest = index
        elif (missing := self.missing.pop(index, None)) is not None:
            self._measure_rtt(missing, now)
        self._drain(gap)
        if len(self._held) > HELD_PACKETS:
            self._give_up(min(self._held))

    def repair(self, packet: RtpPacket, now: float) -> None:
        """Take a packet that came again in a stream of its own (RFC 4588), under its first number.

        Dropped unless it is missing: senders also send packets again to try what the link carries.
        Reports don't count it, since they tell of the link's loss.
        """
        index = extend(packet.sequence, self._highest)
        missing = self.missing.pop(index, None)
        if missing is not None:
            self._measure_rtt(missing, now)
            self._held[index] = packet
            self._drain()

    def tick(self, now: float) -> None:
        """Ask for what is missing, again where no answer came; give up what is too late."""
        if not self.missing:
            return
        retry_s = max(MIN_RETRY_S, self.rtt_s * 1.25 + RETRY_MARGIN_S)
        wait_s = max(self._wait_s, min(2 * retry_s + REORDER_S, self._longest_wait_s))
        asked: list[int] = []
        latest = -1
        for index, missing in self.missing.items():
            if now - missing.since >= wait_s:
                latest = max(latest, index)
            elif len(asked) < ASKED_AT_ONCE and _due(missing, now, retry_s):
                missing.first_asked_at = missing.first_asked_at or now
                missing.asked_at = now
                missing.asked += 1
                asked.append(index & 0xFFFF)
        if latest >= 0:
            self._give_up(latest + 1)
        if asked:
            self._ask(self.ssrc, asked)

    def on_sender_report(self, report: rtcp.SenderReport, now: float) -> None:
        self._last_sr = rtcp.compact_ntp(report.ntp)
        self._last_sr_at = now

    def report(self, now: float) -> rtcp.ReportBlock:
        """The reception report since the last one."""
        expected = self._highest - self._first + 1
        lost = max(0, expected - self.received)
        interval = expected - self._reported_expected
        missed = interval - (self.received - self._reported_received)
        self._reported_expected, self._reported_received = expected, self.received
        fraction = min(255, max(0, missed) * 256 // interval) if interval > 0 else 0
        delay = int((now - self._last_sr_at) * 65536) if self._last_sr else 0
        return rtcp.ReportBlock(
            self.ssrc,
            fraction,
            min(lost, 0x7FFFFF),
            self._highest & 0xFFFFFFFF,
            int(self._jitter),
            self._last_sr,
            delay & 0xFFFFFFFF,
        )

    def _restart(self, packet: RtpPacket) -> None:
        self.ssrc = packet.ssrc
        self._next = self._first = packet.sequence
        self._highest = self._next - 1
        self._expected_stray = -1
        self.received = self._reported_expected = self._reported_received = 0
        self._held.clear()
        self.missing.clear()

    def _drain(self, gap: bool = False) -> None:
        while (packet := self._held.pop(self._next, None)) is not None:
            self._next += 1
            self._deliver(packet, gap)
            gap = False

    def _give_up(self, index: int) -> None:
        """Go on at the first held packet from `index` on."""
        following = [each for each in self._held if each >= index]
        target = min(following, default=index)
        for each in [each for each in self.missing if each < target]:
            del self.missing[each]
            self.given_up += 1
        for each in sorted(each for each in self._held if each < target):
            # packets before a hole that was given up are still in order among themselves
            packet = self._held.pop(each)
            self._deliver(packet, each != self._next)
            self._next = each + 1
        gap = self._next != target
        self._next = target
        self._drain(gap)

    def _measure_rtt(self, missing: Missing, now: float) -> None:
        """From the first time of asking: which of several was answered nobody knows."""
        if missing.asked:
            rtt_s = min(now - missing.first_asked_at, MAX_RTT_S)
            self.rtt_s += (rtt_s - self.rtt_s) / 8

    def _measure_jitter(self, timestamp: int, now: float) -> None:
        rate = self._clock_rate
        transit = now * rate - timestamp
        change = abs(transit - self._transit)
        self._transit = transit
        if change < rate:  # not the first, and no wrap
            self._jitter += (change - self._jitter) / 16


def _due(missing: Missing, now: float, retry_s: float) -> bool:
    if not missing.asked:
        return now - missing.since >= REORDER_S
    return missing.asked < ASKS and now - missing.asked_at >= retry_s
