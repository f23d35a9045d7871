"""What takes the publishers of `rtmp_ingest`: Hawker's RTMP ingest and hub, and two peers."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks.loads import Commands, Load
from benchmarks.peers import nginx_rtmp, node_media_server
from mediaserver.collector import Collector
from mediaserver.hub import Hub
from mediaserver.ingest.rtmp import RtmpServer

LOOPBACK = "127.0.0.1"
MAX_CONNECTIONS = 10_000


@dataclass(frozen=True, slots=True)
class Taking:
    """A server on loopback; `arrived` counts its messages of picture and sound, where it can tell."""

    pid: int
    port: int
    arrived: Callable[[], int] | None = None


class Taker(Protocol):
    title: str

    def missing(self) -> str:
        """What is not installed, in words; empty when all is there."""

    def prepare(self, folder: Path) -> None:
        """Once before all runs."""

    def running(self, folder: Path) -> AbstractContextManager[Taking]: ...


class Ingest:
    """RTMP server and hub in a process of their own, uvloop; nobody reads the streams."""

    title = "Hawker"

    def missing(self) -> str:
        return ""

    def prepare(self, folder: Path) -> None: ...

    @contextlib.contextmanager
    def running(self, folder: Path) -> Iterator[Taking]:
        with Load(take) as load:
            pid, port = load.ask("where")
            yield Taking(pid, port, lambda: int(load.ask("count")))


class NginxRtmp:
    title = "nginx-rtmp"

    def missing(self) -> str:
        return nginx_rtmp.missing()

    def prepare(self, folder: Path) -> None: ...

    @contextlib.contextmanager
    def running(self, folder: Path) -> Iterator[Taking]:
        with nginx_rtmp.running(folder) as (pid, port):
            yield Taking(pid, port)


class NodeMediaServer:
    title = "node-media-server"

    def missing(self) -> str:
        return node_media_server.missing()

    def prepare(self, folder: Path) -> None:
        node_media_server.prepare(folder)

    @contextlib.contextmanager
    def running(self, folder: Path) -> Iterator[Taking]:
        with node_media_server.running(folder) as (pid, port):
            yield Taking(pid, port)


TAKERS: dict[str, Taker] = {
    "hawker": Ingest(),
    "nginx_rtmp": NginxRtmp(),
    "node_media_server": NodeMediaServer(),
}


class Anybody:
    """The key is the stream's name."""

    async def publish(self, key: str) -> str:
        return key

    async def watch(self, stream: str, token: str | None) -> None:
        """Open to all."""


async def take(commands: Commands) -> None:
    """Commands: `where` it is, as (process, port), and the `count` of messages that came."""
    hub = Hub()
    server = RtmpServer(hub, Anybody(), LOOPBACK, 0, max_connections=MAX_CONNECTIONS)
    await server.start()
    collector = Collector(lambda: False)  # as in the whole server
    collector.start()
    commands.answer("ready")
    try:
        while True:
            if await commands.next() == "where":
                commands.answer((os.getpid(), server.port))
            else:
                commands.answer(hub.totals().packets)
    finally:
        collector.stop()
        await server.stop()
        hub.drain()
