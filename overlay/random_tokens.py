"""Tokens that are random and mean nothing: 256 bits, told once, kept only as their SHA-256.

So many bits cannot be guessed, so the hash needs no salt and no slowness.
"""

from __future__ import annotations

import hashlib
import secrets

TOKEN_BYTES = 32
TOKEN_CHARS_MAX = 128


def new_token() -> str:
    """43 characters of base64url."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def token_hash(token: str) -> str:
    """What is kept of it, and what it is found by: 64 hexadecimal digits."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
