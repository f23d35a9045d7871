"""Bytes that were right once."""

from __future__ import annotations

import random
from collections.abc import Iterator

EDGES = (0, 1, 2, 3, 0x7F, 0x80, 0xC0, 0xFF)


def mutations(seed: bytes, count: int, chance: random.Random) -> Iterator[bytes]:
    """`count` damaged copies: bytes changed, removed, repeated, cut off, or put from elsewhere."""
    for _ in range(count):
        yield mutated(seed, chance)


def mutated(seed: bytes, chance: random.Random) -> bytes:
    """One of them."""
    data = bytearray(seed)
    for _ in range(chance.choice((1, 1, 2, 4, 8))):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(6):
            case 0:
                data[at : at + 1] = bytes((chance.randrange(256),))
            case 1:
                data[at : at + 1] = bytes((chance.choice(EDGES),))
            case 2:
                del data[at : at + chance.randrange(1, 20)]
            case 3:
                data[at:at] = chance.randbytes(chance.randrange(1, 20))
            case 4:
                start = chance.randrange(len(data) + 1)
                data[at:at] = data[start : start + chance.randrange(1, 200)]
            case 5:
                data[at : at + 3] = b"\xff\xff\xff"
        if not data:
            data = bytearray(1)
    return bytes(data)
