"""The viewers of one process of `hawker bench audience`: they join at a bounded pace and stay."""

from __future__ import annotations

import asyncio
import gc
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from benchmarks.cores import stay_on
from benchmarks.loads import Commands
from benchmarks.member import Delays, FrameBook, Member
from benchmarks.webrtc_client import Refused
from mediaserver.rtc.dtls import Certificates

JOINS_AT_ONCE = 8
TICK_S = 0.02  # a fiftieth of the viewers reports at each
REPORT_S = 1.0


@dataclass(slots=True)
class Seen:
    """What a process's viewers have had: counts since the beginning, delays since the last time."""

    joined: int = 0
    closed: int = 0
    packets: int = 0
    reads: int = 0
    lost: int = 0
    unread: int = 0
    decrypted: int = 0
    undecryptable: int = 0
    cpu_s: float = 0.0
    failed: Counter[str] = field(default_factory=Counter)
    delays: Delays = field(default_factory=Delays)

    def add(self, other: Seen) -> None:
        for name in COUNTED:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.failed.update(other.failed)
        self.delays.merge(other.delays)


COUNTED = (
    "joined", "closed", "packets", "reads", "lost", "unread", "decrypted", "undecryptable", "cpu_s",
)  # fmt: skip


async def watch(
    commands: Commands, url: str, cores: set[int], joins_per_s: float, data: bool
) -> None:
    """Watch `url` (`…/whep/room`) as told: `join N` (that many in all), `measure`, `seen`."""
    stay_on(cores)
    async with aiohttp.ClientSession() as http:
        await Company(http, url, joins_per_s, data).obey(commands)


class Company:
    """Viewers of one stream on one loop."""

    def __init__(
        self, http: aiohttp.ClientSession, url: str, joins_per_s: float, data: bool
    ) -> None:
        self._http = http
        self._url = url
        self._pace_s = 1 / joins_per_s
        self._data = data
        self.certificate = Certificates().current()
        self.book = FrameBook()
        self._failed: Counter[str] = Counter()
        self._places = asyncio.Semaphore(JOINS_AT_ONCE)
        self._coming = 0
        self._begun = 0
        self._joining: set[asyncio.Task[None]] = set()
        self.members: list[Member] = []

    async def obey(self, commands: Commands) -> None:
        """Until the end of the commands, which EOFError tells."""
        reporting = asyncio.create_task(self.report_forever())
        commands.answer("ready")
        try:
            while True:
                commands.answer(self.answer((await commands.next()).split()))
        finally:
            reporting.cancel()

    def answer(self, command: list[str]) -> Any:
        """Do what is asked."""
        match command:
            case ["join", number]:
                self.join(int(number))
            case ["measure"]:
                return self.measure()
        return self.seen()

    def join(self, number: int) -> None:
        """Let more come until there are `number`."""
        task = asyncio.get_running_loop().create_task(self._join(number - self._coming))
        self._coming = number
        self._joining.add(task)
        task.add_done_callback(self._joining.discard)

    def measure(self) -> Seen:
        """Delays count for frames that are sent from now on."""
        gc.collect()
        gc.freeze()  # a collection that walks through a thousand sessions takes 0.1 s
        self.book.since_ns = time.time_ns()
        return self.seen()

    def seen(self) -> Seen:
        members = self.members
        return Seen(
            joined=len(members),
            closed=sum(each.closed.done() for each in members),
            packets=sum(each.packets for each in members),
            reads=sum(each.reads for each in members),
            lost=sum(each.lost for each in members),
            unread=sum(each.unread() for each in members),
            decrypted=sum(each.decrypted for each in members),
            undecryptable=sum(each.undecryptable for each in members),
            cpu_s=time.process_time(),
            failed=self._failed.copy(),
            delays=self.book.settle(),
        )

    def new(self, number: int) -> Member:
        """A viewer that has not joined yet; numbers count from 0."""
        return Member(self.certificate, book=self.book, timekeeper=number == 0)

    async def report_forever(self) -> None:
        """Everybody's receiver reports, evenly over the second."""
        turn, turns = 0, round(REPORT_S / TICK_S)
        while True:
            for member in self.members[turn::turns]:
                member.report()
            turn = (turn + 1) % turns
            await asyncio.sleep(TICK_S)

    async def _join(self, number: int) -> None:
        began_at, tasks = time.monotonic(), []
        for coming in range(number):
            await asyncio.sleep(max(0.0, began_at + coming * self._pace_s - time.monotonic()))
            await self._places.acquire()
            tasks.append(asyncio.create_task(self._come()))
        await asyncio.gather(*tasks)

    async def _come(self) -> None:
        member = self.new(self._begun)
        self._begun += 1
        try:
            await member.watch(self._http, self._url, data=self._data)
        except Refused as refusal:
            self._failed[f"{refusal.status} {refusal.code}"] += 1
        except (aiohttp.ClientError, OSError) as error:
            self._failed[type(error).__name__] += 1
        else:
            self.members.append(member)
        finally:
            self._places.release()
