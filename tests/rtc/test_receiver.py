"""One incoming RTP stream: order, what is asked for, what is given up, and what is said about it."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediaserver.protocol import rtcp
from mediaserver.protocol.rtp import RtpPacket
from mediaserver.rtc.receiver import (
    ASKED_AT_ONCE,
    ASKS,
    FIRST_RTT_S,
    HELD_PACKETS,
    LONGEST_WAIT_S,
    MAX_GAP,
    REORDER_S,
    WAIT_S,
    RtpReceiver,
)

RATE = 90_000
SSRC = 5


class Line:
    """A receiver with what it handed on and what it asked for."""

    def __init__(self, **waits: float) -> None:
        self.delivered: list[int] = []
        self.gaps: list[int] = []  # numbers before which something is missing
        self.asked: list[list[int]] = []
        self.asked_at: list[float] = []
        self.now = 50.0
        self.receiver = RtpReceiver(RATE, self._deliver, self._ask, **waits)

    def send(self, *numbers: int, ssrc: int = SSRC) -> None:
        for number in numbers:
            self.receiver.receive(_packet(number, ssrc), self.now)

    def lose(self, number: int, answer_after_s: float, asking: int = 1) -> None:
        """Lose one packet; the answer to the n-th asking comes so long after it."""
        asked = len(self.asked)
        self.send(number + 1)
        while len(self.asked) < asked + asking:
            self.wait(0.005)
        self.wait(answer_after_s)
        self.send(number)

    def wait(self, seconds: float, step: float = 0.005) -> None:
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
        self.asked_at.append(self.now)


def _packet(number: int, ssrc: int = SSRC) -> RtpPacket:
    return RtpPacket(96, False, number & 0xFFFF, (number * 300) & 0xFFFFFFFF, ssrc, b"x")


def test_packets_in_order_pass_at_once() -> None:
    line = Line()
    line.send(*range(100, 200))
    assert line.delivered == list(range(100, 200))
    assert not line.asked and not line.gaps and not line.receiver.missing


def test_reordered_packets_are_put_in_order() -> None:
    line = Line()
    line.send(10, 12, 11, 15, 13, 14, 16)
    assert line.delivered == [10, 11, 12, 13, 14, 15, 16]
    assert not line.gaps and not line.receiver.missing


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


def test_a_link_that_reorders_draws_no_nack() -> None:
    line, dice = Line(), random.Random(4)
    arrivals = sorted(
        (each / 300 + dice.uniform(0, REORDER_S - 0.005), each) for each in range(900)
    )
    start = line.now
    for after_s, number in arrivals:
        while line.now + 0.005 < start + after_s:
            line.wait(0.005)
        line.send(number)
    assert line.delivered == list(range(line.delivered[0], 900))
    assert line.asked == []


def test_a_gap_is_asked_for_soon_again_after_a_while_and_then_given_up() -> None:
    line = Line()
    line.send(1, 2, 5)
    assert line.asked == [] and line.receiver.missing
    line.wait(REORDER_S + 0.005)
    assert line.asked == [[3, 4]]
    line.wait(WAIT_S - REORDER_S - 0.015)
    assert line.asked == [[3, 4]] * 4
    retries = [after - before for before, after in pairwise(line.asked_at)]
    assert retries == pytest.approx([1.25 * FIRST_RTT_S + 0.01] * 3, abs=0.006)
    assert line.delivered == [1, 2]
    line.wait(0.04)
    assert line.delivered == [1, 2, 5]
    assert line.gaps == [5]
    assert line.receiver.given_up == 2
    assert not line.receiver.missing


def test_the_time_between_askings_follows_the_measured_round_trip() -> None:
    for rtt_s in (0.005, 0.1, 0.18):
        line = Line()
        line.send(0)
        for number in range(1, 121, 2):
            line.lose(number, rtt_s)
        assert line.receiver.rtt_s == pytest.approx(rtt_s, abs=0.01)
        del line.asked_at[:]
        line.send(122)
        line.wait(0.35)
        first, second, *_ = line.asked_at
        assert second - first == pytest.approx(max(0.02, 1.25 * rtt_s + 0.01), abs=0.02)


def test_a_round_trip_longer_than_the_first_guess_is_learnt_too() -> None:
    """Each answer comes when it has been asked for again already."""
    line = Line()
    line.send(0)
    for number in range(1, 121, 2):
        line.lose(number, 0.1, asking=2)
    assert line.receiver.rtt_s > 0.15


def test_a_slow_link_is_given_two_round_trips_and_no_more_than_half_a_second() -> None:
    line, sound = Line(), Line(wait_s=0.1, longest_wait_s=0.1)
    line.receiver.rtt_s = sound.receiver.rtt_s = 0.15
    line.send(1, 3)
    sound.send(1, 3)
    line.wait(2 * (1.25 * 0.15 + 0.01) + REORDER_S - 0.01)
    sound.wait(0.09)
    assert line.delivered == [1] and sound.delivered == [1]
    line.wait(0.02)
    sound.wait(0.02)
    assert line.delivered == [1, 3] and sound.delivered == [1, 3]
    line.receiver.rtt_s = 3.0
    line.send(5)
    line.wait(LONGEST_WAIT_S + 0.005)
    assert line.delivered == [1, 3, 5]


def test_one_packet_is_asked_for_so_often_and_many_in_several_goes() -> None:
    line = Line(wait_s=2.0)
    line.receiver.rtt_s = 0.005
    line.send(0, 2)
    line.wait(1.0)
    assert line.asked == [[1]] * ASKS
    del line.asked[:]
    line.send(*range(4, 4 + 2 * (ASKED_AT_ONCE + 10), 2))
    line.wait(REORDER_S + 0.005)
    line.wait(0.005)
    assert [len(each) for each in line.asked[:2]] == [ASKED_AT_ONCE, 10]


def test_a_retransmission_in_a_stream_of_its_own_mends_the_gap_and_is_no_reception() -> None:
    line = Line()
    line.send(1, 2, 5)
    line.wait(0.03)
    for number in (3, 4, 4, 2, 900):
        line.receiver.repair(_packet(number), line.now)
    assert line.delivered == [1, 2, 3, 4, 5]
    assert not line.gaps and not line.receiver.missing
    assert line.receiver.report(line.now).cumulative_lost == 2


def test_what_comes_again_in_time_mends_the_gap() -> None:
    line = Line()
    line.send(1, 2, 5)
    line.wait(0.1)
    line.send(4, 3, 6)
    assert line.delivered == [1, 2, 3, 4, 5, 6]
    assert not line.gaps and not line.receiver.missing


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
        line.wait(0.005)
        assert len(line.receiver.missing) <= MAX_GAP + 1
        assert len(line.receiver._held) <= HELD_PACKETS
    assert max(len(each) for each in line.asked) == ASKED_AT_ONCE


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
    assert not line.receiver.missing


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
