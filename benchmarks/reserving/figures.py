"""What was measured of reservations, as a table and as JSON."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from benchmarks import report


@dataclass(frozen=True, slots=True)
class Sample:
    """One stretch; `exact`: every piece was sold once, and none twice, and the small stock sold out."""

    kind: str
    title: str
    processes: int
    seconds: float
    sold: int
    answers_ms: Sequence[float]  # sorted
    cpu_s: float
    commits: int
    transactions: int
    exact: bool

    @property
    def per_s(self) -> float:
        return self.sold / self.seconds

    @property
    def cpu_us(self) -> float:
        return self.cpu_s / max(1, self.sold) * 1e6

    def answered_ms(self, share: float) -> float:
        """Within which that share was answered."""
        answers = self.answers_ms
        return answers[min(len(answers) - 1, int(len(answers) * share))] if answers else 0.0

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "processes": self.processes,
            "per_s": self.per_s,
            "sold": self.sold,
            "seconds": self.seconds,
            "p50_ms": self.answered_ms(0.5),
            "p99_ms": self.answered_ms(0.99),
            "cpu_us": self.cpu_us,
            "commits": self.commits,
            "transactions": self.transactions,
            "exact": self.exact,
        }


def show(console: Console, samples: Sequence[Sample]) -> None:
    """One row for each kind and number of processes."""
    groups = _groups(samples)
    rows = [_row(groups, key) for key in sorted(groups, key=_order(groups))]
    columns = ["", "orders/s", "x one", "x Lua", "p50 ms", "p99 ms", "CPU µs", "batch", "fsyncs/s"]
    report.show_table(console, "Reservations of one SKU", [*columns, "exact"], rows)


def as_json(facts: Mapping[str, str], samples: Sequence[Sample]) -> dict[str, Any]:
    groups = _groups(samples)
    return {
        "facts": dict(facts),
        "per_s": {
            f"{kind} {processes}": _per_s(groups[kind, processes]) for kind, processes in groups
        },
        "samples": [each.to_json() for each in samples],
    }


Groups = dict[tuple[str, int], list[Sample]]


def _groups(samples: Sequence[Sample]) -> Groups:
    groups: Groups = {}
    for sample in samples:
        groups.setdefault((sample.kind, sample.processes), []).append(sample)
    return groups


def _order(groups: Groups) -> Any:
    kinds = list(dict.fromkeys(kind for kind, _ in groups))
    return lambda key: (kinds.index(key[0]), key[1])


def _per_s(group: Sequence[Sample]) -> float:
    return statistics.median(each.per_s for each in group)


def _row(groups: Groups, key: tuple[str, int]) -> list[str]:
    kind, processes = key
    group = groups[key]
    per_s = _per_s(group)
    commits, fsyncs = (
        sum(getattr(each, name) for each in group) for name in ("commits", "transactions")
    )
    return [
        f"{group[0].title}, {processes}",
        f"{per_s:,.0f}",
        _times(per_s, groups.get((kind, 1))),
        _times(per_s, groups.get(("lua", processes))),
        f"{statistics.median(each.answered_ms(0.5) for each in group):.1f}",
        f"{statistics.median(each.answered_ms(0.99) for each in group):.1f}",
        f"{statistics.median(each.cpu_us for each in group):.0f}",
        f"{sum(each.sold for each in group) / commits:.0f}" if commits else "",
        f"{fsyncs / sum(each.seconds for each in group):,.0f}" if fsyncs else "",
        "yes" if all(each.exact for each in group) else "NO",
    ]


def _times(per_s: float, other: Sequence[Sample] | None) -> str:
    return "" if other is None else f"{per_s / _per_s(other):.2f}"
