"""The WHIP resources of one process (RFC 9725 §4): made by an offer, ended by DELETE."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from itertools import islice

from mediaserver.access import Access, split_key
from mediaserver.errors import NotFound, PeerError
from mediaserver.hub import BACKUP, MAIN, Hub, Publication
from mediaserver.ingest.whip.answer import accept
from mediaserver.ingest.whip.publisher import WhipPublisher
from mediaserver.protocol import sdp
from mediaserver.rtc.transport import Transport

log = logging.getLogger("hawker.whip")

AT_ONCE = 16  # publishers that are looked after in one turn of the loop: below 1 ms
TURN_S = 0.01


class WhipIngest:
    """Accepts publishers, and looks after them every second."""

    def __init__(self, hub: Hub, transport: Transport, access: Access) -> None:
        self._hub = hub
        self.transport = transport
        self._access = access
        self._stop_sweep = transport.every_second(self._every_second)
        self._turn: asyncio.TimerHandle | None = None

    async def publish(self, key: str, offer_sdp: bytes, remote: str) -> tuple[str, str]:
        """Accept an offer; (resource id, answer).

        Raises Unauthorized, ProtocolError, NotAcceptable, TooMany, Unavailable.
        """
        try:
            key, backup = split_key(key)
            name = await self._access.publish(key)
        except PeerError as error:
            log.warning("publish from %s refused: %s", remote, error.detail)
            raise
        offer = sdp.parse(offer_sdp)
        medias, terms = accept(offer)

        def publication(publisher: WhipPublisher) -> Publication:
            return self._hub.publish(
                name,
                protocol="whip",
                remote=remote,
                rank=BACKUP if backup else MAIN,
                on_close=lambda reason: self._close(publisher, reason),
            )

        publisher = WhipPublisher(publication, terms, self.transport.clock)
        self.transport.admission.check(remote)
        session, answer = self.transport.accept(publisher, offer, medias)
        self.transport.admission.count(remote, session.id)
        return session.id, answer

    def delete(self, resource: str) -> None:
        """End a publication; raises NotFound."""
        session = self.transport.sessions.get(resource)
        if session is None or not isinstance(session.handler, WhipPublisher):
            raise NotFound("no such WHIP session")
        session.handler.finished = True
        self.transport.close(session, "publisher ended the session")

    def close(self) -> None:
        self._stop_sweep()
        if self._turn is not None:
            self._turn.cancel()

    def _close(self, publisher: WhipPublisher, reason: str) -> None:
        if publisher.session is not None:
            self.transport.close(publisher.session, reason)

    def _every_second(self, now: float) -> None:
        if self._turn is not None:
            self._turn.cancel()  # who is left has waited for a second: all begin anew
        handlers = [session.handler for session in self.transport.sessions.values()]
        self._look_after(each for each in handlers if isinstance(each, WhipPublisher))

    def _look_after(self, waiting: Iterator[WhipPublisher]) -> None:
        self._turn = None
        now = self.transport.clock()
        some = list(islice(waiting, AT_ONCE))
        for publisher in some:
            publisher.every_second(now)
        if len(some) == AT_ONCE:
            loop = asyncio.get_running_loop()
            self._turn = loop.call_later(TURN_S, self._look_after, waiting)
