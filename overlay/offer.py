"""What a room offers, as the store keeps it: its shopping bag and its cards, and how they change.

`bag/<room>` holds the ids of the bag's products in order, `cards/<room>` the cards, the latest pinned
last; both are msgpack maps with their format's version `v`. The index `bag-rooms/<product id>` leads
from a product to the bags that hold it. What has a card is in the bag: who takes a product out takes
its card off, too.

The functions that change an offer put writes and events into one commit, guarded by the versions that
were read; they give the offer as it will be.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, replace
from typing import Any

import msgpack

from commerce.changes import Changes
from commerce.errors import LimitReached, NotFound
from commerce.ids import new_id
from commerce.products import Product
from commerce.shelf import Shelf
from commerce.store import Versioned
from overlay.events import Event, pack

BAG_MAX = 500  # products: some 15 kB of ids, written whole by each change
CARDS_MAX = 20  # cards come with their products in every `hello`
SKUS_SHOWN = 20  # of one product on a card, which goes to everybody in the room
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Card:
    """A product on show from media time `media_ms` on, None: from now on; `by` whom, for staff."""

    id: str
    product_id: str
    media_ms: int | None
    pinned_ms: int
    by: str


@dataclass(frozen=True, slots=True)
class Offer:
    """`bag` holds product ids; the versions are the store's."""

    room: str
    bag: tuple[str, ...]
    cards: tuple[Card, ...]
    bag_version: int
    cards_version: int


def offer_keys(room: str) -> list[str]:
    """What to load for `read_offer`."""
    return [_bag_key(room), _cards_key(room)]


def read_offer(room: str, loaded: Mapping[str, Versioned]) -> Offer:
    """The offer as it was loaded; a room without one offers nothing."""
    (bag, bag_version), (cards, cards_version) = (loaded[key] for key in offer_keys(room))
    products = () if bag is None else tuple(msgpack.unpackb(bag)["products"])
    kept = [] if cards is None else msgpack.unpackb(cards)["cards"]
    return Offer(room, products, tuple(Card(*card) for card in kept), bag_version, cards_version)


def put(changes: Changes, offer: Offer, product_id: str, position: int | None = None) -> Offer:
    """The product in the bag, at the end or at `position` (from 0; beyond the end: last).

    One that is there moves to the position, or stays where none is given. Raises LimitReached.
    """
    there = product_id in offer.bag
    if there and position is None:
        return offer
    if not there and len(offer.bag) >= BAG_MAX:
        raise LimitReached(f"a bag holds {BAG_MAX} products", extra={"limit": BAG_MAX})
    bag = [each for each in offer.bag if each != product_id]
    bag.insert(len(bag) if position is None else position, product_id)
    if tuple(bag) == offer.bag:
        return offer
    changes.index[rooms_index(product_id), _bag_key(offer.room)] = offer.room
    return _save_bag(changes, offer, bag)


def take_out(changes: Changes, offer: Offer, product_id: str) -> Offer:
    """The product out of the bag, and its card off; raises NotFound."""
    if product_id not in offer.bag:
        raise NotFound("the bag has no such product", code="product_not_found")
    changes.index[rooms_index(product_id), _bag_key(offer.room)] = None
    changes.reads[_cards_key(offer.room)] = offer.cards_version
    offer = _off(changes, offer, [card for card in offer.cards if card.product_id == product_id])
    return _save_bag(changes, offer, [each for each in offer.bag if each != product_id])


def clear(changes: Changes, offer: Offer) -> None:
    """Nothing in the bag and no card on show, and nothing of either kept: the room goes."""
    _off(changes, offer, list(offer.cards))
    if offer.bag:
        tell(changes, offer.room, "bag.changed", {"total": 0})
    for product_id in offer.bag:
        changes.index[rooms_index(product_id), _bag_key(offer.room)] = None
    for key, version in (
        (_bag_key(offer.room), offer.bag_version),
        (_cards_key(offer.room), offer.cards_version),
    ):
        if version:
            changes.reads[key] = version
            changes.writes[key] = None


def pin(changes: Changes, offer: Offer, card: Card, document: Mapping[str, Any]) -> Offer:
    """The card on show in place of an earlier one of its product; raises LimitReached.

    `document` is what the room is told of it. The product is in the bag, or `put` there by the same
    changes.
    """
    changes.reads[_bag_key(offer.room)] = offer.bag_version
    earlier = [each for each in offer.cards if each.product_id == card.product_id]
    offer = _off(changes, offer, earlier)
    if len(offer.cards) >= CARDS_MAX:
        raise LimitReached(f"a room has {CARDS_MAX} cards", extra={"limit": CARDS_MAX})
    tell(changes, offer.room, "card.pinned", document, media_ms=card.media_ms)
    return _save_cards(changes, offer, (*offer.cards, card))


def unpin(changes: Changes, offer: Offer, id: str) -> Offer:
    """The card off; raises NotFound."""
    cards = [card for card in offer.cards if card.id == id]
    if not cards:
        raise NotFound("the room has no such card", code="card_not_found")
    return _off(changes, offer, cards)


def tell(
    changes: Changes,
    room: str,
    type: str,
    data: Mapping[str, Any],
    *,
    media_ms: int | None = None,
) -> None:
    """A durable event of the room in the same commit."""
    event = Event(type, data, new_id("evt", changes.now_ms), changes.now_ms, media_ms)
    changes.events.append((f"room/{room}", pack(event)))


async def show_brief(shelf: Shelf, products: Iterable[Product]) -> list[dict[str, Any]]:
    """Product documents for everybody in a room: SKUS_SHOWN SKUs, `more` true where there are more."""
    products = list(products)
    brief = [replace(product, skus=product.skus[:SKUS_SHOWN]) for product in products]
    documents = await shelf.show(brief)
    for product, document in zip(products, documents, strict=True):
        if len(product.skus) > SKUS_SHOWN:
            document["more"] = True
    return documents


def rooms_index(product_id: str) -> str:
    return f"bag-rooms/{product_id}"


def _off(changes: Changes, offer: Offer, cards: list[Card]) -> Offer:
    if not cards:
        return offer
    for card in cards:
        tell(
            changes,
            offer.room,
            "card.unpinned",
            {"id": card.id, "product_id": card.product_id},
        )
    return _save_cards(changes, offer, tuple(card for card in offer.cards if card not in cards))


def _save_bag(changes: Changes, offer: Offer, bag: list[str]) -> Offer:
    key = _bag_key(offer.room)
    changes.reads[key] = offer.bag_version
    changes.writes[key] = msgpack.packb({"v": FORMAT, "products": bag})
    tell(changes, offer.room, "bag.changed", {"total": len(bag)})
    return replace(offer, bag=tuple(bag))


def _save_cards(changes: Changes, offer: Offer, cards: tuple[Card, ...]) -> Offer:
    key = _cards_key(offer.room)
    changes.reads[key] = offer.cards_version
    kept = [astuple(card) for card in cards]
    changes.writes[key] = msgpack.packb({"v": FORMAT, "cards": kept})
    return replace(offer, cards=cards)


def _bag_key(room: str) -> str:
    return f"bag/{room}"


def _cards_key(room: str) -> str:
    return f"cards/{room}"
