"""One incoming RTP stream: order, what is asked for, what is given up, and what is said about it."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediaserver.protocol import rtcp
from mediaserver.protocol.rtp import RtpPacket
from mediaserver.rtc.receiver import HELD_PACKETS, MAX_GAP, RETRIES, RETRY_S, WAIT_S, RtpReceiver

RATE = 90_000
SSRC = 5


class Line:
    """A receiver with what it handed on and what it asked for."""

    def __init__(self) -> None:
        self.delivered: list[int] = []
        self.gaps: list[int] = []  # numbers before which something is missing
        self.asked: list[list[int]] = []
        self.now = 50.0
        self.receiver = RtpReceiver(RATE, self._deliver, self._ask)

    def send(self, *numbers: int, ssrc: int = SSRC) -> None:
        for number in numbers:
            packet = RtpPacket(96, False, number & 0xFFFF, (number * 300) & 0xFFFFFFFF, ssrc, b"x")
            self.receiver.receive(packet, self.now)

    def wait(self, seconds: float, step: float = 0.02) -> None:
        end = self.now + seconds
        while self.now < end - 1e-9:
            self.now = min(end, self.now + step)
            self.receiver.tick(self.now)

    def _deliver(self, packet: RtpPacket, gap: bool) -> None:
        self.delivered.append(packet.sequence)
        if gap:
            self.gaps.append(packet.sequence)

    def _ask(self, ssrc: int, sequences: list[int]) -> None:
        assert ssrc == self.receiver.ssrc
        self.asked.append(sequences)


def test_packets_in_order_pass_at_once() -> None:
    line = Line()
    line.send(*range(100, 200))
    assert line.delivered == list(range(100, 200))
    assert not line.asked and not line.gaps and not line.receiver.waiting


def test_reordered_packets_are_put_in_order() -> None:
    line = Line()
    line.send(10, 12, 11, 15, 13, 14, 16)
    assert line.delivered == [10, 11, 12, 13, 14, 15, 16]
    assert not line.gaps and not line.receiver.waiting


@given(st.randoms(use_true_random=False), st.integers(0, 0xFFFF))
def test_any_order_within_the_window_comes_out_in_order_over_the_wrap(
    dice: random.Random, start: int
) -> None:
    line = Line()
    numbers = list(range(start + 1, start + 200))
    shuffled = sorted(numbers, key=lambda number: number + dice.uniform(0, 40))
    line.send(start, *shuffled)
    assert line.delivered == [number & 0xFFFF for number in [start, *numbers]]
    assert not line.gaps


def test_a_doubled_or_late_packet_is_dropped() -> None:
    line = Line()
    line.send(1, 2, 3, 2, 3, 1, 4)
    assert line.delivered == [1, 2, 3, 4]


def test_a_gap_is_asked_for_at_once_again_after_a_while_and_then_given_up() -> None:
    line = Line()
    line.send(1, 2, 5)
    assert line.asked == [[3, 4]]
    line.wait(WAIT_S - 0.01)
    assert line.asked == [[3, 4]] * min(RETRIES, 1 + int(WAIT_S / (RETRY_S + 0.02)))
    assert line.delivered == [1, 2]
    line.wait(0.04)
    assert line.delivered == [1, 2, 5]
    assert line.gaps == [5]
    assert line.receiver.given_up == 2
    assert not line.receiver.waiting


def test_what_comes_again_in_time_mends_the_gap() -> None:
    line = Line()
    line.send(1, 2, 5)
    line.wait(0.1)
    line.send(4, 3, 6)
    assert line.delivered == [1, 2, 3, 4, 5, 6]
    assert not line.gaps and not line.receiver.waiting


def test_two_gaps_are_given_up_each_in_its_time() -> None:
    line = Line()
    line.send(1, 3)
    line.wait(0.2)
    line.send(5, 6)
    line.wait(0.1)
    assert line.delivered == [1, 3]
    line.send(4)
    assert line.delivered == [1, 3, 4, 5, 6]
    assert line.gaps == [3]


def test_an_older_gap_given_up_leaves_no_hole_before_a_newer_one() -> None:
    line = Line()
    line.send(1, 3, 4)
    line.wait(0.2)
    line.send(8, 10)
    line.wait(0.06)
    assert line.delivered == [1, 3, 4]
    line.wait(0.25)
    assert line.delivered == [1, 3, 4, 8, 10]
    assert line.gaps == [3, 8, 10]


def test_what_is_held_is_bounded() -> None:
    line = Line()
    line.send(1, *range(3, 3 + HELD_PACKETS + 10))
    assert line.delivered[:2] == [1, 3]
    assert line.gaps == [3]
    assert len(line.receiver._held) <= HELD_PACKETS


def test_what_is_missing_is_bounded_whatever_is_lost() -> None:
    line, dice = Line(), random.Random(1)
    number = 0
    for _ in range(2000):
        number += dice.choice((1, 1, 2, 50, 900))
        line.send(number)
        assert len(line.receiver._missing) <= MAX_GAP + 1
        assert len(line.receiver._held) <= HELD_PACKETS
    assert max(len(each) for each in line.asked) <= MAX_GAP


def test_a_long_outage_is_told_to_who_puts_pictures_together() -> None:
    line = Line()
    line.send(*range(100, 110))
    line.send(*range(100 + 5 * MAX_GAP, 120 + 5 * MAX_GAP))
    resumed = [number & 0xFFFF for number in range(100 + 5 * MAX_GAP + 1, 120 + 5 * MAX_GAP)]
    assert line.delivered == [*range(100, 110), *resumed]
    assert line.gaps == resumed[:1]


def test_one_stray_packet_from_far_away_changes_nothing() -> None:
    line = Line()
    line.send(*range(5000, 5010))
    line.send(100, 40_000)
    line.send(*range(5010, 5020))
    line.send(100)
    line.send(*range(5020, 5030))
    assert line.delivered == list(range(5000, 5030))
    assert not line.gaps and not line.asked


def test_a_new_source_takes_over_and_the_break_is_told() -> None:
    line = Line()
    line.send(1, 2, 4)
    line.send(60_000, 60_001, ssrc=9)
    assert line.delivered == [1, 2, 60_000, 60_001]
    assert line.gaps == [60_000]
    assert line.receiver.ssrc == 9
    assert not line.receiver.waiting


def test_the_first_packet_of_all_is_no_gap() -> None:
    line = Line()
    line.send(40_000, 40_001)
    assert not line.gaps


def test_the_report_counts_what_was_lost_since_the_last() -> None:
    line = Line()
    line.send(*range(100))
    first = line.receiver.report(line.now)
    assert (first.fraction_lost, first.cumulative_lost, first.highest_sequence) == (0, 0, 99)
    line.send(*(number for number in range(100, 200) if number % 4))
    second = line.receiver.report(line.now)
    assert second.fraction_lost == 256 // 4
    assert second.cumulative_lost == 25
    line.send(*range(200, 300))
    third = line.receiver.report(line.now)
    assert (third.fraction_lost, third.cumulative_lost) == (0, 25)
    assert third.ssrc == SSRC


def test_the_report_extends_the_number_over_the_wrap() -> None:
    line = Line()
    line.send(*range(0xFFF0, 0x10010))
    assert line.receiver.report(line.now).highest_sequence == 0x1000F
    assert line.receiver.report(line.now).cumulative_lost == 0


def test_the_report_echoes_the_last_sender_report_with_its_delay() -> None:
    line = Line()
    line.send(1)
    assert line.receiver.report(line.now).last_sr == 0
    ntp = rtcp.ntp_from_utc_ms(1_790_000_000_000)
    line.receiver.on_sender_report(rtcp.SenderReport(SSRC, ntp, 0, 1, 1), line.now)
    block = line.receiver.report(line.now + 1.5)
    assert block.last_sr == rtcp.compact_ntp(ntp)
    assert block.delay_since_last_sr == pytest.approx(1.5 * 65536, abs=1)


def test_jitter_is_nought_for_a_steady_stream_and_grows_with_unrest() -> None:
    steady, restless, dice = Line(), Line(), random.Random(3)
    for number in range(300):
        steady.now = 50 + number / 300
        restless.now = 50 + number / 300 + dice.uniform(0, 0.02)
        steady.send(number)
        restless.send(number)
    assert steady.receiver.report(51).jitter <= 1
    assert RATE * 0.003 < restless.receiver.report(51).jitter < RATE * 0.02
