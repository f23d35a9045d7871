"""A listener for TLS that counts connections before their handshake: idle ones are bounded too."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Coroutine
from typing import Any

from mediaserver.ingest.connections import ConnectionCounts

log = logging.getLogger("hawker.rtmp")

HANDSHAKE_S = 10.0  # as the RTMP handshake has
SHUTDOWN_S = 2.0  # for the peer's goodbye
BACKLOG = 1024  # after a restart all publishers come back at once
NO_DESCRIPTORS_S = 1.0  # none is free: one may be then


class TlsListener:
    """From `start` to `close`; each secured connection gets a protocol of `session`."""

    def __init__(
        self,
        session: Callable[[], asyncio.Protocol],
        counts: ConnectionCounts,
        context: ssl.SSLContext,
    ) -> None:
        """`counts` are those of handshakes under way; who is through is counted by the session."""
        self._session = session
        self._counts = counts
        self._context = context
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, host: str, port: int) -> int:
        """Listen; the port, for 0 a free one. Raises OSError."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.create_server((host, port), family=family, backlog=BACKLOG)
        sock.setblocking(False)
        self._run(self._accept(sock))
        found: int = sock.getsockname()[1]
        return found

    def close(self) -> None:
        """Take no more connections, and leave handshakes; those that are secured go on."""
        for task in self._tasks:
            task.cancel()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with sock:
            while True:
                try:
                    accepted, address = await loop.sock_accept(sock)
                except OSError as error:
                    log.warning("RTMPS can take no connection: %s", error)
                    await asyncio.sleep(NO_DESCRIPTORS_S)
                    continue
                if self._counts.admit(address[0]):
                    self._run(self._secure(accepted, address[0]))
                else:
                    log.warning("connection from %s refused: too many connections", address[0])
                    accepted.close()

    async def _secure(self, accepted: socket.socket, address: str) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._session,
                accepted,
                ssl=self._context,
                ssl_handshake_timeout=HANDSHAKE_S,
                ssl_shutdown_timeout=SHUTDOWN_S,
            )
        except OSError as error:  # of TLS as well
            log.info("connection from %s: no TLS: %s", address, error)
        finally:
            self._counts.release(address)
