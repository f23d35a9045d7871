"""What a newcomer is told of the room and of his orders."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import msgpack
import pytest

from commerce.errors import StoreUnavailable
from commerce.flash_sales import new_sale
from commerce.ids import new_id
from commerce.money import Money
from commerce.pricing.rules import Rule
from commerce.products import NewSku
from overlay.bag import HEAD
from overlay.events import Event, parse, unpack
from overlay.hello import ORDERS, PART_BYTES
from overlay.outbox import Outbox
from overlay.room_feed import RoomFeed
from tests.overlay.offer_house import EPOCH_MS, ROOM, House, open_offer_house

EVENT = Event("order.updated", {"order": "ord_none"}, "evt_1", 1, sseq=3)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_offer_house(tmp_path) as house:
        yield house


async def said(house: House, room: str = ROOM) -> dict[str, object]:
    return {name: await give(room) for name, give in house.hello.snapshots().items()}


async def test_a_newcomer_is_told_what_the_room_offers(house: House) -> None:
    cup, plate = await house.in_bag(title="Cup", skus=2), await house.in_bag(title="Plate")
    card = await house.cards.pin(ROOM, plate.id, by="host")
    await house.buy(cup)
    house.media[ROOM] = (0, EPOCH_MS)
    hello = await said(house)
    items, _ = await house.bag.page(ROOM)
    assert hello == {
        "room": {"id": ROOM, "title": "A show", "live": True},
        "cards": [card],
        "bag": {"items": items, "total": 2},
        "stock": {
            cup.skus[0].sku: {"available": 4, "held": True},
            cup.skus[1].sku: {"available": 5, "held": False},
            plate.skus[0].sku: {"available": 5, "held": False},
        },
        "sales": [],
        "coupons": [],
    }


async def test_a_room_that_offers_nothing_says_so(house: House) -> None:
    assert await said(house) == {
        "room": {"id": ROOM, "title": "A show", "live": False},
        "cards": [],
        "bag": {"items": [], "total": 0},
        "stock": {},
        "sales": [],
        "coupons": [],
    }


async def test_of_a_long_bag_the_beginning_is_told(house: House) -> None:
    for number in range(HEAD + 3):
        await house.in_bag(title=f"{number}")
    bag = (await said(house))["bag"]
    assert [item["product"]["title"] for item in bag["items"]] == [f"{n}" for n in range(HEAD)]
    assert bag["total"] == HEAD + 3


async def test_hello_fits_into_one_message_whatever_is_offered(house: House) -> None:
    options = {f"{number}" * 40: "长" * 60 for number in range(9)}
    skus = [NewSku(Money(1, "CNY"), 1, options=options) for _ in range(20)]
    products = [await house.catalogue.create("x" * 200, skus, by="host") for _ in range(8)]
    for product in products:
        await house.cards.pin(ROOM, product.id, by="host")
    hello = await said(house)
    assert len(msgpack.packb(hello)) < 2 * PART_BYTES + 40_000
    assert [card["product_id"] for card in hello["cards"]] == [
        product.id for product in products[-len(hello["cards"]) :]
    ]
    assert [item["position"] for item in hello["bag"]["items"]] == list(
        range(len(hello["bag"]["items"]))
    )
    assert 0 < len(hello["cards"]) < 8
    assert 0 < len(hello["bag"]["items"]) < 8
    assert hello["bag"]["total"] == 8


async def test_hello_costs_few_reads_however_much_is_offered(house: House) -> None:
    reads = []
    for _ in range(2):
        for _ in range(6):
            await house.cards.pin(ROOM, (await house.product(skus=3)).id, by="host")
        await house.rooms.exists(ROOM)
        house.store.reads = 0
        await said(house)
        reads.append(house.store.reads)
    assert reads == [11, 11]


async def test_no_room_and_no_order_is_no_error(house: House) -> None:
    for room in ("none", "No Room", "\ud800"):
        hello = await said(house, room)
        assert hello["room"] == {"id": room, "title": "", "live": False}
        assert (hello["cards"], hello["bag"]) == ([], {"items": [], "total": 0})
    for room, sub in ((ROOM, ""), (ROOM, "a\nb"), ("\ud800", "ana"), (ROOM, "x" * 300)):
        assert await house.hello.orders(room, sub) == []


async def test_a_buyer_is_told_his_latest_orders_in_the_room(house: House) -> None:
    product = await house.product(stock=50)
    mine = []
    for _ in range(ORDERS + 2):
        house.clock.pass_s(1)
        mine.append(await house.buy(product))
    await house.buy(product, "ben")
    await house.buy(product, room="other")
    own = house.hello.own_snapshots()
    expected = [{**order.to_json(), "link": f"/orders/{order.id}#key=k"} for order in mine[:1:-1]]
    assert await own["orders"](ROOM, "ana") == expected
    assert len(expected) == ORDERS
    assert await own["orders"](ROOM, "cay") == []


async def test_a_buyers_event_brings_the_order_as_it_is(house: House) -> None:
    order = await house.buy(await house.product())
    ((sseq, body),) = await house.disk.events("buyer/ana", 0, 9)
    kept = unpack(body, sseq=sseq)
    assert kept.data == {"order": order.id, "what": "state.reserved"}
    event = await house.hello.own_event("ana", kept)
    document = {**order.to_json(), "link": f"/orders/{order.id}#key=k"}
    assert event == replace(kept, data=document)


@pytest.mark.parametrize(
    "event",
    [
        EVENT,
        replace(EVENT, data={"order": new_id("ord", 1)}),
        replace(EVENT, data={"order": 5}),
        replace(EVENT, data={}),
        replace(EVENT, type="something.else"),
    ],
)
async def test_an_event_whose_order_cannot_be_had_stays_as_kept(house: House, event: Event) -> None:
    assert await house.hello.own_event("ana", event) is event


async def test_nobody_is_told_of_anothers_order(house: House) -> None:
    order = await house.buy(await house.product())
    event = replace(EVENT, data={"order": order.id})
    assert await house.hello.own_event("ben", event) is event
    assert await house.hello.own_event("ana", event) != event


async def test_a_store_that_fails_is_the_only_error(house: House) -> None:
    await house.disk.close()
    hello = house.hello
    house.clock.pass_s(10)
    for name, give in hello.snapshots().items():
        if name not in ("sales", "room"):
            with pytest.raises(StoreUnavailable):
                await give(ROOM)
    with pytest.raises(StoreUnavailable):
        await hello.room("room-not-remembered")
    with pytest.raises(StoreUnavailable):
        await hello.orders(ROOM, "ana")
    with pytest.raises(StoreUnavailable):
        await hello.own_event("ana", replace(EVENT, data={"order": new_id("ord", 1)}))


async def test_a_page_is_told_in_hello_and_then_of_its_order_and_its_stock(house: House) -> None:
    product = await house.in_bag()
    feed = RoomFeed(
        house.store,
        snapshots=house.hello.snapshots(),
        own_snapshots=house.hello.own_snapshots(),
        clock=lambda room: {},
        viewers=lambda room: 1,
        own_event=house.hello.own_event,
        now_ms=house.clock,
    )
    house.store.followers.append(feed.committed)
    await house.relay.start()
    outbox = Outbox("json")
    membership = await feed.join(ROOM, "ana", outbox)
    order = await house.buy(product)
    events: dict[str, Event] = {}
    while not {"hello", "order.updated", "stock.changed"} <= set(events):
        for each in await outbox.next():
            event = parse(each)
            events[event.type] = event
    membership.leave()
    assert events["hello"].data["stock"] == {product.skus[0].sku: {"available": 5, "held": False}}
    assert events["hello"].data["orders"] == []
    assert events["order.updated"].data["id"] == order.id
    assert events["order.updated"].sseq == 1
    assert events["stock.changed"].data["available"] == 4
    assert events["stock.changed"].seq == events["hello"].data["seq"] + 1


async def test_a_newcomer_is_told_of_sales_and_coupons(house: House) -> None:
    sku = (await house.in_bag()).skus[0].sku
    now_ms = house.clock.now
    sale = new_sale(ROOM, sku, Money(990, "CNY"), ends_ms=now_ms + 60_000, quota=3)
    scheduled = await house.sales.create(sale, by="host")
    rule = Rule("", "coupon", "Thanks", 0, off=Money(500, "CNY"))
    coupon = await house.coupons.create(rule, quota=2, by="host")
    dropped = await house.coupons.drop(ROOM, coupon.id)
    assert await house.hello.sales(ROOM) == [scheduled]
    assert await house.hello.coupons(ROOM) == [dropped]
    told = [(event.type, event.data) for event in await house.told()][-2:]
    assert told == [("sale.scheduled", scheduled), ("coupon.dropped", dropped)]
    house.clock.now = now_ms + 60_000
    assert await house.hello.sales(ROOM) == []
