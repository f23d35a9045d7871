"""What media asks about rooms: may this key publish, may this token watch.

`app.py` hands in the implementation; media knows streams, not rooms.
"""

from __future__ import annotations

from typing import Protocol

BACKUP = ".backup"  # after a stream key, in which no dot ever is


class Access(Protocol):
    async def publish(self, key: str) -> str:
        """The name of the stream that this key may publish; raises Unauthorized."""

    async def watch(self, stream: str, token: str | None) -> None:
        """Return if the token may watch the stream; raises PeerError with the reply."""


def split_key(given: str) -> tuple[str, bool]:
    """The stream key that a publisher gave, and whether it is the backup of another: `KEY.backup`."""
    return given.removesuffix(BACKUP), given.endswith(BACKUP)
