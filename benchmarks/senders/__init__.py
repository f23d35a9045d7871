"""The senders that are measured side by side; each module opens one `Rig`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from benchmarks.picture import Picture
from mediaserver.rtc.address import UdpAddress

KEY_BYTES, SALT_BYTES = 16, 12


@dataclass(frozen=True, slots=True)
class Viewer:
    """Where one viewer is, and its SRTP master key and salt (AEAD_AES_128_GCM)."""

    address: UdpAddress
    key: bytes
    salt: bytes


@dataclass(frozen=True, slots=True)
class Job:
    """What a rig sends, to whom. `reading` tells a rig that brings its own viewers to read."""

    viewers: Sequence[Viewer]
    picture: Picture
    reading: bool


class Rig(Protocol):
    """A sender set up and connected to all its viewers."""

    async def sent(self) -> int:
        """RTP packets sent so far, to all viewers together."""

    def publish(self, frame: int) -> None:
        """Start sending this frame."""

    async def drained(self) -> None:
        """Wait until all that was published has left."""

    async def close(self) -> int | None:
        """Stop; how many datagrams came in where the rig brought its own viewers."""
