"""What RTMP publishers of 600 kbit/s cost the server: publishers per core, CPU per message.

Publishers come from a process of their own (`rtmp_load.py`), and every server runs in a fresh process.
CPU is Linux's schedstat of all the server's threads from the first message until nothing is left to do
after the last: a server that falls behind pays for what it has let wait. One core takes as many
publishers as the seconds of media that a second of CPU took in. Servers take turns, and medians of the
rounds count; one that is not installed is named and left out.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import machine, report
from benchmarks.loads import Load
from benchmarks.peers import NotStarted
from benchmarks.peers.cost import Cost
from benchmarks.rtmp_load import BITRATE_BPS, FRAMES_PER_S, Sent, publish
from benchmarks.rtmp_servers import LOOPBACK, TAKERS, Taking

WARM_UP_S = 1.0
SETTLE_S = 0.3
IDLE_SHARE = 0.05  # of a core: a server with nothing to do has less
LOOKS = 40  # until a server has caught up
GOAL = "1,000 publishers per core, ahead of node-media-server"


@dataclass(frozen=True, slots=True)
class Plan:
    servers: Sequence[str]
    publishers: Sequence[int]
    rounds: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Sample:
    """One stretch; `lost` messages are known where the server counts them."""

    server: str
    publishers: int
    messages: int
    media_s: float  # of all publishers together
    late: int  # messages that the connection could not take at once
    lost: int | None
    cpu_s: float
    wall_s: float
    waited_s: float  # its threads could run and had no core

    @property
    def us_per_message(self) -> float:
        return self.cpu_s / max(1, self.messages) * 1e6

    @property
    def per_core(self) -> float:
        return self.media_s / self.cpu_s if self.cpu_s else 0.0


@dataclass(frozen=True, slots=True)
class Result:
    samples: Sequence[Sample]
    missing: Mapping[str, str]  # by server, in words

    def of(self, server: str, publishers: int) -> list[Sample]:
        return [s for s in self.samples if (s.server, s.publishers) == (server, publishers)]

    def us_per_message(self, server: str, publishers: int) -> float:
        """The median of the rounds, as is the next."""
        return statistics.median(each.us_per_message for each in self.of(server, publishers))

    def per_core(self, server: str, publishers: int) -> float:
        return statistics.median(each.per_core for each in self.of(server, publishers))


def main(argv: Sequence[str]) -> int:
    plan, saved = _options(argv)
    console = report.console()
    missing = {name: why for name in plan.servers if (why := TAKERS[name].missing())}
    present = [name for name in plan.servers if name not in missing]
    facts = {**machine.describe(), **_conditions(plan)}
    report.show_facts(console, f"rtmp_ingest, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC", facts)
    columns = TextColumn("{task.description:<38}"), BarColumn(), MofNCompleteColumn()
    try:
        with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress:
            samples = run(plan, present, missing, progress)
    except (OSError, EOFError, NotStarted) as error:  # also a TimeoutError: a machine far too busy
        console.print(f"the run broke off: {type(error).__name__}: {error}", highlight=False)
        return 1
    result = Result(samples, missing)
    _show(console, plan, result)
    if saved is not None:
        report.save(saved, _as_json(facts, plan, result))
    return 0


# -- measuring -----------------------------------------------------------------------------------


def run(
    plan: Plan, servers: Sequence[str], missing: dict[str, str], progress: Progress
) -> list[Sample]:
    """Every sample of the plan; raises OSError, EOFError. `missing` gets who can't be prepared."""
    samples = []
    task = progress.add_task("", total=plan.rounds * len(plan.publishers) * len(servers))
    with tempfile.TemporaryDirectory(prefix="hawker-bench-") as given:
        folders = {}
        for name in servers:
            folder = Path(given) / name
            folder.mkdir()
            try:
                TAKERS[name].prepare(folder)
                folders[name] = folder
            except NotStarted as why:
                missing[name] = str(why)
        for number in range(plan.rounds):
            for publishers in plan.publishers:
                for name, folder in folders.items():
                    what = f"round {number + 1}: {publishers} to {TAKERS[name].title}"
                    progress.update(task, description=what)
                    samples.append(measure(name, publishers, plan.seconds, folder))
                    progress.advance(task)
    return samples


def measure(server: str, publishers: int, seconds: float, folder: Path) -> Sample:
    """One figure of a fresh server with fresh publishers; raises TimeoutError, EOFError."""
    with TAKERS[server].running(folder) as taking:
        targets = [(LOOPBACK, taking.port, f"room{number}") for number in range(publishers)]
        with Load(publish, targets) as crowd:
            crowd.ask("go")
            time.sleep(WARM_UP_S)
            crowd.ask("stop")
            _settled(taking)
            arrived = taking.arrived() if taking.arrived else 0
            cost, began_at = Cost.of(taking.pid), time.monotonic()
            before: Sent = crowd.ask("go")
            time.sleep(seconds)
            after: Sent = crowd.ask("stop")
            wall_s = time.monotonic() - began_at
            _settled(taking)
            cost = Cost.of(taking.pid) - cost
            sent = after.messages - before.messages
            return Sample(
                server=server,
                publishers=publishers,
                messages=sent,
                media_s=(after.pictures - before.pictures) / FRAMES_PER_S,
                late=after.late - before.late,
                lost=sent - taking.arrived() + arrived if taking.arrived else None,
                cpu_s=cost.cpu_s,
                wall_s=wall_s,
                waited_s=cost.waited_s,
            )


def _settled(taking: Taking) -> None:
    """Return once the server has nothing left to do; raises TimeoutError."""
    seen = Cost.of(taking.pid)
    for _ in range(LOOKS):
        time.sleep(SETTLE_S)
        latest = Cost.of(taking.pid)
        since = latest - seen
        if since.cpu_s + since.waited_s < IDLE_SHARE * SETTLE_S:  # nor does it wait for a core
            return
        seen = latest
    raise TimeoutError("the server works on, and nothing is sent")


# -- words and figures ---------------------------------------------------------------------------


def _options(argv: Sequence[str]) -> tuple[Plan, Path | None]:
    parser = argparse.ArgumentParser(
        "hawker bench rtmp_ingest", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "--publishers", type=_positive(int), nargs="+", default=[100, 300, 1000], metavar="N"
    )
    parser.add_argument("--rounds", type=_positive(int), help="default 3; the median counts")
    parser.add_argument("--seconds", type=_positive(float), help="each stretch; default 6")
    parser.add_argument("--servers", nargs="+", choices=tuple(TAKERS), default=list(TAKERS))
    parser.add_argument("--quick", action="store_true", help="1 round of 1 s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="save all that was measured")
    given = parser.parse_args(argv)
    rounds = given.rounds or (1 if given.quick else 3)
    seconds = given.seconds or (1.0 if given.quick else 6.0)
    servers = [name for name in TAKERS if name in given.servers]
    return Plan(servers, given.publishers, rounds, seconds), given.json


def _positive(kind: type[int] | type[float]) -> Any:
    def parse(text: str) -> float:
        value = kind(text)
        if value <= 0:
            raise argparse.ArgumentTypeError(f"{text} is not above zero")
        return value

    return parse


def _conditions(plan: Plan) -> dict[str, str]:
    return {
        "goal": GOAL,
        "work": f"publishers of {BITRATE_BPS // 1000} kbit/s each: {FRAMES_PER_S} pictures/s, every "
        "60th eight times as large, and AAC of 44.1 kHz: 73 messages/s, each in a write of its own; "
        "loopback",
        "Hawker": "RTMP, FLV and hub, a stream per publisher, no viewers, no HLS, no transcoder; uvloop",
        "nginx-rtmp": "one worker, live on, nothing recorded or packaged",
        "node-media-server": "as it comes, without admin page",
        "figures": "CPU (user + system) of the server's processes by schedstat; "
        f"median of {plan.rounds} x {plan.seconds:g} s, servers in turns, all fresh",
    }


_COLUMNS = ("", "publishers", "per core", "least-most", "µs/message", "waited", "lost", "")


def _show(console: Console, plan: Plan, result: Result) -> None:
    shown = [
        (name, count)
        for count in plan.publishers
        for name in plan.servers
        if result.of(name, count)
    ]
    longest = max((result.us_per_message(*each) for each in shown), default=1.0)
    rows = [_row(result, name, count, longest) for name, count in shown]
    report.show_table(console, "RTMP publishers of 600 kbit/s on one core", _COLUMNS, rows)
    words = "waited: the share of time that the server could run and the machine gave it no core"
    console.print(words, highlight=False)
    for name, why in result.missing.items():
        console.print(f"{TAKERS[name].title} was left out: {why}", highlight=False)


def _row(result: Result, name: str, count: int, longest: float) -> list[str]:
    samples = result.of(name, count)
    figures = [each.per_core for each in samples]
    cost = result.us_per_message(name, count)
    lost = [each.lost for each in samples if each.lost is not None]
    return [
        TAKERS[name].title,
        str(count),
        f"{result.per_core(name, count):.0f}",
        f"{min(figures):.0f}-{max(figures):.0f}",
        f"{cost:.1f}",
        f"{sum(s.waited_s for s in samples) / sum(s.wall_s for s in samples):.0%}",
        str(sum(lost)) if lost else "",
        report.bar(cost, longest),
    ]


def _as_json(facts: Mapping[str, str], plan: Plan, result: Result) -> dict[str, Any]:
    return {
        "facts": dict(facts),
        "missing": dict(result.missing),
        "per_core": {
            name: {
                str(count): result.per_core(name, count)
                for count in plan.publishers
                if result.of(name, count)
            }
            for name in plan.servers
        },
        "samples": [asdict(each) for each in result.samples],
    }
