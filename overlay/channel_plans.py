"""Plans of scheduled channels in the store: which files a room plays, and from when on.

Kept under `channel/<room>`. What plays them is told what has changed by whoever changes it, and reads
them all at its start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import msgpack

from commerce.changes import Changes, decide_and_commit
from commerce.errors import Invalid, NotFound
from commerce.ids import utc_ms
from commerce.store import INDEX_END, Store
from overlay.rooms import CHANNELS, Rooms, channel_key

FILES_MAX = 1000
FILE_CHARS_MAX = 1024
CHANNELS_MAX = 1000  # of one shop; each that plays is a process


@dataclass(frozen=True, slots=True)
class ChannelPlan:
    """`files` are names below the channels' folder; `starts_at_ms` is UTC, None for at once."""

    room: str
    files: tuple[str, ...]
    loop: bool = False
    starts_at_ms: int | None = None


class ChannelPlans:
    """The plans in the store."""

    def __init__(self, store: Store, rooms: Rooms) -> None:
        self._store = store
        self._rooms = rooms

    async def put(self, plan: ChannelPlan) -> None:
        """Keep a room's plan in place of its last; raises RoomNotFound, Invalid or Busy."""
        if not 1 <= len(plan.files) <= FILES_MAX:
            raise Invalid("files", f"1 to {FILES_MAX} files")
        if max(map(len, plan.files)) > FILE_CHARS_MAX:
            raise Invalid("files", f"names of at most {FILE_CHARS_MAX} characters")
        await self._write(plan.room, msgpack.packb({**asdict(plan), "files": [*plan.files]}))

    async def get(self, room: str) -> ChannelPlan:
        """Raises RoomNotFound or NotFound."""
        await self._rooms.get(room)
        plan = _unpack((await self._store.load([channel_key(room)]))[channel_key(room)][0])
        if plan is None:
            raise NotFound("the room has no channel", code="channel_not_found")
        return plan

    async def delete(self, room: str) -> None:
        """Raises RoomNotFound, NotFound or Busy."""
        await self.get(room)
        await self._write(room, None)

    async def all(self) -> Sequence[ChannelPlan]:
        """Those of rooms that are there still."""
        keys = await self._store.scan(CHANNELS, "", INDEX_END, CHANNELS_MAX)
        plans = [_unpack(value) for value, _ in (await self._store.load(keys)).values()]
        return [plan for plan in plans if plan and await self._rooms.exists(plan.room)]

    async def _write(self, room: str, value: bytes | None) -> None:
        async def decide() -> tuple[Changes, None]:
            found = await self._rooms.get(room)
            key = channel_key(room)
            version = (await self._store.load([key]))[key][1]
            changes = Changes(utc_ms(), reads={key: version, f"room/{room}": found.version})
            changes.writes[key] = value
            changes.index[CHANNELS, key] = None if value is None else key
            return changes, None

        await decide_and_commit(self._store, decide)


def _unpack(value: bytes | None) -> ChannelPlan | None:
    if value is None:
        return None
    members = msgpack.unpackb(value)
    return ChannelPlan(**{**members, "files": tuple(members["files"])})
