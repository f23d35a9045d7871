"""A probe: how much it sends and when, and what ends it."""

from __future__ import annotations

import pytest

from mediaserver.rtc.link import Link
from mediaserver.rtc.probe import NACKS, STEP_S, STEPS, TARGET, TICK_S, VERDICT_S, Probe

LOW_BPS, HIGH_BPS = 400_000.0, 2_000_000.0
SSRC = 7
LONG_S = STEPS * STEP_S
BEGUN_S = 10.0


def link() -> Link:
    quiet = Link(probes=True)
    quiet.on_rtt(0.05, BEGUN_S)
    quiet.on_loss(SSRC, 1000, 0, BEGUN_S)
    quiet.on_remb(600_000, BEGUN_S)
    return quiet


def run(probe: Probe, until_s: float) -> list[tuple[float, int]]:
    """Seconds since the beginning, and bytes sent then."""
    sent = []
    for tick in range(1, round(until_s / TICK_S)):
        octets = probe.due_bytes(BEGUN_S + tick * TICK_S)
        probe.spend(octets)
        sent.append((tick * TICK_S, octets))
    return sent


def test_the_rate_rises_in_steps_to_a_little_above_the_next_layers() -> None:
    probe = Probe(LOW_BPS, HIGH_BPS, link(), BEGUN_S)
    sent = run(probe, LONG_S)
    rates = [
        sum(octets for at, octets in sent if step * STEP_S <= at < (step + 1) * STEP_S) * 8 / STEP_S
        for step in range(STEPS)
    ]
    assert rates == sorted(rates)
    assert rates[-1] == pytest.approx(TARGET * HIGH_BPS - LOW_BPS, rel=0.1)
    assert rates[0] == pytest.approx(rates[-1] / STEPS, rel=0.2)
    assert probe.due_bytes(BEGUN_S + LONG_S) == 0


def test_it_passes_when_a_report_of_its_time_is_good() -> None:
    known = link()
    probe = Probe(LOW_BPS, HIGH_BPS, known, BEGUN_S)
    run(probe, LONG_S)
    known.on_loss(SSRC, 1100, 1, BEGUN_S + 1)
    probe.on_report(BEGUN_S + 1)
    assert probe.verdict(BEGUN_S + LONG_S) is None  # it says nothing of the last step
    probe.on_report(BEGUN_S + LONG_S + STEP_S + 0.01)
    assert probe.verdict(BEGUN_S + LONG_S + STEP_S + 0.01) == "passed"


def test_without_a_report_it_fails() -> None:
    probe = Probe(LOW_BPS, HIGH_BPS, link(), BEGUN_S)
    assert probe.verdict(BEGUN_S + LONG_S + VERDICT_S) is None
    assert probe.verdict(BEGUN_S + LONG_S + VERDICT_S + 0.01) == "failed"


@pytest.mark.parametrize("sign", ["loss", "queue", "estimate", "nacks"])
def test_the_first_bad_sign_ends_it_and_nothing_more_is_sent(sign: str) -> None:
    known = link()
    probe = Probe(LOW_BPS, HIGH_BPS, known, BEGUN_S)
    at = BEGUN_S + 2 * STEP_S
    run(probe, 2 * STEP_S)
    match sign:
        case "loss":
            known.on_loss(SSRC, 1100, 10, at)
        case "queue":
            known.on_rtt(0.3, at)
        case "estimate":
            known.on_remb(500_000, at)
        case "nacks":
            probe.on_nack(NACKS + 1)
    probe.on_report(at)
    assert probe.verdict(at) == "failed"
    assert probe.due_bytes(at + 0.1) == 0


def test_a_loss_or_two_are_what_any_link_has() -> None:
    probe = Probe(LOW_BPS, HIGH_BPS, link(), BEGUN_S)
    probe.on_nack(NACKS)
    assert probe.verdict(BEGUN_S + 0.1) is None


def test_a_loop_that_was_held_is_not_made_up_for() -> None:
    probe = Probe(LOW_BPS, 50_000_000, link(), BEGUN_S)
    assert probe.due_bytes(BEGUN_S + LONG_S - 0.01) * 8 <= 100_000
