"""A fan-out process: `python -m mediaserver.egress.worker RELAY CONTROL NUMBER`, started by Workers.

It serves WebRTC viewers on a port of its own, from a hub that mirrors the server's streams over the
relay. The server's HTTP hands it offers over the control socket, and the words of data channels travel
there as well. It ends with either socket, so it never outlives the server.

The loop is the only thread: a second one of Python code would hold up what is sent (the interpreter's
lock is handed over every 5 ms).
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import uvloop

from mediaserver import child
from mediaserver.collector import Collector
from mediaserver.egress import control
from mediaserver.egress.figures import collect
from mediaserver.egress.link import Link
from mediaserver.egress.mirror import Mirror
from mediaserver.egress.watching import Offered, OneProcess
from mediaserver.egress.whep import WhepEgress
from mediaserver.egress.worker_messages import WorkerMessages
from mediaserver.errors import PeerError
from mediaserver.hub import Hub
from mediaserver.hub.relay import RelayClient
from mediaserver.protocol.sdp_fragment import Credentials
from mediaserver.rtc import compiled
from mediaserver.rtc.address import shown
from mediaserver.rtc.transport import Transport

log = logging.getLogger("hawker.workers")

NICENESS = 0  # it is the one that sends


class Worker:
    """One process's viewers, between `open` and the end of its stack."""

    def __init__(
        self, link: Link, relay: RelayClient, transport: Transport, room_viewers: int
    ) -> None:
        self._link = link
        self._transport = transport
        self._hub = Hub()
        self._messages = WorkerMessages(link.tell)
        self._egress = WhepEgress(self._hub, transport, self._messages, room_viewers)
        self._mirror = Mirror(self._hub, relay)
        self._sessions = OneProcess(self._egress, self._hub)
        self._under_way: set[asyncio.Task[None]] = set()
        self._answers: dict[type[Any], Callable[[Any], Awaitable[control.Done]]] = {
            control.Watch: self._watch,
            control.Find: self._find,
            control.RestartIce: self._restart_ice,
            control.Delete: self._delete,
        }

    async def run(self) -> None:
        """Do what the server says until it closes the link."""
        following = asyncio.create_task(self._mirror.run())
        stop_telling = self._transport.every_second(self._every_second)
        try:
            async for message in self._link.messages():
                self._receive(message)
        finally:
            stop_telling()
            following.cancel()
            await asyncio.wait([following])

    async def close(self) -> None:
        """Say goodbye to every viewer."""
        for task in self._under_way:
            task.cancel()
        self._egress.close()
        await self._transport.stop()
        self._mirror.close()
        self._hub.drain()

    def _receive(self, message: Any) -> None:
        if isinstance(message, control.Say):
            self._messages.say(message)
        elif isinstance(message, control.HangUp):
            self._messages.hang_up(message.viewer)
        else:
            task = asyncio.create_task(self._answer(message))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def _answer(self, request: Any) -> None:
        try:
            done = await self._answers[type(request)](request)
        except PeerError as error:
            words = error.code, error.title, error.detail, dict(error.headers), dict(error.extra)
            self._link.tell(control.Refused(request.request, error.status, *words))
        else:
            self._link.tell(done)

    async def _watch(self, request: control.Watch) -> control.Done:
        await self._mirror.open(request.room)
        offered = Offered(request.room, request.offer, request.token, request.remote)
        answered = await self._sessions.watch(offered)
        number = self._messages.number(self._sessions.session(answered.resource).handler)
        values = [answered.resource, answered.ufrag, answered.answer]
        return control.Done(request.request, values, number)

    async def _find(self, request: control.Find) -> control.Done:
        session = await self._sessions.find(request.resource)
        peer = session.peer
        words = (peer.ufrag, peer.password) if peer else ()
        return control.Done(request.request, [session.ufrag, *words])

    async def _restart_ice(self, request: control.RestartIce) -> control.Done:
        peer = Credentials(request.ufrag, request.password)
        restarted = await self._sessions.restart_ice(request.resource, peer)
        return control.Done(request.request, [restarted.fragment, restarted.ufrag])

    async def _delete(self, request: control.Delete) -> control.Done:
        await self._sessions.delete(request.resource)
        return control.Done(request.request, [])

    def _every_second(self, now: float) -> None:
        self._mirror.sweep()
        figures = collect(self._egress, self._hub)
        told = dict(figures.viewers), figures.sessions, dict(figures.estimates)
        self._link.tell(control.Told(*told, dict(figures.counters)))


async def serve(relay: Path, path: Path, number: int) -> int:
    """Serve viewers until SIGTERM or the end of either socket; the exit code. Raises OSError."""
    async with AsyncExitStack() as stack:
        link = await Link.connect(path)
        stack.callback(link.close)
        link.tell(control.Hello(number))
        begin = await link.receive()
        if begin is None:
            return 1
        client = await RelayClient.connect(relay)
        stack.push_async_callback(client.close)
        transport = Transport(**begin.transport, carrier=compiled.chosen())
        try:
            await transport.start()
        except OSError as error:
            link.tell(control.Failed(error.errno or 0, error.strerror or str(error)))
            await link.flush()
            return 1
        worker = Worker(link, client, transport, begin.room_viewers)
        stack.push_async_callback(worker.close)
        link.tell(control.Ready(transport.port, _addresses(transport)))
        collector = Collector(lambda: not transport.sessions)
        collector.start()
        stack.callback(collector.stop)
        await _first(worker.run(), client.closed(), _terminated())
    return 0


def _addresses(transport: Transport) -> list[str]:
    return [
        shown((each.address, each.port))
        for each in transport.candidates()
        if each.protocol == "udp"
    ]


async def _first(*awaitables: Awaitable[None]) -> None:
    """Until one of them is done; raises what it raised."""
    tasks = [asyncio.ensure_future(each) for each in awaitables]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.wait(tasks)
    for task in done:
        task.result()


async def _terminated() -> None:
    event = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, event.set)
    await event.wait()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m mediaserver.egress.worker")
    parser.add_argument("relay", type=Path, help="where the relay listens")
    parser.add_argument("control", type=Path, help="where the server listens for its workers")
    parser.add_argument("number", type=int, help="which of the workers this is, from 1")
    given = parser.parse_args()
    child.begin(NICENESS)
    serving = serve(given.relay, given.control, given.number)
    try:
        return uvloop.run(serving)
    except OSError as error:
        log.error("cannot reach the server: %s", error)
        return 1


if __name__ == "__main__":
    sys.exit(main())
