"""Loads in processes of their own, told what to do over a pipe, so that none disturbs the measuring.

A load is a coroutine `run(commands, …)` that gets each command from `commands.next()` and answers it
with `commands.answer()`, its first answer saying that it is ready. The pipe's end ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection
from typing import Any, TypeAlias

import uvloop

from benchmarks.sinks import PROCESSES

ANSWER_S = 60.0
STOP_S = 10.0


class Commands:
    """The load's end of the pipe."""

    def __init__(self, control: Connection) -> None:
        self._control = control
        self._came = asyncio.Event()
        asyncio.get_running_loop().add_reader(control.fileno(), self._came.set)

    async def next(self) -> str:
        """The next command; raises EOFError at the end."""
        while not self._control.poll():
            self._came.clear()
            await self._came.wait()
        command: str = self._control.recv()
        return command

    def answer(self, value: Any) -> None:
        """Something that can be pickled; of any size, so the loop stands still for it."""
        pipe = self._control.fileno()
        os.set_blocking(pipe, True)
        try:
            with contextlib.suppress(BrokenPipeError):
                self._control.send(value)
        finally:
            os.set_blocking(pipe, False)


NewLoop: TypeAlias = Callable[[], uvloop.Loop]
Run: TypeAlias = Callable[..., Awaitable[None]]  # (commands, *what it was started with)


class Load:
    """The measuring side: starts the process and waits until it is ready."""

    def __init__(self, run: Run, *arguments: Any, loop: NewLoop = uvloop.new_event_loop) -> None:
        self._control, theirs = PROCESSES.Pipe()
        self._process = PROCESSES.Process(
            target=_run, args=(theirs, loop, run, *arguments), daemon=True
        )
        self._process.start()
        theirs.close()

    def __enter__(self) -> Load:
        self._answer()
        return self

    def __exit__(self, *_: object) -> None:
        self._control.close()  # which ends the process
        self._process.join(STOP_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process.close()

    def ask(self, command: str) -> Any:
        """The answer; raises TimeoutError, or EOFError when the process has died."""
        self._control.send(command)
        return self._answer()

    def _answer(self) -> Any:
        if not self._control.poll(ANSWER_S):
            raise TimeoutError("a load does not answer")
        return self._control.recv()


def _run(control: Connection, loop: NewLoop, run: Run, *arguments: Any) -> None:
    async def until_the_end() -> None:
        with contextlib.suppress(EOFError):
            await run(Commands(control), *arguments)

    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(until_the_end(), loop_factory=loop)
