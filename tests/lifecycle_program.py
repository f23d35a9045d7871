"""A program around a small service: `python lifecycle_program.py BEHAVIOUR PORT`.

BEHAVIOUR is what goes wrong, or `well`. Prints `starting`, `ready PORT`, `drained` as it goes.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time

import uvloop

from mediaserver import lifecycle

lifecycle.DRAIN_S = 0.5
lifecycle.EXIT_S = 1.5


class Echo:
    """A TCP service on one port."""

    def __init__(self, behaviour: str, port: int) -> None:
        self.behaviour = behaviour
        self.port = port
        self.server: asyncio.Server | None = None

    async def start(self) -> None:
        print("starting", flush=True)
        if self.behaviour == "endless start":
            await asyncio.Event().wait()
        with lifecycle.binding("http.port", "127.0.0.1", self.port):
            self.server = await asyncio.start_server(self.echo, "127.0.0.1", self.port)
        self.port = self.server.sockets[0].getsockname()[1]

    def quiet(self) -> bool:
        return True

    async def echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        writer.close()

    async def drain(self) -> None:
        if self.behaviour == "endless drain":
            await asyncio.Event().wait()
        if self.behaviour == "stuck loop":
            print("stuck", flush=True)
            time.sleep(60)
        if self.behaviour == "stuck thread":
            threading.Thread(target=time.sleep, args=(60,)).start()
        if self.server is not None:
            self.server.close()
            await self.server.wait_closed()
        print("drained", flush=True)


def main() -> int:
    echo = Echo(sys.argv[1], int(sys.argv[2]))
    try:
        uvloop.run(lifecycle.run(echo, lambda: print(f"ready {echo.port}", flush=True)))
    except lifecycle.StartError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
