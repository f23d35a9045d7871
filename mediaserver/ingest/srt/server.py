"""SRT publishers through the system's libsrt: its listener between the event loop and the hub.

libsrt has a poll set of its own and no file descriptor to wait on, so the loop looks into that set every
LOOK_EVERY_S, while there are publishers or one is expected. Without any nothing runs here: the gate
tells of the first. Looking late by 5 ms on average is little beside the latency of 120 ms by which SRT
holds everything back, to have lost packets sent again.

Bounds: connections in all and from one address, here; bytes of each that wait to be read, by libsrt
(SRTO_RCVBUF, 12 MB: 6 s of 16 Mbit/s); what is read at once, in session.py.
"""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial

from mediaserver.access import Access
from mediaserver.hub import Hub
from mediaserver.ingest.connections import ConnectionCounts
from mediaserver.ingest.srt.gate import Gate
from mediaserver.ingest.srt.session import Session
from mediaserver.ingest.srt.sockets import Sockets

log = logging.getLogger("hawker.srt")

MAX_CONNECTIONS = 256  # with 12 MB each at worst
MAX_CONNECTIONS_PER_ADDRESS = 64
BACKLOG = 128
LOOK_EVERY_S = 0.01
EXPECTED_S = 5.0  # from the gate to accept: a caller gives up after 3 s


class SrtServer:
    """Listens for publishers; port 0 takes a free one, `port` then says which."""

    def __init__(
        self,
        hub: Hub,
        access: Access,
        host: str,
        port: int,
        *,
        passphrase: str = "",
        latency_ms: int = 120,
        max_connections: int = MAX_CONNECTIONS,
        max_connections_per_address: int = MAX_CONNECTIONS_PER_ADDRESS,
    ) -> None:
        """Raises Unavailable where there is no libsrt."""
        self.hub = hub
        self.access = access
        self.host = host
        self.port = port
        self.sockets = Sockets(max_connections + 1)
        self.sessions: dict[int, Session] = {}
        self._passphrase = passphrase
        self._latency_ms = latency_ms
        self._counts = ConnectionCounts(max_connections, max_connections_per_address)
        self._listener: int | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._expected_until = 0.0
        self._looked_at = 0.0
        self._decisions: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen; raises OSError if the port is taken, and there is no second try."""
        sockets = self.sockets
        self._gate = Gate(self.access, sockets.refuse, self._expect)
        try:
            listener = sockets.listen(
                self.host, self.port, BACKLOG, self._passphrase, self._latency_ms, self._gate.hook
            )
            sockets.watch(listener)
        except OSError:
            sockets.release()
            raise
        self.port = sockets.port(listener)
        self._listener = listener

    @property
    def listening(self) -> bool:
        return self._listener is not None

    def drain(self) -> None:
        """Take no new connections; those there are go on."""
        if self._listener is not None:
            self._gate.closed = True
            self.sockets.close(self._listener)
            self._listener = None

    async def stop(self) -> None:
        """End every publication and connection."""
        self.drain()
        for session in list(self.sessions.values()):
            session.close("server is stopping")
        for decision in self._decisions:
            decision.cancel()
        if self._timer is not None:
            self._timer.cancel()
        self.sockets.release()

    def forget(self, session: Session) -> None:
        """A session has ended: close its connection."""
        del self.sessions[session.socket]
        self._counts.release(session.address)
        self.sockets.close(session.socket)

    def _expect(self) -> None:
        self._expected_until = time.monotonic() + EXPECTED_S
        if self._timer is None and self.listening:
            self._arm()

    def _arm(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(LOOK_EVERY_S, self._look)

    def _look(self) -> None:
        now = time.monotonic()
        self._timer = None
        if self.sessions or now < self._expected_until:
            self._arm()
        for socket in self.sockets.ready():
            session = self.sessions.get(socket)
            if session is not None:
                session.read(now)
            elif socket == self._listener:
                self._accept(socket)
        if now - self._looked_at >= 1:
            self._looked_at = now
            for session in list(self.sessions.values()):
                session.look(now)

    def _accept(self, listener: int) -> None:
        while (found := self.sockets.accept(listener)) is not None:
            socket, address = found
            session = Session(self, socket, address)
            if not self._counts.admit(session.address):
                log.warning("connection from %s refused: too many connections", session.remote)
                self.sockets.close(socket)
                continue
            self.sessions[socket] = session
            decision = asyncio.create_task(session.publish())
            self._decisions.add(decision)
            decision.add_done_callback(partial(self._decided, session))

    def _decided(self, session: Session, decision: asyncio.Task[None]) -> None:
        self._decisions.discard(decision)
        if decision.cancelled() or decision.exception() is not None:
            session.close("server error")  # nothing would ever answer the publisher
        if not decision.cancelled():
            decision.result()  # a bug surfaces here, in the loop's exception handler
