"""Datagrams over a byte stream: each behind its length in 16 bits (RFC 4571 §2, for ICE RFC 6544 §3)."""

from __future__ import annotations

from mediaserver.errors import ProtocolError

LENGTH_BYTES = 2
MAX_FRAME_BYTES = 1500  # as over UDP: no peer of ours has longer ones


def serialize(datagram: bytes) -> bytes:
    """One frame."""
    return len(datagram).to_bytes(LENGTH_BYTES, "big") + datagram


class Deframer:
    """Cuts a byte stream into its datagrams; it holds less than one frame."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The datagrams that are whole now; raises ProtocolError for an empty or a too long one."""
        data = self._rest + data
        found: list[bytes] = []
        position, size = 0, len(data)
        while size - position >= LENGTH_BYTES:
            start = position + LENGTH_BYTES
            length = int.from_bytes(data[position:start], "big")
            if not 0 < length <= MAX_FRAME_BYTES:
                raise ProtocolError("a frame of a length that no datagram has")
            if size - start < length:
                break
            position = start + length
            found.append(data[start:position])
        self._rest = data[position:]
        return found
