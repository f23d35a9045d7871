"""Passwords as Argon2id (RFC 9106) hashes, made in worker threads, a few at once."""

from __future__ import annotations

import asyncio
import secrets
import unicodedata
from collections.abc import Callable
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from commerce.errors import Busy, Invalid

T = TypeVar("T")

PASSWORD_CHARS_MIN, PASSWORD_CHARS_MAX = 10, 200
# OWASP Password Storage Cheat Sheet: Argon2id with 19 MiB, two passes, one lane; some 30 ms.
ARGON2_PASSES, ARGON2_KIB, ARGON2_LANES = 2, 19 * 1024, 1
HASHES_AT_ONCE = 2  # more would take the cores from the media
HASHES_WAITING = 32  # a second of work; beyond it a caller is better told now


class Passwords:
    """Makes hashes and compares with them, HASHES_AT_ONCE at a time."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher(ARGON2_PASSES, ARGON2_KIB, ARGON2_LANES)
        self._nobodys = self._hasher.hash(secrets.token_urlsafe())
        self._free = asyncio.Semaphore(HASHES_AT_ONCE)
        self._asked = 0

    async def hash(self, password: str) -> str:
        """The hash to keep; raises Invalid for a password too short or too long, or Busy."""
        if not PASSWORD_CHARS_MIN <= len(password) <= PASSWORD_CHARS_MAX:
            limits = f"{PASSWORD_CHARS_MIN} to {PASSWORD_CHARS_MAX} characters"
            raise Invalid("password", limits)
        return await self._run(lambda: self._hasher.hash(_bytes(password)))

    async def verify(self, hashed: str | None, password: str) -> bool:
        """Whether it is the password; None, the hash of nobody, takes as long. Raises Busy."""
        if len(password) > PASSWORD_CHARS_MAX:
            return False
        matches = await self._run(lambda: self._matches(hashed or self._nobodys, password))
        return matches and hashed is not None

    def outdated(self, hashed: str) -> bool:
        """Whether the hash was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(hashed)

    def _matches(self, hashed: str, password: str) -> bool:
        try:
            return self._hasher.verify(hashed, _bytes(password))
        except VerifyMismatchError:
            return False

    async def _run(self, work: Callable[[], T]) -> T:
        if self._asked >= HASHES_AT_ONCE + HASHES_WAITING:
            raise Busy("too many sign in at once")
        self._asked += 1
        try:
            async with self._free:
                return await asyncio.to_thread(work)
        finally:
            self._asked -= 1


def _bytes(password: str) -> bytes:
    """The same bytes for what looks the same, whatever keyboard it comes from (RFC 8265 §4.2)."""
    return unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")
