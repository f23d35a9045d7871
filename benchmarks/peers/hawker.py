"""Hawker as it is served: `hawker serve` with all its parts, the stream by RTMP, data channels on."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

from benchmarks.loads import Load
from benchmarks.peers import NotStarted, Running, Way
from benchmarks.peers.feeds import feed_rtmp
from benchmarks.picture import FRAMES_PER_S
from benchmarks.server import serving
from benchmarks.together import ROOM, UNLIMITED
from mediaserver.rtc import compiled


class Hawker:
    """With the sender in Python, or the compiled one: a server finds it in the cache directory."""

    def __init__(self, *, compiled: bool) -> None:
        self.title = "Hawker, compiled" if compiled else "Hawker"
        self.packages: Sequence[str] = ("gcc", "libc6-dev") if compiled else ()
        self._compiled = compiled

    def missing(self) -> str:
        if self._compiled:
            try:
                compiled.compiler()
            except compiled.Unavailable as why:
                return str(why)
        return ""

    def version(self) -> str:
        return metadata.version("hawker")

    def prepare(self, folder: Path) -> None:
        if self._compiled:
            try:
                compiled.build(folder / "hawker")
                compiled.load(folder / "hawker")
            except compiled.Unavailable as why:
                raise NotStarted(str(why)) from None

    @contextlib.contextmanager
    def running(self, folder: Path) -> Iterator[Running]:
        with _cache(folder), serving(*UNLIMITED) as server:
            room = server.api("POST", "/v1/rooms", {"id": ROOM, "title": "Show"})
            with Load(feed_rtmp, f"{server.rtmp}/{room['stream_key']}") as feed:
                feed.ask(str(FRAMES_PER_S))
                server.wait_until_live(ROOM)
                way = Way("whep", f"{server.url}/whep/{ROOM}", data=True)
                yield Running(server.pid, way, feed)


@contextlib.contextmanager
def _cache(folder: Path) -> Iterator[None]:
    """The user's cache directory for processes started meanwhile."""
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["XDG_CACHE_HOME"]
        else:
            os.environ["XDG_CACHE_HOME"] = before
