"""Where rooms are restreamed to: the other platforms' servers and keys, kept with the room.

A room's targets stand in one record, `restreams/<room>`; they are few. Their keys are AES-256-GCM under
a key of the shop's in a file of mode 600, with the target's id as associated data: a copy of the store
alone sends to nobody's channel, and no key can be passed off as another target's. What is told of a key
is its last KEY_HINT_CHARS characters.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import msgpack
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from commerce.changes import Changes, decide_and_commit
from commerce.errors import LimitReached, NotFound
from commerce.ids import new_id, utc_ms
from commerce.store import Store
from commerce.text import checked_text
from overlay.errors import RoomNotFound

NAME_CHARS = 60
URL_CHARS = 500
KEY_CHARS = 500
RENDITION_CHARS = 32
KEY_HINT_CHARS = 4
KEY_HINTED_CHARS = 12  # of a shorter key four characters would be too much
NONCE_BYTES = 12
FORMAT = 1


class RestreamNotFound(NotFound):
    code = "restream_not_found"
    title = "No such restream target"


@dataclass(frozen=True, slots=True)
class RestreamTarget:
    """`rendition` is a suffix such as `720p`, empty for the stream itself; not `enabled`: stopped."""

    id: str
    room: str
    name: str
    url: str
    key: str = field(repr=False)
    rendition: str
    enhanced: bool
    enabled: bool
    created_ms: int

    @property
    def key_hint(self) -> str:
        """The end of the key, to tell keys apart by; empty for a short one."""
        return self.key[-KEY_HINT_CHARS:] if len(self.key) >= KEY_HINTED_CHARS else ""


Targets: TypeAlias = list[RestreamTarget]


class RestreamTargets:
    """The targets in the store; `key` is 32 bytes."""

    def __init__(
        self,
        store: Store,
        key: bytes,
        *,
        room_exists: Callable[[str], Awaitable[bool]],
        limit: int,
        now_ms: Callable[[], int] = utc_ms,
    ) -> None:
        self._store = store
        self._cipher = AESGCM(key)
        self._room_exists = room_exists
        self._limit = limit
        self._now_ms = now_ms

    async def create(
        self,
        room: str,
        name: str,
        url: str,
        key: str,
        *,
        rendition: str = "",
        enhanced: bool = False,
        enabled: bool = True,
    ) -> RestreamTarget:
        """The new target; raises RoomNotFound, Invalid, LimitReached or Busy."""
        now_ms = self._now_ms()
        made = RestreamTarget(
            new_id("rst", now_ms), room, name, url, key, rendition, enhanced, enabled, now_ms
        )
        made = _checked(made)

        def change(targets: Targets) -> Targets:
            if len(targets) >= self._limit:
                raise LimitReached(
                    f"a room is restreamed to {self._limit} targets", extra={"limit": self._limit}
                )
            return [*targets, made]

        await self._change(room, change)
        return made

    async def list(self, room: str) -> Targets:
        """All of a room's, the oldest first; raises RoomNotFound."""
        await self._check_room(room)
        return (await self._load(room))[0]

    async def get(self, room: str, id: str) -> RestreamTarget:
        """Raises RoomNotFound or RestreamNotFound."""
        return _find(await self.list(room), id)

    async def patch(
        self,
        room: str,
        id: str,
        *,
        name: str | None = None,
        url: str | None = None,
        key: str | None = None,
        rendition: str | None = None,
        enhanced: bool | None = None,
        enabled: bool | None = None,
    ) -> RestreamTarget:
        """Change what is given; raises RoomNotFound, RestreamNotFound, Invalid or Busy."""

        def changed(old: RestreamTarget) -> RestreamTarget:
            return _checked(
                replace(
                    old,
                    name=old.name if name is None else name,
                    url=old.url if url is None else url,
                    key=old.key if key is None else key,
                    rendition=old.rendition if rendition is None else rendition,
                    enhanced=old.enhanced if enhanced is None else enhanced,
                    enabled=old.enabled if enabled is None else enabled,
                )
            )

        def change(targets: Targets) -> Targets:
            old = _find(targets, id)
            return [changed(each) if each is old else each for each in targets]

        return _find(await self._change(room, change), id)

    async def delete(self, room: str, id: str) -> None:
        """Raises RoomNotFound, RestreamNotFound or Busy."""

        def change(targets: Targets) -> Targets:
            gone = _find(targets, id)
            return [each for each in targets if each is not gone]

        await self._change(room, change)

    async def _change(self, room: str, change: Callable[[Targets], Targets]) -> Targets:
        await self._check_room(room)

        async def decide() -> tuple[Changes, Targets]:
            targets, version = await self._load(room)
            changed = change(targets)
            value = self._pack(changed) if changed else None
            item = restreams_key(room)
            return Changes(self._now_ms(), reads={item: version}, writes={item: value}), changed

        return await decide_and_commit(self._store, decide)

    async def _check_room(self, room: str) -> None:
        if not await self._room_exists(room):
            raise RoomNotFound("there is no such room")

    async def _load(self, room: str) -> tuple[Targets, int]:
        item = restreams_key(room)
        value, version = (await self._store.load([item]))[item]
        members = [] if value is None else msgpack.unpackb(value)["targets"]
        return [self._unpack(room, each) for each in members], version

    def _pack(self, targets: Sequence[RestreamTarget]) -> bytes:
        return msgpack.packb({"v": FORMAT, "targets": [self._members(each) for each in targets]})

    def _members(self, target: RestreamTarget) -> dict[str, object]:
        nonce = secrets.token_bytes(NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, target.key.encode(), target.id.encode())
        return {
            "id": target.id,
            "name": target.name,
            "url": target.url,
            "key": nonce + sealed,
            "rendition": target.rendition,
            "enhanced": target.enhanced,
            "enabled": target.enabled,
            "created_ms": target.created_ms,
        }

    def _unpack(self, room: str, members: dict[str, object]) -> RestreamTarget:
        sealed, id = members["key"], members["id"]
        assert isinstance(sealed, bytes) and isinstance(id, str)
        nonce, text = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
        key = self._cipher.decrypt(nonce, text, id.encode()).decode()
        return RestreamTarget(**{**members, "room": room, "key": key})  # type: ignore[arg-type]


def restreams_key(room: str) -> str:
    """The record of a room's targets."""
    return f"restreams/{room}"


def _find(targets: Sequence[RestreamTarget], id: str) -> RestreamTarget:
    for target in targets:
        if target.id == id:
            return target
    raise RestreamNotFound("the room has no such restream target")


def _checked(target: RestreamTarget) -> RestreamTarget:
    rendition = target.rendition
    return replace(
        target,
        name=checked_text("name", target.name, NAME_CHARS),
        url=checked_text("url", target.url, URL_CHARS),
        key=checked_text("key", target.key, KEY_CHARS),
        rendition=checked_text("rendition", rendition, RENDITION_CHARS) if rendition else "",
    )
