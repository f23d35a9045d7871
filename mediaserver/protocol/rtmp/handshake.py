"""The simple RTMP handshake, server side (RTMP 1.0 §5.2).

C1's digest, an addition of Flash Player's that OBS and FFmpeg can do without, is not answered: a
zero version in S1 says so.
"""

from __future__ import annotations

from mediaserver.errors import ProtocolError

VERSION = 3
PACKET_BYTES = 1536
_RANDOM_BYTES = PACKET_BYTES - 8

_NOT_RTMP = {
    0x16: "TLS on the RTMP port",
    **dict.fromkeys(b"DGHOP", "HTTP on the RTMP port"),  # DELETE, GET, HEAD, OPTIONS, POST
}


class ServerHandshake:
    """Takes C0, C1 and C2; gives S0, S1 and S2.

    `random` is 1,528 bytes of S1. C2 should echo S1 and is not compared: some encoders send
    anything.
    """

    def __init__(self, random: bytes) -> None:
        if len(random) != _RANDOM_BYTES:
            raise ValueError(f"S1 takes {_RANDOM_BYTES} random bytes")
        self.done = False
        self._random = random
        self._buffer = bytearray()
        self._answered = False

    def receive(self, data: bytes) -> tuple[bytes, bytes]:
        """What to send, and the bytes that follow C2; raises ProtocolError."""
        buffer = self._buffer
        buffer += data
        if buffer and buffer[0] != VERSION:
            raise ProtocolError(_NOT_RTMP.get(buffer[0], f"RTMP version {buffer[0]}, not 3"))
        answer = b""
        if not self._answered and len(buffer) > PACKET_BYTES:
            self._answered = True
            answer = self._answer(bytes(buffer[1 : 1 + PACKET_BYTES]))
        if len(buffer) <= 2 * PACKET_BYTES:
            return answer, b""
        self.done = True
        rest = bytes(buffer[1 + 2 * PACKET_BYTES :])
        buffer.clear()
        return answer, rest

    def _answer(self, c1: bytes) -> bytes:
        s1 = bytes(8) + self._random  # time 0, version 0
        s2 = c1[:4] + bytes(4) + c1[8:]
        return bytes((VERSION,)) + s1 + s2


def client_handshake(random: bytes) -> bytes:
    """C0 and C1, what a client begins with; `random` is 1,528 bytes."""
    return bytes((VERSION,)) + bytes(8) + random
