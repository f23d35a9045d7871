"""Payloads of one video track to pictures: what all payload formats but H.264's have in common.

A format's own part is an `Assembly`, the picture that is open just now. Here is when it begins and
ends, and whether something of it was lost.
"""

from __future__ import annotations

from typing import Protocol

from mediaserver.errors import ProtocolError
from mediaserver.protocol.rtp_payload import CodedFrame


class Assembly(Protocol):
    """The open picture of one payload format."""

    def begins(self, payload: bytes) -> bool:
        """Whether nothing of its picture can have been lost before this payload."""

    def add(self, payload: bytes) -> bool:
        """Take the next payload; False where it shows that one before it is missing.

        Raises ProtocolError for a payload that does not add up or makes the picture too large.
        """

    def lose(self) -> None:
        """Payloads are missing here: what was begun can't be completed."""

    def take(self, timestamp: int, damaged: bool) -> CodedFrame:
        """The picture, and be ready for the next; ProtocolError if its headers don't parse."""


class PictureDepacketizer:
    """Payloads in sequence order to coded frames, as rtp_video.VideoDepacketizer says."""

    def __init__(self, assembly: Assembly) -> None:
        self._assembly = assembly
        self._timestamp = 0
        self._open = False
        self._damaged = False
        self._gap = False  # came with a packet that carried nothing

    def feed(
        self, payload: bytes, marker: bool, timestamp: int, *, gap: bool = False
    ) -> list[CodedFrame]:
        gap = gap or self._gap
        self._gap = gap and not payload
        frames: list[CodedFrame] = []
        if not payload:
            return frames  # padding only: a probe of the path
        if self._open and timestamp != self._timestamp:
            frames.append(self._finish(gap))  # its marker was lost, or the sender sets none
        if gap and (self._open or not self._assembly.begins(payload)):
            self._damage()
        self._open = True
        self._timestamp = timestamp
        try:
            if not self._assembly.add(payload):
                self._damaged = True
        except ProtocolError:
            self._damage()
            raise
        if marker:
            frames.append(self._finish(False))
        return frames

    def _damage(self) -> None:
        self._damaged = True
        self._assembly.lose()

    def _finish(self, gap: bool) -> CodedFrame:
        damaged = self._damaged or gap
        self._open = self._damaged = False
        return self._assembly.take(self._timestamp, damaged)
