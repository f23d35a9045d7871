"""All restreams of a server: those of a room run while its stream is there.

Which targets a room has is asked again when its stream comes, when somebody says that they have changed
(`refresh`), and every LOOK_S: a store that did not answer, or a change made by another process, is made
good then.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, Sequence

from mediaserver.egress.restream.health import Figures
from mediaserver.egress.restream.restream import Restream
from mediaserver.egress.restream.target import Target
from mediaserver.errors import PeerError
from mediaserver.hub import Hub, Stream

log = logging.getLogger("hawker.restream")

LOOK_S = 10.0


class Restreams:
    """`targets(room)` gives those that are to be sent to now; it may raise PeerError.

    Targets with one id and other members are other targets: the connection begins anew.
    """

    def __init__(
        self,
        hub: Hub,
        targets: Callable[[str], Awaitable[Sequence[Target]]],
        *,
        allow_private: bool = False,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.allow_private = allow_private
        self._hub = hub
        self._targets = targets
        self._tls = tls or ssl.create_default_context()
        self._rooms: dict[str, dict[str, Restream]] = {}
        self._refreshing = asyncio.Lock()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._unlisten: Callable[[], None] | None = None

    def start(self) -> None:
        """Follow the hub from now on; needs a running event loop."""
        self._unlisten = self._hub.listen(self._on_change)
        self._task = asyncio.create_task(self._look(), name="restreams")

    async def close(self) -> None:
        """End all connections."""
        if self._unlisten is not None:
            self._unlisten()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for room in list(self._rooms):
            await self._keep(room, {})

    def figures(self, room: str, id: str) -> Figures | None:
        """How a target is; None where it is not being sent to."""
        restream = self._rooms.get(room, {}).get(id)
        return None if restream is None else restream.health.figures()

    async def refresh(self, room: str) -> None:
        """Start and stop what has changed; raises PeerError."""
        async with self._refreshing:
            wanted: Sequence[Target] = ()
            if self._hub.get(room) is not None:
                wanted = await self._targets(room)
            if self._hub.get(room) is None:
                wanted = ()
            await self._keep(room, {target.id: target for target in wanted})

    async def _keep(self, room: str, wanted: dict[str, Target]) -> None:
        running = self._rooms.setdefault(room, {})
        leaving = [each for id, each in running.items() if wanted.get(id) != each.target]
        for each in leaving:
            del running[each.target.id]
        await asyncio.gather(*(each.stop() for each in leaving))
        for id, target in wanted.items():
            if id not in running:
                running[id] = Restream(
                    self._hub, room, target, self._tls, allow_private=self.allow_private
                )
        if not running:
            del self._rooms[room]

    def _on_change(self, change: str, stream: Stream) -> None:
        room, _, rendition = stream.name.partition("/")
        online = change == "online" and not rendition
        for restream in self._rooms.get(room, {}).values():
            restream.changed(online=online)
        if not rendition and change != "offline":
            self._wake.set()

    async def _look(self) -> None:
        while True:
            self._wake.clear()
            live = [name for name in self._hub.streams if "/" not in name]
            for room in {*live, *self._rooms}:
                try:
                    await self.refresh(room)
                except PeerError as error:
                    log.warning("restreams of room %s: %s", room, error.detail)
            try:
                async with asyncio.timeout(LOOK_S):
                    await self._wake.wait()
            except TimeoutError:
                continue
