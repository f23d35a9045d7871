"""The bag of a room: its order, its pages, its index and what the room is told of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgpack
import pytest

from commerce.errors import Invalid, LimitReached, NotFound
from commerce.ids import new_id
from overlay.errors import RoomNotFound
from overlay.offer import BAG_MAX, Offer
from tests.overlay.offer_house import ROOM, House, open_offer_house


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_offer_house(tmp_path) as house:
        yield house


async def fill(house: House, *titles: str, **product: str) -> list[str]:
    return [(await house.in_bag(title=title, **product)).id for title in titles]


async def test_products_stay_in_the_order_in_which_they_were_put_in(house: House) -> None:
    ids = await fill(house, "a", "b", "c")
    items, cursor = await house.bag.page(ROOM)
    assert [(item["product_id"], item["position"]) for item in items] == list(
        zip(ids, range(3), strict=True)
    )
    products = [await house.catalogue.get(id) for id in ids]
    assert [item["product"] for item in items] == await house.shelf.show(products)
    assert cursor is None


@pytest.mark.parametrize(
    ("position", "expected"), [(0, "cab"), (1, "acb"), (2, "abc"), (500, "abc")]
)
async def test_a_product_that_is_there_moves(house: House, position: int, expected: str) -> None:
    ids = await fill(house, "a", "b", "c")
    item = await house.bag.add(ROOM, ids[2], position)
    assert "".join(await house.titles()) == expected
    assert item["position"] == expected.index("c")


async def test_a_new_product_comes_in_at_its_position(house: House) -> None:
    await fill(house, "a", "b")
    item = await house.bag.add(ROOM, (await house.product("new")).id, 1)
    assert await house.titles() == ["a", "new", "b"]
    assert (item["position"], item["product"]["title"]) == (1, "new")


async def test_putting_it_in_again_changes_and_tells_nothing(house: House) -> None:
    ids = await fill(house, "a", "b")
    before = await house.told()
    for position in (None, 0):
        assert (await house.bag.add(ROOM, ids[0], position))["position"] == 0
    assert await house.titles() == ["a", "b"]
    assert await house.told() == before


async def test_every_change_tells_the_room_its_new_total(house: House) -> None:
    ids = await fill(house, "a", "b")
    await house.bag.add(ROOM, ids[1], 0)
    await house.bag.remove(ROOM, ids[0])
    events = await house.told()
    assert [(event.type, event.data) for event in events] == [
        ("bag.changed", {"total": total}) for total in (1, 2, 2, 1)
    ]
    assert len({event.id for event in events}) == 4
    assert await house.told("other") == []


async def test_a_bag_is_read_page_by_page(house: House) -> None:
    await fill(house, *"abcdefg")
    read, cursor, pages = [], None, 0
    while True:
        items, cursor = await house.bag.page(ROOM, cursor, 3)
        read += [item["product"]["title"] for item in items]
        pages += 1
        if cursor is None:
            break
    assert (read, pages) == (list("abcdefg"), 3)


async def test_a_full_last_page_has_no_next(house: House) -> None:
    await fill(house, *"abcd")
    _, cursor = await house.bag.page(ROOM, None, 2)
    items, cursor = await house.bag.page(ROOM, cursor, 2)
    assert [item["product"]["title"] for item in items] == ["c", "d"]
    assert cursor is None


async def test_a_cursor_goes_on_behind_its_product_when_the_bag_changes(house: House) -> None:
    ids = await fill(house, *"abcde")
    _, cursor = await house.bag.page(ROOM, None, 2)  # at b
    await house.bag.add(ROOM, ids[1], 3)  # a c d b e
    items, _ = await house.bag.page(ROOM, cursor, 9)
    assert [item["product"]["title"] for item in items] == ["e"]
    await house.bag.remove(ROOM, ids[1])  # a c d e: b had been at 1
    items, _ = await house.bag.page(ROOM, cursor, 9)
    assert [item["product"]["title"] for item in items] == ["c", "d", "e"]


@pytest.mark.parametrize("cursor", ["", "b", "1.b", "-1.prd_" + "0" * 26, "1" * 5000, "\ud800"])
async def test_what_is_no_cursor_is_refused(house: House, cursor: str) -> None:
    with pytest.raises(Invalid, match="cursor"):
        await house.bag.page(ROOM, cursor)


async def test_a_search_finds_parts_of_titles_and_whole_skus_in_capitals_or_not(
    house: House,
) -> None:
    await fill(house, "Red cup", "Blue CUP", "青花瓷杯", "Plate")
    plate = (await house.bag.page(ROOM))[0][3]["product"]["skus"][0]["sku"]
    for q, titles in (
        ("cup", ["Red cup", "Blue CUP"]),
        ("瓷", ["青花瓷杯"]),
        (plate.upper(), ["Plate"]),
        (plate[:-1], []),
        ("none", []),
    ):
        items, cursor = await house.bag.page(ROOM, search=q)
        assert ([item["product"]["title"] for item in items], cursor) == (titles, None)


async def test_a_filtered_bag_has_pages_and_the_bags_own_positions(house: House) -> None:
    for number in range(6):
        await house.in_bag(title=f"{number}", category="cups" if number % 2 else "plates")
    items, cursor = await house.bag.page(ROOM, None, 2, None, "cups")
    assert [item["position"] for item in items] == [1, 3]
    items, cursor = await house.bag.page(ROOM, cursor, 2, None, "cups")
    assert ([item["position"] for item in items], cursor) == ([5], None)
    items, _ = await house.bag.page(ROOM, search="4", category="cups")
    assert items == []


async def test_a_page_costs_three_reads_however_many_products(house: House) -> None:
    await fill(house, *"abcdefghij")
    for query in ({}, {"search": "a"}, {"category": "cups"}, {"limit": 3}):
        await house.rooms.exists(ROOM)
        house.store.reads = 0
        await house.bag.page(ROOM, **query)
        assert house.store.reads <= 3
    house.store.reads = 0
    assert (await house.bag.head(ROOM))["total"] == 10
    assert house.store.reads == 3


async def test_a_bag_has_an_end(house: House) -> None:
    product = await house.product()
    ids = [new_id("prd", number) for number in range(BAG_MAX)]
    full = msgpack.packb({"v": 1, "products": ids})
    await house.store.commit("full", writes={f"bag/{ROOM}": full})
    with pytest.raises(LimitReached) as refused:
        await house.bag.add(ROOM, product.id)
    assert refused.value.extra == {"limit": BAG_MAX}
    await house.bag.remove(ROOM, ids[7])
    assert (await house.bag.add(ROOM, product.id))["position"] == BAG_MAX - 1


async def test_a_bag_of_five_hundred_is_read_to_its_end(house: House) -> None:
    ids = [(await house.product(f"{number}")).id for number in range(40)]
    gone = [new_id("prd", number) for number in range(BAG_MAX - 40)]
    bag = msgpack.packb({"v": 1, "products": [*ids[:20], *gone, *ids[20:]]})
    await house.store.commit("full", writes={f"bag/{ROOM}": bag})
    items, cursor = await house.bag.page(ROOM, search="3", limit=200)
    assert [item["position"] for item in items] == [3, 13, 483, 490, 491, *range(492, 500)]
    assert cursor is None


async def test_the_rooms_of_a_product_are_found_by_a_scan(house: House) -> None:
    product = await house.in_bag()
    other = await house.in_bag("other")
    await house.bag.add("other", product.id)
    assert await house.bag.rooms_of(product.id) == ["other", ROOM]
    assert await house.bag.rooms_of(other.id) == ["other"]
    await house.bag.remove(ROOM, product.id)
    assert await house.bag.rooms_of(product.id) == ["other"]
    assert await house.bag.rooms_of("prd_none") == []


async def test_more_rooms_than_one_scan_gives_are_all_found(house: House) -> None:
    rooms = [f"room-{number:04d}" for number in range(1200)]
    index = {("bag-rooms/p", f"bag/{room}"): room for room in rooms}
    await house.store.commit("many", index=index)
    assert await house.bag.rooms_of("p") == rooms


async def test_two_who_fill_a_bag_at_once_lose_nothing(house: House) -> None:
    ids = [(await house.product(f"{number}")).id for number in range(8)]
    await asyncio.gather(*(house.bag.add(ROOM, id) for id in ids))
    items, _ = await house.bag.page(ROOM)
    assert {item["product_id"] for item in items} == set(ids)
    assert [event.data["total"] for event in await house.told()] == list(range(1, 9))


@pytest.mark.parametrize("room", ["none", "No Room", "", "\ud800"])
async def test_there_is_no_bag_without_a_room(house: House, room: str) -> None:
    product = await house.product()
    for act in (
        house.bag.add(room, product.id),
        house.bag.remove(room, product.id),
        house.bag.page(room),
    ):
        with pytest.raises(RoomNotFound):
            await act


async def test_only_what_is_there_comes_in_or_out(house: House) -> None:
    product = await house.product()
    for id in ("prd_none", new_id("prd", 1), "\ud800"):
        with pytest.raises(NotFound) as refused:
            await house.bag.add(ROOM, id)
        assert refused.value.code == "product_not_found"
    with pytest.raises(NotFound) as refused:
        await house.bag.remove(ROOM, product.id)
    assert refused.value.code == "product_not_found"
    for position in (-1, True, 1.0, BAG_MAX + 1):
        with pytest.raises(Invalid, match="position"):
            await house.bag.add(ROOM, product.id, position)  # type: ignore[arg-type]
    assert await house.told() == []


async def test_a_product_goes_out_with_its_card(house: House) -> None:
    kept, gone = await house.in_bag(), await house.in_bag()
    await house.cards.pin(ROOM, kept.id, by="host")
    card = await house.cards.pin(ROOM, gone.id, by="host")
    seq = len(await house.told())
    await house.bag.remove(ROOM, gone.id)
    assert [each["product_id"] for each in await house.cards.list(ROOM)] == [kept.id]
    unpinned, changed = await house.told(after=seq)
    assert (unpinned.type, changed.type) == ("card.unpinned", "bag.changed")
    assert unpinned.data == {"id": card["id"], "product_id": gone.id}


async def test_a_pin_and_a_removal_at_once_leave_no_card_without_its_product(house: House) -> None:
    for _ in range(10):
        product = await house.in_bag()
        await asyncio.gather(
            house.cards.pin(ROOM, product.id, by="host"), house.bag.remove(ROOM, product.id)
        )
        offer = await house.bag.offer(ROOM)
        assert {card.product_id for card in offer.cards} <= set(offer.bag)
        if product.id in offer.bag:
            await house.bag.remove(ROOM, product.id)


async def test_a_card_pinned_while_its_product_is_taken_out_goes_with_it(house: House) -> None:
    product = await house.in_bag()
    offer = house.bag.offer

    async def offer_and_be_overtaken(room: str) -> Offer:
        seen = await offer(room)
        house.bag.offer = offer  # type: ignore[method-assign]
        await house.cards.pin(ROOM, product.id, by="host")
        return seen

    house.bag.offer = offer_and_be_overtaken  # type: ignore[method-assign]
    await house.bag.remove(ROOM, product.id)
    left = await offer(ROOM)
    assert (left.bag, left.cards) == ((), ())
    assert (await house.told_types())[-2:] == ["card.unpinned", "bag.changed"]


async def test_a_deleted_room_takes_its_bag_and_cards_with_it(house: House) -> None:
    product = await house.in_bag(title="a")
    await house.cards.pin(ROOM, product.id, by="ana")
    before = await house.told()
    await house.rooms.delete(ROOM)
    told = (await house.told())[len(before) :]
    assert [event.type for event in told] == ["card.unpinned", "bag.changed"]
    assert await house.bag.rooms_of(product.id) == []
    with pytest.raises(RoomNotFound):
        await house.bag.page(ROOM)
    await house.rooms.create("again", id=ROOM)
    assert await house.titles() == []
    assert await house.cards.list(ROOM) == []
