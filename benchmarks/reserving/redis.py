"""A redis-server of our own for the run, and a client that only speaks what is needed of RESP 2."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.ports import free_port

PROGRAM = "redis-server"
READY_S = 10.0
POLL_S = 0.02
LOOPBACK = "127.0.0.1"


def installed() -> bool:
    return shutil.which(PROGRAM) is not None


def version() -> str:
    """As it names itself: `Redis server v=7.0.15 …`, the first words."""
    said = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, check=True).stdout
    return " ".join(said.split()[:3])


@contextlib.contextmanager
def serving(directory: Path) -> Iterator[tuple[str, int]]:
    """(URL, pid) of a fresh one with `appendfsync always`; raises ConnectionError."""
    port = free_port()
    settings = {"port": f"{port}", "bind": LOOPBACK, "dir": f"{directory}", "save": ""}
    settings |= {"appendonly": "yes", "appendfsync": "always"}
    given = [word for name, value in settings.items() for word in (f"--{name}", value)]
    process = subprocess.Popen([PROGRAM, *given], stdout=subprocess.DEVNULL)
    url = f"redis://{LOOPBACK}:{port}/0"
    try:
        asyncio.run(_wait_until_ready(url))
        yield url, process.pid
    finally:
        process.terminate()
        process.wait()


async def _wait_until_ready(url: str) -> None:
    until = time.monotonic() + READY_S
    while True:
        try:
            redis = await Redis.connect(url)
        except OSError as error:
            if time.monotonic() > until:
                raise ConnectionError(f"{PROGRAM} does not answer") from error
            await asyncio.sleep(POLL_S)
            continue
        redis.close()
        return


class Redis(asyncio.Protocol):
    """One connection; replies are integers, texts or None."""

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[bytes]] = deque()
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def connect(cls, url: str) -> Redis:
        loop = asyncio.get_running_loop()
        _, redis = await loop.create_connection(cls, LOOPBACK, urlsplit(url).port or 0)
        return redis

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def close(self) -> None:
        assert self._transport is not None
        self._transport.close()

    def ask(self, *words: str | bytes) -> asyncio.Future[bytes]:
        """The reply as it came, without its type and end; errors are replies, too."""
        assert self._transport is not None
        parts = [word.encode() if isinstance(word, str) else word for word in words]
        request = [b"*%d\r\n" % len(parts)]
        request += [b"$%d\r\n%b\r\n" % (len(part), part) for part in parts]
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting.append(answer)
        self._transport.write(b"".join(request))
        return answer

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (reply := self._next()) is not None:
            self._waiting.popleft().set_result(reply)

    def _next(self) -> bytes | None:
        head, end, rest = self._buffer.partition(b"\r\n")
        if not end:
            return None
        if head[:1] != b"$" or head == b"$-1":
            self._buffer = rest
            return head[1:]
        size = int(head[1:])
        if len(rest) < size + 2:
            return None
        self._buffer = rest[size + 2 :]
        return rest[:size]
