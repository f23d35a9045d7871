"""CPU per packet sent to WebRTC viewers, beside pylibsrtp + sendto and beside aiortc's own sender.

Every figure is from a process of its own: set up, warmed up, then its CPU time (user and system) over
the RTP packets it sent. Variants take turns, so that a busy machine disturbs all of them alike, and
the median of the rounds counts. Hawker runs with both its senders, that in Python and the compiled one,
and a loop in C that does the same work with nothing around it is the floor; where there is no compiler,
both are left out. Two ways of sending: live, at 30 frames/s to sockets that another process reads, and
saturated, one frame after the other to sockets that nobody reads.

Before that, each variant but aiortc proves that it sends what it should: libsrtp decrypts the
datagrams of some viewers, and the frames they carry are compared with those that were published.
Afterwards Hawker runs once more on a loop that times each callback, to see what holds the loop and for
how long: with all viewers watching, then with viewers coming and going, under keyframes of a real size.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import machine, proof, report, runs, sinks
from benchmarks.picture import FRAME_BYTES, FRAMES_PER_S, GOP_FRAMES, KEYFRAME_BYTES, Picture
from benchmarks.runs import MODES, VARIANTS, Mode, Phase, Sample
from benchmarks.senders import Job
from mediaserver.rtc.sender import PASS_S

PROVEN = [variant for variant in VARIANTS if variant != "aiortc"]
FLOOR = "loop"  # what a sender is measured by
AIORTC_VIEWERS = 20  # more take longer to connect and cost the same per packet
TIMEOUT_S = 180.0
HOLDS_SHOWN = 3
KEPT_UP = 0.97  # of the frame rate: below it a live figure is one of overload


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be run; `seconds` is each measured stretch."""

    viewers: int
    rounds: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Result:
    samples: Sequence[Sample]
    proven: Mapping[str, int]  # datagrams decrypted and compared, by variant
    phases: Sequence[Phase]

    def of(self, variant: str, mode: Mode) -> list[Sample]:
        return [s for s in self.samples if (s.variant, s.mode) == (variant, mode)]

    def us_per_packet(self, variant: str, mode: Mode) -> float:
        """The median of the rounds."""
        return statistics.median(each.us_per_packet for each in self.of(variant, mode))

    def ratio(self, variant: str, mode: Mode, to: str = "hawker") -> float:
        """How many times the CPU per packet of Hawker, or of another."""
        return self.us_per_packet(variant, mode) / self.us_per_packet(to, mode)


def main(argv: Sequence[str]) -> int:
    options = _options(argv)
    plan = Plan(options.viewers, options.rounds, options.seconds)
    facts = {**machine.describe(), **_conditions(plan)}
    console = report.console()
    report.show_facts(console, f"fanout, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC", facts)
    columns = TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress:
        result = run(plan, progress)
    _show(console, result)
    if options.json is not None:
        report.save(options.json, _as_json(facts, result))
    return 0


def run(plan: Plan, progress: Progress) -> Result:
    """Prove, measure in turns, and time the holds."""
    task = progress.add_task("", total=len(PROVEN) + plan.rounds * len(VARIANTS) * len(MODES) + 1)
    proven = {}
    for variant in PROVEN:
        progress.update(task, description=f"proof: {variant}")
        with _process() as pool:
            proven[variant] = proof.prove(variant, pool)
        progress.advance(task)
    samples = []
    for number in range(plan.rounds):
        for mode in MODES:
            for variant in VARIANTS:
                progress.update(task, description=f"round {number + 1}: {variant} {mode}")
                samples.append(_sample(variant, mode, plan))
                progress.advance(task)
    progress.update(task, description="holds of the loop")
    phases = _phases(plan)
    progress.advance(task)
    return Result(samples, proven, phases)


def _sample(variant: str, mode: Mode, plan: Plan) -> Sample:
    """aiortc brings viewers of its own; the others' are sockets opened here."""
    own = variant == "aiortc"
    viewers = min(plan.viewers, AIORTC_VIEWERS) if own else plan.viewers
    reading = mode == "live"
    with sinks.opened(viewers, read=reading and not own) as opened, _process() as pool:
        job = Job(runs.new_viewers(opened.addresses), Picture(), reading)
        sample = pool.submit(runs.measure, variant, mode, job, plan.seconds).result(TIMEOUT_S)
        return sample if own else replace(sample, received=opened.received())


def _phases(plan: Plan) -> list[Phase]:
    with sinks.opened(plan.viewers, read=False) as opened, _process() as pool:
        job = Job(runs.new_viewers(opened.addresses), Picture(KEYFRAME_BYTES), reading=False)
        return pool.submit(runs.hold, job, plan.seconds).result(TIMEOUT_S)


@contextmanager
def _process() -> Iterator[ProcessPoolExecutor]:
    """A fresh process for one task: no variant inherits the heap or the caches of another."""
    with ProcessPoolExecutor(1, mp_context=sinks.PROCESSES) as pool:
        yield pool


# -- words and figures ---------------------------------------------------------------------------


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "hawker bench fanout", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--viewers", type=_positive(int), default=100, help="default %(default)s")
    parser.add_argument("--rounds", type=_positive(int), help="default 5; the median counts")
    parser.add_argument("--seconds", type=_positive(float), help="each stretch measured; default 4")
    parser.add_argument("--quick", action="store_true", help="3 rounds of 0.2 s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="save all that was measured")
    options = parser.parse_args(argv)
    options.rounds = options.rounds or (3 if options.quick else 5)
    options.seconds = options.seconds or (0.2 if options.quick else 4.0)
    return options


def _positive(kind: type[int] | type[float]) -> Callable[[str], float]:
    def parse(text: str) -> float:
        value = kind(text)
        if value <= 0:
            raise argparse.ArgumentTypeError(f"{text} is not above zero")
        return value

    return parse


def _conditions(plan: Plan) -> dict[str, str]:
    return {
        "work": f"{plan.viewers} viewers of one stream, {FRAMES_PER_S} frames/s of {FRAME_BYTES:,} "
        f"bytes (9 packets; aiortc cuts 8), every {GOP_FRAMES}th a keyframe, loopback",
        "keys": "AEAD_AES_128_GCM, one key per viewer; aiortc takes AES_256 of itself",
        "live": "sockets read by another process, which must lose nothing",
        "saturated": "one frame after the other; sockets unread, receive buffers least",
        "Hawker": "hub, reader, packetiser, pacer, NACK ring, sender reports, one UDP port; uvloop",
        "sendto": "packetised beforehand, no ring, no pace, no reports; one UDP port; uvloop",
        "aiortc": f"an RTCPeerConnection per viewer, av.Packet tracks, at most {AIORTC_VIEWERS}; uvloop",
        "floor": "encrypt_into + GSO, packetised beforehand, headers shared, nothing around it",
        "loop in C": "AES by the same libcrypto, GSO, several viewers a sendmmsg; nothing around it",
        "holds": f"keyframes of {KEYFRAME_BYTES:,} bytes, sockets unread, every callback timed",
        "figures": f"CPU (user + system, kernel's receive half included) of the sending process; "
        f"median of {plan.rounds} x {plan.seconds:g} s, variants in turns, a process each",
    }


def _show(console: Console, result: Result) -> None:
    for mode in MODES:
        last = "arrived" if mode == "live" else "packets/s"
        columns = ["", "µs", "least-most", "x Hawker", "x loop", last, ""]
        rows = [_row(result, variant, mode) for variant in VARIANTS]
        report.show_table(console, f"CPU per sent packet, {mode}", columns, rows)
    for variant in VARIANTS:
        rate = min(sample.frames_per_s for sample in result.of(variant, "live"))
        if rate < KEPT_UP * FRAMES_PER_S:
            title = VARIANTS[variant].title
            console.print(f"{title} did not keep up live: {rate:.1f} frames/s", highlight=False)
    if FLOOR not in VARIANTS:
        console.print("No C compiler: without the compiled sender and the loop in C")
    proofs = ", ".join(f"{variant} {count}" for variant, count in result.proven.items())
    console.print(f"Decrypted by libsrtp and found right, datagrams: {proofs}\n", highlight=False)
    _show_holds(console, result)


def _row(result: Result, variant: str, mode: Mode) -> list[str]:
    samples = result.of(variant, mode)
    cost = result.us_per_packet(variant, mode)
    costs = [each.us_per_packet for each in samples]
    received = sum(each.received or 0 for each in samples) / sum(each.sent for each in samples)
    return [
        _title(result, variant),
        f"{cost:.2f}",
        f"{min(costs):.2f}-{max(costs):.2f}",
        f"{result.ratio(variant, mode):.2f}",
        f"{result.ratio(variant, mode, FLOOR):.2f}" if FLOOR in VARIANTS else "-",
        f"{received:.1%}" if mode == "live" else f"{1e6 / cost:,.0f}",
        report.bar(cost, max(result.us_per_packet(each, mode) for each in VARIANTS)),
    ]


def _title(result: Result, variant: str) -> str:
    """With the number of viewers where it is not Hawker's."""
    own, usual = (result.of(each, "live")[0].viewers for each in (variant, "hawker"))
    title = VARIANTS[variant].title
    return title if own == usual else f"{title}, {own} viewers"


def _show_holds(console: Console, result: Result) -> None:
    rows = []
    for phase in result.phases:
        calls, over = sum(h.calls for h in phase.holds), sum(h.over for h in phase.holds)
        rows.append([phase.title, f"{phase.frames_per_s:.1f}", "", "", f"{over} of {calls}"])
        for each in phase.holds[:HOLDS_SHOWN]:
            longest = f"{each.cpu_ms:.2f}", f"{each.wall_ms:.2f}"
            rows.append([f"  {each.name}", "", *longest, f"{each.over} of {each.calls}"])
    limit = f"over {PASS_S * 1000:g} ms"
    columns = ["", "frames/s", "CPU ms", "wall ms", limit]
    title = "What held Hawker's loop: the longest callbacks"
    report.show_table(console, title, columns, rows)


def _as_json(facts: Mapping[str, str], result: Result) -> dict[str, Any]:
    return {
        "facts": dict(facts),
        "proven": dict(result.proven),
        "us_per_packet": {
            mode: {each: result.us_per_packet(each, mode) for each in VARIANTS} for mode in MODES
        },
        "times_hawker": {
            mode: {each: result.ratio(each, mode) for each in VARIANTS} for mode in MODES
        },
        "times_loop": {
            mode: {each: result.ratio(each, mode, FLOOR) for each in VARIANTS} for mode in MODES
        }
        if FLOOR in VARIANTS
        else {},
        "samples": [asdict(each) for each in result.samples],
        "holds": [asdict(each) for each in result.phases],
    }
