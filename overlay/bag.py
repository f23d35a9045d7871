"""A room's shopping bag: up to 500 products in the order the host gave them.

Positions count from 0. A page's cursor names its last item by position and product, so who reads on
while the bag changes goes on behind that product, or, where it was taken out, where it had been.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from commerce.catalogue import TITLE_CHARS, Catalogue
from commerce.changes import Changes, decide_and_commit
from commerce.errors import Invalid
from commerce.ids import utc_ms
from commerce.products import Product, product_key, unpack
from commerce.shelf import Shelf
from commerce.store import INDEX_END, Store
from commerce.text import checked_count, checked_text
from overlay.errors import RoomNotFound
from overlay.offer import (
    BAG_MAX,
    Offer,
    offer_keys,
    put,
    read_offer,
    rooms_index,
    show_brief,
    take_out,
)

PAGE = 50
PAGE_MAX = 200
HEAD = 20  # items in `hello`; the page asks for the rest
ROOMS_AT_ONCE = 500
CURSOR = re.compile(r"([0-9]{1,3})\.(prd_[0-9a-z]{26})")

Item = dict[str, Any]  # {product_id, position, product: document of Shelf}


class Bag:
    """The bags in the store; `room_exists` is asked before one is shown or changed."""

    def __init__(
        self,
        store: Store,
        catalogue: Catalogue,
        shelf: Shelf,
        room_exists: Callable[[str], Awaitable[bool]],
        now_ms: Callable[[], int] = utc_ms,
    ) -> None:
        self._store = store
        self._catalogue = catalogue
        self._shelf = shelf
        self._room_exists = room_exists
        self._now_ms = now_ms

    async def add(self, room: str, product_id: str, position: int | None = None) -> Item:
        """The product's item; one that is there moves, or stays where no position is given.

        Raises RoomNotFound, NotFound for the product, Invalid, LimitReached or Busy.
        """
        if position is not None:
            checked_count("position", position, 0, BAG_MAX)
        await self.check_room(room)
        product = await self._catalogue.get(product_id)

        async def decide() -> tuple[Changes | None, Offer]:
            changes = Changes(self._now_ms())
            after = put(changes, await self.offer(room), product_id, position)
            return changes if changes.writes else None, after

        after = await decide_and_commit(self._store, decide)
        return (await self._items([(after.bag.index(product_id), product)]))[0]

    async def remove(self, room: str, product_id: str) -> None:
        """Out of the bag, with its card; raises RoomNotFound, NotFound or Busy."""
        await self.check_room(room)

        async def decide() -> tuple[Changes | None, None]:
            changes = Changes(self._now_ms())
            take_out(changes, await self.offer(room), product_id)
            return changes, None

        await decide_and_commit(self._store, decide)

    async def page(
        self,
        room: str,
        after: str | None = None,
        limit: int = PAGE,
        search: str | None = None,
        category: str | None = None,
    ) -> tuple[list[Item], str | None]:
        """Items in order, and the `after` of the next page, if there is one.

        `search` is a part of the title or a whole SKU, in capitals or not; `category` is the whole name.
        Raises RoomNotFound or Invalid.
        """
        await self.check_room(room)
        words = None if search is None else checked_text("search", search, TITLE_CHARS).casefold()
        limit = max(1, min(limit, PAGE_MAX))
        bag = (await self.offer(room)).bag
        start = _behind(bag, after)
        filtered = words is not None or category is not None
        found = await self._places(bag, start, BAG_MAX if filtered else start + limit + 1)
        places = [each for each in found if _matches(each[1], words, category)]
        more = len(places) > limit
        places = places[:limit]
        return await self._items(places), _cursor(*places[-1]) if more else None

    async def head(self, room: str) -> dict[str, Any]:
        """The beginning of the bag, with few SKUs of each product: {items, total}."""
        bag = (await self.offer(room)).bag
        documents = await self.brief(bag[:HEAD])
        items = [
            {"product_id": id, "position": position, "product": documents[id]}
            for position, id in enumerate(bag[:HEAD])
            if id in documents
        ]
        return {"items": items, "total": len(bag)}

    async def rooms_of(self, product_id: str) -> list[str]:
        """The rooms whose bag holds the product, by id."""
        rooms: list[str] = []
        low = ""
        while True:
            keys = await self._store.scan(rooms_index(product_id), low, INDEX_END, ROOMS_AT_ONCE)
            rooms += [key.removeprefix("bag/") for key in keys]
            if len(keys) < ROOMS_AT_ONCE:
                return rooms
            low = f"{rooms[-1]}\0"

    async def offer(self, room: str) -> Offer:
        """Bag and cards of the room at one moment, whether it exists or not."""
        return read_offer(room, await self._store.load(offer_keys(room)))

    async def products(self, ids: Iterable[str]) -> dict[str, Product]:
        """{id: product} for those that are there, in the order of the ids."""
        loaded = await self._store.load([product_key(id) for id in ids])
        found = (unpack(*item) for item in loaded.values())
        return {product.id: product for product in found if product is not None}

    async def brief(self, ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """{id: product document with few SKUs} for those that are there."""
        products = await self.products(ids)
        documents = await show_brief(self._shelf, products.values())
        return dict(zip(products, documents, strict=True))

    async def check_room(self, room: str) -> None:
        """Raises RoomNotFound."""
        if not await self._room_exists(room):
            raise RoomNotFound("there is no such room")

    async def _places(self, bag: Sequence[str], start: int, end: int) -> list[tuple[int, Product]]:
        products = await self.products(bag[start:end])
        return [
            (position, products[id])
            for position, id in enumerate(bag[start:end], start)
            if id in products
        ]

    async def _items(self, places: Sequence[tuple[int, Product]]) -> list[Item]:
        documents = await self._shelf.show(product for _, product in places)
        return [
            {"product_id": product.id, "position": position, "product": document}
            for (position, product), document in zip(places, documents, strict=True)
        ]


def _matches(product: Product, words: str | None, category: str | None) -> bool:
    if category is not None and product.category != category:
        return False
    if words is None:
        return True
    return words in product.title.casefold() or any(
        words == sku.sku.casefold() for sku in product.skus
    )


def _behind(bag: Sequence[str], after: str | None) -> int:
    if after is None:
        return 0
    cursor = CURSOR.fullmatch(after)
    if cursor is None:
        raise Invalid("after", "not a cursor of this list")
    return bag.index(cursor[2]) + 1 if cursor[2] in bag else int(cursor[1])


def _cursor(position: int, product: Product) -> str:
    return f"{position}.{product.id}"
