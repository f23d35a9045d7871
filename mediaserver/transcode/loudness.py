"""How loud a stream sounds: EBU R128, by libavfilter's `ebur128`, of frames as they are decoded.

The filter gives the momentary loudness (400 ms) every 100 ms: the gating blocks of ITU-R BS.1770-4.
They are integrated here over the last WINDOW_S, not over the whole show, so that a fader that was moved
shows within a minute. Mono counts as it is heard, from two loudspeakers.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator

import av
from av.filter import Graph

BLOCKS_PER_S = 10
WINDOW_S = 60
SETTLED_S = 10  # less than this is no figure to judge by
SHORT_TERM_S = 3  # of EBU Tech 3341
SILENCE_LUFS = -70.0  # the absolute gate of BS.1770: nothing below it is counted, or told apart
RELATIVE_GATE_LU = 10.0


class LoudnessMeter:
    """Takes every frame of a track; loudness in LUFS."""

    def __init__(self) -> None:
        self._short_term = SILENCE_LUFS
        self._blocks: deque[float] = deque(maxlen=WINDOW_S * BLOCKS_PER_S)
        self._unread = 0  # blocks since the last readings
        self._graph: Graph | None = None
        self._form = ("", "", 0)

    def take(self, frame: av.AudioFrame) -> None:
        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._graph is None or form != self._form:
            self._graph, self._form = _graph(frame), form
        self._graph.push(frame)
        for momentary, short_term in _measured(self._graph):
            if not math.isfinite(momentary + short_term):  # a damaged frame stays in the filter
                self._graph = None
                return
            self._blocks.append(momentary)
            self._short_term = max(short_term, SILENCE_LUFS)
            self._unread += 1

    def readings(self) -> dict[str, float]:
        """Once a second of sound what is known by now, by its name in relay.wire; else nothing."""
        if self._unread < BLOCKS_PER_S:
            return {}
        self._unread = 0
        known = {"loudness_now_lufs": self.short_term, "loudness_lufs": self.integrated}
        return {name: value for name, value in known.items() if value is not None}

    @property
    def short_term(self) -> float | None:
        """Of the last 3 s; None before."""
        return self._short_term if len(self._blocks) >= SHORT_TERM_S * BLOCKS_PER_S else None

    @property
    def integrated(self) -> float | None:
        """Of the last WINDOW_S, silence left out; None before SETTLED_S of sound."""
        if len(self._blocks) < SETTLED_S * BLOCKS_PER_S:
            return None
        ungated = _mean(self._blocks, SILENCE_LUFS)
        return _mean(self._blocks, max(SILENCE_LUFS, ungated - RELATIVE_GATE_LU))


def _mean(blocks: deque[float], gate: float) -> float:
    """The loudness of the mean energy of the blocks above `gate`."""
    energies = [10 ** (block / 10) for block in blocks if block > gate]
    return 10 * math.log10(sum(energies) / len(energies)) if energies else SILENCE_LUFS


def _graph(frame: av.AudioFrame) -> Graph:
    graph = Graph()
    source = graph.add_abuffer(
        sample_rate=frame.sample_rate,
        format=frame.format.name,
        layout=frame.layout.name,
        time_base=frame.time_base,
    )
    meter = graph.add("ebur128", "metadata=1:framelog=quiet:dualmono=1")
    source.link_to(meter)
    meter.link_to(graph.add("abuffersink"))
    graph.configure()
    return graph


def _measured(graph: Graph) -> Iterator[tuple[float, float]]:
    """Momentary and short-term loudness of every block that is complete."""
    while True:
        try:
            found = graph.pull().metadata
        except (av.BlockingIOError, av.EOFError):
            return
        if "lavfi.r128.M" in found:
            yield float(found["lavfi.r128.M"]), float(found["lavfi.r128.S"])
