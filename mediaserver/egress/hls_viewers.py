"""Who watches by HLS: whoever has asked for a playlist lately, as HLS has no sessions.

Viewers are told apart by a keyed hash of their token or machine, so that nothing secret is kept.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from hashlib import blake2b

SEEN_S = 12.0  # a player asks once a target duration; twice the longest usual one
VIEWERS = 50_000  # of all rooms; beyond it new ones are not counted


class HlsViewers:
    """Counts viewers by room."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._key = secrets.token_bytes(16)
        self._rooms: dict[str, dict[bytes, float]] = {}

    def seen(self, room: str, viewer: str) -> None:
        """A viewer asked for a playlist of the room."""
        name = blake2b(viewer.encode(errors="replace"), key=self._key, digest_size=8).digest()
        watching = self._rooms.get(room, {})
        if name in watching or self.total() < VIEWERS:
            self._rooms.setdefault(room, {})[name] = self._monotonic()

    def count(self, room: str) -> int:
        """Viewers of a room now."""
        watching = self._rooms.get(room)
        if watching is None:
            return 0
        since = self._monotonic() - SEEN_S
        for name in [name for name, at in watching.items() if at < since]:
            del watching[name]
        if not watching:
            del self._rooms[room]
        return len(watching)

    def total(self) -> int:
        return sum(self.count(room) for room in list(self._rooms))
