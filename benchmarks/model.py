"""The shop against its model, with a crash possible at every boundary of the store.

A random walk: buyers, payments, cancelling, shipping, counting of stock and sweeps in two processes on
one real store, often several at once. Before and after each call into the store or the provider the
process may be killed, or the call cut off; clients ask again under the same key. After every step a
model in memory must explain what the store holds, and twelve invariants must hold. Time is the
run's own. Every world ends with everybody asking again until all is sold that is wanted.

A violation ends the run with its seed, its episode and the last steps; `--seed S --episode N` begins
there. Exits with 1 then.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import logging
import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import machine, report
from benchmarks.ledger.invariants import Violation
from benchmarks.ledger.process import Clock
from benchmarks.ledger.stores import STORES, Opened
from benchmarks.ledger.walk import Walk
from benchmarks.ledger.world import Counts, World

STEPS = 1_000_000
WALK_STEPS = 150  # of one world, before its end of some 80
WORLDS = 100  # on one store: then a new one, so that it stays small


@dataclass(slots=True)
class Result:
    """What a run on one store came to; `violation` ended it."""

    store: str
    seed: int
    episodes: int = 0
    took_s: float = 0.0
    cpu_s: float = 0.0
    counts: Counts = field(default_factory=Counts)
    violation: str = ""
    recent: Sequence[str] = ()

    @property
    def crashes(self) -> int:
        return self.counts.struck.total()

    def as_json(self) -> dict[str, Any]:
        return {
            "store": self.store,
            "seed": self.seed,
            "steps": self.counts.steps,
            "acts": self.counts.acts,
            "episodes": self.episodes,
            "crashes": dict(self.counts.struck.most_common()),
            "answers": dict(self.counts.answers.most_common()),
            "took_s": round(self.took_s, 1),
            "cpu_s": round(self.cpu_s, 1),
            "violation": self.violation,
            "recent": list(self.recent),
        }


def main(argv: Sequence[str]) -> int:
    options = _options(argv)
    names = [options.store] if options.store else list(STORES)
    console = report.console()
    facts = {
        **machine.describe([]),
        "steps": f"{options.steps:,} on {' and '.join(names)}, seed {options.seed}",
        "stores": "SQLite: two connections to one file, not synced; Redis: two clients, no file",
        "crashes": "simulated, at the boundaries of store and provider",
    }
    report.show_facts(console, f"model, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC", facts)
    columns = TextColumn("{task.description:<34}"), BarColumn(), MofNCompleteColumn()
    shown = Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True))
    with _quiet(), shown as progress:
        results = [
            asyncio.run(
                run(name, STORES[name], options.steps, options.seed, options.episode, progress)
            )
            for name in names
        ]
    _show(console, results)
    if options.json is not None:
        found = [each.as_json() for each in results]
        report.save(options.json, {"facts": facts, "results": found})
    return 1 if any(each.violation for each in results) else 0


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """That a provider was not reached, or was paid another amount, is what is played here."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


async def run(
    store: str,
    opened: Opened,
    steps: int,
    seed: int,
    episode: int = 0,
    progress: Progress | None = None,
) -> Result:
    """That many steps and the end of the last world, or less with a violation."""
    result = Result(store, seed)
    began_s, cpu_s = time.monotonic(), time.process_time()
    task = None if progress is None else progress.add_task(store, total=steps)
    numbers = itertools.count(episode)
    while result.counts.steps < steps and not result.violation:
        async with opened() as stores:
            clock, seqs = Clock(), dict[str, int]()
            for number in itertools.islice(numbers, WORLDS):
                clock.pass_s(1)  # worlds are told apart by when they began
                world = World(stores, clock, result.counts, seqs)
                try:
                    await world.open()
                    await Walk(world, random.Random(f"{seed} {number}")).go(WALK_STEPS)
                except Violation as violation:
                    result.violation = f"seed {seed}, episode {number}: {violation}"
                    result.recent = list(world.recent)
                result.episodes += 1
                if progress is not None and task is not None:
                    what = f"{store}, {result.crashes:,} crashes"
                    progress.update(task, completed=result.counts.steps, description=what)
                if result.violation or result.counts.steps >= steps:
                    break
    result.took_s, result.cpu_s = time.monotonic() - began_s, time.process_time() - cpu_s
    return result


def _show(console: Console, results: Sequence[Result]) -> None:
    rows = [
        [
            each.store,
            f"{each.counts.steps:,}",
            f"{each.counts.acts:,}",
            f"{each.episodes:,}",
            f"{each.crashes:,}",
            "1" if each.violation else "0",
            f"{each.counts.steps / max(each.took_s, 1e-9):,.0f}",
            f"{each.cpu_s / max(1, each.counts.steps) * 1000:.2f}",
        ]
        for each in results
    ]
    columns = [
        "store",
        "steps",
        "acts",
        "worlds",
        "crashes",
        "violations",
        "steps/s",
        "CPU ms/step",
    ]
    report.show_table(console, "steps against the model", columns, rows)
    where = sorted({name for each in results for name in each.counts.struck})
    rows = [[name, *(f"{each.counts.struck[name]:,}" for each in results)] for name in where]
    report.show_table(console, "crashes", ["where", *(each.store for each in results)], rows)
    acts = sorted({name for each in results for name in each.counts.answers})
    rows = [[name, *(f"{each.counts.answers[name]:,}" for each in results)] for name in acts]
    report.show_table(console, "acts", ["what", *(each.store for each in results)], rows)
    for each in results:
        if each.violation:
            console.print(each.violation, style="red", markup=False)
            for line in each.recent:
                console.print(line, markup=False, highlight=False)


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "hawker bench model",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--steps", type=int, default=STEPS, help="on each store")
    parser.add_argument("--store", choices=list(STORES), help="only this one")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--episode", type=int, default=0, help="begin with this world")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(argv)
    if options.steps < 1:
        sys.exit("hawker bench model: --steps is 1 or more")
    return options
