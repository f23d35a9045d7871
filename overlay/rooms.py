"""Rooms and their stream keys, and who may publish to and watch them.

A room is kept under `room/<id>` with the SHA-256 of its stream key, and found by its key through
`stream-key/<that hash>`, in the same commit. The key itself is told once and never kept, so a copy of
the store publishes nothing. Its 192 random bits need no salt and no slow hash.

A room's id is the name of its stream; ids that are given look like `[a-z0-9][a-z0-9-]{0,62}`, ids
that are made like `room_` and a ULID.

`RoomAccess.watch` stands before every HLS request, so rooms are remembered for ROOM_AGE_S: a change
made here counts at once, one made by another process on the same store within that time. Keys are
never remembered: a rotated key is dead when `rotate_key` returns. Who publishes then goes on until he
leaves or the new key takes the room over.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Literal

import msgpack

from commerce.changes import Changes, decide_and_commit
from commerce.ids import new_id, utc_ms
from commerce.store import Conflict, Store
from commerce.text import checked_text
from overlay.errors import (
    AlreadyExists,
    Invalid,
    RoomNotFound,
    RoomRestricted,
    Stale,
    Unauthorized,
)
from overlay.index_page import index_page
from overlay.offer import clear, offer_keys, read_offer
from overlay.restream_targets import restreams_key
from overlay.tokens import VIEWER_TOKEN_S, Claims, IssuedToken, Tokens

Access = Literal["public", "restricted", "rehearsal"]

VIEWER = "viewer"  # the role of a token that was granted no more
GIVEN_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
ROOM_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}|room_[0-9a-z]{26}")
TITLE_CHARS = 200
KEY_BYTES = 24
KEY_CHARS_MAX = 128
INDEX, CHANNELS = "rooms", "channels"
ATTEMPTS = 8  # two who change one room at once; more would be a bug
ROOM_AGE_S = 1.0
ROOMS_REMEMBERED = 4096  # with names that are no rooms: a scan of names must not grow the process


@dataclass(frozen=True, slots=True)
class Room:
    """`version` is the store's, and the room's ETag; times are UTC milliseconds."""

    id: str
    title: str
    access: Access
    created_ms: int
    updated_ms: int
    version: int
    key_hash: str = field(repr=False)


class Rooms:
    """The rooms in the store."""

    def __init__(
        self,
        store: Store,
        *,
        now_ms: Callable[[], int] = utc_ms,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._now_ms = now_ms
        self._monotonic = monotonic
        self._remembered: OrderedDict[str, tuple[Room | None, float]] = OrderedDict()

    async def create(
        self, title: str, *, id: str | None = None, access: Access = "public"
    ) -> tuple[Room, str]:
        """The new room and its stream key; raises Invalid or AlreadyExists."""
        now_ms = self._now_ms()
        if id is None:
            id = new_id("room", now_ms)
        elif not GIVEN_ID.fullmatch(id):
            raise Invalid("id", "1 to 63 of a-z, 0-9 and -, not beginning with -")
        key = new_stream_key()
        title = checked_text("title", title, TITLE_CHARS)
        room = Room(id, title, access, now_ms, now_ms, 0, hash_key(key))
        try:
            await self._commit(room, index={(INDEX, _item(id)): id})
        except Conflict:
            raise AlreadyExists(f"the room {id} is there already", code="room_exists") from None
        return await self.get(id), key

    async def get(self, id: str, *, max_age_s: float = 0) -> Room:
        """The room as it is, or as it was at most `max_age_s` ago; raises RoomNotFound."""
        if not ROOM_ID.fullmatch(id):
            raise RoomNotFound("there is no such room")
        remembered = self._remembered.get(id)
        if remembered is not None and self._monotonic() - remembered[1] < max_age_s:
            room = remembered[0]
        else:
            room = await self._load(id)
        if room is None:
            raise RoomNotFound("there is no such room")
        return room

    async def exists(self, id: str) -> bool:
        """Whether the room is there, or was ROOM_AGE_S ago."""
        try:
            await self.get(id, max_age_s=ROOM_AGE_S)
        except RoomNotFound:
            return False
        return True

    async def list(
        self, *, after: str | None = None, limit: int = 50
    ) -> tuple[list[Room], str | None]:
        """A page of rooms by id, and the id to give as `after` for the next page, if there is one."""
        values, more = await index_page(self._store, INDEX, after, limit)
        rooms = [_unpack(*value) for value in values]
        page = [room for room in rooms if room is not None]
        return page, page[-1].id if page and more else None

    async def patch(
        self,
        id: str,
        *,
        title: str | None = None,
        access: Access | None = None,
        if_version: int | None = None,
    ) -> Room:
        """Change what is given; raises RoomNotFound, Invalid, or Stale if `if_version` has passed."""

        def change(room: Room) -> Room:
            if if_version not in (None, room.version):
                raise Stale(f"the room {id} has been changed since", code="stale")
            return replace(
                room,
                title=room.title if title is None else checked_text("title", title, TITLE_CHARS),
                access=room.access if access is None else access,
            )

        return await self._change(id, change)

    async def delete(self, id: str, *, if_version: int | None = None) -> None:
        """The room goes with its key, bag, cards, channel and restreams; its orders and events stay.

        Raises RoomNotFound, Busy, or Stale if `if_version` has passed.
        """

        async def decide() -> tuple[Changes, None]:
            room = await self.get(id)
            if if_version not in (None, room.version):
                raise Stale(f"the room {id} has been changed since", code="stale")
            changes = Changes(self._now_ms(), reads={_item(id): room.version})
            changes.writes = {_item(id): None, _key_item(room.key_hash): None}
            changes.index[INDEX, _item(id)] = None
            changes.writes[channel_key(id)] = changes.index[CHANNELS, channel_key(id)] = None
            changes.writes[restreams_key(id)] = None
            clear(changes, read_offer(id, await self._store.load(offer_keys(id))))
            return changes, None

        await decide_and_commit(self._store, decide)
        self._remembered.pop(id, None)

    async def rotate_key(self, id: str) -> str:
        """A new stream key; the old one publishes no more. Raises RoomNotFound."""
        key = new_stream_key()
        await self._change(id, lambda room: replace(room, key_hash=hash_key(key)))
        return key

    async def by_key(self, key: str) -> Room:
        """The room that this key may publish to; raises Unauthorized."""
        if len(key) <= KEY_CHARS_MAX:
            hashed = hash_key(key)
            id = (await self._store.load([_key_item(hashed)]))[_key_item(hashed)][0]
            room = None if id is None else await self._load(id.decode())
            if room is not None and hmac.compare_digest(room.key_hash, hashed):
                return room
        raise Unauthorized("the stream key is not valid", code="key_invalid")

    async def _change(self, id: str, change: Callable[[Room], Room]) -> Room:
        for _ in range(ATTEMPTS):
            room = await self.get(id)
            changed = replace(change(room), updated_ms=self._now_ms())
            try:
                await self._commit(changed, old_hash=room.key_hash)
            except Conflict:
                continue
            return await self.get(id)
        raise Stale(f"the room {id} is being changed by others", code="stale")

    async def _commit(
        self,
        room: Room,
        *,
        old_hash: str | None = None,
        index: dict[tuple[str, str], str | None] | None = None,
    ) -> None:
        writes: dict[str, bytes | None] = {_item(room.id): _pack(room)}
        if old_hash != room.key_hash:
            if old_hash is not None:
                writes[_key_item(old_hash)] = None
            writes[_key_item(room.key_hash)] = room.id.encode()
        reads = {_item(room.id): room.version}
        commit_id = new_id("cmt", self._now_ms())
        await self._store.commit(commit_id, reads=reads, writes=writes, index=index)

    async def _load(self, id: str) -> Room | None:
        room = _unpack(*(await self._store.load([_item(id)]))[_item(id)])
        self._remember(id, room)
        return room

    def _remember(self, id: str, room: Room | None) -> None:
        remembered = self._remembered.get(id)
        known = 0 if remembered is None or remembered[0] is None else remembered[0].version
        if known > (0 if room is None else room.version):
            return  # an answer from before the change that we know of
        self._remembered[id] = (room, self._monotonic())
        self._remembered.move_to_end(id)
        if len(self._remembered) > ROOMS_REMEMBERED:
            self._remembered.popitem(last=False)


class RoomAccess:
    """Who may publish and watch: `mediaserver.access.Access`, with refusals of this package.

    `staff` knows who of the staff has a token that is no viewer's: the admin token, an API key.
    """

    def __init__(
        self,
        rooms: Rooms,
        tokens: Tokens,
        staff: Callable[[str, str], Awaitable[Claims | None]] | None = None,
    ) -> None:
        self._rooms = rooms
        self._tokens = tokens
        self._staff = staff

    async def publish(self, key: str) -> str:
        """The stream that this key may publish; raises Unauthorized."""
        return (await self._rooms.by_key(key)).id

    async def watch(self, stream: str, token: str | None) -> None:
        """Return if the token may watch; raises RoomNotFound, Unauthorized, WrongRoom, RoomRestricted.

        A rendition (`room/aac`) is its room's. A public room asks for no token and looks at none.
        """
        id = stream.partition("/")[0]
        room = await self._rooms.get(id, max_age_s=ROOM_AGE_S)
        if room.access == "public":
            return
        if token is None:
            raise Unauthorized("this room wants a viewer token", code="token_missing")
        claims = await self.claims(token, id)
        if room.access == "rehearsal" and claims.role == VIEWER:
            raise RoomRestricted("the room rehearses, for staff alone", code="room_rehearsing")
        if claims.guest:
            raise RoomRestricted("guests may not watch this room")

    async def claims(self, token: str, room: str) -> Claims:
        """Who has this token, in this room; raises Unauthorized or WrongRoom."""
        staff = None if self._staff is None else await self._staff(token, room)
        return staff or self._tokens.verify(token, room)

    async def guest_token(self, room: str, old: str | None = None) -> IssuedToken:
        """A guest's token for a public room; raises RoomNotFound or RoomRestricted."""
        access = (await self._rooms.get(room)).access
        if access == "rehearsal":
            raise RoomRestricted("the room rehearses, for staff alone", code="room_rehearsing")
        if access != "public":
            raise RoomRestricted("this room wants a token from the shop")
        return self._tokens.guest(room, old)

    async def viewer_token(
        self,
        room: str,
        sub: str | None = None,
        *,
        role: str = "viewer",
        name: str | None = None,
        tier: str | None = None,
        segment: str | None = None,
        ttl_s: int = VIEWER_TOKEN_S,
    ) -> IssuedToken:
        """A token for one viewer of a room that is there; raises RoomNotFound or Invalid."""
        id = (await self._rooms.get(room)).id
        return self._tokens.issue(
            id, sub, role=role, name=name, tier=tier, segment=segment, ttl_s=ttl_s
        )


def new_stream_key() -> str:
    """192 random bits; the prefix keeps it from beginning with a dash."""
    return f"key_{secrets.token_urlsafe(KEY_BYTES)}"


def hash_key(key: str) -> str:
    """SHA-256 in hexadecimal of a stream key, or of whatever was presented as one."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def channel_key(id: str) -> str:
    """Where the plan of a room's scheduled channel is."""
    return f"channel/{id}"


def _item(id: str) -> str:
    return f"room/{id}"


def _key_item(hashed: str) -> str:
    return f"stream-key/{hashed}"


def _pack(room: Room) -> bytes:
    members = {
        "id": room.id,
        "title": room.title,
        "access": room.access,
        "created_ms": room.created_ms,
        "updated_ms": room.updated_ms,
        "key_hash": room.key_hash,
    }
    return msgpack.packb(members)


def _unpack(value: bytes | None, version: int) -> Room | None:
    if value is None:
        return None
    members = msgpack.unpackb(value)
    return Room(**members, version=version)
