"""The channels of all rooms, and the folder whose files they play."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from mediaserver.errors import PeerError
from mediaserver.hub import Hub
from mediaserver.ingest.channel.channel import Channel, Plan, Status

LISTED = 1000  # files of the folder that are told
NAMED_CHARS = 100  # of a name, in an error: what was sent may be long
SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm", ".flv"})


class NoSuchFile(PeerError):
    status = 422
    code = "invalid"
    title = "Not a file that can be played"


class Channels:
    """Plays files of `folder` on streams of `hub`."""

    def __init__(self, hub: Hub, folder: Path) -> None:
        self.folder = folder
        self._hub = hub
        self._channels: dict[str, Channel] = {}

    def check(self, names: Sequence[str]) -> None:
        """Raises NoSuchFile for a name that is no file of the folder."""
        for name in names:
            self._path(name)

    async def play(
        self, room: str, names: Sequence[str], *, loop: bool, starts_at_s: float | None
    ) -> None:
        """Play these on the room's stream, in place of what its channel has played."""
        while room in self._channels:  # another may have begun while this one waited
            await self.stop(room)
        files = tuple(self.folder / name for name in names)
        channel = self._channels[room] = Channel(self._hub, room, Plan(files, loop, starts_at_s))
        channel.start()

    async def stop(self, room: str) -> None:
        channel = self._channels.pop(room, None)
        if channel is not None:
            await channel.stop()

    def status(self, room: str) -> Status | None:
        """None where nothing is played."""
        channel = self._channels.get(room)
        return None if channel is None else channel.status

    def available(self) -> list[str]:
        """Names of the folder's media files, at most LISTED."""
        found = (each for each in self.folder.rglob("*") if each.suffix.lower() in SUFFIXES)
        return sorted(str(each.relative_to(self.folder)) for each in found if each.is_file())[
            :LISTED
        ]

    async def close(self) -> None:
        await asyncio.gather(*(self.stop(room) for room in list(self._channels)))

    def _path(self, name: str) -> Path:
        try:
            path = (self.folder / name).resolve()
            if path.is_relative_to(self.folder.resolve()) and path.is_file():
                return path
        except (
            OSError,
            ValueError,
        ):  # a name that no file can have: too long, or with a zero in it
            pass
        raise NoSuchFile(f"files: {name[:NAMED_CHARS]!r} is no file below {self.folder}")
