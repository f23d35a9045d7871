"""Servers one after the other at the same address on the same store, each killed in its turn."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import sys
import time
from types import TracebackType
from typing import Any

from benchmarks.ledger.places import Place
from benchmarks.ports import free_port
from benchmarks.server import LOOPBACK, SETTINGS

READY_S = 30.0
TOKEN = "HAWKER_AUTH__ADMIN_TOKEN"
RESERVATION_S = 3  # orders that nobody pays come back while the run lasts


class Servers:
    """`url` is where whichever of them lives answers."""

    def __init__(self, place: Place) -> None:
        port = free_port()
        self.url = f"http://{LOOPBACK}:{port}"
        self.admin_token = secrets.token_urlsafe(24)
        settings = [
            *SETTINGS,
            f"data.dir={place.folder}/data",
            f"store.url={place.url}",
            f"http.port={port}",
            f"limits.reservation_s={RESERVATION_S}",
            "log.level=error",
        ]
        self._command = ["serve", *(part for each in settings for part in ("--set", each))]
        self._log = (place.folder / "log").open("ab")
        self._pid = 0

    async def __aenter__(self) -> Servers:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("HAWKER_")}
        self._warm = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "benchmarks.ledger.warm",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=self._log,
            env={**inherited, TOKEN: self.admin_token},
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.kill()
        assert self._warm.stdin is not None
        self._warm.stdin.close()
        await self._warm.wait()
        self._log.close()

    async def start(self, *, killed_after_s: float | None = None) -> float:
        """Start one; how long it took until it answered. Raises ConnectionError when it ended."""
        began_s = time.monotonic()
        assert self._warm.stdin is not None
        self._warm.stdin.write(json.dumps(self._command).encode() + b"\n")
        self._pid = 0
        ready: dict[str, Any] = {}
        while not self._pid or "http" not in ready:
            line = await self._line()
            self._pid = line.get("pid", self._pid)
            ready |= line
            if self._pid and killed_after_s is not None:
                await asyncio.sleep(killed_after_s)
                await self.kill()
                raise ConnectionError("killed while it started")
        return time.monotonic() - began_s

    async def _line(self) -> dict[str, Any]:
        assert self._warm.stdout is not None
        async with asyncio.timeout(READY_S):
            line = await self._warm.stdout.readline()
        if not line:
            raise ConnectionError("no server starts any more")
        found: dict[str, Any] = json.loads(line)
        return found

    async def kill(self) -> None:
        """kill -9 of the one that lives."""
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            self._pid = 0
