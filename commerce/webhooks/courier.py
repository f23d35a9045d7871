"""One endpoint's relay: takes events out of the stream `shop`, and tries what is due.

Events become delivery records in the commit that moves the endpoint's place in the stream; what became
of a round of tries is one commit, too. Both are guarded by the version of that place, so of two servers
that take themselves for the relay only one counts. A crash between a try and its commit tries again
under the same id: at least once.

What waits is bounded by WAITING_MAX: beyond it nothing more is taken in, and the stream is the queue.
Several changes of one article's stock within a page are told once.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from commerce.changes import SHOP, Changes
from commerce.ids import utc_ms
from commerce.store import Conflict, Store
from commerce.webhooks.deliveries import (
    Deliveries,
    Delivery,
    due_index,
    load,
    new_delivery,
    save,
    tried,
    waiting_key,
)
from commerce.webhooks.documents import body_of
from commerce.webhooks.endpoints import Endpoint, EndpointNotFound, Endpoints
from commerce.webhooks.events import Occurrence, occurrences, wanted
from commerce.webhooks.progress import Progress, progress_key, unpack_progress
from commerce.webhooks.retries import DAY_MS, DISABLE_AFTER_MS, Answer
from commerce.webhooks.sending import CONNECTIONS_EACH, Sender

log = logging.getLogger("hawker.webhooks")

PAGE = 256  # events of one commit: some 100 kB
UNCOMMITTED_MAX = 4_096  # events passed over before that is written down, read again after a crash
WAITING_MAX = 10_000  # deliveries of one endpoint, some 300 bytes each in the store, none in memory
AT_ONCE = CONNECTIONS_EACH
TRIM_EVERY_MS = 60_000
COLLAPSED = ("stock.changed", "price.changed")  # they tell what is true when they are sent


class Courier:
    """The relay of the endpoint `id`; `draw` gives numbers in 0 to 1 for the jitter."""

    def __init__(
        self,
        id: str,
        store: Store,
        endpoints: Endpoints,
        sender: Sender,
        *,
        now_ms: Callable[[], int] = utc_ms,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.id = id
        self._store = store
        self._endpoints = endpoints
        self._deliveries = Deliveries(store, now_ms=now_ms)
        self._sender = sender
        self._now_ms = now_ms
        self._draw = draw
        self._passed = 0  # events that are not wanted need no commit each
        self._quiet_until_ms = 0
        self._trim_ms = 0

    async def turn(self) -> bool:
        """Take in a page and try what is due; whether there may be more to do at once.

        Raises EndpointNotFound or StoreUnavailable.
        """
        endpoint = await self._endpoints.get(self.id)
        if not endpoint.enabled:
            return False
        try:
            if self._trim_ms <= self._now_ms():
                self._trim_ms = self._now_ms() + TRIM_EVERY_MS
                await self._deliveries.trim(self.id)
            taken = await self._take_in(endpoint)
            return await self._try_due(endpoint) or taken
        except Conflict:  # another server relays, or somebody replays: on from what is true now
            self._passed = 0
            return True

    async def _take_in(self, endpoint: Endpoint) -> bool:
        progress, waiting = await self._progress()
        if waiting >= WAITING_MAX:
            return False
        after = max(progress.seq, self._passed)
        events = await self._store.events(SHOP, after, PAGE)
        if not events:
            return False
        self._passed = events[-1][0]
        told = _wanted(endpoint, (body for _, body in events))
        if told or self._passed - progress.seq >= UNCOMMITTED_MAX:
            now_ms = self._now_ms()
            changes = self._guarded(replace(progress, seq=self._passed))
            for each in told:
                save(changes, None, new_delivery(self.id, each, now_ms))
            await changes.commit(self._store)
        return len(events) == PAGE

    async def _try_due(self, endpoint: Endpoint) -> bool:
        now_ms = self._now_ms()
        if now_ms < self._quiet_until_ms:
            return False
        keys = await self._store.scan(due_index(self.id), "", f"{now_ms + 1:015d}", AT_ONCE)
        found = await load(self._store, keys)  # after the scan: another server may have tried them
        due = [each for each in found if each.state == "pending" and each.next_ms <= now_ms]
        if not due:
            return False
        answers = await asyncio.gather(*(self._try(endpoint, each) for each in due))
        await self._commit(due, answers)
        return True

    async def _try(self, endpoint: Endpoint, delivery: Delivery) -> Answer:
        body = await body_of(self._store, delivery)
        headers = endpoint.headers(delivery.id, body, self._now_ms())
        return await self._sender.send(endpoint.url, headers, body)

    async def _commit(self, due: Sequence[Delivery], answers: Sequence[Answer]) -> None:
        now_ms = self._now_ms()
        progress, _ = await self._progress()
        verdicts = {answer.verdict for answer in answers}
        failing_ms = 0 if "done" in verdicts else progress.failing_ms or now_ms
        changes = self._guarded(replace(progress, failing_ms=failing_ms))
        for before, answer in zip(due, answers, strict=True):
            after = tried(before, answer, now_ms, self._draw())
            save(changes, before, after)
            self._quiet_until_ms = max(self._quiet_until_ms, now_ms + answer.slow_down_ms)
            if after.state == "failed":
                log.warning(
                    "%s: %s was not taken after %d tries", self.id, after.id, after.attempts
                )
        await changes.commit(self._store)
        if "gone" in verdicts:
            await self._disable("it answered 410 Gone")
        elif failing_ms and now_ms - failing_ms >= DISABLE_AFTER_MS:
            await self._disable(f"nothing was taken for {DISABLE_AFTER_MS // DAY_MS} days")

    async def _disable(self, why: str) -> None:
        log.warning("%s is switched off: %s", self.id, why)
        await self._endpoints.disable(self.id, why)

    def _guarded(self, progress: Progress) -> Changes:
        key = progress_key(self.id)
        changes = Changes(self._now_ms(), reads={key: progress.version})
        changes.writes[key] = progress.pack()
        return changes

    async def _progress(self) -> tuple[Progress, int]:
        """Where it is, and how many deliveries wait."""
        key, count = progress_key(self.id), waiting_key(self.id)
        loaded = await self._store.load([key, count])
        progress = unpack_progress(*loaded[key])
        if progress is None:
            raise EndpointNotFound("the endpoint was deleted")
        return progress, int(loaded[count][0] or b"0")


def _wanted(endpoint: Endpoint, bodies: Iterable[bytes]) -> list[Occurrence]:
    """What of the events the endpoint is told, in order."""
    told: dict[object, Occurrence] = {}
    for body in bodies:
        for each in occurrences(body):
            if wanted(endpoint.events, each.type):
                collapsed = each.type in COLLAPSED
                name = (each.type, *each.about.values()) if collapsed else each.id
                told.pop(name, None)
                told[name] = each
    return list(told.values())
