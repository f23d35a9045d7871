"""One room's channel on the air: a process of its own reads the files, here they are published.

It publishes with the rank of a backup: a host who goes live is on the air at once, and the channel goes
on behind him. A process that dies is started again, at the first file.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgpack

from mediaserver.hub import BACKUP, Hub, Publication
from mediaserver.hub.relay.frames import FrameReader
from mediaserver.ingest.channel.files import RATE
from mediaserver.media import Kind, Track

log = logging.getLogger("hawker.channel")

READ_BYTES = 256 << 10
RESTART_MIN_S, RESTART_MAX_S = 1.0, 30.0
END_S = 1.0  # from SIGTERM to SIGKILL

State = Literal["waiting", "playing", "ended"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is played; `starts_at_s` is UTC seconds, None for at once."""

    files: tuple[Path, ...]
    loop: bool = False
    starts_at_s: float | None = None


@dataclass(slots=True)
class Status:
    """`item` is the place in the plan of what plays, `problem` what could not be played last."""

    state: State = "waiting"
    item: int | None = None
    problem: str | None = None


class Channel:
    """From `start` to `stop`; `status` tells where it is."""

    def __init__(
        self, hub: Hub, room: str, plan: Plan, utc_s: Callable[[], float] = time.time
    ) -> None:
        self.plan = plan
        self.status = Status()
        self._hub = hub
        self._room = room
        self._utc_s = utc_s
        self._publication: Publication | None = None
        self._tracks: dict[Kind, Track] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Off the air; calling it again does nothing."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
        self._leave("the channel was stopped")

    async def _run(self) -> None:
        if self.plan.starts_at_s is not None:
            await asyncio.sleep(max(0.0, self.plan.starts_at_s - self._utc_s()))
        pause_s = RESTART_MIN_S
        while True:
            self.status.state = "playing"
            code = await self._play()
            if code == 0:
                break
            log.warning("stream %s: its channel ended with status %d", self._room, code)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, RESTART_MAX_S)
        self._task = None
        self.status.state, self.status.item = "ended", None
        self._leave("the channel has ended")

    async def _play(self) -> int:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "mediaserver.ingest.channel"),
            stdin=PIPE,
            stdout=PIPE,
            stderr=DEVNULL,
            start_new_session=True,
        )
        assert process.stdin is not None and process.stdout is not None
        files = [str(path) for path in self.plan.files]
        process.stdin.write(json.dumps({"files": files, "loop": self.plan.loop}).encode() + b"\n")
        frames = FrameReader()
        try:
            while data := await process.stdout.read(READ_BYTES):
                for body in frames.feed(data):
                    self._take(*msgpack.unpackb(body))
            return await process.wait()
        finally:
            await _end(process)

    def _take(self, what: str, *rest: Any) -> None:
        match what:
            case "unit":
                self._write(*rest)
            case "track":
                track = Track(*rest)
                self._tracks[track.kind] = track
            case "item":
                (self.status.item,) = rest
            case "failed":
                _, self.status.problem = rest
                log.warning("stream %s: its channel: %s", self._room, self.status.problem)

    def _write(
        self, kind: Kind, timestamp: int, composition: int, keyframe: bool, payload: bytes
    ) -> None:
        if self._publication is None:
            self._publication = self._hub.publish(
                self._room,
                protocol="channel",
                clock_rate=RATE,
                rank=BACKUP,
                on_close=self._on_close,
            )
        self._publication.write(
            self._tracks[kind],
            timestamp,
            payload,
            keyframe=keyframe,
            composition=composition,
            arrival=time.monotonic(),
        )

    def _on_close(self, reason: str) -> None:
        """Another backup took over, or the stream was ended."""
        self.status.state, self.status.item = "ended", None
        if self._task is not None:
            self._task.cancel()

    def _leave(self, reason: str) -> None:
        if self._publication is not None:
            self._publication.close(reason, finished=True)


async def _end(process: Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(END_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
