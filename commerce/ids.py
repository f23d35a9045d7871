"""Identifiers: a prefix and a ULID (Universally Unique Lexicographically Sortable Identifier).

48 bits of UTC milliseconds, then 80 random bits, in Crockford's base 32 in lower case: text order is
the order of making, to the millisecond, and nobody can guess the next one.
"""

from __future__ import annotations

import secrets
import time

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
ULID_CHARS = 26
RANDOM_BITS = 80


def utc_ms() -> int:
    """The wall clock: milliseconds since 1970 in UTC."""
    return time.time_ns() // 1_000_000


def new_id(prefix: str, now_ms: int) -> str:
    """`prefix_` and 26 characters, for instance `room_01h455vb4pex5vsknk084sn02q`."""
    number = now_ms << RANDOM_BITS | secrets.randbits(RANDOM_BITS)
    digits = [ALPHABET[number >> 5 * place & 31] for place in reversed(range(ULID_CHARS))]
    return f"{prefix}_{''.join(digits)}"
