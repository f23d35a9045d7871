"""The probes under way in one broadcast, sent on a short tick."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from mediaserver.rtc.layer import Layer
from mediaserver.rtc.probe import TICK_S, Probe
from mediaserver.rtc.sender import SLICE_S

if TYPE_CHECKING:
    from mediaserver.rtc.viewer import Viewer

PROBES = 8  # at once: each sends up to the next layer's rate, packet by packet
LEAST_BYTES = 600  # not worth a packet


class Prober:
    """Runs probes and tells of each whether it passed."""

    def __init__(
        self, clock: Callable[[], float], on_verdict: Callable[[Viewer, Layer, bool], None]
    ) -> None:
        self._clock = clock
        self._on_verdict = on_verdict
        self._under_way: dict[Viewer, tuple[Probe, Layer]] = {}
        self._timer: asyncio.TimerHandle | None = None

    @property
    def full(self) -> bool:
        return len(self._under_way) >= PROBES

    def begin(self, viewer: Viewer, layer: Layer, from_bps: float, to_bps: float) -> None:
        """Find out whether the viewer's link has room for `layer`."""
        viewer.probe = Probe(from_bps, to_bps, viewer.link, self._clock())
        self._under_way[viewer] = viewer.probe, layer
        self._arm()

    def close(self) -> None:
        self._under_way.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = self._clock()
        for viewer, (probe, layer) in list(self._under_way.items()):
            if viewer.probe is not probe:  # the viewer has left, or moved
                del self._under_way[viewer]
                continue
            verdict = probe.verdict(now)
            if verdict is not None:
                del self._under_way[viewer]
                viewer.probe = None
                self._on_verdict(viewer, layer, verdict == "passed")
                continue
            if probe.due_report(now):
                viewer.report_now()
            if (octets := probe.due_bytes(now)) >= LEAST_BYTES and self._clock() - now < SLICE_S:
                probe.spend(viewer.send_probe(octets))
        if self._under_way:
            self._arm()
