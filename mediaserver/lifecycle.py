"""A service from start to exit: what it answers to signals, and the words for a start that failed.

The first SIGTERM or SIGINT drains; from then on both have their default effect, so that a second one
ends the process at once even if the loop is stuck. A drain that takes too long is cut off with
exit 0; a process that hangs beyond its loop is ended by faulthandler, which says where it hung.
"""

from __future__ import annotations

import asyncio
import errno
import faulthandler
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from mediaserver.collector import Collector

DRAIN_S = 9.0  # from the signal to the exit the contract gives 10 s
EXIT_S = 9.8
SIGNALS = (signal.SIGTERM, signal.SIGINT)

log = logging.getLogger(__name__)


class Service(Protocol):
    async def start(self) -> None:
        """Open everything; raises StartError."""

    def quiet(self) -> bool:
        """Whether a hold of the loop would disturb nobody now."""

    async def drain(self) -> None:
        """Close what is open, also after a start that failed or was cancelled half-way."""


class StartError(Exception):
    """The service cannot start as configured: one line naming the key to change."""


@contextmanager
def binding(key: str, host: str, port: int) -> Iterator[None]:
    """Turn the OSError of listening on host:port into a StartError; `key` is the port's, `http.port`."""
    host_key = f"{key.partition('.')[0]}.host"
    try:
        yield
    except OSError as error:
        match error.errno:
            case errno.EADDRINUSE:
                reason = f"the port is taken; set {key} to another, or to 0 for a free one"
            case errno.EACCES:
                reason = f"the system does not allow this port; set {key} to 1024 or above"
            case errno.EADDRNOTAVAIL:
                reason = f"this machine has no such address; set {host_key}"
            case _:
                reason = f"{error.strerror or error}; see {host_key} and {key}"
        raise StartError(f"{key}: cannot listen on {host}:{port}: {reason}") from error


async def run(service: Service, announce: Callable[[], None]) -> None:
    """Start, announce, wait for a signal, drain; then the process is about to exit.

    Raises what `start` raises, after draining.
    """
    collector = Collector(service.quiet)
    stopping = asyncio.create_task(_signalled())
    starting = asyncio.create_task(service.start())
    try:
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            await starting
            collector.start()
            announce()
            await stopping
        else:
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
    finally:
        signalled = stopping.done()
        stopping.cancel()
        collector.stop()
        await _drain(service, signalled)


async def _signalled() -> None:
    loop = asyncio.get_running_loop()
    event = asyncio.Event()
    for number in SIGNALS:
        loop.add_signal_handler(number, event.set)
    await event.wait()
    for number in SIGNALS:
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_DFL)
    faulthandler.dump_traceback_later(EXIT_S, exit=True)


async def _drain(service: Service, signalled: bool) -> None:
    draining = asyncio.create_task(service.drain())
    await asyncio.wait({draining}, timeout=DRAIN_S)
    if draining.done():
        return await draining
    log.error("the drain took more than %g s and was cut off", DRAIN_S)
    if not signalled:  # the start failed: its error is still to be told
        draining.cancel()
        return None
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
