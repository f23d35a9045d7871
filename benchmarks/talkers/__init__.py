"""Those who send messages over data channels, measured side by side; each module opens one `Talker`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

CHANNELS = {0: "hawker, ordered and reliable", 1: "hawker-live, unordered, sent once"}


class Talker(Protocol):
    """A sender whose two negotiated channels are open to all its listeners."""

    def say(self, channel: int, text: str) -> int:
        """Queue a message for every listener; how many were taken."""

    def waiting(self) -> int:
        """Bytes that are queued still and not yet SCTP's."""

    async def close(self) -> None: ...


class Start(Protocol):
    """Answers each offer; the answers' texts go to the listeners, and then all must come up."""

    async def __call__(self, offers: Sequence[str]) -> tuple[Talker, list[str]]: ...
