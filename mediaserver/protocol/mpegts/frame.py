"""What comes out of a transport stream, and what turns PES packets into it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from mediaserver.media import Track
from mediaserver.protocol.mpegts.pes import Pes

CLOCK_RATE = 90_000  # ticks per second of PTS and DTS (§2.4.3.7)


@dataclass(slots=True)
class Frame:
    """One access unit or audio frame, in the form of `Packet.payload`.

    `dts` in ticks of CLOCK_RATE, of which 33 bits count; `composition` is pts minus dts.
    """

    track: Track
    dts: int
    composition: int
    keyframe: bool
    payload: bytes


class Elementary(Protocol):
    """The frames of one elementary stream."""

    def feed(self, pes: Pes) -> list[Frame]:
        """The frames that a PES packet ends; raises ProtocolError for one that makes no sense."""

    def lose(self) -> None:
        """Packets are missing here."""
