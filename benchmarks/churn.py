"""Viewers that join and leave: after thousands of cycles no session, socket, task or thread is left.

One real server with a live stream. Most viewers watch and say goodbye, some DELETE, some follow the
events over data channels; three in twenty never finish the handshake, one leaves without a word
and is noticed after 30 s. The cycles come in stretches; after each the server is left alone until it
has forgotten everybody, and then it is looked at: what it still holds, by /proc and /metrics. A warm-up
comes first and is not counted; what the stretches leave beyond it is a leak.

Memory is what the allocator keeps at the most viewers that were ever there at once: it reaches that only
after some thousand cycles, and is measured from there.

Exits with 1 when something is left, when memory grew by 5 % or more (in the quick form, which warms up
less, 15 %), or when a viewer was refused.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import machine, report
from benchmarks.churn_load import AT_ONCE, CYCLES_PER_S, Counts, churn
from benchmarks.loads import Load
from benchmarks.process import cpu_s, footprint
from benchmarks.publisher import publish
from benchmarks.server import Server
from benchmarks.stage import on_the_air, whep

GROWTH_MAX = 0.05
QUICK_GROWTH_MAX = 0.15  # so few cycles do not fill the heap as far as it will ever be
LOOK_S = 0.5
REST_S = 60.0  # silent ones are noticed after 30 s, and their data channels give up
STUCK_S = 60.0  # a cycle waits 10 s at most
SETTLE_S = 2.0
MIB = 1 << 20
SESSIONS = ("hawker_webrtc_sessions", "hawker_event_sessions", "hawker_viewers")
TASKS = "hawker_asyncio_tasks"


@dataclass(frozen=True, slots=True)
class Plan:
    """`patient`: in the warm-up, too, some leave without a word, which takes 30 s to notice."""

    cycles: int
    stretches: int
    warm_up: int
    patient: bool

    @property
    def growth_max(self) -> float:
        return GROWTH_MAX if self.patient else QUICK_GROWTH_MAX

    @property
    def parts(self) -> list[int]:
        """Cycles of each stretch, the warm-up first."""
        each, more = divmod(self.cycles, self.stretches)
        return [self.warm_up, *(each + (number < more) for number in range(self.stretches))]


@dataclass(frozen=True, slots=True)
class Rest:
    """What the server holds while nobody watches; `sessions` of media and of events."""

    cycles: int  # so far
    rss_bytes: int
    sessions: int
    sockets: int
    descriptors: int
    threads: int
    tasks: int | None  # None where the server does not tell
    took_s: float  # until it was at rest
    cycles_s: float  # of the stretch before
    cpu_s: float  # in that


@dataclass(frozen=True, slots=True)
class Result:
    rests: Sequence[Rest]  # the first after the warm-up
    counts: Counts
    growth_max: float = GROWTH_MAX

    @property
    def growth(self) -> float:
        return self.rests[-1].rss_bytes / self.rests[0].rss_bytes - 1

    def left(self) -> dict[str, int]:
        """What is there at the end and should not be, by name."""
        first, last = self.rests[0], self.rests[-1]
        left = {"sessions": last.sessions}
        for name in ("sockets", "descriptors", "threads", "tasks"):
            left[name] = (getattr(last, name) or 0) - (getattr(first, name) or 0)
        return {name: number for name, number in left.items() if number > 0}

    @property
    def passed(self) -> bool:
        return not self.left() and self.growth < self.growth_max and not self.counts.failed


def main(argv: Sequence[str]) -> int:
    plan, saved = _options(argv)
    facts = {**machine.describe(), **_conditions(plan)}
    console = report.console()
    report.show_facts(console, f"churn, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC", facts)
    columns = TextColumn("{task.description:<44}"), BarColumn(), MofNCompleteColumn()
    try:
        with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress:
            result = run(plan, progress)
    except (OSError, EOFError) as error:  # also a TimeoutError
        console.print(f"the run broke off: {type(error).__name__}: {error}", highlight=False)
        return 1
    _show(console, result)
    if saved is not None:
        report.save(saved, _as_json(facts, result))
    return 0 if result.passed else 1


def run(plan: Plan, progress: Progress) -> Result:
    """Start everything, and take stretch after stretch; raises TimeoutError when one is stuck."""
    with on_the_air(publish) as server, Load(churn, whep(server)) as viewers:
        return Churning(server, viewers, progress, plan).run()


class Churning:
    """The measuring side of one run."""

    def __init__(self, server: Server, viewers: Load, progress: Progress, plan: Plan) -> None:
        self._server = server
        self._viewers = viewers
        self._progress = progress
        self._plan = plan
        self._task = progress.add_task("", total=plan.warm_up + plan.cycles)
        self._before = 0

    def run(self) -> Result:
        rests: list[Rest] = []
        counts = Counts()
        for number, cycles in enumerate(self._plan.parts):
            title = f"stretch {number} of {self._plan.stretches}" if number else "warm-up"
            began_s, cpu_began_s = time.monotonic(), cpu_s(self._server.pid)
            done = self._stretch(title, cycles)
            figures = time.monotonic() - began_s, cpu_s(self._server.pid) - cpu_began_s
            if number:
                counts.done += done.done
            counts.failed += done.failed
            rests.append(self._rest(title, rests, *figures))
            self._progress.console.print(f"{title}: {_in_words(rests[-1])}", highlight=False)
        return Result(rests, counts, self._plan.growth_max)

    def _stretch(self, title: str, cycles: int) -> Counts:
        everybody = self._before or self._plan.patient
        counts: Counts = self._viewers.ask(f"{'run' if everybody else 'polite'} {cycles}")
        moved_at, total = time.monotonic(), 0
        while counts.total < cycles:
            if counts.total > total:
                moved_at, total = time.monotonic(), counts.total
            elif time.monotonic() - moved_at > STUCK_S:
                raise TimeoutError(f"{cycles - total} cycles do not end; see {self._server.log}")
            self._tell(title, self._sessions(), self._before + total)
            time.sleep(LOOK_S)
            counts = self._viewers.ask("count")
        self._before += cycles
        return counts

    def _rest(self, title: str, rests: Sequence[Rest], cycles_s: float, cpu: float) -> Rest:
        """Wait until everybody is forgotten, but no longer than REST_S, and look."""
        began_at = time.monotonic()
        while (left := self._sessions()) and time.monotonic() - began_at < REST_S:
            self._tell(f"{title}, rest", left, self._before)
            time.sleep(LOOK_S)
        took_s = time.monotonic() - began_at
        time.sleep(SETTLE_S)  # goodbyes, and the connection on which was asked
        tasks = self._server.metrics().get(TASKS)
        time.sleep(LOOK_S)
        now = footprint(self._server.pid)
        counted = self._before - self._plan.warm_up
        return Rest(
            counted,
            now.rss_bytes,
            left,
            now.sockets,
            now.descriptors,
            now.threads,
            None if tasks is None else int(tasks),
            took_s,
            cycles_s,
            cpu,
        )

    def _sessions(self) -> int:
        figures = self._server.metrics()
        return int(sum(figures[each] for each in SESSIONS))

    def _tell(self, title: str, sessions: int, cycles: int) -> None:
        rss = footprint(self._server.pid).rss_bytes / MIB
        words = f"{title}: {sessions} sessions, {rss:.0f} MiB"
        self._progress.update(self._task, description=words, completed=cycles)


# -- words and figures ---------------------------------------------------------------------------


def _options(argv: Sequence[str]) -> tuple[Plan, Path | None]:
    parser = argparse.ArgumentParser(
        "hawker bench churn", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--cycles", type=_positive, default=10_000, help="default %(default)s")
    parser.add_argument(
        "--stretches", type=_positive, help="default 4, the server rests after each"
    )
    parser.add_argument("--warm-up", type=_positive, help="cycles; default two stretches")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="1 stretch; nobody leaves the warm-up silently",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="save all that was measured")
    given = parser.parse_args(argv)
    stretches = min(given.stretches or (1 if given.quick else 4), given.cycles)
    usual = (3 if given.quick else 2) * -(-given.cycles // stretches)
    warm_up = given.warm_up or usual
    return Plan(given.cycles, stretches, warm_up, patient=not given.quick), given.json


def _positive(text: str) -> int:
    value = int(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text} is not above zero")
    return value


def _conditions(plan: Plan) -> dict[str, str]:
    return {
        "work": f"{plan.cycles:,} cycles in {plan.stretches} stretches after a warm-up of "
        f"{plan.warm_up:,}, at most {CYCLES_PER_S} begun a second and {AT_ONCE} at once, loopback",
        "stream": "live, 2.5 Mbit/s; of HLS as little is kept as may be",
        "at rest": f"no session is left, or {REST_S:g} s have passed; then {SETTLE_S:g} s more",
        "figures": "RSS, threads and descriptors by /proc, sessions and tasks by /metrics; how long the "
        "cycles took, the server's CPU in that, and how long until it was at rest",
    }


def _in_words(rest: Rest) -> str:
    tasks = "" if rest.tasks is None else f", {rest.tasks} tasks"
    return (
        f"{rest.rss_bytes / MIB:.1f} MiB, {rest.sessions} sessions, {rest.sockets} sockets, "
        f"{rest.threads} threads{tasks}"
    )


def _show(console: Console, result: Result) -> None:
    done = [[kind, f"{number:,}"] for kind, number in result.counts.done.most_common()]
    report.show_table(console, "Cycles", ["", "done"], done)
    for words, number in result.counts.failed.most_common():
        console.print(f"failed {number:,} times: {words}", highlight=False)
    columns = ["after", *(title for title, _ in _COLUMNS)]
    rows = [[_after(each), *(show(each) for _, show in _COLUMNS)] for each in result.rests]
    report.show_table(console, "The server at rest", columns, rows)
    left = ", ".join(f"{number} {name}" for name, number in result.left().items()) or "nothing"
    words = (
        f"Left: {left}. Memory: {result.growth:+.1%} (less than {result.growth_max:.0%} is wanted)."
    )
    console.print(words, highlight=False)


_COLUMNS: Sequence[tuple[str, Callable[[Rest], str]]] = (
    ("MiB", lambda each: f"{each.rss_bytes / MIB:.1f}"),
    ("sessions", lambda each: str(each.sessions)),
    ("sockets", lambda each: str(each.sockets)),
    ("fds", lambda each: str(each.descriptors)),
    ("threads", lambda each: str(each.threads)),
    ("tasks", lambda each: "-" if each.tasks is None else str(each.tasks)),
    ("took s", lambda each: f"{each.cycles_s:.1f}"),
    ("CPU s", lambda each: f"{each.cpu_s:.1f}"),
    ("rest s", lambda each: f"{each.took_s:.1f}"),
)


def _after(rest: Rest) -> str:
    return f"{rest.cycles:,}" if rest.cycles else "warm-up"


def _as_json(facts: Mapping[str, str], result: Result) -> dict[str, Any]:
    return {
        "facts": dict(facts),
        "done": dict(result.counts.done),
        "failed": dict(result.counts.failed),
        "rests": [asdict(each) for each in result.rests],
        "left": result.left(),
        "growth": result.growth,
    }
