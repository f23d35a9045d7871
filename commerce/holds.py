"""Holds whose time has passed: ended before somebody is refused for them, not only by the sweep."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from commerce.changes import ATTEMPTS
from commerce.errors import Busy, Refusal

T = TypeVar("T")


async def nothing_due() -> int:
    """For `unhindered` where the sweep alone ends holds."""
    return 0


async def unhindered(
    attempt: Callable[[], Awaitable[T]],
    refusals: tuple[type[Refusal], ...],
    release_due: Callable[[], Awaitable[int]],
) -> T:
    """The answer of `attempt`, made again while `release_due` ends holds that may stand in its way.

    Raises what it refuses with, or Busy. Of `refusals`, for which holds can be the cause, only one
    counts that comes after nothing was due: others may have ended some since the attempt loaded.
    """
    none_was_due = False
    for _ in range(ATTEMPTS):
        try:
            return await attempt()
        except refusals as refusal:
            if none_was_due or not refusal.extra.get("held", True):
                raise
            none_was_due = await release_due() == 0
    raise Busy("the stock changes too fast")
