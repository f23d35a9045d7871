"""Fan-out over several processes: each serves its viewers on a port of its own, fed by the relay.

An offer goes to the worker with the fewest sessions, and the resource it becomes is named after it
(`w2-…`): so whoever asks for the session later reaches its owner. What overlay says and hears travels
the same link, and it need not know of workers.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mediaserver.egress import control
from mediaserver.egress.figures import Figures, add
from mediaserver.egress.link import Link
from mediaserver.egress.watching import Answered, Offered
from mediaserver.egress.whep import Messages
from mediaserver.egress.worker_process import START_S, WorkerProcess
from mediaserver.egress.worker_requests import RETRY_AFTER
from mediaserver.errors import NotFound, Unavailable
from mediaserver.hub.relay.server import private_socket
from mediaserver.protocol.sdp_fragment import Credentials
from mediaserver.rtc.admission import Admission
from mediaserver.rtc.resources import IceSession, Restarted

log = logging.getLogger("hawker.workers")

GREETING_S = 5.0
LOOK_S = 1.0
FULL = {"Retry-After": "5"}
PORTS_END = 1 << 16
_RESOURCE = re.compile(r"w([1-9][0-9]{0,3})-([A-Za-z0-9_-]{1,64})")


class Workers:
    """`Watching` by `count` processes; start the RelayServer first."""

    def __init__(
        self,
        count: int,
        relay: Path,
        messages: Messages,
        transport: Mapping[str, Any],
        admission: Admission,
        room_viewers: int,
        others: Callable[[], int] = lambda: 0,
    ) -> None:
        """`transport` are the arguments of a Transport by name; worker n's port is n above its port.

        Its `max_sessions` is for all of them and `others` (sessions of the server itself) together, as
        are `admission` and `room_viewers`.
        """
        self._others = others
        self._asked: Counter[str] = Counter()  # viewers of a room whose worker has not answered yet
        self._places = itertools.count()
        self.admission = admission
        path = relay.with_name("workers")
        self._path = path
        self._port = int(transport["port"])
        self._max_sessions = int(transport["max_sessions"])
        self._room_viewers = room_viewers
        shared = messages, admission, room_viewers
        self._all = [
            WorkerProcess(number, relay, path, self._arguments(transport, number), *shared)
            for number in range(1, count + 1)
        ]
        self._server: asyncio.Server | None = None
        self._lives: set[asyncio.Task[None]] = set()
        self._looking: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Start every worker and wait until their ports are open; raises OSError."""
        if self._port + len(self._all) >= PORTS_END:
            raise OSError(errno.EINVAL, "no port so high for each of the workers")
        self._server = await asyncio.start_unix_server(
            self._accept, sock=private_socket(self._path)
        )
        await asyncio.gather(*(each.child.start() for each in self._all))
        self._look()
        started = asyncio.gather(*(each.started for each in self._all))
        try:
            async with asyncio.timeout(START_S):
                await started
        except TimeoutError:
            raise TimeoutError("the workers do not start") from None

    async def stop(self) -> None:
        """End every worker: each says goodbye to its viewers. Calling it again does nothing."""
        if self._server is None:
            return
        if self._looking is not None:
            self._looking.cancel()
        await asyncio.gather(*(each.child.stop() for each in self._all))
        self._server.close()
        for task in self._lives:
            task.cancel()
        if self._lives:
            await asyncio.wait(self._lives)
        await self._server.wait_closed()
        self._server = None
        self._path.unlink(missing_ok=True)

    @property
    def ready(self) -> int:
        """How many of them serve viewers now."""
        return sum(each.ready for each in self._all)

    def sessions(self) -> int:
        """How many they have, and how many may be on their way."""
        return sum(each.load for each in self._all)

    @property
    def restarts(self) -> int:
        return sum(each.child.restarts for each in self._all)

    @property
    def addresses(self) -> Sequence[str]:
        """Of their ports over UDP, as `host:port`."""
        return [address for each in self._all for address in each.addresses]

    # -- Watching ---------------------------------------------------------------------------------

    async def watch(self, offered: Offered) -> Answered:
        ready = [each for each in self._all if each.ready]
        if not ready:
            raise Unavailable("no worker is ready", headers=RETRY_AFTER)
        self.admission.check(offered.remote)
        if self.sessions() + self._others() >= self._max_sessions:
            raise Unavailable("no room for another session", headers=FULL)
        watching = sum(each.sessions.in_room(offered.room) for each in self._all)
        if watching + self._asked[offered.room] >= self._room_viewers:
            raise Unavailable("the room is full", headers=FULL)
        worker = min(ready, key=lambda each: each.load)
        with self._place(offered):
            words = offered.room, offered.offer, offered.token, offered.remote
            resource, ufrag, answer = await worker.ask(lambda n: control.Watch(n, *words))
        return Answered(worker.named(resource), ufrag, answer)

    @contextmanager
    def _place(self, offered: Offered) -> Iterator[None]:
        """A place in the room and for the address, until the worker's answer has counted it."""
        place = f"place-{next(self._places)}"
        self._asked[offered.room] += 1
        self.admission.count(offered.remote, place)
        try:
            yield
        finally:
            self.admission.forget(place)
            self._asked[offered.room] -= 1
            if not self._asked[offered.room]:
                del self._asked[offered.room]

    async def find(self, resource: str) -> IceSession:
        worker, name = self._owner(resource)
        ufrag, *peer = await worker.ask(lambda n: control.Find(n, name))
        return IceSession(ufrag, Credentials(*peer) if peer else None)

    async def restart_ice(self, resource: str, peer: Credentials) -> Restarted:
        worker, name = self._owner(resource)
        words = peer.ufrag, peer.password
        return Restarted(*await worker.ask(lambda n: control.RestartIce(n, name, *words)))

    async def delete(self, resource: str) -> None:
        worker, name = self._owner(resource)
        await worker.ask(lambda n: control.Delete(n, name))

    def viewers(self, room: str) -> int:
        return sum(each.viewers(room) for each in self._all)

    def figures(self) -> Figures:
        return add(each.figures() for each in self._all)

    def sessions_by_worker(self) -> dict[str, int]:
        return {str(each.number): each.load for each in self._all}

    def cpu_s_by_worker(self) -> dict[str, float]:
        """CPU seconds, those of earlier lives too."""
        return {str(each.number): each.figures().counters["cpu_s"] for each in self._all}

    def _owner(self, resource: str) -> tuple[WorkerProcess, str]:
        match = _RESOURCE.fullmatch(resource)
        if match is None or int(match[1]) > len(self._all):
            raise NotFound("no such session")
        worker = self._all[int(match[1]) - 1]
        if not worker.ready:
            raise NotFound("the session's process has ended")
        return worker, match[2]

    def _arguments(self, transport: Mapping[str, Any], number: int) -> dict[str, Any]:
        return {**transport, "port": self._port + number if self._port else 0}

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._lives.add(task)
        task.add_done_callback(self._lives.discard)
        link = Link(reader, writer)
        try:
            async with asyncio.timeout(GREETING_S):
                hello = await link.receive()
        except TimeoutError:
            hello = None
        if isinstance(hello, control.Hello) and 0 < hello.worker <= len(self._all):
            await self._all[hello.worker - 1].run(link)
        link.close()

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        self._looking = loop.call_later(LOOK_S, self._look)
        for each in self._all:
            each.look(loop.time())
