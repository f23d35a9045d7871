"""Damaged input by the million for every parser that reads the wire.

Each parser gets copies of what is right with bytes changed, removed, repeated, or put from elsewhere; it
may read them or refuse them by the peer's family of errors. Two processes share the work. Exits with 1
when a parser raised anything else, when one input took over SLOWEST_S, or when the memory of a process
grew by GROWTH_MAX_BYTES and more after it had begun. What a run did is done again by its seed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks import machine, report
from benchmarks.fuzzing import PARSERS, Unexpected, fuzz
from benchmarks.process import footprint

INPUTS = 10_000_000
UNIT = 20_000  # inputs of one parser at a time: about a second
WARM_UNITS = 20  # of a process, until its heap is as large as it will be
PROCESSES = 2
SLOWEST_S = 1.0  # of CPU: far above what any input takes, far below what would be noticed
GROWTH_MAX_BYTES = 32 << 20
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Unit:
    """Work of one process at a time; `seed` makes it the same again."""

    parser: str
    inputs: int
    seed: int


@dataclass(frozen=True, slots=True)
class Done:
    """What came of a unit, and what its process holds now."""

    unit: Unit
    refused: int
    took_s: float
    slowest_s: float
    pid: int
    rss_bytes: int


@dataclass(slots=True)
class Total:
    """A parser's units."""

    inputs: int = 0
    refused: int = 0
    took_s: float = 0.0
    slowest_s: float = 0.0
    unexpected: str = ""

    def add(self, done: Done) -> None:
        self.inputs += done.unit.inputs
        self.refused += done.refused
        self.took_s += done.took_s
        self.slowest_s = max(self.slowest_s, done.slowest_s)


@dataclass(slots=True)
class Memory:
    """Of one process: when it was warm, and at the most since."""

    units: int = 0
    warm_bytes: int = 0
    most_bytes: int = 0

    def add(self, rss_bytes: int) -> None:
        self.units += 1
        if self.units <= WARM_UNITS:
            self.warm_bytes = self.most_bytes = rss_bytes
        self.most_bytes = max(self.most_bytes, rss_bytes)

    @property
    def growth_bytes(self) -> int:
        return self.most_bytes - self.warm_bytes


def main(argv: Sequence[str]) -> int:
    options = _options(argv)
    names = options.parser or list(PARSERS)
    console = report.console()
    facts = {
        **machine.describe([]),
        "inputs": f"{options.inputs:,} for each of {len(names)} parsers",
        "seed": str(options.seed),
    }
    report.show_facts(console, f"fuzz, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC", facts)
    totals, memory = run(names, options.inputs, options.seed)
    passed = _show(console, totals, memory)
    if options.json is not None:
        found = {name: asdict(total) for name, total in totals.items()}
        report.save(options.json, {"facts": facts, "parsers": found, "passed": passed})
    return 0 if passed else 1


def run(names: Sequence[str], inputs: int, seed: int) -> tuple[dict[str, Total], list[Memory]]:
    """Every unit of every parser, in turn; a parser that fails is left alone from then on."""
    totals = {name: Total() for name in names}
    memory: defaultdict[int, Memory] = defaultdict(Memory)
    columns = TextColumn("{task.description:<20}"), BarColumn(), MofNCompleteColumn()
    context = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(PROCESSES, context) as pool,
        Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress,
    ):
        task = progress.add_task("inputs", total=inputs * len(names))
        futures = {pool.submit(work, unit): unit for unit in _units(names, inputs, seed)}
        for future in as_completed(futures):
            unit = futures.pop(future)
            progress.update(task, advance=unit.inputs, description=unit.parser)
            _count(future, totals[unit.parser], memory)
            if totals[unit.parser].unexpected:
                for other, its in futures.items():
                    if its.parser == unit.parser:
                        other.cancel()
    return totals, list(memory.values())


def work(unit: Unit) -> Done:
    """In a process of its own; raises Unexpected."""
    outcome = fuzz(PARSERS[unit.parser], unit.inputs, unit.seed)
    rss_bytes = footprint(os.getpid()).rss_bytes
    took = outcome.took_s, outcome.slowest_s
    return Done(unit, outcome.refused, *took, os.getpid(), rss_bytes)


def _count(future: Future[Done], total: Total, memory: defaultdict[int, Memory]) -> None:
    if future.cancelled():
        return
    error = future.exception()
    if isinstance(error, Unexpected):
        total.unexpected = str(error)
    elif error is not None:
        raise error
    else:
        done = future.result()
        total.add(done)
        memory[done.pid].add(done.rss_bytes)


def _units(names: Sequence[str], inputs: int, seed: int) -> Iterator[Unit]:
    """The parsers in turn, so that a run that is broken off has seen them all."""
    for number, start in enumerate(range(0, inputs, UNIT)):
        for name in names:
            yield Unit(name, min(UNIT, inputs - start), seed + number)


def _show(console: Console, totals: dict[str, Total], memory: Sequence[Memory]) -> bool:
    rows = [
        (
            name,
            f"{total.inputs:,}",
            f"{total.refused / max(1, total.inputs):.0%}",
            f"{total.inputs / total.took_s:,.0f}" if total.took_s else "",
            f"{total.slowest_s * 1000:.1f}",
            "an error that is no refusal" if total.unexpected else "",
        )
        for name, total in totals.items()
    ]
    columns = ("parser", "inputs", "refused", "inputs/s", "slowest, ms", "")
    report.show_table(console, "Damaged input, per second of CPU", columns, rows)
    for total in totals.values():
        if total.unexpected:
            console.print(total.unexpected, style="red", markup=False)
    growth_bytes = max((each.growth_bytes for each in memory), default=0)
    console.print(f"memory of a process grew by {growth_bytes / MIB:.1f} MiB at most")
    slow = [name for name, total in totals.items() if total.slowest_s > SLOWEST_S]
    if slow:
        console.print(f"too slow: {', '.join(slow)}", style="red")
    failed = any(total.unexpected for total in totals.values())
    return not failed and not slow and growth_bytes < GROWTH_MAX_BYTES


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("hawker bench fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=INPUTS, help="for each parser")
    parser.add_argument(
        "--parser", action="append", choices=list(PARSERS), metavar="NAME", help=", ".join(PARSERS)
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(argv)
    if options.inputs < 1:
        sys.exit("hawker bench fuzz: --inputs is 1 or more")
    return options
