"""What `hawker bench audience` measured at each step, the bounds it is held to, and both in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console

from benchmarks import report
from benchmarks.meter import Hold
from mediaserver.rtc.sender import PASS_S

FEW, FEW_P99_MS = 158, 20.0
MEAN_MS, P99_MS = 12.0, 120.0


@dataclass(frozen=True, slots=True)
class Step:
    """One number of viewers, measured; shares are of one core."""

    viewers: int
    joined: int
    failed: Mapping[str, int]
    closed: int
    packets_per_s: float
    lost: int
    unread: int
    decrypted: int
    undecryptable: int
    delayed: int  # packets whose delay is known
    mean_ms: float
    p50_ms: float
    p99_ms: float
    highest_ms: float
    server_share: float
    waited_share: float
    viewers_share: float
    us_per_packet: float
    holds: Sequence[Hold]

    @property
    def longest(self) -> Hold:
        return max(self.holds, key=lambda hold: hold.cpu_ms, default=Hold("nothing"))

    @property
    def missed(self) -> list[str]:
        """Which bounds this step does not keep, in words."""
        p99_ms = FEW_P99_MS if self.viewers <= FEW else P99_MS
        bounds = {
            f"{self.viewers - self.joined} did not get in": self.joined < self.viewers,
            f"{self.closed} closed": self.closed > 0,
            f"{self.lost:,} packets lost": self.lost > 0,
            f"{self.undecryptable} packets not decrypted": self.undecryptable > 0,
            f"mean over {MEAN_MS:g} ms": self.mean_ms > MEAN_MS or not self.delayed,
            f"p99 over {p99_ms:g} ms": self.p99_ms > p99_ms,
            f"loop held {self.longest.cpu_ms:.1f} ms": self.longest.cpu_ms > PASS_S * 1000,
        }
        return [words for words, missed in bounds.items() if missed]


def show(console: Console, steps: Sequence[Step]) -> None:
    """Two tables, and each step in words."""
    columns = ["viewers", "packets/s", "lost", "mean ms", "p50", "p99", "highest", "hold ms"]
    rows = [
        [
            f"{each.joined:,}",
            f"{each.packets_per_s:,.0f}",
            f"{each.lost:,}",
            *(f"{ms:.1f}" for ms in (each.mean_ms, each.p50_ms, each.p99_ms, each.highest_ms)),
            f"{each.longest.cpu_ms:.2f}",
        ]
        for each in steps
    ]
    report.show_table(console, "Viewers of one stream on one core of server", columns, rows)
    columns = ["viewers", "server's CPU", "waits for its core", "µs/packet", "viewers' CPU"]
    rows = [
        [
            f"{each.joined:,}",
            *(f"{share:.0%}" for share in (each.server_share, each.waited_share)),
            f"{each.us_per_packet:.2f}",
            f"{each.viewers_share:.0%}",
        ]
        for each in steps
    ]
    report.show_table(console, "What it took, of one core", columns, rows)
    for each in steps:
        console.print(_in_words(each), highlight=False)
    kept = [each.viewers for each in steps if not each.missed]
    console.print(f"Most viewers with all bounds kept: {max(kept, default=0):,}.", highlight=False)


def _in_words(step: Step) -> str:
    longest = step.longest
    unread = f"; their own machine did not read {step.unread:,} runs" if step.unread else ""
    over, calls = (sum(getattr(h, name) for h in step.holds) for name in ("over", "calls"))
    failed = "".join(f"; {number} failed: {what}" for what, number in step.failed.items())
    return (
        f"{step.viewers:,}: {'; '.join(step.missed) or 'all bounds kept'}{unread}{failed}. "
        f"Longest hold: {longest.name}, {longest.cpu_ms:.2f} ms; {over} of {calls:,} callbacks over "
        f"{PASS_S * 1000:g} ms. {step.decrypted:,} packets decrypted."
    )


def as_json(step: Step) -> dict[str, Any]:
    """All that was measured, and what it misses."""
    return {**asdict(step), "missed": step.missed}
