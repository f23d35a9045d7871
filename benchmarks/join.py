"""What a viewer's joining costs the server: CPU until connected, joins a second, memory per viewer.

The same viewers send the same offers over HTTP to `hawker serve` and, in the same run, to stock aiortc,
whose RTCPeerConnection answers them in a process of its own. Every figure is from a fresh process that
some viewers have warmed up; the servers take turns, so that a busy machine disturbs both alike, and the
median of the rounds counts. The stream is a still picture: what is measured is the joining, not the
sending, which `fanout` measures.

CPU per join is what the server's process used from the first offer until the last of the viewers was
connected, less what those already there cost meanwhile; its inverse is what one core can take. With data
channels a viewer is connected when it has heard its first event.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import machine, report
from benchmarks.join_aiortc import answer_offers
from benchmarks.join_load import AT_ONCE, join
from benchmarks.loads import Load
from benchmarks.process import cpu_s, footprint
from benchmarks.stage import on_the_air, whep
from benchmarks.still import FRAMES_PER_S, publish_still

WARM_UP_VIEWERS = 20
KIB = 1 << 10
GOALS = "2.5 ms, 300 joins/s of one core, 100 KiB per viewer"

Door = tuple[int, str]  # the process that answers, and the URL that takes offers


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be run; `settle_s` before memory is looked at, and how long the viewers only stay."""

    viewers: int
    rounds: int
    settle_s: float


@dataclass(frozen=True, slots=True)
class Variant:
    title: str
    opened: Callable[[], AbstractContextManager[Door]]
    data: bool


@dataclass(frozen=True, slots=True)
class Sample:
    """One round of one variant; the idle figure is of each viewer."""

    variant: str
    viewers: int
    joining_s: float
    joining_cpu_s: float
    idle_cpu_per_s: float
    rss_bytes: int

    @property
    def cpu_ms(self) -> float:
        """Of one join."""
        present = WARM_UP_VIEWERS + self.viewers / 2
        idle_s = self.idle_cpu_per_s * present * self.joining_s
        return (self.joining_cpu_s - idle_s) / self.viewers * 1000

    @property
    def kib(self) -> float:
        """Of one viewer."""
        return self.rss_bytes / self.viewers / KIB


@contextmanager
def hawker() -> Iterator[Door]:
    with on_the_air(publish_still) as server:
        yield server.pid, whep(server)


@contextmanager
def aiortc() -> Iterator[Door]:
    with Load(answer_offers) as load:
        yield load.ask("where")


VARIANTS = {
    "hawker": Variant("Hawker", hawker, True),
    "aiortc": Variant("aiortc", aiortc, True),
    "hawker_media": Variant("Hawker, no data", hawker, False),
    "aiortc_media": Variant("aiortc, no data", aiortc, False),
}


@dataclass(frozen=True, slots=True)
class Result:
    samples: Sequence[Sample]

    def all(self, variant: str, figure: Callable[[Sample], float]) -> list[float]:
        return [figure(each) for each in self.samples if each.variant == variant]

    def median(self, variant: str, figure: Callable[[Sample], float]) -> float:
        return statistics.median(self.all(variant, figure))


def main(argv: Sequence[str]) -> int:
    plan, saved = _options(argv)
    facts = {**machine.describe(), **_conditions(plan)}
    console = Console()
    report.show_facts(console, f"join, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC", facts)
    columns = TextColumn("{task.description:<34}"), BarColumn(), MofNCompleteColumn()
    try:
        with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress:
            result = run(plan, progress)
    except (OSError, EOFError) as error:  # also a TimeoutError: a machine that is far too busy
        console.print(f"the run broke off: {type(error).__name__}: {error}", highlight=False)
        return 1
    _show(console, result)
    if saved is not None:
        report.save(saved, _as_json(facts, result))
    return 0


def run(plan: Plan, progress: Progress) -> Result:
    """Measure in turns."""
    task = progress.add_task("", total=plan.rounds * len(VARIANTS))
    samples = []
    for number in range(plan.rounds):
        for name, variant in VARIANTS.items():
            progress.update(task, description=f"round {number + 1}: {variant.title}")
            samples.append(measure(name, plan))
            progress.advance(task)
    return Result(samples)


def measure(name: str, plan: Plan) -> Sample:
    """One variant in fresh processes: warm up, join, stay; raises TimeoutError, EOFError."""
    variant = VARIANTS[name]
    with variant.opened() as (pid, url), Load(join, url, variant.data) as viewers:
        viewers.ask(str(WARM_UP_VIEWERS))
        time.sleep(plan.settle_s)
        rss_bytes, cpu_began_s, began_s = footprint(pid).rss_bytes, cpu_s(pid), time.monotonic()
        present = viewers.ask(str(plan.viewers))
        joining_cpu_s, joining_s = cpu_s(pid) - cpu_began_s, time.monotonic() - began_s
        time.sleep(plan.settle_s)
        idle_began_s, began_s = cpu_s(pid), time.monotonic()
        time.sleep(plan.settle_s)
        idle = (cpu_s(pid) - idle_began_s) / (time.monotonic() - began_s)
        grown = footprint(pid).rss_bytes - rss_bytes
        return Sample(name, plan.viewers, joining_s, joining_cpu_s, idle / present, grown)


# -- words and figures ---------------------------------------------------------------------------


def _options(argv: Sequence[str]) -> tuple[Plan, Path | None]:
    parser = argparse.ArgumentParser(
        "hawker bench join", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--viewers", type=_positive(int), default=100, help="default %(default)s")
    parser.add_argument("--rounds", type=_positive(int), help="default 5; the median counts")
    parser.add_argument("--settle", type=_positive(float), help="seconds; default 4")
    parser.add_argument("--quick", action="store_true", help="1 round, 0.5 s to settle")
    parser.add_argument("--json", type=Path, metavar="FILE", help="save all that was measured")
    given = parser.parse_args(argv)
    rounds = given.rounds or (1 if given.quick else 5)
    settle_s = given.settle or (0.5 if given.quick else 4.0)
    return Plan(given.viewers, rounds, settle_s), given.json


def _positive(kind: type[int] | type[float]) -> Callable[[str], float]:
    def parse(text: str) -> float:
        value = kind(text)
        if value <= 0:
            raise argparse.ArgumentTypeError(f"{text} is not above zero")
        return value

    return parse


def _conditions(plan: Plan) -> dict[str, str]:
    return {
        "work": f"{plan.viewers} viewers join, {AT_ONCE} at a time, after {WARM_UP_VIEWERS} that warm "
        f"up; video, audio; HTTP, ICE, DTLS (the server's side) on loopback",
        "stream": f"a still picture, {FRAMES_PER_S} packets/s; aiortc's tracks send none",
        "CPU": "user + system of the server's process until all are connected, the kernel's receive "
        "half included, less what those already there cost",
        "memory": f"growth of RSS over these viewers, {2 * plan.settle_s:g} s after the last joined",
        "joins/s": "what one core can take: the inverse of the CPU",
        "idle": "what one connected viewer costs a second",
        "no data": "without data channels and events",
        "aiortc": "an RTCPeerConnection per viewer behind aiohttp, one first event of 0.7 KiB; both on "
        "uvloop",
        "goals": GOALS,
        "figures": f"median of {plan.rounds} rounds, variants in turns, a process each",
    }


_COLUMNS = ("", "CPU ms", "least-most", "joins/s", "KiB", "least-most", "idle ms/s")


def _show(console: Console, result: Result) -> None:
    rows = [_row(result, variant) for variant in VARIANTS]
    report.show_table(console, "A viewer until it is connected, and after", _COLUMNS, rows)
    for variant in ("hawker", "hawker_media"):
        other = variant.replace("hawker", "aiortc")
        cpu, kib = (
            result.median(other, figure) / result.median(variant, figure)
            for figure in (_cpu_ms, _kib)
        )
        words = f"{VARIANTS[other].title}: {cpu:.1f} x Hawker's CPU and {kib:.1f} x its memory"
        console.print(words, highlight=False)


def _row(result: Result, variant: str) -> list[str]:
    cpu_ms, kib = (result.all(variant, figure) for figure in (_cpu_ms, _kib))
    return [
        VARIANTS[variant].title,
        f"{statistics.median(cpu_ms):.2f}",
        f"{min(cpu_ms):.2f}-{max(cpu_ms):.2f}",
        f"{1000 / statistics.median(cpu_ms):,.0f}",
        f"{statistics.median(kib):.0f}",
        f"{min(kib):.0f}-{max(kib):.0f}",
        f"{result.median(variant, lambda each: each.idle_cpu_per_s * 1000):.3f}",
    ]


def _cpu_ms(sample: Sample) -> float:
    return sample.cpu_ms


def _kib(sample: Sample) -> float:
    return sample.kib


def _as_json(facts: Mapping[str, str], result: Result) -> dict[str, Any]:
    figures = {"cpu_ms": _cpu_ms, "kib": _kib}
    return {
        "facts": dict(facts),
        **{
            name: {variant: result.median(variant, figure) for variant in VARIANTS}
            for name, figure in figures.items()
        },
        "samples": [asdict(each) for each in result.samples],
    }
