"""Cards: when they are on show, what is told of them, and that what is told stays true."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from commerce.errors import Invalid, LimitReached, NotFound
from commerce.timestamps import rfc3339
from overlay.cards import NotLive
from overlay.errors import RoomNotFound
from overlay.offer import CARDS_MAX, SKUS_SHOWN
from tests.overlay.offer_house import EPOCH_MS, ROOM, House, open_offer_house

NOW_MT = 3_000_000
HOUR_MS, BACK_MS = 3_600_000, 600_000


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_offer_house(tmp_path) as house:
        yield house


async def pinned(house: House, **when: int) -> dict[str, Any]:
    return await house.cards.pin(ROOM, (await house.product()).id, by="alice", **when)


async def test_a_pin_is_told_with_its_product_and_its_media_time(house: House) -> None:
    house.media[ROOM] = (NOW_MT, EPOCH_MS)
    product = await house.product()
    card = await house.cards.pin(ROOM, product.id, by="alice")
    assert card == {
        "id": card["id"],
        "room": ROOM,
        "product_id": product.id,
        "product": (await house.shelf.show([product]))[0],
        "mt": NOW_MT,
        "pinned_at": rfc3339(house.clock.now),
    }
    assert card["id"].startswith("crd_")
    bag, event = await house.told()
    assert (bag.type, bag.data) == ("bag.changed", {"total": 1})
    assert (event.type, event.data, event.media_ms) == ("card.pinned", card, NOW_MT)


async def test_without_a_stream_a_card_is_on_show_at_once(house: House) -> None:
    assert (await pinned(house))["mt"] is None
    assert (await house.told())[-1].media_ms is None


@pytest.mark.parametrize("mt", [NOW_MT + HOUR_MS, NOW_MT, NOW_MT - BACK_MS])
async def test_a_card_is_pinned_by_media_time_or_by_the_clock(house: House, mt: int) -> None:
    house.media[ROOM] = (NOW_MT, EPOCH_MS)
    assert (await pinned(house, mt=mt))["mt"] == mt
    assert (await pinned(house, at=EPOCH_MS + mt))["mt"] == mt
    assert [event.media_ms for event in await house.told() if event.type == "card.pinned"] == [
        mt,
        mt,
    ]


@pytest.mark.parametrize("mt", [NOW_MT + HOUR_MS + 1, NOW_MT - BACK_MS - 1])
async def test_a_time_too_far_away_is_refused(house: House, mt: int) -> None:
    house.media[ROOM] = (NOW_MT, EPOCH_MS)
    for when in ({"mt": mt}, {"at": EPOCH_MS + mt}):
        with pytest.raises(Invalid):
            await pinned(house, **when)
    assert await house.told() == []


async def test_there_is_no_media_time_before_the_stream(house: House) -> None:
    house.media[ROOM] = (1000, EPOCH_MS)
    with pytest.raises(Invalid, match="at"):
        await pinned(house, at=EPOCH_MS - 1)
    assert (await pinned(house, at=EPOCH_MS))["mt"] == 0


@pytest.mark.parametrize("when", [{"mt": NOW_MT}, {"at": EPOCH_MS + NOW_MT}])
async def test_a_time_wants_a_live_room(house: House, when: dict[str, int]) -> None:
    with pytest.raises(NotLive) as refused:
        await pinned(house, **when)
    assert (refused.value.status, refused.value.code) == (409, "not_live")
    assert (await house.bag.offer(ROOM)).bag == ()


@pytest.mark.parametrize(
    "when",
    [
        {"mt": NOW_MT, "at": EPOCH_MS + NOW_MT},
        {"mt": -1},
        {"mt": True},
        {"mt": 1.5},
        {"at": 10**30},
        {"at": "now"},
    ],
)
async def test_what_is_no_time_is_refused(house: House, when: dict[str, Any]) -> None:
    house.media[ROOM] = (NOW_MT, EPOCH_MS)
    with pytest.raises(Invalid):
        await pinned(house, **when)


async def test_a_product_has_one_card_the_latest(house: House) -> None:
    product = await house.in_bag()
    first = await house.cards.pin(ROOM, product.id, by="host")
    await pinned(house)
    seq = len(await house.told())
    second = await house.cards.pin(ROOM, product.id, by="host")
    unpinned, again = await house.told(after=seq)
    assert (unpinned.type, unpinned.data) == (
        "card.unpinned",
        {"id": first["id"], "product_id": product.id},
    )
    assert (again.type, again.data["id"]) == ("card.pinned", second["id"])
    cards = await house.cards.list(ROOM)
    assert [card["id"] for card in cards][1:] == [second["id"]]
    assert len(cards) == 2
    assert (await house.bag.head(ROOM))["total"] == 2


async def test_a_room_has_so_many_cards_and_one_of_them_may_be_pinned_anew(house: House) -> None:
    cards = [await pinned(house) for _ in range(CARDS_MAX)]
    seq = len(await house.told())
    with pytest.raises(LimitReached) as refused:
        await pinned(house)
    assert (refused.value.code, refused.value.extra) == ("limit_reached", {"limit": CARDS_MAX})
    assert (await house.bag.head(ROOM))["total"] == CARDS_MAX
    assert await house.told(after=seq) == []
    await house.cards.pin(ROOM, cards[3]["product_id"], by="host")
    assert len(await house.cards.list(ROOM)) == CARDS_MAX


async def test_a_list_of_cards_costs_three_reads_and_shows_products_as_they_are(
    house: House,
) -> None:
    cards = [await pinned(house) for _ in range(5)]
    product = await house.catalogue.get(cards[2]["product_id"])
    await house.buy(product)
    await house.set_price(product, 990)
    await house.rooms.exists(ROOM)
    house.store.reads = 0
    listed = await house.cards.list(ROOM)
    assert house.store.reads == 3
    assert [card["id"] for card in listed] == [card["id"] for card in cards]
    sku = listed[2]["product"]["skus"][0]
    assert (sku["available"], sku["held"], sku["price"]["amount"]) == (4, True, 990)
    unchanged = [card for card in cards if card is not cards[2]]
    assert [card for card in listed if card is not listed[2]] == unchanged


async def test_a_card_goes_and_its_product_stays_in_the_bag(house: House) -> None:
    card = await pinned(house)
    seq = len(await house.told())
    await house.cards.unpin(ROOM, card["id"])
    (event,) = await house.told(after=seq)
    assert (event.type, event.data) == (
        "card.unpinned",
        {"id": card["id"], "product_id": card["product_id"]},
    )
    assert await house.cards.list(ROOM) == []
    assert (await house.bag.head(ROOM))["total"] == 1
    with pytest.raises(NotFound) as refused:
        await house.cards.unpin(ROOM, card["id"])
    assert refused.value.code == "card_not_found"


async def test_of_many_skus_a_card_shows_the_first_and_says_so(house: House) -> None:
    many = await house.product(skus=SKUS_SHOWN + 1)
    exact = await house.product(skus=SKUS_SHOWN)
    for product, more in ((many, True), (exact, None)):
        card = await house.cards.pin(ROOM, product.id, by="host")
        shown = card["product"]
        assert [sku["sku"] for sku in shown["skus"]] == [
            sku.sku for sku in product.skus[:SKUS_SHOWN]
        ]
        assert shown.get("more") is more
        assert (await house.told())[-1].data == card
    assert [card["product"].get("more") for card in await house.cards.list(ROOM)] == [True, None]


async def test_what_is_not_there_has_no_cards(house: House) -> None:
    product = await house.product()
    for act in (
        house.cards.pin("none", product.id, by="host"),
        house.cards.unpin("none", "crd_x"),
        house.cards.list("none"),
    ):
        with pytest.raises(RoomNotFound):
            await act
    with pytest.raises(NotFound) as refused:
        await house.cards.pin(ROOM, "prd_none", by="host")
    assert refused.value.code == "product_not_found"


async def test_pins_at_once_are_all_there(house: House) -> None:
    products = [await house.product() for _ in range(6)]
    cards = await asyncio.gather(*(house.cards.pin(ROOM, p.id, by="host") for p in products))
    assert {card["id"] for card in await house.cards.list(ROOM)} == {card["id"] for card in cards}
    assert (await house.told_types()).count("card.pinned") == 6


async def test_a_card_is_never_told_with_a_price_that_was_replaced_before(house: House) -> None:
    product = await house.product()
    show = house.shelf.show

    async def show_and_be_overtaken(products: Any) -> Any:
        documents = await show(products)
        if documents[0]["skus"][0]["price"]["amount"] == 1990:
            await house.set_price(product, 500)
        return documents

    house.shelf.show = show_and_be_overtaken  # type: ignore[method-assign]
    card = await house.cards.pin(ROOM, product.id, by="host")
    assert card["product"]["skus"][0]["price"]["amount"] == 500
    assert (await house.told())[-1].data == card
    assert (await house.told_types()).count("card.pinned") == 1


async def test_stock_that_moves_while_a_card_is_pinned_is_told_after_it(house: House) -> None:
    product = await house.product(stock=5)
    await house.relay.start()
    show, sales = house.shelf.show, iter([True])

    async def show_and_sell(products: Any) -> Any:
        documents = await show(products)
        if next(sales, False):
            await house.buy(product)
            await house.relay.stop()
            await house.relay.start()  # has told the sale to the rooms, of which none had the cup
        return documents

    house.shelf.show = show_and_sell  # type: ignore[method-assign]
    card = await house.cards.pin(ROOM, product.id, by="host")
    await house.relay.stop()
    await house.relay.start()
    assert card["product"]["skus"][0]["available"] == 5
    last = (await house.told())[-1]
    assert (last.type, last.data["available"]) == ("stock.changed", 4)


async def test_a_pin_that_nothing_crosses_tells_the_shop_nothing(house: House) -> None:
    product = await house.product()
    before = await house.disk.events("shop", 0, 100)
    await house.cards.pin(ROOM, product.id, by="host")
    assert await house.disk.events("shop", 0, 100) == before
