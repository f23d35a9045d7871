"""Hawker as it is served: `hawker serve` with all its parts, the stream by RTMP, data channels on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

from benchmarks.loads import Load
from benchmarks.peers import Running, Way
from benchmarks.peers.feeds import feed_rtmp
from benchmarks.picture import FRAMES_PER_S
from benchmarks.server import serving
from benchmarks.together import ROOM, UNLIMITED


class Hawker:
    title = "Hawker"
    packages: Sequence[str] = ()

    def missing(self) -> str:
        return ""

    def version(self) -> str:
        return metadata.version("hawker")

    def prepare(self, folder: Path) -> None: ...

    @contextlib.contextmanager
    def running(self, folder: Path) -> Iterator[Running]:
        with serving(*UNLIMITED) as server:
            room = server.api("POST", "/v1/rooms", {"id": ROOM, "title": "Show"})
            with Load(feed_rtmp, f"{server.rtmp}/{room['stream_key']}") as feed:
                feed.ask(str(FRAMES_PER_S))
                server.wait_until_live(ROOM)
                way = Way("whep", f"{server.url}/whep/{ROOM}", data=True)
                yield Running(server.pid, way, feed)
