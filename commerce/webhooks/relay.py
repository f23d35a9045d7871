"""The relay of all webhooks: of several servers on one store one does it, each endpoint by itself.

Who relays holds the lease `webhook-lease` in the store, for LEASE_MS at a time by the store's clock; a
server that dies is followed by another one when it has run out, one that stops gives it back.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import msgpack

from commerce.changes import SHOP, Changes
from commerce.errors import StoreUnavailable
from commerce.ids import new_id, utc_ms
from commerce.store import Conflict, Store
from commerce.webhooks.courier import Courier
from commerce.webhooks.endpoints import EndpointNotFound, Endpoints
from commerce.webhooks.sending import Sender

log = logging.getLogger("hawker.webhooks")

LEASE = "webhook-lease"
LEASE_MS = 15_000  # how long webhooks wait when the server that relays them dies
RENEW_MS = 5_000
POLL_S = 1.0  # for what other servers committed, and for what has become due
TICK_S = 0.1  # between two pages, so that a burst is one commit
DRAIN_S = 5.0  # for tries that are on their way when the server stops; longer ones are made again


class Lease:
    """The right to relay; `owner` is this server's name for itself."""

    def __init__(self, store: Store, owner: str, now_ms: Callable[[], int]) -> None:
        self._store = store
        self._owner = owner
        self._now_ms = now_ms

    async def hold(self) -> bool:
        """Take or renew it; whether it is ours now. Raises StoreUnavailable."""
        now_ms = self._now_ms()
        value, version = (await self._store.load([LEASE]))[LEASE]
        kept: dict[str, Any] = {"owner": "", "until_ms": 0}
        if value is not None:
            kept = msgpack.unpackb(value)
        mine = kept["owner"] == self._owner
        if mine and kept["until_ms"] - now_ms > LEASE_MS - RENEW_MS:
            return True
        if not mine and kept["until_ms"] > now_ms:
            return False
        return await self._write(version, now_ms + LEASE_MS)

    async def release(self) -> None:
        """Let another server have it, if it is ours."""
        value, version = (await self._store.load([LEASE]))[LEASE]
        if value is not None and msgpack.unpackb(value)["owner"] == self._owner:
            await self._write(version, 0)

    async def _write(self, version: int, until_ms: int) -> bool:
        changes = Changes(self._now_ms(), reads={LEASE: version})
        changes.writes[LEASE] = msgpack.packb({"owner": self._owner, "until_ms": until_ms})
        try:
            await changes.commit(self._store)
        except Conflict:
            return False
        return True


class WebhookRelay:
    """Relays from `start` to `stop`; give `committed` to the followers of the same store."""

    def __init__(
        self,
        store: Store,
        endpoints: Endpoints,
        sender: Sender,
        *,
        now_ms: Callable[[], int] = utc_ms,
    ) -> None:
        self._store = store
        self._endpoints = endpoints
        self._sender = sender
        self._now_ms = now_ms
        self._lease = Lease(store, new_id("srv", now_ms()), now_ms)
        self._woken: dict[str, asyncio.Event] = {}
        self._couriers: dict[str, asyncio.Task[None]] = {}
        self._stopping = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None

    def start(self) -> None:
        """In the running loop."""
        self._sender.open()
        loop = asyncio.get_running_loop()
        # Its commits are its own doing, whoever made the one that woke it.
        self._watching = loop.create_task(self._watch(), context=contextvars.Context())
        self._watching.add_done_callback(_watched)

    async def stop(self) -> None:
        """End the round of tries that is on its way, begin none, and give the lease back."""
        self._stopping.set()
        self.wake()
        tasks = [*self._couriers.values(), *([self._watching] if self._watching else [])]
        if tasks:
            await asyncio.wait(tasks, timeout=DRAIN_S)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with suppress(StoreUnavailable):
            await self._lease.release()
        await self._sender.close()

    def committed(self, seqs: Mapping[str, int]) -> None:
        """A commit has answered with these."""
        if SHOP in seqs:
            self.wake()

    def wake(self) -> None:
        """There may be something to send."""
        for event in self._woken.values():
            event.set()

    async def _watch(self) -> None:
        while not self._stopping.is_set():
            with suppress(StoreUnavailable):  # the store has told the log
                await self._appoint()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), POLL_S)

    async def _appoint(self) -> None:
        """A courier for each endpoint that is switched on, none where another server relays."""
        wanted = {each.id for each in await self._endpoints.list() if each.enabled}
        if wanted and not await self._lease.hold():
            wanted = set()
        for id, task in list(self._couriers.items()):
            if id not in wanted or task.done():
                self._dismiss(id, task)
        for id in wanted - set(self._couriers):
            courier = Courier(id, self._store, self._endpoints, self._sender, now_ms=self._now_ms)
            self._woken[id] = asyncio.Event()
            self._couriers[id] = asyncio.create_task(self._run(courier, self._woken[id]))

    def _dismiss(self, id: str, task: asyncio.Task[None]) -> None:
        del self._couriers[id], self._woken[id]
        if task.done() and not task.cancelled() and (bug := task.exception()) is not None:
            log.error("%s: webhooks failed; they go on", id, exc_info=bug)
        task.cancel()

    async def _run(self, courier: Courier, woken: asyncio.Event) -> None:
        while not self._stopping.is_set():
            woken.clear()
            try:
                more = await courier.turn()
            except EndpointNotFound:
                return
            except StoreUnavailable:  # the store has told the log
                more = False
            if more:
                await asyncio.sleep(0)
                continue
            with suppress(TimeoutError):
                await asyncio.wait_for(woken.wait(), POLL_S)
            if not self._stopping.is_set():
                await asyncio.sleep(TICK_S)


def _watched(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (bug := task.exception()) is not None:
        log.error("webhooks are sent no further until the next start", exc_info=bug)
