"""One target of a live room: connected, fed, and connected again until it is stopped.

It never gives up: a connection that is lost is tried again with exponential back-off, one that is
refused by name after REFUSED_RETRY_S. A publisher that is away for a while keeps the connection: nothing
is sent meanwhile, and timestamps go on with the stream's.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from collections.abc import Callable

from mediaserver.egress.restream.address import Address, UnusableUrl
from mediaserver.egress.restream.feed import Feed
from mediaserver.egress.restream.health import Code, Health
from mediaserver.egress.restream.push import Push, Rejected, Stalled
from mediaserver.egress.restream.states import Event
from mediaserver.egress.restream.target import Target
from mediaserver.errors import ProtocolError
from mediaserver.hub import Hub

log = logging.getLogger("hawker.restream")

FIRST_RETRY_S = 1.0
LAST_RETRY_S = 30.0
REFUSED_RETRY_S = 60.0
JITTER = 0.25  # of the wait, either way: targets of one platform must not come back as one
SETTLED_S = 10.0  # who was live for so long begins again with the shortest wait
LOOK_S = 1.0
MIN_SECRET_CHARS = 4  # what is shorter is in any text


class Restream:
    """A target and the task that serves it."""

    def __init__(
        self,
        hub: Hub,
        room: str,
        target: Target,
        tls: ssl.SSLContext,
        *,
        allow_private: bool,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`chance` gives 0 to 1, for the jitter."""
        loop = asyncio.get_running_loop()
        self.target = target
        self.health = Health(loop.time)
        self._hub = hub
        self._room = room
        self._tls = tls
        self._allow_private = allow_private
        self._chance = chance
        self._attempts = 0
        self._accepted = 0
        self._online = asyncio.Event()
        self._feed: Feed | None = None
        self._task = loop.create_task(self._run(), name=f"restream {target.id}")

    async def stop(self) -> None:
        """End the connection with a goodbye."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self.health.happens(Event.STOP)

    def changed(self, *, online: bool) -> None:
        """A stream of the room has come or gone; `online`: its publisher's."""
        if online:
            self._online.set()
        if self._feed is not None:
            self._feed.changed(online=online)

    async def _run(self) -> None:
        while True:
            while not self._on_air():
                self._online.clear()
                await self._online.wait()
            self.health.happens(Event.ONLINE)
            await self._until_off_air()

    async def _until_off_air(self) -> None:
        """Try until a wait ends with nothing to send."""
        while True:
            try:
                await self._serve()
            except (Rejected, UnusableUrl) as error:
                wait_s = self._failed(Event.REFUSED, error, REFUSED_RETRY_S)
            except (ProtocolError, OSError) as error:
                longest_s = FIRST_RETRY_S * 2 ** min(self._attempts, 10)
                wait_s = self._failed(Event.LOST, error, min(longest_s, LAST_RETRY_S))
                self._attempts += 1
            await asyncio.sleep(wait_s)
            if not self._on_air():
                self.health.happens(Event.OFFLINE)
                return
            self.health.happens(Event.DUE)

    def _on_air(self) -> bool:
        stream = self._hub.get(self._room)
        return stream is not None and stream.live

    async def _serve(self) -> None:
        """Connect and send; raises what has ended it."""
        address = Address.parse(self.target.url)
        push = await Push.connect(
            address,
            self.target.key,
            self.health,
            self._tls,
            enhanced=self.target.enhanced,
            allow_private=self._allow_private,
        )
        loop = asyncio.get_running_loop()
        began_at = loop.time()
        self.health.reconnects += bool(self._accepted)
        self._accepted += 1
        self.health.happens(Event.ACCEPTED)
        log.info("restream %s: live on %s", self.target.id, address.host)
        try:
            await self._send(push)
        finally:
            if loop.time() - began_at >= SETTLED_S:
                self._attempts = 0
            push.close()

    async def _send(self, push: Push) -> None:
        feed = self._feed = Feed(
            self._hub, self._room, self.target.rendition, push.opened.result(), push.write
        )
        pumps = [asyncio.create_task(feed.picture()), asyncio.create_task(feed.sound())]
        try:
            while True:
                done, _ = await asyncio.wait(
                    [*pumps, push.closed], timeout=LOOK_S, return_when=asyncio.FIRST_COMPLETED
                )
                for pump in pumps:
                    if pump in done:
                        pump.result()
                if push.closed in done:
                    raise push.error
                if push.stalled:
                    push.abort()
                    raise Stalled("it takes nothing any more")
        finally:
            self._feed = None
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    def _failed(self, event: Event, error: Exception, wait_s: float) -> float:
        """Say why, and give the seconds to wait."""
        words = self._words(error)
        self.health.happens(event, _code(error), words)
        wait_s *= 1 + JITTER * (2 * self._chance() - 1)
        log.warning("restream %s: %s; tried again in %.0f s", self.target.id, words, wait_s)
        return wait_s

    def _words(self, error: Exception) -> str:
        """Without the key, which servers like to repeat."""
        words = _plain(error)
        for secret in {self.target.key, self.target.key.partition("?")[0]}:
            if len(secret) >= MIN_SECRET_CHARS:
                words = words.replace(secret, "…")
        return words


def _code(error: Exception) -> Code:
    match error:
        case Rejected():
            return error.code
        case UnusableUrl():
            return "address"
        case ProtocolError():
            return "protocol"
        case ssl.SSLCertVerificationError():
            return "certificate"
        case Stalled():
            return "slow"
        case ConnectionRefusedError():
            return "unreachable"
        case ConnectionError():
            return "closed"
        case _:
            return "unreachable"


def _plain(error: Exception) -> str:
    match error:
        case ssl.SSLCertVerificationError():
            return f"its certificate is not valid: {error.verify_message}"
        case TimeoutError():
            return "it does not answer"
        case ConnectionRefusedError():
            return "nothing listens there"
        case UnusableUrl() | ProtocolError():
            return error.detail
        case OSError():
            return error.strerror or str(error) or type(error).__name__
        case _:
            return str(error)
