"""The load in words: the table while it runs, the percentiles at the end, JSON and the plot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from benchmarks.load.figures import Count, Figures, Histogram, Measure
from benchmarks.load.plot import Curve, Panel, svg
from benchmarks.load.share import Plan

PERCENTILES = (50.0, 95.0, 99.0)
MEANS: dict[Measure, str] = {
    "join": "WHEP, from the offer to the first packet",
    "join_hls": "HLS, from the first request to the first segment",
    "join_socket": "a WebSocket, until it is open",
    "delay": "per packet: media time by the sender reports to the kernel's stamp",
    "jitter": "per frame: how unevenly it came after the one before",
    "order": "buy, until it is durable",
    "pay": "payment begun",
    "chat": "a line, until its speaker hears it",
    "playlist": "an HLS playlist",
    "segment": "an HLS segment",
}
P50, P99, BAD, GOOD, RELAY = "#3b6fb6", "#d1495b", "#d1495b", "#4c956c", "#8d8d8d"


@dataclass(frozen=True, slots=True)
class Moment:
    """What all processes told at one look, `at_s` after the joins began; counts are totals."""

    at_s: float
    figures: Figures


@dataclass(frozen=True, slots=True)
class Result:
    """`failures` says in words why the exit code is not 0."""

    plan: Plan
    moments: Sequence[Moment]
    total: Figures
    interrupted: bool

    @property
    def failures(self) -> list[str]:
        counts, failed = self.total.counts, dict(self.total.errors)
        if not self.plan.loss and counts["lost"]:
            failed["packets lost"] = counts["lost"]
        if counts["stalls"]:
            failed["hls: stalls"] = counts["stalls"]
        return [f"{what}: {number:,}" for what, number in sorted(failed.items())]


def live_table(plan: Plan, moments: Sequence[Moment], total: Figures) -> Group:
    """The latest moment; rates are of the time since the one before."""
    if not moments:
        return Group(Text("joins …"))
    now = moments[-1]
    before = moments[-2] if len(moments) > 1 else Moment(0.0, Figures())
    elapsed = max(now.at_s - before.at_s, 1e-3)

    def rate(count: Count) -> str:
        grown = now.figures.counts[count] - before.figures.counts[count]
        return f"{grown / elapsed:,.0f}/s"

    counts, times = now.figures.counts, total.times
    table = Table(box=box.SIMPLE_HEAD, title=f"{now.at_s:.0f} of {plan.seconds:.0f} s")
    rows = {
        "connected": f"{counts['connected']:,} of {plan.sessions:,} sessions",
        "packets": rate("packets"),
        "frames": rate("frames"),
        "lost": f"{counts['lost']:,}, recovered {counts['recovered']:,}",
        **_relayed(plan, counts),
        "join p50 / p95": _both(times, "join", 50, 95),
        "delay p50 / p99": _both(times, "delay", 50, 99),
        "orders": rate("orders"),
        "order p50 / p99": _both(times, "order", 50, 99),
        "chat heard": rate("lines_heard"),
    }
    if plan.hls_viewers:
        rows["HLS segments"] = f"{rate('segments')}, {counts['stalls']:,} stalls"
    table.add_column("now", style="dim")
    table.add_column("", justify="right")
    for name, value in rows.items():
        table.add_row(name, value)
    return Group(table, *(Text(each, style="red") for each in _errors(now.figures)))


def end_table(result: Result) -> Group:
    """Percentiles of the whole run, and what was counted."""
    table = Table(box=box.SIMPLE_HEAD, title="ms", title_justify="left")
    for column in ("", "times", *(f"p{each:g}" for each in PERCENTILES), "highest", "what"):
        table.add_column(column, justify="left" if column in ("", "what") else "right")
    for measure, meaning in MEANS.items():
        histogram = result.total.times.get(measure)
        if histogram is not None:
            figures = [_ms(histogram.percentile(each)) for each in PERCENTILES]
            highest = _ms(histogram.highest_ms)
            table.add_row(
                measure.replace("_", " "), f"{histogram.count:,}", *figures, highest, meaning
            )
    counted = ", ".join(
        f"{name.replace('_', ' ')} {result.total.counts[name]:,}"
        for name in get_args(Count)
        if result.total.counts[name] and name != "connected"
    )
    cpu = f"the clients took {result.total.cpu_s:.1f} s of CPU in {result.plan.processes} processes"
    if result.plan.loss:
        cpu += f", the relay {result.total.relay_cpu_s:.1f} s in one"
    words = [Text(counted)]
    for way, lost in _relayed(result.plan, result.total.counts).items():
        words.append(Text(f"{way}, of {result.plan.loss:.1%} each way: {lost}"))
    words.append(Text(cpu, style="dim"))
    words += [Text(each, style="red") for each in result.failures] or [
        Text("nothing failed", style="green")
    ]
    return Group(table, *words)


def _relayed(plan: Plan, counts: Counter[Count]) -> dict[str, str]:
    """What the relay was given and lost, each way."""
    if not plan.loss:
        return {}
    ways: dict[str, tuple[Count, Count]] = {
        "relay lost to viewers": ("lost_to_viewers", "to_viewers"),
        "relay lost to node": ("lost_to_node", "to_node"),
    }
    return {
        way: f"{counts[lost]:,} of {counts[came]:,}, {counts[lost] / max(1, counts[came]):.2%}"
        for way, (lost, came) in ways.items()
    }


def as_json(facts: dict[str, str], result: Result) -> dict[str, Any]:
    """All that was measured, with the course of it."""
    plan = result.plan
    names = "url room publishers viewers hls_viewers buyers chatters seconds loss seed processes"
    return {
        "facts": facts,
        "plan": {name: getattr(plan, name) for name in names.split()},
        "interrupted": result.interrupted,
        "failures": result.failures,
        "counts": {name: result.total.counts[name] for name in get_args(Count)},
        "errors": dict(result.total.errors),
        "ms": {name: _document(each) for name, each in result.total.times.items()},
        "client_cpu_s": result.total.cpu_s,
        "relay_cpu_s": result.total.relay_cpu_s,
        "course": [
            {
                "at_s": round(moment.at_s, 3),
                "counts": dict(moment.figures.counts),
                "client_cpu_s": round(moment.figures.cpu_s, 3),
                "ms": {name: _document(each) for name, each in moment.figures.times.items()},
            }
            for moment in result.moments
        ],
    }


def plot(result: Result) -> str:
    """Percentiles of each moment, and what was lost in it, as SVG."""
    moments = result.moments
    panels = [
        Panel(title, "ms", [_course(moments, measure, 50, P50), _course(moments, measure, 99, P99)])
        for measure, title in (("delay", "delay per packet"), ("order", "order latency"))
        if measure in result.total.times
    ]
    lost: list[tuple[Count, str]] = [("lost", BAD), ("recovered", GOOD)]
    title = "packets"
    if result.plan.loss:
        lost.append(("lost_to_viewers", RELAY))
        title += f" (relay: {result.plan.loss:.1%} lost each way)"
    panels.append(Panel(title, "", [_grown(moments, name, colour) for name, colour in lost]))
    return svg(panels, moments[-1].at_s if moments else result.plan.seconds)


def _course(moments: Sequence[Moment], measure: Any, percent: float, colour: str) -> Curve:
    nothing = Histogram()
    points = [
        (each.at_s, each.figures.times.get(measure, nothing).percentile(percent))
        for each in moments
    ]
    return Curve(f"p{percent:g}", colour, points)


def _grown(moments: Sequence[Moment], name: Count, colour: str) -> Curve:
    points, before = [], 0
    for each in moments:
        now = each.figures.counts[name]
        points.append((each.at_s, float(now - before)))
        before = now
    return Curve(name.replace("_", " "), colour, points)


def _document(histogram: Histogram) -> dict[str, Any]:
    percentiles = {f"p{each:g}": histogram.percentile(each) for each in PERCENTILES}
    return {"count": histogram.count, **percentiles, "highest": histogram.highest_ms}


def _both(times: dict[Measure, Histogram], measure: Measure, first: int, second: int) -> str:
    histogram = times.get(measure, Histogram())
    return f"{_ms(histogram.percentile(first))} / {_ms(histogram.percentile(second))} ms"


def _ms(ms: float | None) -> str:
    return "-" if ms is None else f"{ms:,.1f}"


def _errors(figures: Figures) -> list[str]:
    return [f"{what}: {number:,}" for what, number in sorted(figures.errors.items())]
