"""Webhook endpoints as they are kept: whom the shop tells of what, and with which secret.

All of them stand in one record; they are few. Secrets are AES-256-GCM under a key of the shop's in a
file of mode 600, with the endpoint's id as associated data: a copy of the store alone signs nothing. A
secret that was replaced signs beside the new one for OVERLAP_MS, so nobody has to switch in one moment.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import msgpack
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from commerce.changes import SHOP, Changes, decide_and_commit
from commerce.errors import LimitReached, NotFound
from commerce.ids import new_id, utc_ms
from commerce.payments.signature import new_secret, sign
from commerce.store import Store, Versioned
from commerce.timestamps import rfc3339
from commerce.webhooks.events import DISABLED, checked_filters
from commerce.webhooks.progress import Progress, progress_key
from commerce.webhooks.target import checked_url

KEY = "webhook-endpoints"
FORMAT = 1
OVERLAP_MS = 86_400_000
NONCE_BYTES = 12
BEGUN = "webhook.created"


class EndpointNotFound(NotFound):
    code = "webhook_not_found"
    title = "No such webhook endpoint"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`events` are names and wildcards; `why`, in words, if it was not switched off by hand."""

    id: str
    url: str
    events: tuple[str, ...]
    secret: str = field(repr=False)
    enabled: bool
    created_ms: int
    why: str = ""
    old_secret: str = field(default="", repr=False)
    old_until_ms: int = 0

    def to_json(self) -> dict[str, Any]:
        """Without the secret."""
        return {
            "id": self.id,
            "url": self.url,
            "events": list(self.events),
            "enabled": self.enabled,
            "disabled_why": self.why or None,
            "created_at": rfc3339(self.created_ms),
        }

    def headers(self, id: str, body: bytes, now_ms: int) -> dict[str, str]:
        """The three of Standard Webhooks, with two signatures while a secret is replaced."""
        made = sign(self.secret, id, now_ms // 1000, body)
        if self.old_secret and now_ms < self.old_until_ms:
            other = sign(self.old_secret, id, now_ms // 1000, body)
            made["webhook-signature"] += f" {other['webhook-signature']}"
        return made


All: TypeAlias = list[Endpoint]


class Endpoints:
    """The endpoints in the store; `key` is 32 bytes, `limit` how many there may be."""

    def __init__(
        self,
        store: Store,
        key: bytes,
        *,
        limit: int,
        allow_private: bool = False,
        is_public: Callable[[Any], bool],
        now_ms: Callable[[], int] = utc_ms,
    ) -> None:
        """`is_public(address)` says whether an address in numbers may be sent to."""
        self._store = store
        self._cipher = AESGCM(key)
        self._limit = limit
        self._allow_private = allow_private
        self._is_public = is_public
        self._now_ms = now_ms

    async def create(self, url: str, events: Sequence[str], *, enabled: bool = True) -> Endpoint:
        """A new endpoint, told of what happens from now on.

        Raises UnusableTarget, Invalid, LimitReached or Busy.
        """
        now_ms = self._now_ms()
        id = new_id("whe", now_ms)
        url, filters = self._checked_url(url), checked_filters(events)
        made = Endpoint(id, url, filters, new_secret(), enabled, now_ms)
        if len(await self.list()) >= self._limit:
            raise self._full()
        # Its place in the stream is that of an event of its own, which nobody is told of.
        begun = Changes(now_ms)
        begun.tell(SHOP, BEGUN, endpoint=id)
        seqs = await self._store.commit(new_id("cmt", now_ms), events=begun.events)

        def change(all: All, changes: Changes) -> All:
            if len(all) >= self._limit:
                raise self._full()
            changes.writes[progress_key(id)] = Progress(seqs[SHOP]).pack()
            return [*all, made]

        await self._change(change)
        return made

    async def list(self) -> All:
        """All, the oldest first."""
        return self._unpack_all((await self._store.load([KEY]))[KEY])

    async def get(self, id: str) -> Endpoint:
        """Raises EndpointNotFound."""
        return _find(await self.list(), id)

    async def patch(
        self,
        id: str,
        *,
        url: str | None = None,
        events: Sequence[str] | None = None,
        enabled: bool | None = None,
    ) -> Endpoint:
        """Change what is given; raises EndpointNotFound, UnusableTarget, Invalid or Busy.

        One that is switched on again is told of what it missed, too.
        """
        url = None if url is None else self._checked_url(url)
        filters = None if events is None else checked_filters(events)

        def changed(old: Endpoint) -> Endpoint:
            return replace(
                old,
                url=old.url if url is None else url,
                events=old.events if filters is None else filters,
                enabled=old.enabled if enabled is None else enabled,
                why=old.why if enabled is None else "",
            )

        return await self._replace(id, changed)

    async def rotate(self, id: str) -> Endpoint:
        """A new secret; the old one signs, too, for OVERLAP_MS. Raises EndpointNotFound or Busy."""
        now_ms = self._now_ms()

        def changed(old: Endpoint) -> Endpoint:
            until_ms = now_ms + OVERLAP_MS
            return replace(old, secret=new_secret(), old_secret=old.secret, old_until_ms=until_ms)

        return await self._replace(id, changed)

    async def disable(self, id: str, why: str) -> None:
        """Switch an endpoint off, and tell the shop; raises EndpointNotFound or Busy."""

        def change(all: All, changes: Changes) -> All:
            old = _find(all, id)
            if not old.enabled:
                return all
            changes.tell(SHOP, DISABLED, endpoint=id, why=why)
            return [replace(old, enabled=False, why=why) if each is old else each for each in all]

        await self._change(change)

    async def delete(self, id: str) -> None:
        """Raises EndpointNotFound or Busy; what is kept of its deliveries is not touched."""

        def change(all: All, changes: Changes) -> All:
            gone = _find(all, id)
            changes.writes[progress_key(id)] = None
            return [each for each in all if each is not gone]

        await self._change(change)

    async def _replace(self, id: str, changed: Callable[[Endpoint], Endpoint]) -> Endpoint:
        def change(all: All, changes: Changes) -> All:
            old = _find(all, id)
            return [changed(each) if each is old else each for each in all]

        return _find(await self._change(change), id)

    async def _change(self, change: Callable[[All, Changes], All]) -> All:
        async def decide() -> tuple[Changes, All]:
            item = (await self._store.load([KEY]))[KEY]
            changes = Changes(self._now_ms(), reads={KEY: item[1]})
            after = change(self._unpack_all(item), changes)
            members = [self._members(each) for each in after]
            changes.writes[KEY] = msgpack.packb({"v": FORMAT, "endpoints": members})
            return changes, after

        return await decide_and_commit(self._store, decide)

    def _checked_url(self, url: str) -> str:
        return checked_url(url, allow_private=self._allow_private, is_public=self._is_public)

    def _full(self) -> LimitReached:
        return LimitReached(
            f"there are {self._limit} endpoints at most", extra={"limit": self._limit}
        )

    def _members(self, endpoint: Endpoint) -> dict[str, Any]:
        members = {name: getattr(endpoint, name) for name in Endpoint.__slots__}
        nonce = secrets.token_bytes(NONCE_BYTES)
        both = msgpack.packb([endpoint.secret, endpoint.old_secret])
        members["secret"] = nonce + self._cipher.encrypt(nonce, both, endpoint.id.encode())
        del members["old_secret"]
        return members

    def _unpack_all(self, item: Versioned) -> All:
        members = [] if item[0] is None else msgpack.unpackb(item[0])["endpoints"]
        return [self._unpack(each) for each in members]

    def _unpack(self, members: dict[str, Any]) -> Endpoint:
        sealed, id = members["secret"], members["id"]
        both = self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], id.encode())
        secret, old_secret = msgpack.unpackb(both)
        events = tuple(members["events"])
        return Endpoint(**{**members, "events": events, "secret": secret, "old_secret": old_secret})


def _find(all: Sequence[Endpoint], id: str) -> Endpoint:
    for each in all:
        if each.id == id:
            return each
    raise EndpointNotFound("there is no such webhook endpoint")
