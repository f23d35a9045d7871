"""Coupons: claimed and spent exactly once each, given back once, whoever asks at the same time."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from commerce.errors import AlreadyExists, Invalid, KeyReused, LimitReached, NotFound, Refusal
from commerce.pricing.coupon import CouponRefused
from tests.commerce.prices import Prices, cny
from tests.commerce.shop import APPROVED, LATE, Clock, Shop, open_shop


@pytest.fixture
def prices(shop: Shop) -> Prices:
    return Prices(shop)


async def left(prices: Prices, id: str) -> int:
    shown = await prices.coupons.show(await prices.coupons.get(id))
    number: int = shown["left"]
    return number


async def test_of_many_who_claim_at_once_as_many_get_one_as_there_are(
    shop_place: Path | str,
) -> None:
    clock = Clock()
    shops = [await open_shop(shop_place, clock) for _ in range(2)]
    houses = [Prices(shop) for shop in shops]
    coupon = await houses[0].coupon(quota=7)
    results = await asyncio.gather(
        *(houses[n % 2].claim(coupon, f"viewer-{n}", key="k") for n in range(60)),
        return_exceptions=True,
    )
    refused = [result for result in results if isinstance(result, BaseException)]
    assert len(results) - len(refused) == 7
    assert {getattr(refusal, "code", "") for refusal in refused} == {"coupon_gone"}
    assert await left(houses[0], coupon.id) == 0
    assert sum([await houses[0].unspent(f"viewer-{n}") for n in range(60)]) == 7
    for shop in shops:
        await shop.store.close()


async def test_a_buyer_claims_as_many_as_he_may_however_many_tabs_he_has(prices: Prices) -> None:
    coupon = await prices.coupon(per_buyer=2)
    results = await asyncio.gather(
        *(prices.claim(coupon, "amy") for _ in range(12)), return_exceptions=True
    )
    assert sum(not isinstance(result, BaseException) for result in results) == 2
    assert all(isinstance(r, LimitReached) for r in results if isinstance(r, BaseException))
    assert (await left(prices, coupon.id), await prices.unspent("amy")) == (8, 2)


async def test_the_same_claim_again_is_the_same_claim(prices: Prices) -> None:
    coupon, other = await prices.coupon(per_buyer=2), await prices.coupon()
    first, *others = await asyncio.gather(*(prices.claim(coupon, "amy", key="k") for _ in range(5)))
    assert {again.value for again in others} == {first.value}
    assert await prices.unspent("amy") == 1
    with pytest.raises(KeyReused):
        await prices.claim(other, "amy", key="k")


async def test_one_claim_is_spent_by_one_of_many_orders(shop: Shop, prices: Prices) -> None:
    sku, coupon = await shop.sku(stock=50), await prices.coupon(off=500)
    await prices.claim(coupon, "amy")
    results = await asyncio.gather(
        *(prices.buy("amy", (sku, 1), coupons=[coupon.id]) for _ in range(10)),
        return_exceptions=True,
    )
    orders = [result.value for result in results if not isinstance(result, BaseException)]
    assert len(orders) == 1 and orders[0].total == cny(1490)
    assert orders[0].coupons == (coupon.id,)
    refused = {r.code for r in results if isinstance(r, Refusal)}
    assert refused == {"coupon_not_claimed"} and await prices.unspent("amy") == 0


@pytest.mark.parametrize("end", ["cancel", "expire"])
async def test_an_order_that_ends_gives_its_claim_back_once(
    shop: Shop, prices: Prices, end: str
) -> None:
    sku, coupon = await shop.sku(), await prices.coupon()
    await prices.claim(coupon, "amy")
    order = (await prices.buy("amy", (sku, 1), coupons=[coupon.id])).value
    if end == "cancel":
        await asyncio.gather(
            *(shop.cancel(order) for _ in range(4)), shop.sweep(), return_exceptions=True
        )
    shop.clock.pass_s(600)
    await asyncio.gather(*(shop.orders.sweep() for _ in range(4)))
    assert await prices.unspent("amy") == 1
    again = (await prices.buy("amy", (sku, 1), coupons=[coupon.id])).value
    assert again.coupons == (coupon.id,)


@pytest.mark.parametrize("spent", [False, True])
async def test_a_late_payment_takes_its_claim_again_or_is_refunded(
    shop: Shop, prices: Prices, spent: bool
) -> None:
    sku, coupon = await shop.sku(), await prices.coupon()
    await prices.claim(coupon, "amy")
    order = (await prices.buy("amy", (sku, 1), coupons=[coupon.id])).value
    await shop.pay(order, LATE)
    shop.clock.pass_s(900)
    await shop.orders.sweep()
    if spent:
        other = (await prices.buy("amy", (sku, 1), coupons=[coupon.id])).value
        await shop.pay(other, APPROVED)
    for _ in range(3):
        await shop.sandbox.send_due()
        shop.clock.pass_s(3600)
        await shop.payments.sweep()
    found = await shop.orders.get(order.id)
    ends = ("expired", "refunded") if spent else ("confirmed", "paid")
    assert (found.state, found.payment) == ends
    assert await prices.unspent("amy") == 0


async def test_a_coupon_that_gives_nothing_here_is_not_spent(shop: Shop, prices: Prices) -> None:
    sku = await shop.sku(price=1000)
    coupon = await prices.coupon(off=500, spend=cny(2000))
    await prices.claim(coupon, "amy")
    quote = await prices.quote("amy", (sku, 1), coupons=[coupon.id])
    assert (quote["coupons"], quote["hints"][0]["missing"]["amount"]) == ([], 1000)
    order = (await prices.buy("amy", (sku, 1), coupons=[coupon.id])).value
    assert (order.coupons, order.total, await prices.unspent("amy")) == ((), cny(1000), 1)


async def test_what_cannot_be_spent_says_why(shop: Shop, prices: Prices) -> None:
    sku = await shop.sku()
    mine, theirs = await prices.coupon(), await prices.coupon(segment="new")
    for id, code in (
        (mine.id, "coupon_not_claimed"),
        (theirs.id, "coupon_not_yours"),
        ("cpn_none", "coupon_not_found"),
    ):
        with pytest.raises(Refusal) as refused:
            await prices.buy("amy", (sku, 1), coupons=[id])
        assert refused.value.code == code
    await prices.claim(mine, "amy")
    await prices.coupons.end(mine.id)
    for attempt in (prices.buy("amy", (sku, 1), coupons=[mine.id]), prices.claim(mine, "ben")):
        with pytest.raises(CouponRefused) as over:
            await attempt
        assert over.value.code == "coupon_over"
    with pytest.raises(Invalid):
        shop.orders.command("amy", {"lines": [{"sku": sku, "qty": 1}], "coupons": "x"})


async def test_a_coupon_for_some_is_claimed_by_these(prices: Prices) -> None:
    coupon = await prices.coupon(segment="new")
    with pytest.raises(CouponRefused):
        await prices.claim(coupon, "amy")
    answer = await prices.coupons.claim(coupon.id, "amy", key="k", segment="new")
    assert answer.value.unspent == 1


async def test_a_coupon_with_a_code_is_claimed_by_it_alone(prices: Prices) -> None:
    coupon = await prices.coupon(code="SPRING")
    with pytest.raises(NotFound):
        await prices.claim(coupon, "amy")
    await prices.coupons.claim("SPRING", "amy", key="k")
    assert await prices.unspent("amy") == 1
    with pytest.raises(AlreadyExists):
        await prices.coupon(code="SPRING")
    with pytest.raises(Invalid):
        await prices.coupon(code="x")


async def test_a_drop_is_told_to_the_room_and_to_those_who_come_later(
    shop: Shop, prices: Prices
) -> None:
    first, second = await prices.coupon(quota=3), await prices.coupon()
    await prices.coupons.drop("room", first.id)
    await prices.coupons.drop("room", second.id)
    await prices.claim(first, "amy")
    dropped = await prices.coupons.dropped("room")
    assert [(each["id"], each["left"]) for each in dropped] == [(second.id, 10), (first.id, 2)]
    assert len(await shop.events("room/room")) == 2
    shop.clock.pass_s(1)
    await prices.coupons.end(first.id)
    with pytest.raises(CouponRefused):
        await prices.coupons.drop("room", first.id)
    assert [each["id"] for each in await prices.coupons.dropped("room")] == [second.id]
    assert await prices.coupons.dropped("other") == []


async def test_a_coupon_in_an_order_whose_time_has_passed_is_spent_again_before_a_sweep(
    shop: Shop, prices: Prices
) -> None:
    sku, coupon = await shop.sku(stock=5), await prices.coupon()
    await prices.claim(coupon, "amy")
    first = (await prices.buy("amy", (sku, 1), coupons=[coupon.id])).value
    with pytest.raises(CouponRefused) as refusal:
        await prices.buy("amy", (sku, 1), coupons=[coupon.id])
    assert refusal.value.code == "coupon_not_claimed"
    with pytest.raises(CouponRefused):
        await prices.quote("amy", (sku, 1), coupons=[coupon.id])
    shop.clock.now = first.expires_ms
    quote = await prices.quote("amy", (sku, 1), coupons=[coupon.id])
    assert quote["total"] == first.total.to_json()
    second = (await prices.buy("amy", (sku, 1), coupons=[coupon.id])).value
    assert (await shop.orders.get(first.id)).state == "expired"
    assert (second.total, await prices.unspent("amy")) == (first.total, 0)
