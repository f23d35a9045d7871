"""The listeners: stock aiortc peers in a process of their own, which count and check what they hear.

Each message begins with its number. What comes twice, or over the reliable channel out of order, is an
error that ends the run.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

import uvloop
from aiortc import RTCDataChannel, RTCPeerConnection, RTCSessionDescription

from benchmarks.sinks import PROCESSES
from benchmarks.talkers.stock import LOCAL_ONLY, open_channels, stay_on_loopback

NUMBER_DIGITS = 8
CONNECT_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0


class Misheard(Exception):
    """A message came twice, out of order, or was not what had been said."""


class Listeners:
    """The process, from the talker's side; a context manager that ends it."""

    def __init__(self, count: int) -> None:
        self._control, theirs = PROCESSES.Pipe()
        self._process = PROCESSES.Process(target=_listen, args=(theirs, count), daemon=True)
        self._process.start()
        theirs.close()

    async def offers(self) -> list[str]:
        return list(await asyncio.to_thread(self._control.recv))

    async def connect(self, answers: Sequence[str]) -> None:
        """Give them the answers and wait until all channels are open."""
        self._control.send(answers)
        await asyncio.to_thread(self._control.recv)

    async def heard(self) -> int:
        """How many messages have come to all of them so far; raises Misheard."""
        self._control.send("count")
        count, wrong = await asyncio.to_thread(self._control.recv)
        if wrong:
            raise Misheard(wrong)
        return int(count)

    def close(self) -> None:
        self._control.close()  # which ends the process
        self._process.join(STOP_TIMEOUT_S)


@dataclass(slots=True)
class Tally:
    """What one process has heard."""

    heard: int = 0
    wrong: str = ""
    open: int = 0
    all_open: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True)
class Ear:
    """One channel of one listener."""

    tally: Tally
    channel: RTCDataChannel
    expected: int | None = None
    numbers: set[int] = field(default_factory=set)

    def on_message(self, data: str | bytes) -> None:
        number = int(data[:NUMBER_DIGITS])
        self.tally.heard += 1
        if self.channel.ordered:
            if self.expected is not None and number != self.expected:
                self.tally.wrong = f"{number} came where {self.expected} was due"
            self.expected = number + 1
        elif number in self.numbers:
            self.tally.wrong = f"{number} came twice"
        else:
            self.numbers.add(number)


def _listen(control: Connection, count: int) -> None:
    stay_on_loopback()
    uvloop.run(_serve(control, count))
    os._exit(0)  # what is left of the peers would only complain of their loop


async def _serve(control: Connection, count: int) -> None:
    tally = Tally()
    connections = [RTCPeerConnection(LOCAL_ONLY) for _ in range(count)]
    for connection in connections:
        for channel in open_channels(connection):
            channel.on("message", Ear(tally, channel).on_message)
            channel.on("open", lambda: _opened(tally, 2 * count))
        await connection.setLocalDescription(await connection.createOffer())
    control.send([connection.localDescription.sdp for connection in connections])
    answers = await asyncio.to_thread(control.recv)
    for connection, answer in zip(connections, answers, strict=True):
        await connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))
    await asyncio.wait_for(tally.all_open.wait(), CONNECT_TIMEOUT_S)
    control.send("open")
    await _answer_counts(control, tally)


def _opened(tally: Tally, all_of_them: int) -> None:
    tally.open += 1
    if tally.open == all_of_them:
        tally.all_open.set()


async def _answer_counts(control: Connection, tally: Tally) -> None:
    """Until the other end of the pipe is closed."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_readable() -> None:
        try:
            control.recv()
            control.send((tally.heard, tally.wrong))
        except (EOFError, OSError):
            loop.remove_reader(control.fileno())
            ended.set()

    loop.add_reader(control.fileno(), on_readable)
    await ended.wait()
