"""What is known of one viewer's link, and which of the layers it should have. Pure: `now` is told.

What the viewer reports: its own estimate (REMB), the loss and the round trip of receiver reports, and
that its mending went over budget. REMB stays near the rate that was received, so it tells of too little
room, never of more: that takes a `Probe`, or where there is none a try.

Down: at once when the link chokes; and when REMB is below the layer's rate while packets queue up or
are lost, for TROUBLE_S. Up: one layer at a time, from a calm link, STAY_S after the last move at the
earliest. A move up that has to be taken back makes the next wait twice as long, up to RISE_MAX_S; a
probe that fails costs the viewer nothing that it would see, so the wait after it grows to PROBE_MAX_S
only, and a link that has become wide again is used soon.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

FRESH_S = 3.0  # a report older than this tells nothing of now; Chromium sends them every second
SHARE = 0.85  # of the estimate that a layer may take when moving down
NEAR = 0.9  # of a layer's rate: an estimate that is lower tells of too little room
QUEUED_S = 0.12  # added to the shortest round trip: packets wait somewhere
WINDOW_S = 1.0  # of reports, for the share that is lost: each may tell of a few packets only
WINDOW_PACKETS = 20  # of fewer no share is taken
WINDOW_REPORTS = 64
LOST = 0.05
MUCH_LOST = 0.2
TROUBLE_S = 0.6
SETTLE_S = 1.5  # after a move, or a probe, the reports still speak of what was before
STAY_S = 3.0
ROOM = 1.15  # times a layer's rate: an estimate above it needs no probe
PROVEN_S = 8.0  # a move up taken back sooner was a mistake
RISE_S = 4.0
RISE_MAX_S = 60.0
PROBE_WAIT_S = 2.0
PROBE_MAX_S = 8.0
BLIND_S = 8.0  # without probes: a try no sooner than this
MAX_RTT_S = 10.0  # beyond it the report is wrong, or the viewer beyond help


@dataclass(frozen=True, slots=True)
class Move:
    """Go to this layer: its place among the rates."""

    to: int


@dataclass(frozen=True, slots=True)
class Try:
    """Probe whether there is room for this layer."""

    to: int


@dataclass(slots=True)
class Losses:
    """What receiver reports count of one SSRC, over the last WINDOW_S (RFC 3550 §6.4.1).

    After a pause the first count is where it begins: what was lost before the pause shows only then.
    """

    _counts: deque[tuple[float, int, int]] = field(
        default_factory=lambda: deque(maxlen=WINDOW_REPORTS)
    )

    def add(self, highest: int, lost: int, now: float) -> None:
        """`highest` sequence number so far, wraps counted, and how many were `lost` of all."""
        counts = self._counts
        if counts and highest <= counts[-1][1]:
            return
        if counts and now - counts[-1][0] > WINDOW_S:
            counts.clear()
        counts.append((now, highest, lost))
        while now - counts[0][0] > WINDOW_S:
            counts.popleft()

    def since(self, now: float) -> tuple[int, int]:
        """Packets expected and lost."""
        if not self._counts or now - self._counts[-1][0] > WINDOW_S:
            return 0, 0
        (_, first, lost_first), (_, last, lost_last) = self._counts[0], self._counts[-1]
        return last - first, max(0, lost_last - lost_first)


class Link:
    """One viewer's link; rates are in bit/s, those of layers in rising order."""

    def __init__(self, probes: bool) -> None:
        """`probes`: whether there is a way to probe."""
        self.remb_bps = 0  # 0 until it has told
        self.rtt_s = 0.0
        self.lost = 0.0  # the share of the packets of the last WINDOW_S, 0 to 1
        self.probes = probes
        self._losses: dict[int, Losses] = {}  # by SSRC: of video and its retransmissions
        self._remb_at = self._lost_at = -FRESH_S
        self._rtt_at = -FRESH_S
        self._shortest_rtt_s = MAX_RTT_S
        self._trouble_since: float | None = None
        self._moved_at = -STAY_S
        self._settled_at = 0.0  # before it, reports speak of what is over
        self._risen_at: float | None = None
        self._rise_wait_s = RISE_S
        self._probe_wait_s = PROBE_WAIT_S
        self._try_at = 0.0

    # -- what is reported ------------------------------------------------------------------------

    def on_remb(self, bps: int, now: float) -> None:
        self.remb_bps, self._remb_at = bps, now

    def on_loss(self, ssrc: int, highest: int, lost: int, now: float) -> None:
        """A report on video or its retransmissions: see `Losses`."""
        self._losses.setdefault(ssrc, Losses()).add(highest, lost, now)
        counts = [each.since(now) for each in self._losses.values()]
        expected, missing = (sum(column) for column in zip(*counts, strict=True))
        self.lost = missing / max(expected, WINDOW_PACKETS)
        self._lost_at = now

    def on_rtt(self, rtt_s: float, now: float) -> None:
        self.rtt_s, self._rtt_at = rtt_s, now
        self._shortest_rtt_s = min(self._shortest_rtt_s, rtt_s)

    def on_path(self) -> None:
        """The viewer came from another network."""
        self._shortest_rtt_s = MAX_RTT_S

    @property
    def queued_s(self) -> float:
        """How much longer than the shortest the last round trip was."""
        return max(0.0, self.rtt_s - self._shortest_rtt_s)

    # -- what was done ---------------------------------------------------------------------------

    def on_moved(self, up: bool, now: float) -> None:
        """The viewer is to have another layer from now on."""
        if not up and self._risen_at is not None and now - self._risen_at < PROVEN_S:
            self._rise_wait_s = min(2 * self._rise_wait_s, RISE_MAX_S)
        elif self._risen_at is not None and now - self._risen_at >= PROVEN_S:
            self._rise_wait_s = RISE_S
        self._probe_wait_s = PROBE_WAIT_S
        self._risen_at = now if up else None
        self._moved_at = now
        self._settled_at = now + SETTLE_S
        self._try_at = now + (STAY_S if up else self._rise_wait_s)
        self._trouble_since = None

    def on_probe_failed(self, now: float) -> None:
        self._settled_at = now + SETTLE_S
        self._try_at = now + self._probe_wait_s
        self._probe_wait_s = min(2 * self._probe_wait_s, PROBE_MAX_S)

    # -- what should be done ---------------------------------------------------------------------

    def wish(self, rates: Sequence[float], current: int, now: float) -> Move | Try | None:
        """What to do now for a viewer that gets the layer at `current`; None: nothing."""
        if current > 0 and self._congested(rates[current], now):
            return Move(self.lower(rates, current, now))
        if current + 1 < len(rates) and self._calm(rates[current], now):
            return self._up(rates[current + 1], current + 1, now)
        return None

    def lower(self, rates: Sequence[float], current: int, now: float) -> int:
        """The best layer below `current` that the link carries, else the lowest."""
        room = SHARE * self._estimate_bps(rates[current], now)
        fitting = [place for place in range(current) if rates[place] <= room]
        return fitting[-1] if fitting else 0

    def settled(self, now: float) -> bool:
        """Whether what is lost and queued now is not what a move or a probe has done."""
        return now >= self._settled_at

    def thinks_of_more(self, now: float, ahead_s: float) -> bool:
        """Whether it may try a higher layer in so many seconds."""
        return now + ahead_s >= max(self._try_at, self._moved_at + STAY_S)

    def _up(self, rate_bps: float, place: int, now: float) -> Move | Try | None:
        if now - self._remb_at < FRESH_S and self.remb_bps >= ROOM * rate_bps:
            return Move(place)
        if self.probes:
            return Try(place)
        return Move(place) if now - self._moved_at >= max(BLIND_S, self._rise_wait_s) else None

    def _estimate_bps(self, rate_bps: float, now: float) -> float:
        """By REMB, by what was lost of `rate_bps`, and below that in any case."""
        estimate = rate_bps
        if now - self._remb_at < FRESH_S and self.remb_bps:
            estimate = min(estimate, self.remb_bps)
        if now - self._lost_at < FRESH_S and self.lost > LOST:
            estimate = min(estimate, rate_bps * (1 - self.lost))
        return estimate

    def _congested(self, rate_bps: float, now: float) -> bool:
        if now < self._settled_at or not self._troubled(rate_bps, now):
            self._trouble_since = None
            return False
        if self._trouble_since is None:
            self._trouble_since = now
        return now - self._trouble_since >= TROUBLE_S

    def _troubled(self, rate_bps: float, now: float) -> bool:
        lost = self.lost if now - self._lost_at < FRESH_S else 0.0
        queued = now - self._rtt_at < FRESH_S and self.queued_s > QUEUED_S
        tight = now - self._remb_at < FRESH_S and 0 < self.remb_bps < NEAR * rate_bps
        return lost > MUCH_LOST or (tight and (queued or lost > LOST))

    def _calm(self, rate_bps: float, now: float) -> bool:
        """Nothing speaks against a try, and the viewer is heard of."""
        if now < max(self._try_at, self._moved_at + STAY_S) or self._troubled(rate_bps, now):
            return False
        heard = now - max(self._lost_at, self._remb_at) < FRESH_S
        return heard and self.lost <= LOST and self.queued_s <= QUEUED_S
