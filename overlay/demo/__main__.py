"""`python -m overlay.demo --url http://127.0.0.1:8080 --room demo`, the admin token on stdin.

It ends by SIGTERM, and when stdin is closed: whoever started it is gone then.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

import aiohttp

from overlay.demo.client import Client
from overlay.demo.show import Pace, keep_on

NICENESS = 10  # behind the server, as the synthetic host
LOOPBACK = ("127.0.0.1", "::1", "localhost")
STDIN = 0
TOKEN_BYTES_MAX = 4096


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m overlay.demo",
        description="The demo show: a small shop, cards, labelled bots, and a flash sale.",
        epilog="The admin token is read from the first line of stdin; the end of stdin ends it.",
    )
    parser.add_argument("--url", required=True, help="where the server answers, http://host:port")
    parser.add_argument("--room", default="demo", help="default %(default)s")
    options = parser.parse_args(argv)
    token = _first_line()
    if not token:
        parser.error("stdin holds no admin token")
    os.nice(NICENESS)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    asyncio.run(_show(options.url.rstrip("/"), options.room, token))
    return 0


async def _show(url: str, room: str, token: str) -> None:
    loop = asyncio.get_running_loop()
    # A server on this machine may have a certificate, but hardly for this address.
    connector = aiohttp.TCPConnector(ssl=urlsplit(url).hostname not in LOOPBACK)
    async with aiohttp.ClientSession(connector=connector) as http:
        show = loop.create_task(keep_on(Client(http, url, token), room, Pace()))
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, show.cancel)
        threading.Thread(target=_wait_for_the_end, args=(loop, show.cancel), daemon=True).start()
        await asyncio.wait([show])
        if not show.cancelled():
            show.result()  # raises: it runs for ever otherwise


def _first_line() -> str:
    """Read byte by byte, so that nothing of the next line is taken."""
    line = b""
    while len(line) < TOKEN_BYTES_MAX and (byte := os.read(STDIN, 1)) not in (b"", b"\n"):
        line += byte
    return line.decode("utf-8", "replace").strip()


def _wait_for_the_end(loop: asyncio.AbstractEventLoop, end: Callable[[], object]) -> None:
    """A thread: stdin may be a pipe, a terminal or a file, and not all of them can be polled."""
    while os.read(STDIN, TOKEN_BYTES_MAX):
        continue
    if not loop.is_closed():
        loop.call_soon_threadsafe(end)


if __name__ == "__main__":
    sys.exit(main())
