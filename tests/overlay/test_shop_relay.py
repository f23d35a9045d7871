"""The relay from the shop to its rooms: who is told what, once, whatever breaks in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgpack
import pytest

from commerce.changes import SHOP, Changes
from commerce.errors import OutcomeUnknown, StoreUnavailable
from commerce.products import Product
from overlay.audit import STREAM as AUDIT
from overlay.audit import Actor, acting
from overlay.shop_relay import PAGE, TICK_S, ShopRelay
from tests.overlay.offer_house import ROOM, House, open_offer_house


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_offer_house(tmp_path) as house:
        yield house


def new_relay(house: House) -> ShopRelay:
    """The relay of a process that has just started."""
    return ShopRelay(house.store, house.catalogue, house.bag, house.clock)


async def relay_once(house: House) -> None:
    relay = new_relay(house)
    await relay.start()
    await relay.stop()


async def changed(house: House, room: str = ROOM) -> list[tuple[str, dict[str, Any]]]:
    """What was relayed to a room."""
    kinds = ("stock.changed", "price.changed")
    return [
        (event.type, dict(event.data)) for event in await house.told(room) if event.type in kinds
    ]


async def position(house: House) -> int:
    value = (await house.disk.load(["shop-relay"]))["shop-relay"][0]
    return int(msgpack.unpackb(value)["seq"])


async def end(house: House) -> int:
    return (await house.disk.events(SHOP, 0, 100_000))[-1][0]


def stock(product: Product, available: int, *, held: bool) -> tuple[str, dict[str, Any]]:
    data = {"product_id": product.id, "sku": product.skus[0].sku}
    return "stock.changed", {**data, "available": available, "held": held}


async def test_a_sale_is_told_to_every_room_whose_bag_holds_the_product(house: House) -> None:
    product, elsewhere = await house.in_bag(), await house.in_bag("other")
    await house.bag.add("other", product.id)
    await relay_once(house)
    await house.buy(product)
    await relay_once(house)
    assert await changed(house) == await changed(house, "other") == [stock(product, 4, held=True)]
    await house.buy(elsewhere)
    await relay_once(house)
    assert len(await changed(house)) == 1
    assert (await changed(house, "other"))[1:] == [stock(elsewhere, 4, held=True)]


async def test_a_new_price_is_told_with_its_version(house: House) -> None:
    product = await house.in_bag()
    await relay_once(house)
    product = await house.set_price(product, 990)
    await relay_once(house)
    data = {
        "product_id": product.id,
        "sku": product.skus[0].sku,
        "price": {"amount": 990, "currency": "CNY"},
        "price_version": product.skus[0].price_version,
    }
    assert await changed(house) == [("price.changed", data)]


async def test_a_burst_is_told_once_as_it_is_by_then(house: House) -> None:
    product = await house.in_bag(stock=30)
    await relay_once(house)
    for number in range(20):
        await house.buy(product, f"buyer-{number}")
    await house.set_price(product, 5)
    await house.set_price(product, 6)
    await relay_once(house)
    told = await changed(house)
    assert told[0] == stock(product, 10, held=True)
    assert [(kind, data.get("price")) for kind, data in told[1:]] == [
        ("price.changed", {"amount": 6, "currency": "CNY"})
    ]


async def test_the_first_start_begins_at_the_end_of_the_log(house: House) -> None:
    product = await house.in_bag(stock=9)
    for number in range(7):
        await house.buy(product, f"buyer-{number}")
    await relay_once(house)
    assert await changed(house) == []
    assert await position(house) == await end(house)


async def test_a_shop_without_events_is_followed_from_its_first_one(house: House) -> None:
    await relay_once(house)
    assert await position(house) == 0
    product = await house.in_bag()
    await relay_once(house)
    assert await changed(house) == [stock(product, 5, held=False)]


async def test_what_came_while_no_relay_ran_is_told_once_by_the_next(house: House) -> None:
    products = [await house.in_bag() for _ in range(5)]
    await relay_once(house)
    for product in products:
        await house.buy(product)
    for _ in range(3):
        await relay_once(house)
    assert await changed(house) == [stock(product, 4, held=True) for product in products]


async def test_a_shop_that_never_stops_selling_is_followed_all_the_same(house: House) -> None:
    product = await house.in_bag()
    await house.buy(product)
    relay, selling = new_relay(house), True

    async def sell() -> None:
        while selling:
            changes = Changes(house.clock())
            changes.tell(SHOP, "stock.changed", sku=product.skus[0].sku)
            await changes.commit(house.store)

    sellers = [asyncio.create_task(sell()) for _ in range(8)]
    async with asyncio.timeout(10):
        await relay.start()
    selling = False
    await asyncio.gather(*sellers)
    await relay.stop()


async def test_who_follows_is_told_soon_and_in_order(house: House) -> None:
    product = await house.in_bag(stock=9)
    await house.relay.start()
    for number in range(3):
        await house.buy(product, f"buyer-{number}")

        async def told(left: int = 8 - number) -> bool:
            return await changed(house) != [] and (await changed(house))[-1][1]["available"] == left

        await house.until(told)
    assert [data["available"] for _, data in await changed(house)] == [8, 7, 6]


async def test_at_most_one_delivery_a_tick_however_fast_it_sells(house: House) -> None:
    product = await house.in_bag(stock=100)
    await house.relay.start()
    loop = asyncio.get_running_loop()
    began = loop.time()
    for number in range(60):
        await house.buy(product, f"buyer-{number}")

    async def told() -> bool:
        return (await changed(house))[-1:] == [stock(product, 40, held=True)]

    await house.until(told)
    assert 1 <= len(await changed(house)) <= (loop.time() - began) / TICK_S + 2


async def test_what_concerns_no_room_is_passed_over(house: House) -> None:
    product = await house.product()
    await relay_once(house)
    await house.buy(product)
    await house.set_price(product, 5)
    unknown = Changes(house.clock.now)
    unknown.tell(SHOP, "stock.changed", sku="nothing")
    unknown.tell(SHOP, "something.else", thing="x")
    await unknown.commit(house.store)
    await relay_once(house)
    assert await house.told() == await house.told("other") == []
    assert await position(house) == await end(house)


async def test_what_left_the_bag_is_told_no_more(house: House) -> None:
    product = await house.in_bag()
    await relay_once(house)
    await house.bag.remove(ROOM, product.id)
    await house.buy(product)
    await relay_once(house)
    assert await changed(house) == []


async def test_a_log_longer_than_a_page_is_told_to_its_end(house: House) -> None:
    products = [await house.in_bag() for _ in range(3)]
    await relay_once(house)
    burst = Changes(house.clock.now)
    for number in range(2 * PAGE + 10):
        burst.tell(SHOP, "stock.changed", sku=products[number % 2].skus[0].sku)
    burst.tell(SHOP, "stock.changed", sku=products[2].skus[0].sku)
    await burst.commit(house.store)
    await relay_once(house)
    told = await changed(house)
    assert told == [stock(products[n], 5, held=False) for n in (0, 1, 0, 1, 0, 1, 2)]
    assert await position(house) == await end(house)


async def test_a_commit_is_bounded_and_all_rooms_are_told(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    products = [await house.in_bag() for _ in range(8)]
    for product in products:
        await house.bag.add("other", product.id)
    await relay_once(house)
    for product in products:
        await house.buy(product)
    monkeypatch.setattr("overlay.shop_relay.TOLD_MAX", 5)
    sizes: list[int] = []
    commit = house.store.commit

    async def measured(commit_id: str, **members: Any) -> dict[str, int]:
        sizes.append(len(members["events"]))
        return await commit(commit_id, **members)

    monkeypatch.setattr(house.store, "commit", measured)
    await relay_once(house)
    assert max(sizes) <= 5
    for room in (ROOM, "other"):
        assert await changed(house, room) == [stock(product, 4, held=True) for product in products]


@pytest.mark.parametrize("done", [False, True])
async def test_position_and_events_stand_or_fall_together(
    house: House, monkeypatch: pytest.MonkeyPatch, done: bool
) -> None:
    """`done`: the commit was durable and only its answer was lost."""
    product = await house.in_bag()
    await relay_once(house)
    before = await position(house)
    await house.buy(product)
    commit = house.store.commit

    async def failing(commit_id: str, **members: Any) -> dict[str, int]:
        if done:
            await commit(commit_id, **members)
            raise OutcomeUnknown("no answer")
        raise StoreUnavailable("full")

    with monkeypatch.context() as patch:
        patch.setattr(house.store, "commit", failing)
        with pytest.raises(StoreUnavailable):
            await new_relay(house).start()
    assert await changed(house) == [stock(product, 4, held=True)] * done
    assert await position(house) == (await end(house) if done else before)
    await relay_once(house)
    assert await changed(house) == [stock(product, 4, held=True)]


async def test_a_relay_that_dies_at_any_moment_has_told_each_change_once_after_the_next(
    house: House,
) -> None:
    products = [await house.in_bag(stock=60) for _ in range(3)]
    await relay_once(house)
    died = 0
    for turns in range(40):
        for product in products:
            await house.buy(product, f"buyer-{turns}")
        dying = asyncio.create_task(new_relay(house).start())
        for _ in range(turns):
            await asyncio.sleep(0)
        died += dying.cancel()
        await asyncio.wait([dying])
        await relay_once(house)
        expected = [stock(product, 59 - turns, held=True) for product in products]
        assert (await changed(house))[-3:] == expected
    assert len(await changed(house)) == 3 * 40
    assert died > 0


async def test_who_follows_tries_again_until_the_store_works(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("overlay.shop_relay.RETRY_S", 0.01)
    product = await house.in_bag()
    await house.relay.start()
    events, failures = house.store.events, iter(range(3))

    async def failing(stream: str, after: int, limit: int) -> list[tuple[int, bytes]]:
        if stream == SHOP and next(failures, None) is not None:
            raise StoreUnavailable("busy")
        return await events(stream, after, limit)

    monkeypatch.setattr(house.store, "events", failing)
    await house.buy(product)

    async def told() -> bool:
        return bool(await changed(house))

    await house.until(told)
    assert next(failures, None) is None
    assert await changed(house) == [stock(product, 4, held=True)]


async def test_two_relays_on_one_store_tell_each_change_once(tmp_path: Path) -> None:
    async with open_offer_house(tmp_path) as house, open_offer_house(tmp_path) as second:
        products = [await house.in_bag() for _ in range(40)]
        await asyncio.gather(house.relay.start(), second.relay.start())
        for one, other in zip(products[::2], products[1::2], strict=True):
            await asyncio.gather(house.buy(one), second.buy(other, "ben"))

        async def all_told() -> bool:
            return await position(house) == await end(house)

        second.store.followers.append(house.on_commit)
        await house.until(all_told)
        told = await changed(house)
        assert sorted(data["sku"] for _, data in told) == sorted(
            product.skus[0].sku for product in products
        )
        assert {data["available"] for _, data in told} == {4}


async def test_two_that_start_for_the_first_time_at_once_agree_on_the_beginning(
    tmp_path: Path,
) -> None:
    async with open_offer_house(tmp_path) as house, open_offer_house(tmp_path) as second:
        product = await house.in_bag()
        await asyncio.gather(house.relay.start(), second.relay.start())
        assert await changed(house) == []
        await house.buy(product)
        await house.relay.stop()
        await relay_once(house)
        assert await changed(house) == [stock(product, 4, held=True)]


async def test_what_a_relay_does_is_not_the_act_of_who_woke_it(house: House) -> None:
    product = await house.in_bag()
    await house.relay.start()

    async def act() -> None:
        acting.set(Actor("alice", "host", "prices.write", {"sku": product.skus[0].sku}))
        await house.set_price(product, 5)

    await asyncio.create_task(act())

    async def told() -> bool:
        return bool(await changed(house))

    await house.until(told)
    assert len(await house.disk.events(AUDIT, 0, 100)) == 1


async def test_a_commit_that_is_not_the_shops_wakes_nobody(house: House) -> None:
    await house.relay.start()
    house.store.reads = 0
    house.relay.committed({"room/show": 5, "buyer/ana": 9})
    house.relay.committed({})
    await asyncio.sleep(0)
    assert house.store.reads == 0
    assert house.relay._following is None


async def test_a_stopped_relay_tells_nothing_and_stops_twice(house: House) -> None:
    product = await house.in_bag()
    await house.relay.start()
    await house.relay.stop()
    await house.relay.stop()
    await house.buy(product)
    assert house.relay._following is None
    assert await changed(house) == []
    await house.relay.start()
    assert await changed(house) == [stock(product, 4, held=True)]


async def test_a_bug_is_logged_and_the_next_event_is_tried_again(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    product = await house.in_bag()
    await house.relay.start()
    with monkeypatch.context() as patch:
        patch.setattr(house.bag, "rooms_of", None)
        await house.buy(product)
        following = house.relay._following
        assert following is not None
        await asyncio.wait([following])
    assert "relayed no further" in caplog.text
    await house.buy(product, "ben")

    async def told() -> bool:
        return bool(await changed(house))

    await house.until(told)
    assert await changed(house) == [stock(product, 3, held=True)]
