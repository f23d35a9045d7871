"""Frames on a stream of bytes: a four-byte big-endian length, and so many bytes."""

from __future__ import annotations

from mediaserver.errors import ProtocolError

MAX_FRAME_BYTES = 16 << 20  # a keyframe of 2 s at 64 Mbit/s; what is longer is no packet of ours
_LENGTH_BYTES = 4


def frame(body: bytes) -> bytes:
    """One frame; raises ValueError for a body that is longer than a frame may be."""
    if len(body) > MAX_FRAME_BYTES:
        raise ValueError(f"a frame of {len(body)} bytes")
    return len(body).to_bytes(_LENGTH_BYTES, "big") + body


class FrameReader:
    """Cuts received bytes into the bodies of frames; holds at most one unfinished frame."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytearray]:
        """The bodies that `data` completes; raises ProtocolError, after which it is of no use."""
        self._buffer += data
        bodies: list[bytearray] = []
        begin = 0
        while len(self._buffer) - begin >= _LENGTH_BYTES:
            body = begin + _LENGTH_BYTES
            length = int.from_bytes(self._buffer[begin:body], "big")
            if not 0 < length <= MAX_FRAME_BYTES:
                raise ProtocolError(f"a frame of {length} bytes")
            if len(self._buffer) - body < length:
                break
            begin = body + length
            bodies.append(self._buffer[body:begin])
        del self._buffer[:begin]
        return bodies
