"""Picture and sound of two streams in one order of decode times.

A rendition comes later than the sound it belongs to, by what its encoder takes. What is ahead waits for
the other, but no longer than HELD_S of its own media: where there is no sound, or no picture, the other
goes on alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from mediaserver.media import Kind, Packet

HELD_S = 2.0  # the ladder gives up pictures that are later
HELD_PACKETS = 1024  # more than two seconds of anything real


class Interleaver:
    """Hands packets to `write`; those from before what was written of their kind are left out."""

    def __init__(self, write: Callable[[Packet], None]) -> None:
        self._write = write
        self._waiting: dict[Kind, deque[Packet]] = {"video": deque(), "audio": deque()}
        self._newest_s: dict[Kind, float] = {}

    def put(self, packet: Packet) -> None:
        """Take one packet, the next of its kind."""
        kind, dts_s = packet.track.kind, _seconds(packet)
        if dts_s <= self._newest_s.get(kind, -1.0):
            return
        self._newest_s[kind] = dts_s
        own = self._waiting[kind]
        own.append(packet)
        video, audio = self._waiting["video"], self._waiting["audio"]
        while video and audio:
            first = video if _seconds(video[0]) <= _seconds(audio[0]) else audio
            self._write(first.popleft())
        while own and (dts_s - _seconds(own[0]) > HELD_S or len(own) > HELD_PACKETS):
            self._write(own.popleft())


def _seconds(packet: Packet) -> float:
    return packet.dts / packet.track.clock_rate
