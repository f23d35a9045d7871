"""Reading bits, and the variable-length codes of video headers, from the most significant on."""

from __future__ import annotations

from mediaserver.errors import ProtocolError


class BitReader:
    """Fixed-length and exp-Golomb codes; ProtocolError where they go past the end."""

    __slots__ = ("_left", "_value")

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = len(data) * 8

    def u(self, count: int) -> int:
        """An unsigned number of `count` bits."""
        if count > self._left:
            raise ProtocolError("a video header is cut off")
        self._left -= count
        return (self._value >> self._left) & ((1 << count) - 1)

    def flag(self) -> bool:
        return self.u(1) == 1

    def ue(self) -> int:
        """ue(v) of ITU-T H.264 §9.1, which is AV1's uvlc() (§4.10.3) too."""
        rest = self._value & ((1 << self._left) - 1)
        zeros = self._left - rest.bit_length()
        if zeros > 32:
            raise ProtocolError("an exp-Golomb code of more than 32 bits")
        self.u(zeros)
        return self.u(zeros + 1) - 1

    def se(self) -> int:
        """se(v) of ITU-T H.264 §9.1.1."""
        code = self.ue()
        return (code + 1) // 2 if code & 1 else -(code // 2)
