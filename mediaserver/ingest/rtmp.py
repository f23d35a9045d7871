"""RTMP publishers on TCP, and on TLS (RTMPS): who may connect, and the listeners.

What a connection does is in `rtmp_session.py`.
"""

from __future__ import annotations

import asyncio
import select
import socket
import ssl

from mediaserver.access import Access
from mediaserver.hub import Hub
from mediaserver.ingest.connections import ConnectionCounts
from mediaserver.ingest.listener import Listener
from mediaserver.ingest.poller import Poller
from mediaserver.ingest.rtmp_session import RtmpSession
from mediaserver.ingest.tls_listener import TlsListener

MAX_CONNECTIONS = 2000  # a core serves about 1,000 publishers, and some connections wait or linger
MAX_CONNECTIONS_PER_ADDRESS = 256  # a studio behind one address has tens; it may not take them all
HAS_POLLER = hasattr(select, "epoll")


class RtmpServer:
    """Listens for publishers; port 0 takes a free one, `port` then says which.

    With `tls` it listens on `tls_port` too, in the same way.
    """

    def __init__(
        self,
        hub: Hub,
        access: Access,
        host: str,
        port: int,
        *,
        tls: ssl.SSLContext | None = None,
        tls_port: int = 0,
        max_connections: int = MAX_CONNECTIONS,
        max_connections_per_address: int = MAX_CONNECTIONS_PER_ADDRESS,
    ) -> None:
        self.hub = hub
        self.access = access
        self.host = host
        self.port = port
        self.tls_port = tls_port
        most = max_connections, max_connections_per_address
        self.counts = ConnectionCounts(*most)
        self.sessions: set[RtmpSession] = set()
        self._listener = Listener(self._accepted)
        self._poller: Poller | None = None
        self._taking: set[asyncio.Task[object]] = set()
        self._tls = TlsListener(self._session, ConnectionCounts(*most), tls) if tls else None

    async def start(self) -> None:
        """Listen; raises OSError if the port is taken."""
        self.port = self._listener.start(self.host, self.port)
        if HAS_POLLER:
            self._poller = Poller()

    def start_tls(self) -> None:
        """Listen for RTMPS, where there is a context for it; raises OSError if the port is taken."""
        if self._tls is not None:
            self.tls_port = self._tls.start(self.host, self.tls_port)

    @property
    def listening(self) -> bool:
        return self._listener.open

    def drain(self) -> None:
        """Take no new connections; those there are go on."""
        self._listener.close()
        if self._tls is not None:
            self._tls.close()

    async def stop(self) -> None:
        """Tell every publisher, and return when all connections are closed, within LINGER_S."""
        self.drain()
        sessions = list(self.sessions)
        for session in sessions:
            session.close("server is stopping")
        await asyncio.gather(*(session.lost for session in sessions))
        if self._poller is not None:
            self._poller.close()
            self._poller = None

    def _accepted(self, sock: socket.socket, address: str) -> None:
        if self._poller is not None:
            self._poller.add(sock, self._session())
            return
        loop = asyncio.get_running_loop()
        task = loop.create_task(loop.connect_accepted_socket(self._session, sock))
        self._taking.add(task)
        task.add_done_callback(self._taking.discard)

    def _session(self) -> RtmpSession:
        return RtmpSession(self.hub, self.access, self.counts, self.sessions)
