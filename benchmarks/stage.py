"""What viewers of a benchmark come to: a real server, one room, and a stream that has begun."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.loads import Load, Run
from benchmarks.server import LIVE_S, POLL_S, Server, serving

ROOM = "show"
SETTINGS = (
    "limits.posts_per_minute=10000000",
    "transcode.enabled=false",
    "hls.window_s=6",  # the least: what is kept for HLS has its full size after seconds
)
PACKETS = "hawker_hub_packets_total"


@contextlib.contextmanager
def on_the_air(
    publish: Run,
    *arguments: Any,
    program: Sequence[str] = ("-m", "mediaserver"),
    core: int | None = None,
    settings: Sequence[str] = (),
) -> Iterator[Server]:
    """`publish(commands, url, *arguments)` is a load; `program`, `core`, `settings` are `serving`'s.

    Raises TimeoutError when no packet of it comes.
    """
    with serving(*SETTINGS, *settings, program=program, core=core) as server:
        key = server.api("POST", "/v1/rooms", {"id": ROOM, "title": "Show"})["stream_key"]
        with Load(publish, f"{server.rtmp}/{key}", *arguments):
            server.wait_until_live(ROOM)
            until = time.monotonic() + LIVE_S
            while not server.metrics()[PACKETS]:  # a room is live before it has a track
                if time.monotonic() > until:
                    raise TimeoutError(f"no picture comes; see {server.log}")
                time.sleep(POLL_S)
            yield server


def whep(server: Server) -> str:
    """Where viewers send their offers."""
    return f"{server.url}/whep/{ROOM}"
