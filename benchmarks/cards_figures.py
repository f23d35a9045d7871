"""What `hawker bench cards` measured, the bound it is held to, and both in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console

from benchmarks import report
from benchmarks.member import Delays
from benchmarks.meter import Hold

P99_MS = 100.0
PERCENTILES = (50.0, 95.0, 99.0, 99.9)


@dataclass(frozen=True, slots=True)
class Result:
    """Times of all cards at all viewers; shares are of one core while cards were pinned."""

    joined: int
    failed: Mapping[str, int]
    closed: int
    cards: int
    missing: int
    delays: Delays
    late: int  # over the bound
    answered_ms: Sequence[float]  # until the POST was answered
    refills: int
    server_share: float
    waited_share: float
    viewers_share: float
    holds: Sequence[Hold]

    def passed(self, viewers: int) -> bool:
        in_time = self.delays.percentile_ms(99) <= P99_MS
        return self.joined == viewers and not self.missing and not self.closed and in_time


def show(console: Console, result: Result) -> None:
    """A table, and what stands behind it."""
    percentiles = [f"{result.delays.percentile_ms(each):.1f}" for each in PERCENTILES]
    answered = sorted(result.answered_ms)
    columns = ["viewers", "cards", "missing", *(f"p{each:g} ms" for each in PERCENTILES), "highest"]
    row = [f"{result.joined:,}", str(result.cards), str(result.missing), *percentiles]
    row.append(f"{result.delays.highest_ms:.1f}")
    report.show_table(console, "A card, from the POST to the viewer", columns, [row])
    longest = max(result.holds, key=lambda hold: hold.cpu_ms, default=Hold("nothing"))
    lines = [
        f"{result.late:,} of {result.delays.count:,} came after {P99_MS:g} ms; "
        f"refills asked for: {result.refills:,}; sessions closed: {result.closed}.",
        f"The POST was answered after {answered[len(answered) // 2]:.1f} ms (median), "
        f"{answered[-1]:.1f} ms at most.",
        f"Server {result.server_share:.0%} of its core ({result.waited_share:.0%} it waited for "
        f"it), viewers {result.viewers_share:.0%}; longest hold {longest.name} "
        f"{longest.cpu_ms:.2f} ms.",
    ]
    lines += [f"failed {number} times: {what}" for what, number in result.failed.items()]
    for line in lines:
        console.print(line, highlight=False)


def as_json(result: Result) -> dict[str, Any]:
    """All that was measured, the delays as percentiles in ms."""
    delays = result.delays
    ms = {f"p{each:g}": delays.percentile_ms(each) for each in PERCENTILES}
    document = asdict(result)
    document["delays"] = {**ms, "mean": delays.mean_ms, "highest": delays.highest_ms}
    document["delays"]["count"] = delays.count
    return document
