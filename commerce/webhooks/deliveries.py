"""Deliveries: one event on its way to one endpoint, with its tries; a record until it is forgotten.

A record holds ids, no document: what is sent is what is true then, and what was erased is nowhere else.
Those that wait stand in an index by when they are due, so a failed one lets later ones pass. Of those
that have ended the latest KEPT of KEPT_MS are kept, to be looked at and sent again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgpack

from commerce.changes import Changes, decide_and_commit
from commerce.errors import Invalid, NotFound
from commerce.ids import new_id, utc_ms
from commerce.store import INDEX_END, Store
from commerce.timestamps import rfc3339
from commerce.webhooks.events import TEST, Occurrence
from commerce.webhooks.retries import DAY_MS, Answer, next_try_ms

KEPT = 1_000  # for each endpoint, some 300 bytes each
KEPT_MS = 7 * DAY_MS
PAGE_MAX = 200
CHANGED_AT_ONCE = 200  # records in one commit
DELIVERY_ID = re.compile(r"[0-9a-z_.]{1,64}")
CURSOR = re.compile(r"[0-9]{15}[0-9a-z_.]{1,64}")


class DeliveryNotFound(NotFound):
    code = "delivery_not_found"
    title = "No such delivery"


@dataclass(frozen=True, slots=True)
class Delivery:
    """`id` is the webhook-id, alike over all tries; `status` of the last answer, 0 for none.

    pending → succeeded | failed; a replay makes it pending again, with no tries.
    """

    id: str
    endpoint: str
    type: str
    at_ms: int
    about: Mapping[str, str]
    created_ms: int
    next_ms: int
    state: str = "pending"
    attempts: int = 0
    tried_ms: int = 0
    status: int = 0
    error: str = ""
    version: int = 0

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "type": self.type,
            "state": self.state,
            "attempts": self.attempts,
            "next_attempt_at": rfc3339(self.next_ms) if self.state == "pending" else None,
            "last_attempt_at": rfc3339(self.tried_ms) if self.tried_ms else None,
            "status": self.status or None,
            "error": self.error or None,
            "created_at": rfc3339(self.created_ms),
        }


def delivery_key(endpoint: str, id: str) -> str:
    return f"webhook-delivery/{endpoint}/{id}"


def waiting_key(endpoint: str) -> str:
    """The counter of deliveries that are pending."""
    return f"webhook-waiting/{endpoint}"


def due_index(endpoint: str) -> str:
    return f"webhook-due/{endpoint}"


def list_index(endpoint: str) -> str:
    return f"webhook-deliveries/{endpoint}"


def ended_index(endpoint: str) -> str:
    return f"webhook-ended/{endpoint}"


def unpack(value: bytes | None, version: int) -> Delivery | None:
    return None if value is None else Delivery(**msgpack.unpackb(value), version=version)


def newest_first(at_ms: int) -> str:
    """A sort of 15 digits, for any time after 1970."""
    return f"{10**15 - max(1, at_ms):015d}"


def new_delivery(endpoint: str, what: Occurrence, now_ms: int) -> Delivery:
    return Delivery(what.id, endpoint, what.type, what.at_ms, what.about, now_ms, now_ms)


def tried(delivery: Delivery, answer: Answer, now_ms: int, random: float) -> Delivery:
    """The delivery after a try; `random` in 0 to 1."""
    attempts = delivery.attempts + 1
    after = replace(
        delivery,
        attempts=attempts,
        tried_ms=now_ms,
        status=answer.status or 0,
        error=answer.error,
    )
    if answer.verdict == "done":
        return replace(after, state="succeeded")
    next_ms = next_try_ms(attempts, now_ms, random)
    if answer.verdict == "gone" or next_ms is None:
        return replace(after, state="failed")
    return replace(after, next_ms=max(next_ms, now_ms + answer.slow_down_ms))


def save(changes: Changes, before: Delivery | None, after: Delivery) -> None:
    """Write a delivery with its places in the indexes."""
    endpoint, key = after.endpoint, delivery_key(after.endpoint, after.id)
    members = {name: getattr(after, name) for name in Delivery.__slots__}
    del members["version"]
    pending = after.state == "pending"
    changes.reads[key] = 0 if before is None else before.version
    changes.writes[key] = msgpack.packb(members)
    changes.index[due_index(endpoint), key] = f"{after.next_ms:015d}" if pending else None
    changes.index[ended_index(endpoint), key] = None if pending else newest_first(changes.now_ms)
    if before is None:
        changes.index[list_index(endpoint), key] = f"{newest_first(after.created_ms)}{after.id}"
    waited = before is not None and before.state == "pending"
    if pending != waited:
        changes.add(waiting_key(endpoint), 1 if pending else -1, -(2**53))


class Deliveries:
    """What is kept of an endpoint's deliveries; that the endpoint exists, the caller knows."""

    def __init__(self, store: Store, *, now_ms: Callable[[], int] = utc_ms) -> None:
        self._store = store
        self._now_ms = now_ms

    async def list(
        self, endpoint: str, *, after: str | None = None, limit: int = 50
    ) -> tuple[list[Delivery], str | None]:
        """A page, newest first, and the `after` of the next one; raises Invalid."""
        if after is not None and not CURSOR.fullmatch(after):
            raise Invalid("after", "not a cursor of this list")
        limit = max(1, min(limit, PAGE_MAX))
        low = "" if after is None else f"{after}\0"
        keys = await self._store.scan(list_index(endpoint), low, INDEX_END, limit)
        found = await load(self._store, keys)
        if len(keys) < limit or not found:
            return found, None
        return found, f"{newest_first(found[-1].created_ms)}{found[-1].id}"

    async def get(self, endpoint: str, id: str) -> Delivery:
        """Raises DeliveryNotFound."""
        known = DELIVERY_ID.fullmatch(id) is not None
        found = await load(self._store, [delivery_key(endpoint, id)]) if known else []
        if not found:
            raise DeliveryNotFound("nothing is known of such a delivery")
        return found[0]

    async def replay(self, endpoint: str, id: str) -> Delivery:
        """Send it now, under the same id; raises DeliveryNotFound or Busy."""

        async def decide() -> tuple[Changes, Delivery]:
            before = await self.get(endpoint, id)
            changes = Changes(self._now_ms())
            return changes, _again(changes, before)

        return await decide_and_commit(self._store, decide)

    async def replay_since(self, endpoint: str, since_ms: int) -> int:
        """Send again what came in at `since_ms` or later and has failed; how many. Raises Busy."""
        low, high, replayed = "", f"{newest_first(since_ms)}{INDEX_END}", 0
        while keys := await self._store.scan(list_index(endpoint), low, high, CHANGED_AT_ONCE):
            replayed += await self._replay_failed(keys)
            last = keys[-1].rpartition("/")[2]
            found = await load(self._store, keys[-1:])
            if len(keys) < CHANGED_AT_ONCE or not found:
                break
            low = f"{newest_first(found[0].created_ms)}{last}\0"
        return replayed

    async def _replay_failed(self, keys: Sequence[str]) -> int:
        async def decide() -> tuple[Changes | None, int]:
            failed = [each for each in await load(self._store, keys) if each.state == "failed"]
            changes = Changes(self._now_ms())
            for each in failed:
                _again(changes, each)
            return changes if failed else None, len(failed)

        return await decide_and_commit(self._store, decide)

    async def test(self, endpoint: str) -> Delivery:
        """A `webhook.test`, to be sent now."""
        now_ms = self._now_ms()
        what = Occurrence(new_id("evt", now_ms), TEST, now_ms, {"endpoint": endpoint})
        made = new_delivery(endpoint, what, now_ms)
        changes = Changes(now_ms)
        save(changes, None, made)
        await changes.commit(self._store)
        return made

    async def trim(self, endpoint: str) -> None:
        """Forget what ended long ago or before the latest KEPT; raises Conflict."""
        old = newest_first(self._now_ms() - KEPT_MS)
        index = ended_index(endpoint)
        keys = await self._store.scan(index, "", INDEX_END, KEPT + CHANGED_AT_ONCE)
        aged = await self._store.scan(index, old, INDEX_END, CHANGED_AT_ONCE)
        found = await load(self._store, list(dict.fromkeys([*keys[KEPT:], *aged])))
        ended = {
            delivery_key(endpoint, each.id): each.version
            for each in found
            if each.state != "pending"
        }
        await self._forget(endpoint, list(ended), ended)

    async def forget_all(self, endpoint: str) -> None:
        """Forget all of an endpoint that is gone."""
        while keys := await self._store.scan(list_index(endpoint), "", INDEX_END, CHANGED_AT_ONCE):
            await self._forget(endpoint, keys)
        changes = Changes(self._now_ms(), writes={waiting_key(endpoint): None})
        await changes.commit(self._store)

    async def _forget(
        self, endpoint: str, keys: Sequence[str], reads: Mapping[str, int] | None = None
    ) -> None:
        changes = Changes(self._now_ms(), reads=dict(reads or {}), writes=dict.fromkeys(keys))
        for index in (list_index(endpoint), due_index(endpoint), ended_index(endpoint)):
            changes.index.update({(index, key): None for key in keys})
        if keys:
            await changes.commit(self._store)


async def load(store: Store, keys: Sequence[str]) -> list[Delivery]:
    """Those that are there, in the order of the keys."""
    loaded = await store.load(keys)
    found = [unpack(*loaded[key]) for key in keys]
    return [each for each in found if each is not None]


def _again(changes: Changes, before: Delivery) -> Delivery:
    after = replace(before, state="pending", attempts=0, next_ms=changes.now_ms)
    save(changes, before, after)
    return after
