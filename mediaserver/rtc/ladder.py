"""The layers of a broadcast in rising order, and which of them each viewer has.

Each viewer's link says what it wants (`link`); here it is done. A layer counts while pictures of it
come: one that has been silent for SILENT_S, while another one is not, loses its viewers to that. What
nobody has is not read, so its rate is that of its last time, or guessed by its size until it has been
measured.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mediaserver.rtc.layer import Layer
from mediaserver.rtc.link import Move, Try
from mediaserver.rtc.prober import Prober
from mediaserver.rtc.sender import SLICE_S

if TYPE_CHECKING:
    from mediaserver.rtc.broadcast import Broadcast
    from mediaserver.rtc.viewer import Viewer

PULSE_S = 0.25
GO_ON_S = 0.01  # between two passes, where many have to move
SILENT_S = 1.0
SHUNNED_S = 10.0  # a layer found silent is not thought of for so long
AHEAD_S = 3.0  # before a try the layer is read for so long, to know its rate
OVERHEAD = 1.05  # headers and tags, over payloads
GUESS_BPS = 2_500_000  # of a picture of GUESS_PIXELS, until any layer has been measured
GUESS_PIXELS = 1280 * 720
GUESS_POWER = 0.75  # of the pixels: four times as many take three times the rate


class Ladder:
    """Moves the viewers of a broadcast between its layers."""

    def __init__(self, broadcast: Broadcast) -> None:
        self._broadcast = broadcast
        self._prober = Prober(broadcast.clock, self._on_verdict)
        self._shunned: dict[str, float] = {}  # until when, by name
        self._timer: asyncio.TimerHandle | None = None

    def watch(self) -> None:
        """Look after silence from now on, while there is a choice."""
        if self._timer is None and len(self._broadcast.layers) > 1 and self._broadcast.viewers:
            self._arm(PULSE_S)

    def close(self) -> None:
        self._prober.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # -- the order -------------------------------------------------------------------------------

    def order(self, now: float) -> list[tuple[float, Layer]]:
        """Rate in bit/s with sound, and layer, in rising order, of those that may be chosen."""
        layers = self._broadcast.layers.values()
        fitting = [each for each in layers if self._counts(each, now)]
        rates = [(self._rate_bps(each), len(fitting) - n, each) for n, each in enumerate(fitting)]
        return [(rate, layer) for rate, _, layer in sorted(rates)]

    def lower(self, viewer: Viewer, now: float) -> Layer | None:
        """Where a viewer goes whose link is too thin for what it has."""
        own = self._rate_bps(viewer.layer)
        below = [each for each in self.order(now) if each[0] < own]
        return self._nearest(viewer, below, now) if below else None

    def _counts(self, layer: Layer, now: float) -> bool:
        if layer.running:
            return now - layer.fed_at < SILENT_S
        return now >= self._shunned.get(layer.name, 0.0)

    def _rate_bps(self, layer: Layer) -> float:
        audio = self._broadcast.audio.bytes_per_s
        video = layer.line.bytes_per_s or self._guess(layer) / 8
        return 8 * OVERHEAD * (video + audio)

    def _guess(self, layer: Layer) -> float:
        """By the size of its picture, and the rate of a layer that has been measured."""
        pixels, bps = GUESS_PIXELS, float(GUESS_BPS)
        for other in self._broadcast.layers.values():
            if other.line.bytes_per_s and other.pixels:
                pixels, bps = other.pixels, 8 * other.line.bytes_per_s
                break
        return float(bps * ((layer.pixels or pixels / 4) / pixels) ** GUESS_POWER)

    # -- moves -----------------------------------------------------------------------------------

    def consider(self, viewer: Viewer, now: float) -> None:
        """Something was heard of a viewer's link: move it, or try, or leave it where it is."""
        broadcast, link = self._broadcast, viewer.link
        if len(broadcast.layers) < 2 or viewer not in viewer.layer.viewers:
            return
        if viewer.target is not None or viewer.probe is not None or broadcast.waits(viewer):
            return
        order = self.order(now)
        layers = [layer for _, layer in order]
        if viewer.layer not in layers:
            return
        place = layers.index(viewer.layer)
        if place + 1 < len(layers) and link.thinks_of_more(now, AHEAD_S):
            layers[place + 1].want(AHEAD_S)
        rates = [rate for rate, _ in order]
        match link.wish(rates, place, now):
            case Move(to=to):
                self._go(viewer, layers[to], rises=to > place)
            case Try(to=to):
                known = layers[to].running and layers[to].line.bytes_per_s
                if known and not viewer.mending and not self._prober.full:
                    self._prober.begin(viewer, layers[to], rates[place], rates[to])

    def clear(self, layer: Layer) -> None:
        """Nobody can have this layer any longer."""
        now = self._broadcast.clock()
        for viewer in list(layer.coming):
            viewer.layer.stay(viewer)
        for viewer in list(layer.viewers):
            order = self.order(now) or [(0.0, self._broadcast.source)]
            self.fall(viewer, self._nearest(viewer, order, now))

    def _go(self, viewer: Viewer, target: Layer, *, rises: bool) -> None:
        viewer.rises = rises
        viewer.layer.follow(viewer, target)

    def fall(self, viewer: Viewer, target: Layer) -> None:
        """At once, without a picture until the next keyframe of that layer."""
        viewer.probe = None
        viewer.rises = False
        viewer.layer.remove(viewer)
        viewer.on_layer(target, kept=False)
        target.wait(viewer)

    def _on_verdict(self, viewer: Viewer, layer: Layer, passed: bool) -> None:
        now = self._broadcast.clock()
        if not passed:
            viewer.link.on_probe_failed(now)
            viewer.forgive_losses()
        elif self._counts(layer, now) and viewer.target is None:
            self._go(viewer, layer, rises=True)

    # -- silence ---------------------------------------------------------------------------------

    def _pulse(self) -> None:
        self._timer = None
        now = self._broadcast.clock()
        silent = [
            layer
            for layer in self._broadcast.layers.values()
            if layer.running and now - layer.fed_at >= SILENT_S
        ]
        if all(self._leave_silent(layer, now) for layer in silent):
            self.watch()
        else:
            self._arm(GO_ON_S)

    def _arm(self, delay_s: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._pulse)

    def _leave_silent(self, layer: Layer, now: float) -> bool:
        """To those that are heard of; where there is none, the others are read for a while.

        False when there are more of them than fit in a pass.
        """
        self._shunned[layer.name] = now + SHUNNED_S
        for viewer in list(layer.coming):
            viewer.layer.stay(viewer)
        order = self.order(now)
        heard = [(rate, each) for rate, each in order if each.heard(now - SILENT_S)]
        for viewer in list(layer.viewers) if heard else ():
            if self._broadcast.clock() - now > SLICE_S:
                return False
            self.fall(viewer, self._nearest(viewer, heard, now))
        if layer.viewers:
            for _, each in order:
                each.want(AHEAD_S)
        return True

    def _nearest(self, viewer: Viewer, order: Sequence[tuple[float, Layer]], now: float) -> Layer:
        """For a viewer that can't stay where it is: what its link carries, not above its own."""
        own = self._rate_bps(viewer.layer)
        below = [each for each in order if each[0] <= own and each[1] is not viewer.layer]
        if not below:
            return next(layer for _, layer in order if layer is not viewer.layer)
        rates = [*(rate for rate, _ in below), own]
        return below[viewer.link.lower(rates, len(below), now)][1]
