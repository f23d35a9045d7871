"""Segments of one rendition in memory: those its playlist lists, and those just gone from it.

A segment that left the playlist stays for its own duration and that of the longest playlist that
listed it (RFC 8216bis §6.2.2), counted in media time: a stream that pauses keeps what it has.
"""

from __future__ import annotations

from collections import deque

from mediaserver.packager.segment import Segment

MAX_STORED_BYTES = 128 << 20  # of one rendition: a 60 s window, twice, of 8 Mbit/s
MIN_LISTED = 3  # segments a player holds back from the live edge (RFC 8216bis §6.3.3)


class Storage:
    def __init__(self, max_bytes: int = MAX_STORED_BYTES) -> None:
        self.listed: deque[Segment] = deque()
        self.bytes = 0
        self._max_bytes = max_bytes
        self._kept: deque[Segment] = deque()
        self._listed_s = 0.0
        self._kept_s = 0.0
        self._segments: dict[str, bytes] = {}
        self._inits: dict[str, bytes] = {}

    def get(self, name: str) -> bytes | None:
        """The bytes of a segment or initialization segment."""
        return self._segments.get(name) or self._inits.get(name)

    def add_init(self, name: str, data: bytes) -> None:
        self._inits[name] = data

    def add(self, segment: Segment, window_s: float) -> None:
        """List a finished segment; what is older than `window_s` leaves the list."""
        self.listed.append(segment)
        self._listed_s += segment.duration_s
        self._segments[segment.name] = segment.data
        self.bytes += len(segment.data)
        while self._listed_s - self.listed[0].duration_s >= window_s and self._can_shorten():
            self._unlist()
        while self._kept and self._kept_s - self._kept[0].duration_s > window_s:
            self._drop()
        while self.bytes > self._max_bytes and (self._kept or self._can_shorten()):
            if not self._kept:
                self._unlist()
            self._drop()

    def _can_shorten(self) -> bool:
        return len(self.listed) > MIN_LISTED

    def _unlist(self) -> None:
        segment = self.listed.popleft()
        self._listed_s -= segment.duration_s
        self._kept.append(segment)
        self._kept_s += segment.duration_s

    def _drop(self) -> None:
        segment = self._kept.popleft()
        self._kept_s -= segment.duration_s
        del self._segments[segment.name]
        self.bytes -= len(segment.data)
        oldest = self._kept[0] if self._kept else self.listed[0]
        if segment.init_name != oldest.init_name:
            del self._inits[segment.init_name]
