"""One worker as the server sees it: its process, its link, its viewers.

A worker that dies takes its sessions with it: whoever waits for an answer is told, overlay hears that
its viewers have left, and their players notice by themselves. The process is started again and gets the
port it had. A worker that says nothing for SILENT_S hangs, and is killed.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mediaserver.child import ChildProcess
from mediaserver.egress import control
from mediaserver.egress.figures import Figures
from mediaserver.egress.link import Link
from mediaserver.egress.whep import Messages
from mediaserver.egress.worker_requests import Requests, gone
from mediaserver.egress.worker_sessions import WorkerSessions
from mediaserver.egress.worker_viewers import Said, WorkerViewer
from mediaserver.rtc.admission import Admission

log = logging.getLogger("hawker.workers")

PROGRAM = (sys.executable, "-m", "mediaserver.egress.worker")
START_S = 60.0  # three processes that start at once on a machine that is busy already
TERMINATE_S = 3.0  # a goodbye to each of 5,000 viewers takes half a second
SILENT_S = 15.0  # figures come every second


class WorkerProcess:
    """The worker of one number, through every life of its process."""

    def __init__(
        self,
        number: int,
        relay: Path,
        control_path: Path,
        transport: dict[str, Any],
        messages: Messages,
        admission: Admission,
        room_viewers: int,
    ) -> None:
        """`transport` are the arguments of its Transport by name."""
        self._room_viewers = room_viewers
        self.number = number
        self.child = ChildProcess(
            f"worker {number}",
            [*PROGRAM, str(relay), str(control_path), str(number)],
            terminate_s=TERMINATE_S,
        )
        self.addresses: list[str] = []
        self.ready = False
        self.started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport = transport
        self._messages = messages
        self._link: Link | None = None
        self._heard_at = asyncio.get_running_loop().time()
        self.sessions = WorkerSessions(admission)
        self._viewers: dict[int, WorkerViewer] = {}
        self._requests = Requests()
        self._figures = Figures()
        self._before: Counter[str] = Counter()  # what earlier lives have counted
        self._handlers: dict[type[Any], Callable[[Any], None]] = {
            control.Ready: self._on_ready,
            control.Failed: self._on_failed,
            control.Done: self._on_done,
            control.Refused: self._requests.refused,
            control.Opened: self._on_opened,
            control.Received: self._on_received,
            control.Taken: self._on_taken,
            control.Mute: self._on_mute,
            control.Gone: self._on_gone,
            control.Told: self._on_told,
        }

    @property
    def load(self) -> int:
        """Sessions, and requests that may become some."""
        return len(self.sessions) + len(self._requests)

    def viewers(self, room: str) -> int:
        """Connected viewers of a stream, as last told."""
        return self._figures.viewers.get(room, 0)

    def figures(self) -> Figures:
        """Its counters go on from one life to the next."""
        now = self._figures
        counters = self._before + Counter(now.counters)
        return Figures(now.viewers, now.sessions, now.estimates, counters)

    async def run(self, link: Link) -> None:
        """The life of one process, from its greeting to its end."""
        if self._link is not None:
            self._end()
        self._link = link
        self._said = Said(link.tell)
        self._heard_at = asyncio.get_running_loop().time()
        link.tell(control.Begin(self._transport, self._room_viewers))
        try:
            async for message in link.messages():
                if self._link is not link:
                    return  # another life has begun
                self._handlers[type(message)](message)
        finally:
            if self._link is link:
                self._end()

    def named(self, resource: str) -> str:
        """One of its resources, as it is named to the outside."""
        return f"w{self.number}-{resource}"

    async def ask(self, request: Callable[[int], Any]) -> list[Any]:
        """The values of the answer to `request(number)`; raises the worker's PeerError, Unavailable."""
        if self._link is None or not self.ready:
            raise gone()
        return await self._requests.ask(self._link.tell, request)

    def look(self, now: float) -> None:
        """About once a second: kill a process that hangs, does not read, or never speaks."""
        if self.child.pid is None:
            self._heard_at = now
        if now - self._heard_at <= (START_S if self._link is None else SILENT_S):
            return
        log.error("worker %d does not answer: killed", self.number)
        self._end()
        self.child.kill()

    def _end(self) -> None:
        """The process is gone, and what it held with it."""
        if self._link is not None:
            self._link.close()
        self._link = None
        self.ready = False
        self._heard_at = asyncio.get_running_loop().time()
        self._before.update(self._figures.counters)
        self._figures = Figures()
        self._requests.fail()
        if len(self.sessions):
            log.warning("worker %d: ended with %d sessions", self.number, len(self.sessions))
        self.sessions.clear()
        for viewer in list(self._viewers):
            self._forget(viewer)

    def _forget(self, number: int) -> None:
        viewer = self._viewers.pop(number, None)
        if viewer is not None:
            viewer.closed = True
            self._messages.closed(viewer)

    # -- what the worker tells --------------------------------------------------------------------

    def _on_ready(self, message: control.Ready) -> None:
        self.ready = True
        self.addresses = message.addresses
        self._transport = {**self._transport, "port": message.port}  # in its next life as well
        log.info("worker %d: serves viewers on %s", self.number, ", ".join(message.addresses))
        if not self.started.done():
            self.started.set_result(None)

    def _on_failed(self, message: control.Failed) -> None:
        log.error("worker %d: cannot open its port: %s", self.number, message.strerror)
        if not self.started.done():
            self.started.set_exception(OSError(message.errno, message.strerror))

    def _on_done(self, message: control.Done) -> None:
        if message.viewer is not None:
            resource = self.named(message.values[0])
            self.sessions.add(message.viewer, resource, self._requests.message(message.request))
        self._requests.done(message)

    def _on_opened(self, message: control.Opened) -> None:
        assert self._link is not None
        viewer = WorkerViewer(message.viewer, self._said, self._link.tell)
        self._viewers[message.viewer] = viewer
        self._messages.opened(viewer, message.room, message.token, viewer.send, viewer.hang_up)

    def _on_received(self, message: control.Received) -> None:
        viewer = self._viewers.get(message.viewer)
        if viewer is not None:
            self._messages.received(viewer, message.data)

    def _on_taken(self, message: control.Taken) -> None:
        lengths = iter(message.lengths)
        for number, length in zip(lengths, lengths, strict=True):
            viewer = self._viewers.get(number)
            if viewer is not None:
                viewer.taken(length)

    def _on_mute(self, message: control.Mute) -> None:
        self._forget(message.viewer)

    def _on_gone(self, message: control.Gone) -> None:
        self.sessions.discard(message.viewer)
        self._forget(message.viewer)

    def _on_told(self, message: control.Told) -> None:
        self._heard_at = asyncio.get_running_loop().time()
        self._figures = Figures(
            message.viewers, message.sessions, message.estimates, message.counters
        )
