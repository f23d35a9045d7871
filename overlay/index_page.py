"""Lists of the store: a page of an index, and how many an index may hold."""

from __future__ import annotations

from commerce.errors import LimitReached
from commerce.store import INDEX_END, Store, Versioned

PAGE_MAX = 200


async def index_page(
    store: Store, index: str, after: str | None, limit: int
) -> tuple[list[Versioned], bool]:
    """Values in the order of the index, behind the sort `after`, and whether there are more."""
    limit = max(1, min(limit, PAGE_MAX))
    low = "" if after is None else f"{after}\0"
    keys = await store.scan(index, low, INDEX_END, limit + 1)
    found = await store.load(keys[:limit])
    return list(found.values()), len(keys) > limit


async def check_room_in(store: Store, index: str, limit: int) -> None:
    """Raise LimitReached where the index is full; a few who come at once may pass it."""
    if len(await store.scan(index, "", INDEX_END, limit)) == limit:
        raise LimitReached(f"there are {limit} already")
