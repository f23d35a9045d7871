"""Identifiers: a prefix and a ULID (Universally Unique Lexicographically Sortable Identifier).

48 bits of UTC milliseconds, then 80 random bits, in Crockford's base 32 in lower case: text order is
the order of making, to the millisecond, and nobody can guess the next one.
"""

from __future__ import annotations

import os
import time
from functools import lru_cache

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
ULID_CHARS = 26
RANDOM_BYTES = 10
DRAWN_AT_ONCE = 256  # random numbers: each draw gives up the GIL, and a busy thread may keep it
PAIRS = [first + second for first in ALPHABET for second in ALPHABET]  # two digits at once

_drawn: list[int] = []  # not used yet; a forked child draws its own
os.register_at_fork(after_in_child=_drawn.clear)


def utc_ms() -> int:
    """The wall clock: milliseconds since 1970 in UTC."""
    return time.time_ns() // 1_000_000


def new_id(prefix: str, now_ms: int) -> str:
    """`prefix_` and 26 characters, for instance `room_01h455vb4pex5vsknk084sn02q`; 0.9 µs."""
    try:
        number = _drawn.pop()
    except IndexError:
        number = _draw()
    high, low = number >> 40, number & 0xFF_FFFF_FFFF
    return (
        f"{prefix}_{_millisecond(now_ms)}"
        f"{PAIRS[high >> 30]}{PAIRS[high >> 20 & 1023]}{PAIRS[high >> 10 & 1023]}{PAIRS[high & 1023]}"
        f"{PAIRS[low >> 30]}{PAIRS[low >> 20 & 1023]}{PAIRS[low >> 10 & 1023]}{PAIRS[low & 1023]}"
    )


@lru_cache(maxsize=64)
def _millisecond(now_ms: int) -> str:
    return "".join(ALPHABET[now_ms >> 5 * place & 31] for place in reversed(range(10)))


def _draw() -> int:
    drawn = os.urandom(RANDOM_BYTES * DRAWN_AT_ONCE)
    starts = range(0, len(drawn), RANDOM_BYTES)
    first, *others = (int.from_bytes(drawn[at : at + RANDOM_BYTES]) for at in starts)
    _drawn.extend(others)
    return first
