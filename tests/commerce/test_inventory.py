from __future__ import annotations

import asyncio

import msgpack
import pytest

from commerce.errors import BelowHeld, Invalid, KeyReused, NotFound, Refusal, Stale
from commerce.idempotency import Scope
from commerce.low_stock import LowStock
from tests.commerce.shop import Shop


async def test_on_hand_is_set_with_a_reason_that_is_logged(shop: Shop) -> None:
    sku = await shop.sku(stock=5)
    stock = await shop.inventory.get(sku)
    after = await shop.set_on_hand(sku, 8, stock.version)
    assert (after.on_hand, after.available, after.version) == (8, 8, stock.version + 1)
    stock = await shop.inventory.get(sku)
    assert (stock.on_hand, stock.available, stock.version) == (8, 8, after.version)
    log = await shop.inventory.adjustments(sku)
    assert {(entry["before"], entry["after"]) for entry in log} == {(0, 5), (5, 8)}
    assert {entry["reason"] for entry in log} == {"first stock", "counted"}


async def test_on_hand_cannot_go_below_what_orders_hold(shop: Shop) -> None:
    sku = await shop.sku(stock=5)
    await shop.buy("amy", (sku, 2))
    await shop.paid("ben", (sku, 1))
    version = (await shop.inventory.get(sku)).version
    with pytest.raises(BelowHeld) as refusal:
        await shop.set_on_hand(sku, 2, version)
    assert (refusal.value.status, refusal.value.extra) == (409, {"held": 3})
    assert await shop.stock(sku) == (2, 2, 1)
    assert (await shop.set_on_hand(sku, 3, version)).available == 0


async def test_an_edit_wants_the_version_that_stands_and_orders_do_not_change_it(
    shop: Shop,
) -> None:
    sku = await shop.sku(stock=5)
    version = (await shop.inventory.get(sku)).version
    await shop.buy("amy", (sku, 1))
    await shop.set_on_hand(sku, 6, version)
    with pytest.raises(Stale):
        await shop.set_on_hand(sku, 7, version)


async def test_the_same_edit_again_is_a_replay_and_another_one_is_refused(shop: Shop) -> None:
    sku = await shop.sku(stock=5)
    version = (await shop.inventory.get(sku)).version
    first = await shop.set_on_hand(sku, 6, version, key="k")
    assert (await shop.set_on_hand(sku, 6, version, key="k")).version == first.version
    with pytest.raises(KeyReused):
        await shop.set_on_hand(sku, 7, version + 1, key="k")
    assert await shop.stock(sku) == (6, 0, 0)


async def test_a_stock_edit_against_buyers_keeps_every_piece_accounted_for(shop: Shop) -> None:
    sku = await shop.sku(stock=20)
    version = (await shop.inventory.get(sku)).version
    results = await asyncio.gather(
        *(shop.buy(f"buyer-{n}", (sku, 1)) for n in range(15)),
        shop.set_on_hand(sku, 10, version),
        *(shop.buy(f"late-{n}", (sku, 1)) for n in range(15)),
        return_exceptions=True,
    )
    edited = not isinstance(results[15], Exception)
    bought = sum(not isinstance(result, Exception) for n, result in enumerate(results) if n != 15)
    stock = await shop.inventory.get(sku)
    assert all(isinstance(r, Refusal) for r in results if isinstance(r, Exception))
    assert stock.on_hand == (10 if edited else 20)
    assert bought == stock.reserved == stock.on_hand - stock.available
    assert bought == min(30, stock.on_hand)


async def test_stock_of_what_is_not_there_is_not_found(shop: Shop) -> None:
    with pytest.raises(NotFound):
        await shop.inventory.get("nothing")
    with pytest.raises(NotFound):
        await shop.set_on_hand("nothing", 1, 0)


@pytest.mark.parametrize("pieces", [-1, 10**9 + 1])
async def test_an_impossible_number_of_pieces_is_refused(shop: Shop, pieces: int) -> None:
    with pytest.raises(Invalid):
        await shop.set_on_hand(await shop.sku(), pieces, 1)


async def test_a_sku_that_falls_to_its_mark_is_told_once_until_there_is_more(shop: Shop) -> None:
    sku = await shop.sku(stock=3)
    desks = [LowStock(shop.store, now_ms=shop.clock) for _ in range(2)]

    async def sweep() -> int:
        return sum(await asyncio.gather(*(desk.sweep() for desk in desks)))

    scope = Scope("host", "stock", "mark", "f")
    before = await shop.inventory.get(sku)
    await shop.inventory.set_on_hand(
        sku, 3, "mark", by="host", if_version=before.version, scope=scope, low_at=1
    )
    assert await sweep() == 0
    order = (await shop.buy("amy", (sku, 2))).value
    assert [await sweep(), await sweep()] == [1, 0]
    await shop.cancel(order)
    assert await sweep() == 0
    await shop.paid("amy", (sku, 3))
    assert await sweep() == 1
    told = [msgpack.unpackb(event)["t"] for _, event in await shop.events()]
    assert told.count("stock.low") == 2
    assert (await shop.inventory.get(sku)).low_at == 1


async def test_a_hold_whose_time_has_passed_does_not_count_before_it_is_swept(shop: Shop) -> None:
    sku = await shop.sku(stock=5)
    order = (await shop.buy("amy", (sku, 2))).value
    stays = (await shop.paid("ben", (sku, 1))).id
    version = (await shop.inventory.get(sku)).version
    with pytest.raises(BelowHeld):
        await shop.set_on_hand(sku, 1, version)
    shop.clock.now = order.expires_ms
    with pytest.raises(BelowHeld) as refusal:
        await shop.set_on_hand(sku, 0, version)
    assert refusal.value.extra == {"held": 1}
    assert (await shop.set_on_hand(sku, 1, version)).on_hand == 1
    assert await shop.stock(sku) == (0, 0, 1)
    assert (await shop.orders.get(order.id)).state == "expired"
    assert (await shop.orders.get(stays)).state == "confirmed"
