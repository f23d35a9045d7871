"""How many viewers of one 4 Mbit/s stream one core serves, without loss, and how late they get it.

A real server, pinned to one core; the publisher (RTMP, 30 frames/s, a keyframe of 80 kB every 2 s)
and the viewers have the others. Viewers are real sessions: ICE, DTLS, SRTP, receiver reports back,
consent checks. They join at a bounded pace; at each step, once all are there, it is measured:

- lost: sequence numbers that did not come, of all packets of all viewers; nobody asks for one again.
  What the viewers' own kernel threw away because this machine did not read it is told apart.
- delay: from when the publisher handed the frame to its connection to the kernel's stamp at the
  viewer's socket, for all packets. The time is in the frame: one viewer of each process decrypts it.
- hold: the longest that one callback held the server's loop, by CPU time.

On loopback the kernel's receiving half runs on the server's core, and is in its share. Viewers read with
UDP_GRO, so that a run of packets crosses loopback in one piece, as it does to a card that segments.
Exits with 1 when a step misses its bounds.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import company, machine, report, timed_server
from benchmarks.audience_figures import FEW, FEW_P99_MS, MEAN_MS, P99_MS, Step, as_json, show
from benchmarks.company import Seen
from benchmarks.cores import split, stay_on
from benchmarks.joining import JOINS_PER_S, LOOK_S, all_joined, ask_all
from benchmarks.load.stamped_loop import HeadLoop
from benchmarks.loads import Load
from benchmarks.meter import Hold
from benchmarks.picture import FRAMES_PER_S, GOP_FRAMES, KEYFRAME_BYTES
from benchmarks.process import cpu_s
from benchmarks.publisher import publish
from benchmarks.server import Server
from benchmarks.stage import on_the_air, whep
from mediaserver.rtc.sender import PASS_S

STEPS = (158, 300, 500, 700, 1000)
BITS_PER_S = 4_000_000
FRAME_BYTES = (BITS_PER_S // 8 * 2 - KEYFRAME_BYTES) // (GOP_FRAMES - 1)  # but the keyframe's
SETTLE_S = 3.0  # a joiner's replay is over
SENT = "hawker_rtp_packets_sent_total"


@dataclass(frozen=True, slots=True)
class Plan:
    """`data`: the viewers open both data channels too, and hear the room's events."""

    steps: Sequence[int]
    seconds: float
    data: bool
    processes: int
    joins_per_s: float


def main(argv: Sequence[str]) -> int:
    options = _options(argv)
    plan = Plan(
        options.viewers, options.seconds, options.data, options.processes, options.joins_per_s
    )
    core, others = split()
    facts = {**machine.describe(), **_conditions(plan, core, others)}
    console = report.console()
    report.show_facts(console, f"audience, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC", facts)
    columns = TextColumn("{task.description:<44}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress:
        steps = run(plan, core, others, progress)
    show(console, steps)
    if options.json is not None:
        report.save(options.json, {"facts": facts, "steps": [as_json(each) for each in steps]})
    return 1 if any(each.missed for each in steps) else 0


def run(plan: Plan, core: int | None, others: set[int], progress: Progress) -> list[Step]:
    """All steps, one after the other at one server."""
    if core is not None:
        stay_on(others)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hawker-bench-")))
        held = folder / "holds.json"
        program = timed_server.program(held)
        server = stack.enter_context(
            on_the_air(publish, KEYFRAME_BYTES, FRAME_BYTES, program=program, core=core)
        )
        pace = plan.joins_per_s / plan.processes
        arguments = whep(server), others, pace, plan.data
        loads = [
            stack.enter_context(Load(company.watch, *arguments, loop=HeadLoop))
            for _ in range(plan.processes)
        ]
        bench = Bench(plan, server, loads, held, progress)
        return [bench.step(viewers) for viewers in plan.steps]


class Bench:
    """A server and its viewers, who become more from step to step."""

    def __init__(
        self, plan: Plan, server: Server, loads: Sequence[Load], held: Path, progress: Progress
    ) -> None:
        self._plan = plan
        self._server = server
        self._loads = loads
        self._held = held
        self._progress = progress

    def step(self, viewers: int) -> Step:
        """Let them join, wait until it is calm, and measure."""
        all_joined(self._loads, viewers, self._progress)
        task = self._progress.add_task(f"{viewers:,} watch", total=round(self._plan.seconds))
        time.sleep(SETTLE_S)
        server, packets = self._server, self._server.metrics()[SENT]
        timed_server.holds(server.pid, self._held)
        before = ask_all(self._loads, "measure")
        cpu, waited, began_at = cpu_s(server.pid), server.waited_s(), time.monotonic()
        while (elapsed := time.monotonic() - began_at) < self._plan.seconds:
            self._progress.update(task, completed=int(elapsed))
            time.sleep(min(LOOK_S, self._plan.seconds - elapsed))
        cpu, waited = cpu_s(server.pid) - cpu, server.waited_s() - waited
        after = ask_all(self._loads, "seen")
        holds = timed_server.holds(server.pid, self._held)
        sent = server.metrics()[SENT] - packets
        self._progress.update(task, completed=round(self._plan.seconds))
        return _step(viewers, before, after, elapsed, (cpu, waited, sent), holds)


def _step(
    viewers: int,
    before: Seen,
    after: Seen,
    elapsed_s: float,
    server: tuple[float, float, float],
    holds: Sequence[Hold],
) -> Step:
    """`server`: its CPU seconds, seconds without a core, and RTP packets sent."""
    cpu, waited, sent = server
    delays = after.delays
    return Step(
        viewers=viewers,
        joined=after.joined,
        failed=dict(after.failed),
        closed=after.closed,
        packets_per_s=(after.packets - before.packets) / elapsed_s,
        lost=after.lost - before.lost,
        unread=after.unread - before.unread,
        decrypted=after.decrypted - before.decrypted,
        undecryptable=after.undecryptable,
        delayed=delays.count,
        mean_ms=delays.mean_ms,
        p50_ms=delays.percentile_ms(50),
        p99_ms=delays.percentile_ms(99),
        highest_ms=delays.highest_ms,
        server_share=cpu / elapsed_s,
        waited_share=waited / elapsed_s,
        viewers_share=(after.cpu_s - before.cpu_s) / elapsed_s,
        us_per_packet=cpu / max(1.0, sent) * 1e6,
        holds=holds,
    )


# -- words and figures ---------------------------------------------------------------------------


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "hawker bench audience", description=(__doc__ or "").split("\n")[0]
    )
    add = parser.add_argument
    add("--viewers", type=_steps, default=STEPS, metavar="N,N,…", help="default 158 to 1000")
    add("--seconds", type=_positive, default=10.0, help="each step measured; default %(default)s")
    add("--data", action="store_true", help="viewers open the data channels too")
    add("--joins-per-s", type=_positive, default=JOINS_PER_S, help="default %(default)s")
    add("--processes", type=int, choices=range(1, 65), default=1, metavar="N", help="of viewers; 1")
    add("--json", type=Path, metavar="FILE", help="save all that was measured")
    return parser.parse_args(argv)


def _steps(text: str) -> tuple[int, ...]:
    steps = tuple(int(each) for each in text.split(","))
    if min(steps) < 1 or list(steps) != sorted(set(steps)):
        raise argparse.ArgumentTypeError(f"{text} does not grow from 1 on")
    return steps


def _positive(text: str) -> float:
    value = float(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text} is not above zero")
    return value


def _conditions(plan: Plan, core: int | None, others: set[int]) -> dict[str, str]:
    pinned = "not pinned" if core is None else f"core {core}"
    rest = ", ".join(map(str, sorted(others))) or "any"
    channels = "two data channels each" if plan.data else "no data channels"
    return {
        "stream": f"{BITS_PER_S / 1e6:g} Mbit/s, {FRAMES_PER_S} frames/s of {FRAME_BYTES:,} bytes, "
        f"every {GOP_FRAMES}th a keyframe of {KEYFRAME_BYTES:,}; H.264 by RTMP, no sound",
        "server": f"{pinned}, its loop's callbacks timed; publisher and viewers on core {rest}",
        "viewers": f"real WHEP sessions in {plan.processes} processes, {channels}, at most "
        f"{plan.joins_per_s:g} join a second; all packets counted, a sample decrypted",
        "delay": "publisher's send to the kernel's stamp at the viewer, every packet",
        "bounds": f"0 lost, mean {MEAN_MS:g} ms, p99 {P99_MS:g} ms ({FEW_P99_MS:g} up to {FEW} "
        f"viewers), loop held at most {PASS_S * 1000:g} ms; {plan.seconds:g} s a step",
    }
