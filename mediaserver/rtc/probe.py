"""Whether a link has room for a higher layer: old packets again as RTX, in steps up to its rate.

Pure: `now` is told. The sent rate rises in STEPS steps from the layer's own to TARGET times the higher
one's, for STEPS * STEP_S in all; then a report is waited for. Sender reports go out every CLOCKED_S, as
receivers measure the round trip by the last one they have. The probe fails with the first sign that
packets queue up or are lost, and then nothing more is sent: what a thin link has to bear is a queue
that is not yet full.
"""

from __future__ import annotations

from typing import Literal

from mediaserver.rtc.link import LOST, NEAR, QUEUED_S, Link

STEPS = 6
STEP_S = 0.25
TARGET = 1.1
VERDICT_S = 1.6  # after the last step: a report of a second and a round trip
NACKS = 6  # of packets since the beginning that are no more than what any link loses
TICK_S = 0.01
CLOCKED_S = 0.1
TICK_BYTES = 12_000  # at most, of a burst after the loop was held: 10 Mbit/s

Verdict = Literal["passed", "failed"]


class Probe:
    """One try; rates are in bit/s, of all that the viewer gets."""

    def __init__(self, from_bps: float, to_bps: float, link: Link, now: float) -> None:
        self._extra_bps = max(0.0, TARGET * to_bps - from_bps)
        self._link = link
        self._remb_bps = link.remb_bps
        self._began_at = now
        self._spent_at = now
        self._nacked = 0
        self._signs = False
        self._reported = False
        self._earned = 0.0  # bytes
        self._clocked_at = now - CLOCKED_S

    def on_nack(self, packets: int) -> None:
        """Packets of live media were lost."""
        self._nacked += packets
        self._signs |= self._nacked > NACKS

    def on_report(self, now: float) -> None:
        """The link has heard from the viewer: loss, round trip or REMB."""
        link = self._link
        dropped = 0 < link.remb_bps < NEAR * self._remb_bps
        self._signs |= link.lost > LOST or link.queued_s > QUEUED_S or dropped
        self._reported |= now - self._began_at > STEPS * STEP_S + STEP_S

    def due_report(self, now: float) -> bool:
        """Whether to send a sender report now."""
        due = now - self._clocked_at >= CLOCKED_S
        if due:
            self._clocked_at = now
        return due

    def due_bytes(self, now: float) -> int:
        """What to send now."""
        step = int((now - self._began_at) / STEP_S)
        if self._signs or step >= STEPS:
            return 0
        self._earned += self._extra_bps * (step + 1) / STEPS * (now - self._spent_at) / 8
        self._earned = min(self._earned, TICK_BYTES)
        self._spent_at = now
        return int(self._earned)

    def spend(self, octets: int) -> None:
        self._earned -= octets

    def verdict(self, now: float) -> Verdict | None:
        """None while it goes on."""
        if self._signs:
            return "failed"
        elapsed_s = now - self._began_at
        if elapsed_s < STEPS * STEP_S:
            return None
        if self._reported:
            return "passed"
        return "failed" if elapsed_s > STEPS * STEP_S + VERDICT_S else None
