"""Whether viewers get a stream later while the ladder has more to encode than the machine can.

One server and its ladder share one core; publishers and viewers have the others. Viewers watch a stream
as it was published, idle and overloaded in turn: overloaded, other rooms are on the air whose rungs, at
x264's slowest, take more than all of the core. The delay is from when the publisher handed a frame to
its connection to the kernel's stamp at the viewer's socket, of all packets. Exits with 1 when p99 is
over the bound above that of idle, when a packet is lost, or when nothing was overloaded.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import company, film, machine, report
from benchmarks.cores import split, stay_on
from benchmarks.joining import JOINS_PER_S, all_joined, ask_all
from benchmarks.load.stamped_loop import HeadLoop
from benchmarks.loads import Load
from benchmarks.picture import FRAME_BYTES, KEYFRAME_BYTES
from benchmarks.process import cpu_s
from benchmarks.publisher import publish
from benchmarks.server import Server
from benchmarks.stage import on_the_air, whep

BOUND_MS = 5.0
ROOMS = 6
SETTLE_S = 6.0  # the overload guard has begun to leave out, and has not done yet
RUNG = '{ height = %d, bitrate_kbps = 2000, preset = "veryslow" }'
LADDER = f"[{', '.join(RUNG % height for height in (700, 680, 660))}]"
OVERLOADED = "LadderOverloaded"


@dataclass(frozen=True, slots=True)
class Phase:
    """Shares are of one core, of the server and of all that it started."""

    overloaded: bool
    rooms_told: int  # rooms whose host is told of the overload
    packets: int
    lost: int
    mean_ms: float
    p50_ms: float
    p99_ms: float
    highest_ms: float
    server_share: float
    waited_share: float  # it could have run and had no core
    children_share: float


def main(argv: Sequence[str]) -> int:
    options = _options(argv)
    core, others = split()
    facts = {**machine.describe(), **_conditions(options, core)}
    console = report.console()
    report.show_facts(console, f"overload, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC", facts)
    columns = TextColumn("{task.description:<44}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress:
        phases = run(options.viewers, options.seconds, options.runs, core, others, progress)
    missed = _show(console, phases)
    if options.json is not None:
        result = {"phases": [asdict(each) for each in phases], "missed": missed}
        report.save(options.json, {"facts": facts, **result})
    return 1 if missed else 0


def run(
    viewers: int, seconds: float, runs: int, core: int | None, others: set[int], progress: Progress
) -> list[Phase]:
    """Idle and overloaded, `runs` times, at one server."""
    if core is not None:
        stay_on(others)
    settings = (
        "transcode.enabled=true",
        "transcode.mode=always",
        f"transcode.ladder={LADDER}",
        "limits.publisher_grace_s=0",
    )
    picture = film.encode()
    with (
        on_the_air(publish, KEYFRAME_BYTES, FRAME_BYTES, core=core, settings=settings) as server,
        Load(company.watch, whep(server), others, JOINS_PER_S, False, loop=HeadLoop) as load,
    ):
        keys = [_room(server, number) for number in range(ROOMS)]
        all_joined([load], viewers, progress)
        task = progress.add_task("phases", total=2 * runs)
        phases = []
        for number in range(2 * runs):
            with contextlib.ExitStack() as stack:
                if number % 2:
                    for key in keys:
                        stack.enter_context(Load(film.publish, f"{server.rtmp}/{key}", picture))
                time.sleep(SETTLE_S)
                phases.append(_measure(server, load, seconds, overloaded=bool(number % 2)))
            progress.advance(task)
        return phases


def _room(server: Server, number: int) -> str:
    """The stream key of another room."""
    room = server.api("POST", "/v1/rooms", {"id": f"busy-{number}", "title": "Busy"})
    return str(room["stream_key"])


def _measure(server: Server, load: Load, seconds: float, *, overloaded: bool) -> Phase:
    before = ask_all([load], "measure")
    server_s, children_s, waited_s = cpu_s(server.pid), _children_s(server.pid), server.waited_s()
    began_at = time.monotonic()
    time.sleep(seconds)
    elapsed_s = time.monotonic() - began_at
    server_s, children_s = cpu_s(server.pid) - server_s, _children_s(server.pid) - children_s
    waited_s = server.waited_s() - waited_s
    after = ask_all([load], "seen")
    rooms = [server.api("GET", f"/v1/rooms/busy-{number}/ingest") for number in range(ROOMS)]
    told = sum(any(each["code"] == OVERLOADED for each in room["notices"]) for room in rooms)
    delays = after.delays
    return Phase(
        overloaded,
        told,
        after.packets - before.packets,
        after.lost - before.lost,
        delays.mean_ms,
        delays.percentile_ms(50),
        delays.percentile_ms(99),
        delays.highest_ms,
        server_s / elapsed_s,
        waited_s / elapsed_s,
        children_s / elapsed_s,
    )


def _children_s(pid: int) -> float:
    """CPU seconds of what the process has started and what still runs."""
    return sum(cpu_s(child) for child in _children(pid))


def _children(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").iterdir():
        yield from map(int, (task / "children").read_text("ascii").split())


# -- words and figures ---------------------------------------------------------------------------


def _show(console: Console, phases: Sequence[Phase]) -> list[str]:
    """A table, and what is missed."""
    rows = [
        [
            "overloaded" if each.overloaded else "idle",
            f"{each.packets:,}",
            f"{each.lost:,}",
            *(f"{ms:.1f}" for ms in (each.mean_ms, each.p50_ms, each.p99_ms, each.highest_ms)),
            f"{each.server_share:.0%}",
            f"{each.waited_share:.1%}",
            f"{each.children_share:.0%}",
            str(each.rooms_told),
        ]
        for each in phases
    ]
    columns = [
        "",
        "packets",
        "lost",
        "mean ms",
        "p50",
        "p99",
        "highest",
        "server",
        "ladder",
        "told",
    ]
    report.show_table(console, "Delay of a stream as it was published", columns, rows)
    idle, busy = (
        median(each.p99_ms for each in phases if each.overloaded is overloaded)
        for overloaded in (False, True)
    )
    missed = []
    if busy - idle > BOUND_MS:
        missed.append(f"p99 is {busy - idle:.1f} ms later")
    if any(each.lost for each in phases):
        missed.append("packets are lost")
    if not all(each.rooms_told for each in phases if each.overloaded):
        missed.append("nothing was overloaded")
    console.print(
        f"p99 {idle:.1f} ms idle, {busy:.1f} ms overloaded; bound {BOUND_MS:g} ms more: "
        f"{'; '.join(missed) or 'kept'}.",
        highlight=False,
    )
    return missed


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "hawker bench overload", description=(__doc__ or "").split("\n")[0]
    )
    add = parser.add_argument
    add("--viewers", type=int, choices=range(1, 1001), default=100, metavar="N", help="100")
    add("--seconds", type=_positive, default=6.0, help="each phase measured; default %(default)s")
    add("--runs", type=int, choices=range(1, 100), default=4, metavar="N", help="of both; 4")
    add("--json", type=Path, metavar="FILE", help="save all that was measured")
    return parser.parse_args(argv)


def _positive(text: str) -> float:
    value = float(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text} is not above zero")
    return value


def _conditions(options: argparse.Namespace, core: int | None) -> dict[str, str]:
    pinned = "not pinned" if core is None else f"core {core}, with its ladder"
    return {
        "server": f"{pinned}; publishers and viewers have the other cores",
        "viewers": f"{options.viewers} real WHEP sessions of one stream of 2.5 Mbit/s",
        "overload": f"{ROOMS} other rooms of {film.WIDTH}x{film.HEIGHT}, each with rungs of 700, 680 "
        "and 660 lines, x264 veryslow",
    }
