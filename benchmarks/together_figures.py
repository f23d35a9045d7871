"""What `hawker bench together` has measured, and how it is shown."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from rich.console import Console

from benchmarks import report
from benchmarks.crowd import Received
from benchmarks.picture import FRAME_BYTES, FRAMES_PER_S, GOP_FRAMES
from benchmarks.shoppers import Done

Kind = Literal["quiet", "busy"]
KINDS: tuple[Kind, ...] = ("quiet", "busy")
CHAT_PER_VIEWER_S = 10  # half of what one viewer may send
GOAL = 2.0  # a pass may take less than this many times what it takes when the shop is quiet


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be run; `seconds` is each stretch, `data` gives viewers data channels."""

    viewers: int
    rounds: int
    seconds: float
    orders_per_s: float
    chat_per_s: float
    data: bool


@dataclass(frozen=True, slots=True)
class Stretch:
    """One measured stretch; `done` only of a busy one."""

    kind: Kind
    seconds: float
    passes: int
    pass_us: float
    pass_cpu_us: float
    packets: int
    cpu_us_per_packet: float
    server_cpu: float  # cores
    server_waited: float  # share of the time in which its loop could run and had no core
    viewers_cpu: float
    lost: int
    heard: float | None  # of the chat, by viewers with data channels
    done: Done | None


@dataclass(frozen=True, slots=True)
class Result:
    stretches: Sequence[Stretch]
    sent: int
    received: Received

    def of(self, kind: Kind) -> list[Stretch]:
        return [each for each in self.stretches if each.kind == kind]

    def median(self, kind: Kind, figure: Callable[[Stretch], float]) -> float:
        return statistics.median(map(figure, self.of(kind)))

    def growth(self, figure: Callable[[Stretch], float]) -> float:
        """Busy over quiet."""
        return self.median("busy", figure) / self.median("quiet", figure)

    @property
    def lost(self) -> int:
        """Gaps in what the viewers got, or packets that none of them got at the end."""
        return max(self.received.lost, self.sent - self.received.packets)

    @property
    def never_sent(self) -> int:
        """Of those, what the server itself dropped: it had waited for too long."""
        return max(0, self.received.lost - (self.sent - self.received.packets))


def conditions(plan: Plan) -> dict[str, str]:
    channels = "with data channels" if plan.data else "without data channels"
    return {
        "work": f"{plan.viewers} WHEP viewers {channels} of one stream by RTMP, {FRAMES_PER_S} "
        f"frames/s of {FRAME_BYTES:,} bytes (9 packets), every {GOP_FRAMES}th a keyframe, loopback",
        "busy": f"{plan.orders_per_s:g} orders/s over HTTP of one SKU that lies in the room's bag, "
        f"{plan.chat_per_s:g} chat messages/s over WebSocket",
        "server": "one process with all its parts (SQLite durable on answer, HLS), as started by "
        "hawker serve; no limits on posts and chat, no transcode worker",
        "load": "three processes (publisher, viewers, buyers and chatters) on the same machine: they "
        "share its cores with the server",
        "figures": f"median of {plan.rounds} x {plan.seconds:g} s, quiet and busy in turns; a pass by "
        "CPU time of its thread, and by the wall clock, which the neighbours lengthen",
    }


def show(console: Console, plan: Plan, result: Result) -> None:
    rows = [
        _row(result, "send pass, CPU µs", lambda each: each.pass_cpu_us, ".0f"),
        _row(result, "send pass, wall µs", lambda each: each.pass_us, ".0f"),
        _row(result, "CPU µs per packet", lambda each: each.cpu_us_per_packet, ".2f"),
        _row(result, "passes a second", lambda each: each.passes / each.seconds, ".0f"),
        _row(result, "packets a second", lambda each: each.packets / each.seconds, ",.0f"),
        _row(result, "server, cores", lambda each: each.server_cpu, ".2f"),
        _row(result, "server without a core", lambda each: each.server_waited, ".0%"),
        _row(result, "viewers, cores", lambda each: each.viewers_cpu, ".2f"),
    ]
    columns = ["", "quiet", "least-most", "busy", "least-most", "busy / quiet"]
    report.show_table(console, "Medians of the stretches", columns, rows)
    _show_load(console, plan, result)
    growth = result.growth(lambda each: each.pass_cpu_us)
    received = result.received.packets
    for line in (
        f"Packets sent {result.sent:,}, received {received:,}, lost {result.lost:,} (the server "
        f"was too late to send {result.never_sent:,} of them); viewers that went away "
        f"{result.received.closed}, undecryptable {result.received.undecryptable}",
        f"A send pass takes {growth:.2f} times the CPU while the shop is busy; the goal is less than "
        f"{GOAL:g}: {'met' if growth < GOAL else 'missed'}. No packet lost: "
        f"{'met' if not result.lost else 'missed'}.",
    ):
        console.print(line, highlight=False)


def _show_load(console: Console, plan: Plan, result: Result) -> None:
    rows = []
    for number, each in enumerate(result.of("busy")):
        done = each.done
        if done is None:
            continue
        answers = sorted(done.answers_ms) or [0.0]
        placed = done.statuses.get("201", 0)
        lines = done.said * max(1, round(plan.chat_per_s / CHAT_PER_VIEWER_S))
        others = {status: n for status, n in done.statuses.items() if status != "201"}
        rows.append(
            [
                f"{number + 1}",
                f"{placed / done.seconds:.0f}",
                " ".join(f"{status}: {n}" for status, n in others.items()) or "none",
                f"{done.not_begun}",
                f"{_percentile(answers, 50):.0f}",
                f"{_percentile(answers, 99):.0f}",
                f"{done.said / done.seconds:.0f}",
                f"{done.heard / lines:.1%}" if lines else "-",
                "-" if each.heard is None else f"{each.heard:.1%}",
            ]
        )
    columns = ["round", "201/s", "other answers", "not begun", "p50 ms", "p99 ms"]
    columns += ["chat/s", "heard by WebSocket", "by data channel"]
    report.show_table(console, "What the busy stretches came to", columns, rows)


def _row(result: Result, title: str, figure: Callable[[Stretch], float], form: str) -> list[str]:
    cells = [title]
    for kind in KINDS:
        each = [figure(stretch) for stretch in result.of(kind)]
        cells += [f"{statistics.median(each):{form}}", f"{min(each):{form}}-{max(each):{form}}"]
    quiet = result.median("quiet", figure)
    return [*cells, f"{result.growth(figure):.2f}" if quiet else "-"]


def _percentile(values: Sequence[float], percent: float) -> float:
    """Of sorted values."""
    return values[min(len(values) - 1, int(len(values) * percent / 100))]


def as_json(facts: Mapping[str, str], result: Result) -> dict[str, Any]:
    stretches = [asdict(each) for each in result.stretches]
    for stretch in stretches:
        if stretch["done"] is not None:
            stretch["done"].pop("answers_ms")
    answers = sorted(
        ms for each in result.of("busy") if each.done for ms in each.done.answers_ms
    ) or [0.0]
    return {
        "facts": dict(facts),
        "pass_cpu_growth": result.growth(lambda each: each.pass_cpu_us),
        "pass_growth": result.growth(lambda each: each.pass_us),
        "packets": {
            "sent": result.sent,
            "received": result.received.packets,
            "lost": result.lost,
        },
        "order_ms": {"p50": _percentile(answers, 50), "p99": _percentile(answers, 99)},
        "stretches": stretches,
    }
