"""What a load measures: counters, errors by name, and histograms that can be sent and added up."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

LEAST_MS = 0.01
STEPS_PER_E = 50  # buckets grow by 2 %: a percentile is true to 1 %

Measure: TypeAlias = Literal[
    "join",
    "join_hls",
    "join_socket",
    "delay",
    "jitter",
    "order",
    "pay",
    "chat",
    "playlist",
    "segment",
]
Count: TypeAlias = Literal[
    "connected",
    "packets",
    "frames",
    "lost",
    "recovered",
    "to_viewers",
    "lost_to_viewers",
    "to_node",
    "lost_to_node",
    "decrypted",
    "events",
    "segments",
    "segment_bytes",
    "stalls",
    "orders",
    "refused",
    "payments",
    "lines_said",
    "lines_heard",
]


@dataclass(slots=True)
class Histogram:
    """Times in ms, by buckets of 2 %; a bounded number of them whatever is measured."""

    buckets: Counter[int] = field(default_factory=Counter)
    highest_ms: float = 0.0

    def add(self, ms: float, times: int = 1) -> None:
        """What lies below LEAST_MS, also a negative time of two clocks, counts as LEAST_MS."""
        bucket = int(math.log(ms / LEAST_MS) * STEPS_PER_E) if ms > LEAST_MS else 0
        self.buckets[bucket] += times
        if ms > self.highest_ms:
            self.highest_ms = ms

    def merge(self, other: Histogram) -> None:
        self.buckets.update(other.buckets)
        self.highest_ms = max(self.highest_ms, other.highest_ms)

    @property
    def count(self) -> int:
        return self.buckets.total()

    def percentile(self, percent: float) -> float | None:
        """In ms; None when nothing was measured."""
        left = self.count * percent / 100
        for bucket in sorted(self.buckets):
            left -= self.buckets[bucket]
            if left <= 0:
                middle_ms = LEAST_MS * math.exp((bucket + 0.5) / STEPS_PER_E)
                return min(middle_ms, self.highest_ms)
        return None


@dataclass(slots=True)
class Figures:
    """Counts and errors grow from the beginning, `connected` apart; `times` are since the last look."""

    counts: Counter[Count] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    times: dict[Measure, Histogram] = field(default_factory=dict)
    cpu_s: float = 0.0  # of the clients
    relay_cpu_s: float = 0.0

    def time(self, measure: Measure, ms: float, times: int = 1) -> None:
        histogram = self.times.get(measure)
        if histogram is None:
            histogram = self.times[measure] = Histogram()
        histogram.add(ms, times)

    def add(self, other: Figures) -> None:
        """Take in those of another process."""
        self.counts.update(other.counts)
        self.errors.update(other.errors)
        self.cpu_s += other.cpu_s
        self.relay_cpu_s += other.relay_cpu_s
        self.add_times(other.times)

    def add_times(self, times: dict[Measure, Histogram]) -> None:
        for measure, histogram in times.items():
            self.times.setdefault(measure, Histogram()).merge(histogram)
