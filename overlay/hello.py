"""The parts of `hello` that come from the store: the room, what it offers, and a buyer's own orders.

The room's parts go to everybody, the orders to their buyer alone. A part that cannot be had is empty:
`RoomFeed` is promised that nothing but StoreUnavailable comes out of here. What would make `hello` too
long for a data channel's message is left out: the page reads the rest of the bag over HTTP.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgpack

from commerce.coupons import Coupons
from commerce.errors import Refusal, StoreUnavailable
from commerce.flash_sales import FlashSales
from commerce.order import Order
from commerce.ordering import Orders
from overlay.bag import HEAD, Bag
from overlay.cards import Cards
from overlay.events import Event
from overlay.room_feed import OwnSnapshot, Snapshot
from overlay.rooms import ROOM_AGE_S, Rooms

ORDERS = 5  # the latest; the rest is a list over HTTP
PART_BYTES = 80 << 10  # of cards and of items each: browsers take 256 KiB in one message


class Hello:
    """Gives `RoomFeed` what it tells newcomers, and buyers of their orders.

    `live` says whether a room is on air, `link` gives the path of an order's page with its key.
    """

    def __init__(
        self,
        rooms: Rooms,
        cards: Cards,
        bag: Bag,
        orders: Orders,
        sales: FlashSales,
        coupons: Coupons,
        *,
        live: Callable[[str], bool],
        link: Callable[[str], str],
    ) -> None:
        self._rooms = rooms
        self._cards = cards
        self._bag = bag
        self._orders = orders
        self._sales = sales
        self._coupons = coupons
        self._live = live
        self._link = link

    def snapshots(self) -> dict[str, Snapshot]:
        """The parts for everybody in a room, by name."""
        return {
            "room": self.room,
            "cards": self.cards,
            "bag": self.bag,
            "stock": self.stock,
            "sales": self.sales,
            "coupons": self.coupons,
        }

    def own_snapshots(self) -> dict[str, OwnSnapshot]:
        """The parts for one buyer."""
        return {"orders": self.orders}

    async def room(self, room: str) -> dict[str, Any]:
        """{id, title, live}."""
        try:
            title = (await self._rooms.get(room, max_age_s=ROOM_AGE_S)).title
        except StoreUnavailable:
            raise
        except Refusal:
            title = ""
        return {"id": room, "title": title, "live": self._live(room)}

    async def cards(self, room: str) -> list[dict[str, Any]]:
        """The cards, the latest pinned last; the latest ones where all are too much."""
        try:
            cards = await self._cards.list(room)
        except StoreUnavailable:
            raise
        except Refusal:
            return []
        return _first(cards[::-1])[::-1]

    async def bag(self, room: str) -> dict[str, Any]:
        """The bag's beginning: {items, total}."""
        try:
            head = await self._bag.head(room)
        except StoreUnavailable:
            raise
        except Refusal:
            return {"items": [], "total": 0}
        return {**head, "items": _first(head["items"])}

    async def stock(self, room: str) -> dict[str, dict[str, Any]]:
        """{sku: {available, held}} of what cards and the bag's beginning show."""
        offer = await self._bag.offer(room)
        ids = [*(card.product_id for card in offer.cards), *offer.bag[:HEAD]]
        try:
            documents = await self._bag.brief(ids)
        except StoreUnavailable:
            raise
        except Refusal:
            return {}
        return {
            sku["sku"]: {"available": sku["available"], "held": sku["held"]}
            for product in documents.values()
            for sku in product["skus"]
        }

    async def sales(self, room: str) -> list[dict[str, Any]]:
        """The room's sales that are not over, the next to end first."""
        return _first(await self._sales.current(room))

    async def coupons(self, room: str) -> list[dict[str, Any]]:
        """What was dropped into the room and may be claimed, the latest first."""
        return _first(await self._coupons.dropped(room))

    async def orders(self, room: str, sub: str) -> list[dict[str, Any]]:
        """The buyer's latest order documents of this room, newest first."""
        try:
            found, _ = await self._orders.list(room=room, buyer=sub, limit=ORDERS)
        except StoreUnavailable:
            raise
        except Refusal:
            return []
        return [self._document(order) for order in found]

    async def own_event(self, sub: str, event: Event) -> Event:
        """A buyer's `order.updated` with the order as it is now; others, and orders that cannot be
        had, as they are kept."""
        id = event.data.get("order")
        if event.type != "order.updated" or not isinstance(id, str):
            return event
        try:
            order = await self._orders.get(id, sub)
        except StoreUnavailable:
            raise
        except Refusal:
            return event
        return replace(event, data=self._document(order))

    def _document(self, order: Order) -> dict[str, Any]:
        return {**order.to_json(), "link": self._link(order.id)}


def _first(documents: Sequence[Mapping[str, Any]]) -> list[Any]:
    """As many as PART_BYTES hold."""
    kept = []
    room_bytes = PART_BYTES
    for document in documents:
        room_bytes -= len(msgpack.packb(document))
        if room_bytes < 0:
            break
        kept.append(document)
    return kept
