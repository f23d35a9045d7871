"""Product cards: what the host shows over the stream, pinned to the moment of the picture.

A card's `mt` is the media time in ms from which on it is on show: who watches 6 s behind sees it when
the host in his picture holds the thing up. Without a live stream there is no media time: the card is
on show at once.

A card is told with its product as it was at that moment. A price that changes meanwhile makes the pin
begin again; stock is a counter that no commit waits for, so it is looked at once more afterwards, and
the shop told of what had moved: the relay then tells the rooms.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeAlias

from commerce.catalogue import Catalogue
from commerce.changes import SHOP, Changes, decide_and_commit
from commerce.errors import Invalid, Refusal, StoreUnavailable
from commerce.ids import new_id, utc_ms
from commerce.products import Product, product_key
from commerce.shelf import Shelf
from commerce.store import Store
from commerce.text import checked_count
from commerce.timestamps import rfc3339
from overlay.bag import Bag
from overlay.offer import Card, pin, put, show_brief, unpin

AHEAD_MS = 3_600_000  # a script knows the next hour
BACK_MS = 600_000  # older pictures nobody watches live
TIME_LIMIT_MS = 2**53

MediaClock: TypeAlias = Callable[[str], tuple[int, int] | None]
Document: TypeAlias = dict[str, Any]  # {id, room, product_id, product, mt, pinned_at}


class NotLive(Refusal):
    status = 409
    code = "not_live"
    title = "Room is not live"


class Cards:
    """The cards in the store.

    `media` gives the media time in ms of a room's live stream now, and the UTC ms of media time 0;
    None when the room is not live.
    """

    def __init__(
        self,
        store: Store,
        catalogue: Catalogue,
        shelf: Shelf,
        bag: Bag,
        media: MediaClock,
        now_ms: Callable[[], int] = utc_ms,
    ) -> None:
        self._store = store
        self._catalogue = catalogue
        self._shelf = shelf
        self._bag = bag
        self._media = media
        self._now_ms = now_ms

    async def pin(
        self,
        room: str,
        product_id: str,
        *,
        mt: int | None = None,
        at: int | None = None,
        by: str,
    ) -> Document:
        """The card, on show from media time `mt`, from `at` (UTC ms) or from now on.

        The product comes into the bag, an earlier card of it goes. Raises RoomNotFound, NotFound for the
        product, Invalid, NotLive, LimitReached or Busy.
        """
        await self._bag.check_room(room)
        media_ms = self._media_ms(room, mt, at)

        async def decide() -> tuple[Changes | None, Document]:
            product = await self._catalogue.get(product_id)
            changes = Changes(self._now_ms())
            changes.reads[product_key(product.id)] = product.version
            offer = put(changes, await self._bag.offer(room), product.id)
            id = new_id("crd", changes.now_ms)
            card = Card(id, product.id, media_ms, changes.now_ms, by)
            shown = _document(room, card, (await show_brief(self._shelf, [product]))[0])
            pin(changes, offer, card, shown)
            return changes, shown

        shown = await decide_and_commit(self._store, decide)
        with suppress(StoreUnavailable):  # the card is pinned; the next sale tells its stock
            await self._tell_moved(shown["product"])
        return shown

    async def unpin(self, room: str, card: str) -> None:
        """Take a card off; raises RoomNotFound, NotFound or Busy."""
        await self._bag.check_room(room)

        async def decide() -> tuple[Changes | None, None]:
            changes = Changes(self._now_ms())
            unpin(changes, await self._bag.offer(room), card)
            return changes, None

        await decide_and_commit(self._store, decide)

    async def list(self, room: str) -> list[Document]:
        """The cards, the latest pinned last, with their products as they are now.

        Raises RoomNotFound.
        """
        await self._bag.check_room(room)
        cards = (await self._bag.offer(room)).cards
        documents = await self._bag.brief(card.product_id for card in cards)
        return [
            _document(room, card, documents[card.product_id])
            for card in cards
            if card.product_id in documents
        ]

    def _media_ms(self, room: str, mt: int | None, at: int | None) -> int | None:
        live = self._media(room)
        if mt is None and at is None:
            return None if live is None else live[0]
        if mt is not None and at is not None:
            raise Invalid("at", "mt or at, not both")
        field, given = ("mt", mt) if at is None else ("at", at)
        wanted = checked_count(field, given, 0, TIME_LIMIT_MS)
        if live is None:
            raise NotLive("the room is not live, so it has no media time")
        now_ms, epoch_ms = live
        media_ms = wanted if at is None else wanted - epoch_ms
        if not max(0, now_ms - BACK_MS) <= media_ms <= now_ms + AHEAD_MS:
            raise Invalid(field, "at most 10 min back, within the stream, and 1 h ahead")
        return media_ms

    async def _tell_moved(self, told: Mapping[str, Any]) -> None:
        product: Product = await self._catalogue.get(told["id"])
        now = {sku["sku"]: sku for sku in (await show_brief(self._shelf, [product]))[0]["skus"]}
        changes = Changes(self._now_ms())
        for sku in told["skus"]:
            if _stock(now.get(sku["sku"], sku)) != _stock(sku):
                changes.tell(SHOP, "stock.changed", sku=sku["sku"])
        if changes.events:
            await changes.commit(self._store)


def _document(room: str, card: Card, product: Mapping[str, Any]) -> Document:
    return {
        "id": card.id,
        "room": room,
        "product_id": card.product_id,
        "product": product,
        "mt": card.media_ms,
        "pinned_at": rfc3339(card.pinned_ms),
    }


def _stock(sku: Mapping[str, Any]) -> tuple[int, bool]:
    return sku["available"], sku["held"]
