"""RTMP publishers on TCP, and on TLS (RTMPS): who may connect, and the listeners.

What a connection does is in `rtmp_session.py`.
"""

from __future__ import annotations

import asyncio
import ssl

from mediaserver.access import Access
from mediaserver.hub import Hub
from mediaserver.ingest.connections import ConnectionCounts
from mediaserver.ingest.rtmp_session import RtmpSession
from mediaserver.ingest.tls_listener import TlsListener

MAX_CONNECTIONS = 2000  # a core serves about 1,000 publishers, and some connections wait or linger
MAX_CONNECTIONS_PER_ADDRESS = 256  # a studio behind one address has tens; it may not take them all
BACKLOG = 1024  # after a restart all publishers come back at once


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
        self._server: asyncio.Server | None = None
        self._tls = TlsListener(self._session, ConnectionCounts(*most), tls) if tls else None

    async def start(self) -> None:
        """Listen; raises OSError if the port is taken."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            self._session, self.host, self.port, backlog=BACKLOG
        )
        self.port = self._server.sockets[0].getsockname()[1]

    def start_tls(self) -> None:
        """Listen for RTMPS, where there is a context for it; raises OSError if the port is taken."""
        if self._tls is not None:
            self.tls_port = self._tls.start(self.host, self.tls_port)

    @property
    def listening(self) -> bool:
        return self._server is not None and self._server.is_serving()

    def drain(self) -> None:
        """Take no new connections; those there are go on."""
        if self._server is not None:
            self._server.close()
        if self._tls is not None:
            self._tls.close()

    async def stop(self) -> None:
        """Tell every publisher, and return when all connections are closed, within LINGER_S."""
        self.drain()
        sessions = list(self.sessions)
        for session in sessions:
            session.close("server is stopping")
        await asyncio.gather(*(session.lost for session in sessions))

    def _session(self) -> RtmpSession:
        return RtmpSession(self.hub, self.access, self.counts, self.sessions)
