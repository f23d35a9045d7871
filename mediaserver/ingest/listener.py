"""A listening TCP socket; what becomes of who connects is its owner's."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable

log = logging.getLogger("hawker.rtmp")

BACKLOG = 1024  # after a restart all publishers come back at once
NO_DESCRIPTORS_S = 1.0  # none is free: one may be then


class Listener:
    """From `start` to `close`; `accepted(sock, address)` owns the socket."""

    def __init__(self, accepted: Callable[[socket.socket, str], None]) -> None:
        self._accepted = accepted
        self._task: asyncio.Task[None] | None = None
        self._sock: socket.socket | None = None

    @property
    def open(self) -> bool:
        return self._task is not None and not self._task.done()

    def start(self, host: str, port: int) -> int:
        """Listen; the port, for 0 a free one. Raises OSError."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.create_server((host, port), family=family, backlog=BACKLOG)
        sock.setblocking(False)
        found: int = sock.getsockname()[1]
        self._sock = sock
        self._task = asyncio.create_task(self._accept(sock))
        return found

    def close(self) -> None:
        """From now on nobody is let in."""
        if self._task is None or self._sock is None:
            return
        self._task.cancel()  # it closes the socket at its next turn
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    async def _accept(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with sock:
            while True:
                try:
                    accepted, address = await loop.sock_accept(sock)
                except OSError as error:
                    log.warning("no connection can be taken: %s", error)
                    await asyncio.sleep(NO_DESCRIPTORS_S)
                    continue
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._accepted(accepted, address[0])
