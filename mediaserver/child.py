"""A child process: started, watched, restarted when it ends, and never left behind.

Both sides are here. The parent holds a `ChildProcess`: lines that the child writes to stderr become
the parent's log lines, so that one configuration shapes them all; a child that ends is started again
after a pause that doubles from RESTART_MIN_S to RESTART_MAX_S. The child calls `begin` first. It
lives in a session of its own, so that Ctrl-C reaches the parent alone, and ends with the parent by
`orphaned` or by the end of a socket to it.
"""

from __future__ import annotations

import asyncio
import logging
import os
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

log = logging.getLogger("hawker.child")

RESTART_MIN_S = 0.25
RESTART_MAX_S = 15.0
STEADY_S = 30.0  # a child that lived so long begins again with the shortest pause
TERMINATE_S = 1.0  # from SIGTERM to SIGKILL, where nothing else is said
LINE_BYTES = 4096  # longer lines of a child are cut
_PARENT = "HAWKER_PARENT_PID"


class ChildProcess:
    """One program that runs while this process does.

    `environment` is added to this process's, from which everything of Hawker's own is taken out: a
    child gets the secrets it is given and no other.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        *,
        secret: str | None = None,
        terminate_s: float = TERMINATE_S,
    ) -> None:
        """`secret` is the first line on the child's stdin, which stays open as long as we live.

        `terminate_s` is what it is given from SIGTERM to SIGKILL.
        """
        self.name = name
        self.restarts = 0
        self._command = command
        self._environment = dict(environment or {})
        self._secret = secret
        self._terminate_s = terminate_s
        self._process: Process | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """None while there is no process."""
        return self._process.pid if self._process is not None else None

    async def start(self) -> None:
        """Start the program and watch it; raises OSError where it cannot be started."""
        self._task = asyncio.create_task(self._watch(await self._spawn()))

    async def stop(self) -> None:
        """End the program, within `terminate_s` and a moment; calling it again does nothing."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    def kill(self) -> None:
        """End a program that hangs, at once; it is started again."""
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()

    async def _spawn(self) -> Process:
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith("HAWKER_")
        }
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=DEVNULL if self._secret is None else PIPE,
            stdout=DEVNULL,
            stderr=PIPE,
            start_new_session=True,
            env={**inherited, **self._environment, _PARENT: str(os.getpid())},
        )
        if self._secret is not None:
            assert self._process.stdin is not None
            self._process.stdin.write(f"{self._secret}\n".encode())
        return self._process

    async def _watch(self, process: Process | None) -> None:
        loop = asyncio.get_running_loop()
        pause_s = RESTART_MIN_S
        while True:
            started_at = loop.time()
            if process is not None:
                status = await self._run(process)
                log.warning("%s: ended with status %d", self.name, status)
            if loop.time() - started_at >= STEADY_S:
                pause_s = RESTART_MIN_S
            log.info("%s: restarts in %.2f s", self.name, pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, RESTART_MAX_S)
            self.restarts += 1
            try:
                process = await self._spawn()
            except OSError as error:  # out of processes, files or memory, which may pass
                log.error("%s: cannot be started: %s", self.name, error)
                process = None

    async def _run(self, process: Process) -> int:
        """Its exit status; cancelled, it ends the process."""
        logging_task = asyncio.create_task(self._log(process))
        try:
            return await process.wait()
        finally:
            await _end(process, self._terminate_s)
            await asyncio.wait([logging_task], timeout=TERMINATE_S)
            logging_task.cancel()
            self._process = None

    async def _log(self, process: Process) -> None:
        levels = logging.getLevelNamesMapping()
        async for line in _lines(process):
            word, _, text = line.partition(" ")
            if word in levels:
                log.log(levels[word], "%s: %s", self.name, text)
            else:
                log.warning("%s: %s", self.name, line)


async def _lines(process: Process) -> AsyncIterator[str]:
    assert process.stderr is not None
    pending = b""
    while data := await process.stderr.read(LINE_BYTES):
        *lines, pending = (pending + data).split(b"\n")
        for line in lines:
            yield line[:LINE_BYTES].decode(errors="replace")
        pending = pending[:LINE_BYTES]
    if pending:
        yield pending.decode(errors="replace")


async def _end(process: Process, terminate_s: float) -> None:
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        process.terminate()
    with suppress(TimeoutError):
        async with asyncio.timeout(terminate_s):
            await process.wait()
            return
    with suppress(ProcessLookupError):
        process.kill()
    await process.wait()


def begin(niceness: int) -> None:
    """In the child, first of all: step back behind the parent, and log so that it can read it."""
    os.nice(niceness)
    with suppress(OSError):  # in a session of our own the kernel may weigh that as a whole
        Path("/proc/self/autogroup").write_text(str(niceness), "ascii")
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")


def orphaned() -> bool:
    """In the child: whether the parent that started it is gone; never so for one started by hand."""
    parent = os.environ.get(_PARENT)
    return parent is not None and os.getppid() != int(parent)
