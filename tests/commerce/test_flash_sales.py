"""Sales: level starts, exact ends, quotas and limits that hold whoever asks at the same time."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgpack
import pytest

from commerce.errors import Invalid, NotFound, PriceChanged
from commerce.flash_sales import SaleOver, new_sale
from commerce.timestamps import rfc3339
from tests.commerce.prices import LEAD_MS, Prices, cny
from tests.commerce.shop import APPROVED, LATE, Clock, Shop, open_shop


@pytest.fixture
def prices(shop: Shop) -> Prices:
    return Prices(shop)


async def told(shop: Shop, room: str = "room") -> list[dict[str, Any]]:
    return [msgpack.unpackb(body) for _, body in await shop.events(f"room/{room}")]


async def test_of_many_buyers_as_many_get_the_price_as_the_quota_has(
    shop_place: Path | str,
) -> None:
    clock = Clock()
    shops = [await open_shop(shop_place, clock) for _ in range(2)]
    houses = [Prices(shop) for shop in shops]
    sku = await shops[0].sku(stock=100, price=1990)
    sale = await houses[0].sale(sku, 990, quota=7)
    version = (await houses[0].quote("amy", (sku, 1)))["price_version"]
    results = await asyncio.gather(
        *(
            houses[n % 2].buy(f"buyer-{n}", (sku, 1), price_version=version if n % 3 else None)
            for n in range(50)
        ),
        return_exceptions=True,
    )
    orders = [result.value for result in results if not isinstance(result, BaseException)]
    refused = [result for result in results if isinstance(result, BaseException)]
    assert all(isinstance(refusal, PriceChanged) for refusal in refused)
    assert sum(order.total == cny(990) for order in orders) == 7
    assert {order.total.amount for order in orders} <= {990, 1990}
    assert await houses[0].left(sale) == 0
    for shop in shops:
        await shop.store.close()


async def test_a_buyer_has_his_limit_however_many_tabs_he_has(shop: Shop, prices: Prices) -> None:
    sku = await shop.sku(stock=50, price=1990)
    sale = await prices.sale(sku, 990, quota=20, per_buyer=3)
    orders = await asyncio.gather(*(prices.buy("amy", (sku, 1)) for _ in range(10)))
    assert sum(order.value.total == cny(990) for order in orders) == 3
    assert await prices.left(sale) == 17


async def test_more_pieces_than_he_may_have_cost_the_usual_price(
    shop: Shop, prices: Prices
) -> None:
    sku = await shop.sku(stock=50, price=1990)
    sale = await prices.sale(sku, 990, quota=20, per_buyer=2)
    quote = await prices.quote("amy", (sku, 3))
    assert (quote["total"]["amount"], quote["discounts"][0]["kind"]) == (2 * 990 + 1990, "sale")
    order = (await prices.buy("amy", (sku, 3), price_version=quote["price_version"])).value
    assert (order.total.to_json(), await prices.left(sale)) == (quote["total"], 18)
    await shop.cancel(order)
    assert await prices.left(sale) == 20
    assert (await prices.quote("amy", (sku, 2)))["total"]["amount"] == 1980


async def test_a_start_is_level_and_the_end_is_exact(shop: Shop, prices: Prices) -> None:
    sku = await shop.sku(price=1990)
    now_ms = shop.clock.now
    sale = new_sale("room", sku, cny(990), starts_ms=now_ms + 1, ends_ms=now_ms + 20_000, quota=5)
    document = await prices.sales.create(sale, by="host")
    assert document["starts_at"] == rfc3339(now_ms + LEAD_MS)
    for at_ms, amount in ((LEAD_MS - 1, 1990), (LEAD_MS, 990), (19_999, 990), (20_000, 1990)):
        shop.clock.now = now_ms + at_ms
        quote = await prices.quote("amy", (sku, 1))
        assert quote["total"]["amount"] == amount
        version = quote["price_version"]
        assert (version == document["price_version"]) == (amount == 990)
    shop.clock.now = now_ms + 19_999
    with pytest.raises(PriceChanged):
        await prices.buy("amy", (sku, 1), price_version=version)


async def test_a_price_is_that_of_its_room(shop: Shop, prices: Prices) -> None:
    sku = await shop.sku(price=1990)
    await prices.sale(sku, 1500)
    assert (await prices.quote("amy", (sku, 9)))["total"]["amount"] == 9 * 1500
    assert (await prices.quote("amy", (sku, 1), room="other"))["total"]["amount"] == 1990
    order = (await prices.buy("amy", (sku, 2))).value
    assert (order.total, order.lines[0].sale_pieces) == (cny(3000), 0)
    await shop.cancel(order)


async def test_the_room_is_told_once_of_start_and_end_however_many_sweep(
    shop: Shop, prices: Prices
) -> None:
    sku = await shop.sku(price=1990)
    sale = await prices.sale(sku, 990, lasts_s=10, quota=5)
    for _ in range(2):
        await asyncio.gather(*(prices.sales.sweep() for _ in range(3)))
    assert [event["t"] for event in await told(shop)] == ["sale.scheduled", "sale.started"]
    await prices.buy("amy", (sku, 1))
    shop.clock.pass_s(10)
    await asyncio.gather(*(prices.sales.sweep() for _ in range(3)))
    last = (await told(shop))[-1]
    assert (last["t"], last["d"]["id"], last["d"]["left"]) == ("sale.ended", sale, 4)
    assert len(await told(shop)) == 3 and await prices.sales.current("room") == []
    assert await prices.sales.sweep() == 0


async def test_a_late_sweeper_tells_late_and_changes_no_price(shop: Shop, prices: Prices) -> None:
    sku = await shop.sku(price=1990)
    await prices.sale(sku, 990, lasts_s=10, quota=5)
    assert (await prices.quote("amy", (sku, 1)))["total"]["amount"] == 990
    shop.clock.pass_s(10)
    assert (await prices.quote("amy", (sku, 1)))["total"]["amount"] == 1990
    assert await prices.sales.current("room") == []
    await prices.sales.sweep()
    types = [event["t"] for event in await told(shop)]
    assert types == ["sale.scheduled", "sale.started", "sale.ended"]


async def test_a_sale_ends_early_once_and_its_holds_keep_their_price(
    shop: Shop, prices: Prices
) -> None:
    sku = await shop.sku(price=1990)
    sale = await prices.sale(sku, 990, quota=5)
    order = (await prices.buy("amy", (sku, 1))).value
    document = await prices.sales.end("room", sale)
    assert (document["state"], document["left"]) == ("ended", 4)
    assert (await prices.quote("ben", (sku, 1)))["total"]["amount"] == 1990
    with pytest.raises(SaleOver):
        await prices.sales.end("room", sale)
    await shop.pay(order, APPROVED)
    await shop.sandbox.send_due()
    assert (await shop.orders.get(order.id)).state == "confirmed"
    with pytest.raises(NotFound):
        await prices.sales.end("other", sale)


async def test_a_sale_that_is_called_off_never_started(shop: Shop, prices: Prices) -> None:
    sku = await shop.sku(price=1990)
    sale = await prices.sale(sku, 990, quota=5)
    shop.clock.now -= LEAD_MS
    await prices.sales.end("room", sale)
    shop.clock.pass_s(100)
    await prices.sales.sweep()
    assert [event["t"] for event in await told(shop)] == ["sale.scheduled", "sale.ended"]
    found, _ = await prices.sales.list("room")
    assert [(each["id"], each["state"]) for each in found] == [(sale, "ended")]


async def test_pieces_of_ended_holds_are_there_for_the_next_buyer(
    shop: Shop, prices: Prices
) -> None:
    sku = await shop.sku(price=1990)
    await prices.sale(sku, 990, lasts_s=3000, quota=1)
    version = (await prices.quote("amy", (sku, 1)))["price_version"]
    await prices.buy("amy", (sku, 1), price_version=version)
    shop.clock.pass_s(600)
    order = (await prices.buy("ben", (sku, 1), price_version=version)).value
    assert order.total == cny(990)


@pytest.mark.parametrize("gone", [False, True])
async def test_a_late_payment_finds_the_quota_again_or_is_refunded(
    shop: Shop, prices: Prices, gone: bool
) -> None:
    sku = await shop.sku(stock=9, price=1990)
    sale = await prices.sale(sku, 990, lasts_s=10_000, quota=1)
    order = (await prices.buy("amy", (sku, 1))).value
    await shop.pay(order, LATE)
    shop.clock.pass_s(900)
    await shop.orders.sweep()
    if gone:
        await shop.pay((await prices.buy("ben", (sku, 1))).value, APPROVED)
    for _ in range(3):
        await shop.sandbox.send_due()
        shop.clock.pass_s(3600)
        await shop.payments.sweep()
    found = await shop.orders.get(order.id)
    assert (found.state, found.payment) == (
        ("expired", "refunded") if gone else ("confirmed", "paid")
    )
    assert await prices.left(sale) == 0


@pytest.mark.parametrize(
    "more",
    [
        {"price": cny(1990)},
        {"price": cny(-1)},
        {"ends_ms": 1},
        {"ends_ms": 2**60},
        {"quota": 0},
        {"quota": 5, "per_buyer": 0},
        {"per_buyer": 5},
    ],
)
async def test_a_sale_that_is_none_is_refused(
    shop: Shop, prices: Prices, more: dict[str, Any]
) -> None:
    sku = await shop.sku(price=1990)
    members: dict[str, Any] = {"price": cny(990), "ends_ms": shop.clock.now + 60_000, **more}
    with pytest.raises(Invalid):
        await prices.sales.create(new_sale("room", sku, **members), by="host")
    with pytest.raises(NotFound):
        await prices.sales.create(new_sale("room", "no", cny(1), ends_ms=1), by="host")
