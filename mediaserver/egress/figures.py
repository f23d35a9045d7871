"""What a process that serves WebRTC viewers counts, in plain numbers that cross a socket and add up."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mediaserver.egress.whep import WhepEgress
from mediaserver.hub import Hub
from mediaserver.rtc.transport import Transport

DROPPED = "dropped "  # and the reason
SENDER = ("packets", "octets", "errors", "resent", "passes", "pass_s", "pass_cpu_s")
NOTHING: Mapping[str, float] = {}


@dataclass(frozen=True, slots=True)
class Figures:
    """`viewers` connected by stream, `sessions` with those still on their way, `estimates` in bit/s by
    `min` and `median`, and `counters`, which only grow: those of SENDER, DROPPED by reason,
    `hub packets`, `hub skipped` and `cpu_s`."""

    viewers: Mapping[str, int] = field(default_factory=dict)
    sessions: int = 0
    estimates: Mapping[str, float] = field(default_factory=dict)
    counters: Mapping[str, float] = field(default_factory=dict)


def collect(egress: WhepEgress, hub: Hub) -> Figures:
    """This process's figures now."""
    return Figures(
        {each.stream.name: egress.viewers(each.stream.name) for each in egress.channels},
        len(egress.transport.sessions),
        egress.estimates(),
        counters(egress.transport, hub),
    )


def counters(transport: Transport, hub: Hub) -> dict[str, float]:
    """What only grows."""
    totals, dropped = hub.totals(), transport.dropped
    return {
        **{name: getattr(transport.sender, name) for name in SENDER},
        **{DROPPED + name: getattr(dropped, name) for name in dropped.__slots__},
        "hub packets": totals.packets,
        "hub skipped": totals.skipped,
        "cpu_s": time.process_time(),
    }


def own(transport: Transport, hub: Hub) -> Figures:
    """Those of a process whose viewers are served by others."""
    return Figures(sessions=len(transport.sessions), counters=counters(transport, hub))


def add(parts: Iterable[Figures]) -> Figures:
    """The figures of several processes as of one; their median estimate is that of the medians."""
    viewers: Counter[str] = Counter()
    summed: Counter[str] = Counter()
    sessions, estimates = 0, []
    for part in parts:
        viewers.update(part.viewers)
        summed.update(part.counters)
        sessions += part.sessions
        if part.estimates:
            estimates.append(part.estimates)
    return Figures(viewers, sessions, _middle(estimates), summed)


def _middle(estimates: list[Mapping[str, float]]) -> Mapping[str, float]:
    if not estimates:
        return NOTHING
    medians = sorted(each["median"] for each in estimates)
    least = min(each["min"] for each in estimates)
    return {"min": least, "median": medians[(len(medians) - 1) // 2]}
