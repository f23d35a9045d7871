"""kill -9 of the server, and of Redis, under buyers who remember every answer.

Real servers, real HTTP, real kills at random moments, some while it starts. Buyers order, pay by test
cards and cancel, and ask again under the same key until they are answered. At the end what the store
holds is compared with what they were told: 0 oversold, 0 stuck, 0 doubled, 0 acknowledged and lost,
and the one thing that everybody wants is sold to the last piece. Exits with 1 otherwise.

What a kill -9 shows is that an answer waits for the store, and that a start finds its way from whatever
was left. A power cut is another thing: the kernel keeps what a killed process has written.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import machine, report
from benchmarks.ledger.buyers import HOT, STOCKED, Buyers
from benchmarks.ledger.places import PLACES, Place
from benchmarks.ledger.reckoning import Reckoning, reckon
from benchmarks.ledger.servers import Servers

KILLS = 1_000
BUYERS = 8
LIVES_S = 0.6  # at most, under load, before it is killed
EARLY = 0.1  # of the kills come while the server starts
EARLY_S = 0.15


@dataclass(slots=True)
class Result:
    store: str
    kills: dict[str, int] = field(default_factory=dict)
    starts_s: list[float] = field(default_factory=list)
    answered: int = 0
    asked_again: int = 0
    took_s: float = 0.0
    reckoning: Reckoning | None = None

    @property
    def passed(self) -> bool:
        return self.reckoning is not None and self.reckoning.passed

    def as_json(self) -> dict[str, Any]:
        return {
            "store": self.store,
            "kills": self.kills,
            "start_median_s": round(statistics.median(self.starts_s), 3),
            "answered": self.answered,
            "asked_again": self.asked_again,
            "took_s": round(self.took_s, 1),
            "reckoning": None if self.reckoning is None else self.reckoning.as_json(),
        }


def main(argv: Sequence[str]) -> int:
    options = _options(argv)
    names = [options.store] if options.store else list(PLACES)
    console = report.console()
    facts = {
        **machine.describe([]),
        "load": f"{BUYERS} buyers over HTTP, a sandbox payment for most orders",
        "kills": f"{options.kills:,} of kill -9, at most {LIVES_S} s after a start, seed {options.seed}",
        "stores": "SQLite: synchronous=FULL; Redis: appendonly, appendfsync always",
    }
    report.show_facts(console, f"kills, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC", facts)
    columns = TextColumn("{task.description:<30}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress:
        results = [asyncio.run(run(name, options.kills, options.seed, progress)) for name in names]
    _show(console, results)
    if options.json is not None:
        found = [each.as_json() for each in results]
        report.save(options.json, {"facts": facts, "results": found})
    return 0 if all(each.passed for each in results) else 1


async def run(store: str, kills: int, seed: int, progress: Progress | None = None) -> Result:
    """That many kills under load, and the reckoning."""
    result, began_s = Result(store), time.monotonic()
    dice = random.Random(seed)
    task = None if progress is None else progress.add_task(store, total=kills)
    async with PLACES[store]() as place:
        async with Servers(place) as servers, Buyers(servers, BUYERS, seed) as buyers:
            result.starts_s.append(await servers.start())
            await buyers.open()
            for _ in range(kills):
                victim = await _kill_one(place, servers, dice, result)
                result.kills[victim] = result.kills.get(victim, 0) + 1
                if progress is not None and task is not None:
                    progress.advance(task)
            await buyers.finish()
        result.answered, result.asked_again = buyers.answered, buyers.asked_again
        async with place.opened() as kept:
            limits = dict.fromkeys(STOCKED)
            result.reckoning = await reckon(
                kept, STOCKED, limits, buyers.asked, buyers.told, sold_out=HOT
            )
    result.took_s = time.monotonic() - began_s
    return result


async def _kill_one(place: Place, servers: Servers, dice: random.Random, result: Result) -> str:
    """Let them live for a moment, kill one, and see that it is back; which it was."""
    await asyncio.sleep(dice.uniform(0, LIVES_S))
    if dice.choice(place.victims) == "server":
        await servers.kill()
        if dice.random() < EARLY:
            with contextlib.suppress(ConnectionError):
                await servers.start(killed_after_s=dice.uniform(0, EARLY_S))
        result.starts_s.append(await servers.start())
        return "server"
    await place.kill_and_start()
    return "store"


def _show(console: Console, results: Sequence[Result]) -> None:
    columns = ["store", "orders", "confirmed", "oversold", "stuck", "doubled", "lost", "unsold"]
    rows = []
    for each in results:
        found = each.reckoning
        assert found is not None
        faults = found.oversold, found.stuck, found.doubled, found.lost, found.unsold
        rows.append([each.store, *(f"{n:,}" for n in (found.orders, found.confirmed, *faults))])
    report.show_table(console, "after all of them", columns, rows)
    for each in results:
        kills = " and ".join(f"{number:,} of the {victim}" for victim, number in each.kills.items())
        console.print(
            f"{each.store}: kills {kills}; {each.answered:,} answers, asked again {each.asked_again:,} "
            f"times; a start takes {statistics.median(each.starts_s):.2f} s; {each.took_s:,.0f} s",
            highlight=False,
        )
        if each.reckoning is not None and each.reckoning.violation:
            console.print(f"{each.store}: {each.reckoning.violation}", style="red", markup=False)


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "hawker bench kills",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kills", type=int, default=KILLS, help="on each store")
    parser.add_argument("--store", choices=list(PLACES), help="only this one")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(argv)
    if options.kills < 1:
        sys.exit("hawker bench kills: --kills is 1 or more")
    return options
