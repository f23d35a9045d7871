"""What takes the publishers of `whip_ingest`: Hawker's WebRTC ingest alone, all of it, and Pion."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from aiohttp import web

from benchmarks.loads import Commands, Load
from benchmarks.peers import NotStarted, started
from benchmarks.peers.pion import Pion, build
from benchmarks.server import LOOPBACK, READY_S, serving
from benchmarks.stage import PACKETS, SETTINGS
from benchmarks.whip_load import Target
from mediaserver.api.limits import AddressLimiter
from mediaserver.api.whip import WhipApi
from mediaserver.collector import Collector
from mediaserver.hub import Hub
from mediaserver.ingest.whip import WhipIngest
from mediaserver.rtc import compiled
from mediaserver.rtc.transport import Transport

PION_SOURCE = Path(__file__).parent / "peers/pion_ingest"
PION_NAME = "pioningest"


@dataclass(frozen=True, slots=True)
class Taking:
    """A server with a place for every publisher; `arrived` is what has come of them all so far.

    It counts what `unit` says: packets of RTP, or whole frames of picture and sound.
    """

    pid: int
    targets: Sequence[Target]
    unit: Literal["rtp packets", "frames"]
    arrived: Callable[[], int]


class Taker(Protocol):
    title: str

    def missing(self) -> str:
        """What is not installed, in words; empty when all is there."""

    def prepare(self, folder: Path) -> None:
        """Once before all runs: build it."""

    def running(self, folder: Path, publishers: int) -> AbstractContextManager[Taking]: ...


class Ingest:
    """Transport, WHIP and hub, in a process of their own; nobody reads the streams."""

    title = "Hawker"

    def missing(self) -> str:
        return ""

    def prepare(self, folder: Path) -> None: ...

    def running(self, folder: Path, publishers: int) -> AbstractContextManager[Taking]:
        return taking(publishers, None)


class CompiledIngest:
    """The same with the compiled receiver, built for the run."""

    title = "Hawker, compiled"

    def missing(self) -> str:
        try:
            compiled.compiler()
        except compiled.Unavailable as why:
            return str(why)
        return ""

    def prepare(self, folder: Path) -> None:
        compiled.build(folder / "compiled")

    def running(self, folder: Path, publishers: int) -> AbstractContextManager[Taking]:
        return taking(publishers, folder / "compiled")


class Whole:
    """`hawker serve`: also makes HLS segments of every stream."""

    title = "Hawker, with HLS"

    def missing(self) -> str:
        return ""

    def prepare(self, folder: Path) -> None: ...

    @contextlib.contextmanager
    def running(self, folder: Path, publishers: int) -> Iterator[Taking]:
        with serving(*SETTINGS) as server:
            targets = []
            for number in range(publishers):
                room = {"id": f"room{number}", "title": "Show"}
                key = server.api("POST", "/v1/rooms", room)["stream_key"]
                targets.append((f"{server.url}/whip", key))
            yield Taking(server.pid, targets, "frames", lambda: int(server.metrics()[PACKETS]))


class PionIngest:
    """Reads all tracks, default interceptors, one processor (peers/pion_ingest)."""

    title = "Pion v3"

    def missing(self) -> str:
        return Pion().missing()

    def prepare(self, folder: Path) -> None:
        build(PION_SOURCE, PION_NAME, folder)

    @contextlib.contextmanager
    def running(self, folder: Path, publishers: int) -> Iterator[Taking]:
        command, log = [str(folder / PION_NAME)], folder / f"{PION_NAME}.log"
        with (
            log.open("wb") as errors,
            started(command, subprocess.PIPE, errors, GOMAXPROCS="1") as process,
        ):
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise NotStarted(f"{PION_NAME}: {log.read_text('utf-8', 'replace')}")
            url = json.loads(line)["http"]

            def arrived() -> int:
                with urllib.request.urlopen(f"{url}/count", timeout=READY_S) as reply:
                    return int(reply.read())

            yield Taking(process.pid, [(f"{url}/whip", "")] * publishers, "rtp packets", arrived)


TAKERS: dict[str, Taker] = {
    "hawker": Ingest(),
    "hawker_compiled": CompiledIngest(),
    "hawker_serve": Whole(),
    "pion": PionIngest(),
}


class Anybody:
    """The key is the stream's name."""

    async def publish(self, key: str) -> str:
        return key

    async def watch(self, stream: str, token: str | None) -> None:
        """Open to all."""


@contextlib.contextmanager
def taking(publishers: int, library: Path | None) -> Iterator[Taking]:
    """`take` in a process of its own."""
    with Load(take, library) as load:
        pid, url = load.ask("where")
        targets = [(url, f"room{number}") for number in range(publishers)]
        yield Taking(pid, targets, "frames", lambda: int(load.ask("count")))


async def take(commands: Commands, library: Path | None) -> None:
    """Commands: `where` it is, as (process, URL), and the `count` of frames that came.

    `library` is the directory where the compiled receiver was built, None for Python's own.
    """
    hub = Hub()
    transport = Transport(LOOPBACK, 0, carrier=compiled.load(library) if library else None)
    await transport.start()
    ingest = WhipIngest(hub, transport, Anybody())
    app = web.Application()
    app.add_routes(WhipApi(ingest, AddressLimiter(per_s=1e6, burst=1_000_000)).routes())
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, LOOPBACK, 0).start()
    host, port = runner.addresses[0][:2]
    collector = Collector(lambda: not transport.sessions)  # as in the server
    collector.start()
    commands.answer("ready")
    try:
        while True:
            if await commands.next() == "where":
                commands.answer((os.getpid(), f"http://{host}:{port}/whip"))
            else:
                commands.answer(hub.totals().packets)
    finally:
        collector.stop()
        await runner.cleanup()
        ingest.close()
        await transport.stop()
        hub.drain()
