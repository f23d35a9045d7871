"""Transport-wide feedback: both ways, the draft's own examples, and what is told of which arrivals."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediaserver.errors import ProtocolError
from mediaserver.protocol import rtcp, rtcp_transport_cc
from mediaserver.protocol.rtcp_transport_cc import (
    MAX_REMEMBERED,
    MAX_STATUSES,
    MAX_STEP,
    REMEMBERED_S,
    Arrivals,
    TransportFeedback,
)

SMALL = st.integers(0, 0xFF)
LARGE = st.integers(-0x8000, 0x7FFF)
DELTAS = st.lists(
    st.one_of(
        st.lists(st.none(), min_size=1, max_size=30),
        st.lists(SMALL, min_size=1, max_size=30),
        st.lists(LARGE, min_size=1, max_size=9),
        st.lists(st.one_of(st.none(), SMALL, LARGE), min_size=1, max_size=20),
    ),
    min_size=1,
    max_size=12,
).map(lambda groups: [delta for group in groups for delta in group])


def feedback(*deltas: int | None, base: int = 1) -> TransportFeedback:
    return TransportFeedback(1, 0x1111, base, 0x026A, 7, list(deltas))


def body(*deltas: int | None) -> str:
    """Status chunks, deltas and padding of a feedback about these, in hex."""
    return rtcp_transport_cc.serialize(feedback(*deltas))[20:].hex(" ", -2)


# -- bytes ---------------------------------------------------------------------------------------


def test_what_a_browser_sends_is_read() -> None:
    data = bytes.fromhex("8fcd0006 00000001 00001111 00010004 00026a00 20040102 03040000")
    assert rtcp_transport_cc.parse(data) == TransportFeedback(1, 0x1111, 1, 0x026A, 0, [1, 2, 3, 4])


@given(DELTAS, st.integers(0, 0xFFFF))
def test_what_is_written_is_read_back(deltas: list[int | None], base: int) -> None:
    written = feedback(*deltas, base=base)
    data = rtcp_transport_cc.serialize(written)
    assert rtcp_transport_cc.parse(data) == written
    # a packet like others in a compound, which nobody has to know
    assert rtcp.parse(data + rtcp.serialize_pli(1, 2)) == [rtcp.Pli(1, 2)]
    assert rtcp.parse(rtcp.serialize_pli(1, 2) + data) == [rtcp.Pli(1, 2)]


def test_statuses_are_chunked_as_the_drafts_examples_are() -> None:
    arrived = [None, 0, 0, 0, 0, 0, None, None, None, 0, 0, 0, None, None]
    assert body(*arrived).startswith("9f1c")
    assert body(*[None] * 221, 5).startswith("00dd 2001")
    assert body(*[9] * 100).startswith("2064")
    assert body(*[300] * 24).startswith("4018")
    assert body(None, -1, 0, 0, 0, None, None).startswith("c950")


def test_a_run_longer_than_thirteen_bits_is_several() -> None:
    assert body(*[None] * 0x2000, 5).startswith("1fff 9000")
    assert body(*[1] * 0x4000).startswith("3fff 3fff 2002")


def test_padding_is_read_whether_it_is_marked_or_not() -> None:
    data = rtcp_transport_cc.serialize(feedback(1))
    assert (data[0], data[-1], len(data)) == (0x8F, 0, 24)
    assert rtcp_transport_cc.parse(b"\xaf" + data[1:-1] + b"\1") == feedback(1)


@pytest.mark.parametrize("deltas", [[], [0x8000], [-0x8001], [None] * 0x1_0000])
def test_what_does_not_fit_is_refused(deltas: list[int | None]) -> None:
    with pytest.raises(ValueError):
        rtcp_transport_cc.serialize(feedback(*deltas))


def test_what_is_cut_changed_or_of_another_kind_is_the_peers_error_or_read() -> None:
    dice = random.Random(2)
    whole = rtcp_transport_cc.serialize(feedback(1, None, 300, *[None] * 40, 7, 8, -9))
    for end in range(len(whole)):
        with pytest.raises(ProtocolError):
            rtcp_transport_cc.parse(whole[:end])
    with pytest.raises(ProtocolError):
        rtcp_transport_cc.parse(rtcp.serialize_nack(1, 2, [3]) + bytes(8))
    for _ in range(5000):
        changed = bytearray(whole)
        for _ in range(dice.choice((1, 2, 5))):
            changed[dice.randrange(len(changed))] = dice.getrandbits(8)
        try:
            rtcp_transport_cc.parse(bytes(changed))
        except ProtocolError:
            continue


# -- arrivals ------------------------------------------------------------------------------------


class Line:
    """Arrivals, and what the sender makes of the feedback: seconds by number, None for lost."""

    def __init__(self) -> None:
        self.arrivals = Arrivals()
        self.told: dict[int, float | None] = {}
        self.counts: list[int] = []
        self.largest = 0

    def tell(self, now: float) -> None:
        for each in self.arrivals.feedbacks(1, 2, now):
            data = rtcp_transport_cc.serialize(each)
            self.largest = max(self.largest, len(data))
            self._read(rtcp_transport_cc.parse(data))

    def _read(self, each: TransportFeedback) -> None:
        self.counts.append(each.feedback_count)
        ticks = each.reference_time * 256
        for offset, delta in enumerate(each.deltas):
            number = (each.base_sequence + offset) & 0xFFFF
            ticks += delta or 0
            self.told[number] = None if delta is None else ticks / 4000


@given(st.integers(0, 1000), st.integers(0, 0xFFFF))
def test_every_packet_is_told_of_with_its_time_over_the_wrap(seed: int, start: int) -> None:
    line, dice = Line(), random.Random(seed)
    came: dict[int, float] = {}
    order = sorted(range(400), key=lambda index: index + dice.uniform(0, 20))
    now = 70.0
    for index in order:
        now += dice.choice((0.0, 0.0003, 0.002, 0.02))
        if index and dice.random() < 0.1:
            continue
        came[(start + index) & 0xFFFF] = now
        line.arrivals.came.append(((start + index) & 0xFFFF, now))
        if dice.random() < 0.1:
            line.tell(now)
    line.tell(now)
    received = {number: at for number, at in line.told.items() if at is not None}
    assert received.keys() == came.keys()
    for number, at in received.items():
        assert at == pytest.approx(came[number], abs=0.00026)
    assert line.counts == [each & 0xFF for each in range(len(line.counts))]


def test_nothing_new_is_nothing_to_tell() -> None:
    line = Line()
    line.tell(1.0)
    line.arrivals.came.append((5, 1.0))
    line.tell(1.0)
    line.arrivals.came.append((5, 1.1))  # doubled
    line.tell(1.1)
    assert line.counts == [0]
    assert line.told == {5: 1.0}


def test_a_late_packet_is_told_of_with_those_after_it_again() -> None:
    line = Line()
    for number in (1, 2, 4, 5):
        line.arrivals.came.append((number, 1.0 + number / 100))
    line.tell(1.05)
    assert line.told[3] is None
    line.arrivals.came.append((3, 1.06))
    line.tell(1.1)
    assert line.told[3] == pytest.approx(1.06, abs=0.0003)
    assert line.told[4] == pytest.approx(1.04, abs=0.0003)
    assert None not in line.told.values()


def test_a_pause_too_long_for_a_delta_begins_another_feedback() -> None:
    line = Line()
    line.arrivals.came.append((1, 10.0))
    line.arrivals.came.append((2, 30.0))
    line.tell(30.0)
    assert line.counts == [0, 1]
    assert line.told == {1: 10.0, 2: 30.0}


def test_a_feedback_about_many_fits_into_a_datagram() -> None:
    line, dice = Line(), random.Random(6)
    for number in range(MAX_STEP - 1):
        if not number or dice.random() < 0.5:
            line.arrivals.came.append((number, 5.0 + dice.random()))
    line.tell(6.0)
    assert len(line.counts) == MAX_STEP // MAX_STATUSES
    assert line.largest <= 1200


def test_a_jump_of_the_numbers_begins_anew() -> None:
    line = Line()
    line.arrivals.came.append((1, 1.0))
    line.arrivals.came.append((1 + MAX_STEP, 1.1))
    line.tell(1.1)
    assert line.told == {1 + MAX_STEP: pytest.approx(1.1, abs=0.0003)}
    line.arrivals.came.append((1, 1.2))  # from before: too old
    line.tell(1.2)
    assert 1 not in line.told


def test_what_is_remembered_is_bounded_in_time_and_number() -> None:
    line = Line()
    now = 1.0
    for number in range(4 * MAX_REMEMBERED):
        now += 0.00002
        line.arrivals.came.append((number & 0xFFFF, now))
        if not number % 500:
            line.tell(now)
            assert len(line.arrivals._arrivals) <= MAX_REMEMBERED
        assert len(line.arrivals._arrivals) <= MAX_REMEMBERED + MAX_STEP
    line.tell(now + 2 * REMEMBERED_S)
    assert len(line.arrivals._arrivals) == 0
