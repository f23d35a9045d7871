"""Which layer a link should have, by what the viewer reports; on a clock that only counts."""

from __future__ import annotations

import pytest

from mediaserver.rtc.link import (
    BLIND_S,
    FRESH_S,
    PROBE_MAX_S,
    PROBE_WAIT_S,
    PROVEN_S,
    QUEUED_S,
    RISE_MAX_S,
    RISE_S,
    ROOM,
    SETTLE_S,
    SHARE,
    STAY_S,
    TROUBLE_S,
    Link,
    Move,
    Try,
)

RATES = [400_000.0, 1_200_000.0, 2_500_000.0]
STEP_S = 0.25
SSRC = 7


def told(
    link: Link,
    now: float,
    *,
    remb: float = 0,
    lost: float = 0.0,
    rtt_s: float = 0.05,
) -> None:
    """One round of reports, of 100 packets in a second; they are lost from second 10 on."""
    if remb:
        link.on_remb(round(remb), now)
    link.on_loss(SSRC, round(100 * now), round(100 * lost * (now - 10)), now)
    link.on_rtt(rtt_s, now)


def until_wish(
    link: Link, current: int, since: float, most_s: float, **report: float
) -> tuple[Move | Try | None, float]:
    """Report the same again and again; the first wish, and after how long it came."""
    elapsed = 0.0
    while elapsed < most_s:
        told(link, since + elapsed, **report)
        wish = link.wish(RATES, current, since + elapsed)
        if wish is not None:
            return wish, elapsed
        elapsed += STEP_S
    return None, elapsed


def begun(probes: bool = True) -> Link:
    """A link that has been heard of from second 0 to 10, and is quick."""
    link = Link(probes)
    told(link, 10.0)
    return link


# -- down ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "report",
    [
        {"remb": 1e6, "rtt_s": 0.05 + 2 * QUEUED_S},
        {"remb": 1e6, "lost": 0.1},
        {"remb": 9e6, "lost": 0.3},
    ],
    ids=["queue", "loss", "much-loss"],
)
def test_a_link_that_is_too_thin_asks_for_less_within_two_seconds(report: dict[str, float]) -> None:
    wish, after_s = until_wish(begun(), 2, 10.0, 10.0, **report)
    assert isinstance(wish, Move) and wish.to < 2
    assert TROUBLE_S <= after_s <= 2.0


@pytest.mark.parametrize(
    "report",
    [
        {"remb": 1e6},
        {"remb": 9e6, "rtt_s": 0.05 + 2 * QUEUED_S},
        {"remb": 9e6, "lost": 0.1},
        {"lost": 0.1, "rtt_s": 0.4},
    ],
    ids=["estimate-alone", "queue-alone", "loss-alone", "told-nothing"],
)
def test_one_sign_alone_moves_nobody(report: dict[str, float]) -> None:
    assert until_wish(begun(), 2, 10.0, 20.0, **report)[0] is None


def test_trouble_for_a_moment_moves_nobody() -> None:
    link = begun()
    for second in range(20):
        told(link, 10.0 + second, remb=1e6, rtt_s=0.5)
        assert link.wish(RATES, 2, 10.0 + second) is None
        told(link, 10.0 + second + TROUBLE_S / 2, remb=9e6)
        assert link.wish(RATES, 2, 10.0 + second + TROUBLE_S / 2) is None


@pytest.mark.parametrize(
    ("remb", "lost", "place"),
    [
        (2_000_000, 0.0, 1),
        (1_200_000 / SHARE + 1, 0.0, 1),
        (1_200_000 / SHARE - 1, 0.0, 0),
        (100_000, 0.0, 0),
        (0, 0.0, 1),
        (9_000_000, 0.6, 0),
    ],
)
def test_the_best_layer_that_the_estimate_carries_is_taken(
    remb: float, lost: float, place: int
) -> None:
    link = begun()
    told(link, 11.0, remb=remb, lost=lost)
    assert link.lower(RATES, 2, 11.0) == place


def test_an_old_estimate_is_none() -> None:
    link = begun()
    told(link, 10.0, remb=100_000)
    assert link.lower(RATES, 2, 10.0 + FRESH_S) == 1


def test_after_a_move_reports_of_before_count_for_nothing() -> None:
    link = begun()
    link.on_moved(False, 10.0)
    wish, after_s = until_wish(link, 1, 10.0, 5.0, remb=500_000, rtt_s=0.5)
    assert wish == Move(0)
    assert after_s >= SETTLE_S + TROUBLE_S


def test_below_the_lowest_there_is_nothing() -> None:
    assert until_wish(begun(), 0, 10.0, 20.0, remb=100_000, rtt_s=0.6)[0] is None


# -- loss ----------------------------------------------------------------------------------------


def test_a_report_of_a_few_packets_tells_little() -> None:
    """Chromium sends one with each NACK: of ten milliseconds, with two of three packets lost."""
    link = begun()
    for at, highest, lost in ((10.5, 1050, 0), (10.51, 1053, 2), (10.52, 1054, 2)):
        link.on_loss(SSRC, highest, lost, at)
    assert link.lost == pytest.approx(2 / 54)


def test_what_was_lost_before_a_pause_is_not_lost_now() -> None:
    link = begun()
    link.on_loss(SSRC + 1, 500, 0, 10.0)
    link.on_loss(SSRC + 1, 700, 150, 15.0)
    assert link.lost == 0.0
    link.on_loss(SSRC + 1, 740, 160, 15.2)
    assert link.lost == pytest.approx(10 / 40)


def test_loss_is_forgotten_after_a_second() -> None:
    link = begun()
    told(link, 10.5, lost=0.4)
    assert link.lost > 0.3
    for at in (11.0, 11.5, 12.0):
        link.on_loss(SSRC, round(100 * at), 20, at)
    assert link.lost == 0.0


def test_numbers_that_make_no_sense_change_nothing() -> None:
    link = begun()
    for highest, lost in ((5, 0), (0xFFFFFFFF, -1 << 23), (2000, (1 << 23) - 1), (0, 0)):
        link.on_loss(SSRC, highest, lost, 10.1)
    assert link.lost >= 0.0


# -- up ------------------------------------------------------------------------------------------


def test_a_calm_link_tries_the_next_layer_some_seconds_after_it_went_down() -> None:
    link = begun()
    link.on_moved(False, 10.0)
    wish, after_s = until_wish(link, 0, 10.0, 30.0, remb=600_000)
    assert wish == Try(1)
    assert after_s == pytest.approx(max(STAY_S, RISE_S), abs=STEP_S)


def test_an_estimate_with_room_needs_no_probe() -> None:
    link = begun()
    link.on_moved(False, 10.0)
    assert until_wish(link, 0, 10.0, 30.0, remb=ROOM * RATES[1] + 1)[0] == Move(1)


@pytest.mark.parametrize(
    "report", [{"lost": 0.06}, {"rtt_s": 0.05 + 1.1 * QUEUED_S}], ids=["loss", "queue"]
)
def test_a_link_that_is_not_calm_tries_nothing(report: dict[str, float]) -> None:
    link = begun()
    link.on_moved(False, 10.0)
    assert until_wish(link, 0, 10.0, 60.0, remb=600_000, **report)[0] is None


def test_who_is_not_heard_of_tries_nothing() -> None:
    link = begun()
    assert link.wish(RATES, 0, 10.0 + FRESH_S) is None


def test_failed_probes_come_ever_less_often_but_often_enough() -> None:
    link = begun()
    at = 20.0
    waits = []
    for _ in range(8):
        link.on_probe_failed(at)
        wish, after_s = until_wish(link, 0, at, 60.0, remb=600_000)
        assert wish == Try(1)
        waits.append(after_s)
        at += after_s
    assert waits[0] == pytest.approx(PROBE_WAIT_S, abs=STEP_S)
    assert waits == sorted(waits)
    assert max(waits) <= PROBE_MAX_S + STEP_S


def test_moves_up_that_were_taken_back_come_ever_less_often() -> None:
    link = begun()
    at = 20.0
    waits = []
    for _ in range(8):
        link.on_moved(True, at)
        at += PROVEN_S / 2
        link.on_moved(False, at)
        wish, after_s = until_wish(link, 0, at, 200.0, remb=600_000)
        assert wish == Try(1)
        waits.append(after_s)
        at += after_s
    assert waits[0] == pytest.approx(2 * RISE_S, abs=STEP_S)
    assert waits[1] == pytest.approx(4 * RISE_S, abs=STEP_S)
    assert waits[-1] == pytest.approx(RISE_MAX_S, abs=STEP_S)


def test_a_move_up_that_held_makes_the_next_wait_short_again() -> None:
    link = begun()
    for at in (20.0, 40.0, 60.0):
        link.on_moved(True, at)
        link.on_moved(False, at + 1)
    link.on_moved(True, 200.0)
    link.on_moved(False, 200.0 + PROVEN_S)
    wish, after_s = until_wish(link, 0, 200.0 + PROVEN_S, 60.0, remb=600_000)
    assert wish == Try(1)
    assert after_s == pytest.approx(RISE_S, abs=STEP_S)


def test_without_probes_a_link_tries_after_a_longer_time() -> None:
    link = begun(probes=False)
    link.on_moved(False, 10.0)
    wish, after_s = until_wish(link, 0, 10.0, 60.0, remb=600_000)
    assert wish == Move(1)
    assert after_s == pytest.approx(BLIND_S, abs=STEP_S)


def test_on_another_network_the_round_trip_is_learnt_anew() -> None:
    link = begun()
    link.on_path()
    told(link, 11.0, rtt_s=0.4)
    assert link.queued_s == 0.0
