"""A listener for TLS that counts connections before their handshake: idle ones are bounded too."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable

from mediaserver.ingest.connections import ConnectionCounts
from mediaserver.ingest.listener import Listener

log = logging.getLogger("hawker.rtmp")

HANDSHAKE_S = 10.0  # as the RTMP handshake has
SHUTDOWN_S = 2.0  # for the peer's goodbye


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
        self._listener = Listener(self._accepted)
        self._handshakes: set[asyncio.Task[None]] = set()

    def start(self, host: str, port: int) -> int:
        """Listen; the port, for 0 a free one. Raises OSError."""
        return self._listener.start(host, port)

    def close(self) -> None:
        """Take no more connections, and leave handshakes; those that are secured go on."""
        self._listener.close()
        for task in self._handshakes:
            task.cancel()

    def _accepted(self, sock: socket.socket, address: str) -> None:
        if not self._counts.admit(address):
            log.warning("connection from %s refused: too many connections", address)
            sock.close()
            return
        task = asyncio.create_task(self._secure(sock, address))
        self._handshakes.add(task)
        task.add_done_callback(self._handshakes.discard)

    async def _secure(self, sock: socket.socket, address: str) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._session,
                sock,
                ssl=self._context,
                ssl_handshake_timeout=HANDSHAKE_S,
                ssl_shutdown_timeout=SHUTDOWN_S,
            )
        except OSError as error:  # of TLS as well
            log.info("connection from %s: no TLS: %s", address, error)
        finally:
            self._counts.release(address)
