"""The figures of /metrics: the hub's, the WebRTC port's, and those of whoever serves viewers.

Where workers serve viewers, counters and viewers are sums over the server and all of them, whatever
restarts there were.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

from mediaserver.api.metrics import Metrics
from mediaserver.egress.figures import DROPPED, Figures
from mediaserver.hub import Hub
from mediaserver.rtc.transport import Dropped


class Fleet(Protocol):
    """Workers, as far as they are counted."""

    @property
    def ready(self) -> int: ...
    @property
    def restarts(self) -> int: ...
    def sessions_by_worker(self) -> Mapping[str, int]: ...
    def cpu_s_by_worker(self) -> Mapping[str, float]: ...


def add_media(metrics: Metrics, hub: Hub, read: Callable[[], Figures]) -> None:
    """Streams, sessions and packets; `read` gives the figures of all processes together."""

    def count(name: str) -> Callable[[], float]:
        return lambda: read().counters.get(name, 0)

    metrics.gauge(
        "hawker_streams",
        "Streams on the air.",
        lambda: sum(1 for name, each in hub.streams.items() if each.live and "/" not in name),
    )
    metrics.gauge("hawker_webrtc_sessions", "WebRTC sessions.", lambda: read().sessions)
    metrics.gauge(
        "hawker_viewer_bandwidth_bps",
        "What WebRTC viewers' links carry by their own estimate.",
        lambda: read().estimates,
        ["of"],
    )
    for name, help, key in COUNTERS:
        metrics.counter(f"hawker_{name}_total", help, count(key))
    metrics.counter(
        "hawker_datagrams_dropped_total",
        "Incoming datagrams that were nobody's.",
        lambda: {reason: read().counters.get(DROPPED + reason, 0) for reason in Dropped.__slots__},
        ["reason"],
    )


COUNTERS = (
    ("rtp_packets_sent", "RTP packets sent.", "packets"),
    ("rtp_bytes_sent", "RTP bytes sent.", "octets"),
    ("rtp_send_errors", "Datagrams not sent.", "errors"),
    ("rtp_retransmissions", "RTP packets sent again.", "resent"),
    ("rtp_send_passes", "Turns of the sender on the loop.", "passes"),
    ("rtp_send_pass_seconds", "Time of those turns by the wall clock.", "pass_s"),
    ("rtp_send_pass_cpu_seconds", "CPU time of those turns.", "pass_cpu_s"),
    (
        "hub_packets",
        "Access units and audio frames through the hub of every process.",
        "hub packets",
    ),
    ("hub_packets_skipped", "Of those, packets that slow readers skipped.", "hub skipped"),
)


def add_process(metrics: Metrics, event_sessions: Callable[[], int]) -> None:
    """The server's own process."""
    metrics.gauge("hawker_asyncio_tasks", "Tasks of the loop.", lambda: len(asyncio.all_tasks()))
    metrics.gauge(
        "hawker_event_sessions",
        "Sessions that follow a room, by WebSocket and data channel.",
        event_sessions,
    )


def add_workers(metrics: Metrics, fleet: Fleet) -> None:
    """Each worker by its number."""
    metrics.gauge("hawker_workers_ready", "Workers that serve viewers now.", lambda: fleet.ready)
    metrics.counter(
        "hawker_worker_restarts_total", "Workers started again.", lambda: fleet.restarts
    )
    metrics.gauge(
        "hawker_worker_sessions", "Sessions by worker.", fleet.sessions_by_worker, ["worker"]
    )
    metrics.counter(
        "hawker_worker_cpu_seconds_total",
        "CPU time of the workers.",
        fleet.cpu_s_by_worker,
        ["worker"],
    )
