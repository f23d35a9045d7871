"""One client process: publishes, then lets its share of the people join, and tells its figures."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any

import aiohttp
import av

from benchmarks.load.figures import Figures
from benchmarks.load.hls import HlsViewer
from benchmarks.load.people import Buyer, Chatter
from benchmarks.load.share import CARRIERS, Share
from benchmarks.load.stamped_loop import HeadLoop
from benchmarks.load.talks import ANSWER_S, ActRefused, ChannelTalk, HttpTalk, SocketTalk, Talk
from benchmarks.load.viewers import Viewers
from benchmarks.loads import Commands
from benchmarks.publisher import publish

SPARE_THREADS = 4
LEAVE_S = 5.0


def play(control: Connection, share: Share) -> None:
    """The process's main; it answers `join`, `figures` and `leave`. Ctrl-C is the parent's affair."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with asyncio.Runner(loop_factory=HeadLoop) as runner, contextlib.suppress(EOFError):
        runner.run(_play(control, share))


async def _play(control: Connection, share: Share) -> None:
    commands = Commands(control)
    async with _session() as http:
        player = Player(http, share)
        try:
            player.publish()
            commands.answer("on the air")
            while True:
                match await commands.next():
                    case "join":
                        player.join()
                        commands.answer("joining")
                    case "figures":
                        commands.answer(player.figures())
                    case "leave":
                        commands.answer(await player.leave())
        finally:
            await player.leave()


def _session() -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(limit=0)
    return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=ANSWER_S))


class _OnTheAir(Commands):
    """For a publisher within this process: it goes on until its task is cancelled."""

    def __init__(self) -> None:
        self._never = asyncio.Event()

    async def next(self) -> str:
        await self._never.wait()
        return ""

    def answer(self, value: Any) -> None:
        """Whether its picture comes, the server is asked."""


class Player:
    """All people of the process, on one loop."""

    def __init__(self, http: aiohttp.ClientSession, share: Share) -> None:
        plan = share.plan
        self._http = http
        self._share = share
        self._url = plan.url
        self._figures = Figures()
        self._viewers = Viewers(http, self._figures, share.relay_port)
        self._hls: list[HlsViewer] = []
        self._sockets: list[SocketTalk] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._publishing: list[asyncio.Task[None]] = []
        self._left = False

    def publish(self) -> None:
        """Begin to send this process's pictures, a thread each."""
        loop, urls = asyncio.get_running_loop(), self._share.scene.publish
        loop.set_default_executor(ThreadPoolExecutor(len(urls) + SPARE_THREADS))
        for number in self._share.mine(len(urls)):
            self._publishing.append(loop.create_task(publish(_OnTheAir(), urls[number])))

    def join(self) -> None:
        """Let everybody join, spread as planned."""
        plan = self._share.plan
        self._start(self._viewers.tick_forever())
        self._everyone(plan.viewers, self._view)
        self._everyone(plan.hls_viewers, self._view_hls)
        self._everyone(plan.buyers, self._buy)
        self._everyone(plan.chatters, self._chat)

    def figures(self) -> Figures:
        """What has come together; the times since the last call."""
        self._viewers.notice()
        counts = self._figures.counts.copy()
        counts.update(self._viewers.count())
        counts["connected"] += sum(each.playing for each in self._hls)
        counts["connected"] += sum(not each.closed for each in self._sockets)
        times, self._figures.times = self._figures.times, {}
        return Figures(counts, self._figures.errors.copy(), times, time.process_time())

    async def leave(self) -> Figures:
        """Everybody goes; the last figures, with what went wrong up to the end."""
        if self._left:
            return self.figures()
        self._left = True
        self._viewers.notice()
        self._viewers.judge()
        last = self.figures()
        for ended in await _cancelled(self._tasks):
            if isinstance(ended, Exception):
                last.errors[f"client: {type(ended).__name__}: {ended}"] += 1
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_S):
                await asyncio.gather(
                    self._viewers.close(), *(each.close() for each in self._sockets)
                )
        for ended in await _cancelled(self._publishing):
            if isinstance(ended, av.FFmpegError | OSError):
                last.errors[f"publisher: {type(ended).__name__}"] += 1
        last.add_times(self._figures.times)
        return last

    # -- who comes -------------------------------------------------------------------------------

    def _everyone(self, people: int, come: Callable[[int], Awaitable[None]]) -> None:
        for number in self._share.mine(people):
            self._start(self._come(come, number, self._share.joins_after_s(number, people)))

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)

    async def _come(
        self, come: Callable[[int], Awaitable[None]], number: int, after_s: float
    ) -> None:
        await asyncio.sleep(after_s)
        try:
            await come(number)
        except ActRefused as refusal:
            self._figures.errors[f"join: {refusal}"] += 1
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self._figures.errors[f"join: {type(error).__name__}"] += 1

    async def _view(self, number: int) -> None:
        await self._viewers.join(self._viewers.new(), self._whep(number))

    async def _view_hls(self, number: int) -> None:
        viewer = HlsViewer(self._http, self._figures)
        self._hls.append(viewer)
        await viewer.watch_forever(f"{self._url}/hls/{self._share.room(number)}/index.m3u8")

    async def _buy(self, number: int) -> None:
        sku, room = self._share.scene.sku, self._share.room(number)
        assert sku is not None
        talk = await self._carrier(number, room, await self._guest(room))
        if talk is not None:
            seed = f"{self._share.plan.seed} {number}"
            await Buyer(talk, self._figures, room, sku, seed).shop_forever()

    async def _chat(self, number: int) -> None:
        room = self._share.room(number)
        chatter = Chatter(number, self._figures)
        await self._open(chatter.talk, room, await self._guest(room))
        await chatter.chat_forever()

    async def _carrier(self, number: int, room: str, token: str) -> Talk | None:
        """HTTP, a WebSocket and a data channel take turns."""
        if number % CARRIERS == 0:
            return HttpTalk(self._http, self._url, token)
        if number % CARRIERS == 1:
            socket = SocketTalk(self._on_event)
            await self._open(socket, room, token)
            return socket
        viewer = self._viewers.new()
        channel = ChannelTalk(viewer, self._on_event)
        if not await self._viewers.join(viewer, self._whep(number), token):
            return None
        await channel.opened()
        return channel

    async def _open(self, socket: SocketTalk, room: str, token: str) -> None:
        began_at = time.monotonic()
        await socket.open(self._http, self._url, room, token)
        self._figures.time("join_socket", (time.monotonic() - began_at) * 1000)
        self._sockets.append(socket)
        self._start(socket.read())

    async def _guest(self, room: str) -> str:
        """A guest's token; raises ActRefused."""
        async with self._http.post(f"{self._url}/v1/rooms/{room}/guest-token", json={}) as reply:
            answer = await reply.json(content_type=None)
            if reply.status >= 400:
                raise ActRefused(f"guest token {answer.get('code', '')}", reply.status)
        return str(answer["token"])

    def _whep(self, number: int) -> str:
        return f"{self._url}/whep/{self._share.room(number)}"

    def _on_event(self, event: object) -> None:
        self._figures.counts["events"] += 1


async def _cancelled(tasks: Any) -> list[Any]:
    """Cancel them all; what each came to."""
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    return list(await asyncio.gather(*tasks, return_exceptions=True))
