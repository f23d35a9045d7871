"""A redis-server of a run, which can be killed and started again on what it kept."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from benchmarks.ports import LOOPBACK, free_port

PROGRAM = "redis-server"
READY_S = 20.0
POLL_S = 0.01


class RedisProcess:
    """`durable`: an append-only file, written before each answer; else nothing is kept."""

    def __init__(self, folder: Path, *, durable: bool) -> None:
        self._port = free_port()
        kept = ["--appendonly", "yes", "--appendfsync", "always"] if durable else []
        self._command = [PROGRAM, "--port", str(self._port), "--bind", LOOPBACK, "--save", ""]
        self._command += ["--dir", str(folder), "--maxmemory-policy", "noeviction", *kept]
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"redis://{LOOPBACK}:{self._port}"

    async def start(self) -> None:
        """Ready on return; raises FileNotFoundError where there is none, or ConnectionError."""
        quiet = asyncio.subprocess.DEVNULL
        self._process = await asyncio.create_subprocess_exec(
            *self._command, stdout=quiet, stderr=quiet
        )
        async with asyncio.timeout(READY_S):
            while await self._answer() != b"+PONG\r\n":
                if self._process.returncode is not None:
                    raise ConnectionError(f"{PROGRAM} ended with {self._process.returncode}")
                await asyncio.sleep(POLL_S)

    async def _answer(self) -> bytes:
        try:
            reader, writer = await asyncio.open_connection(LOOPBACK, self._port)
        except OSError:
            return b""
        with contextlib.closing(writer):
            try:
                writer.write(b"PING\r\n")
                return await reader.readline()
            except OSError:
                return b""

    async def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
            self._process = None


@contextlib.asynccontextmanager
async def running(folder: Path, *, durable: bool) -> AsyncIterator[RedisProcess]:
    redis = RedisProcess(folder, durable=durable)
    await redis.start()
    try:
        yield redis
    finally:
        await redis.kill()
