"""Promotions in the shop, and quotes: what was quoted is charged, or the new quote is told."""

from __future__ import annotations

from random import Random
from typing import Any

import msgpack
import pytest

from commerce.errors import (
    Invalid,
    KeyReused,
    LimitReached,
    MixedCurrency,
    NotFound,
    PriceChanged,
)
from commerce.money import total
from commerce.order_record import unpack
from commerce.orders import order_key
from commerce.pricing.rules import KEY, RULES_MAX, PriceRules, pack_rules, read_rules
from tests.commerce.prices import Prices, cny, rule
from tests.commerce.shop import Shop


@pytest.fixture
def prices(shop: Shop) -> Prices:
    return Prices(shop)


async def test_what_was_quoted_is_charged(shop: Shop, prices: Prices) -> None:
    one, two = await shop.sku(price=10_000), await shop.sku(price=3333)
    off = await prices.promotions.create(
        rule("threshold", spend=cny(10_000), off=cny(1000)), by="host"
    )
    quote = await prices.quote("amy", (one, 1), (two, 1))
    order = (
        await prices.buy("amy", (two, 1), (one, 1), price_version=quote["price_version"])
    ).value
    assert quote["total"] == order.total.to_json() == {"amount": 12_333, "currency": "CNY"}
    assert order.discounts[0].id == off.rule.id
    assert sum(line.total.amount for line in order.lines) == order.total.amount
    assert {line.sku: line.discount for line in order.lines} == {one: cny(750), two: cny(250)}
    kept = (await shop.store.load([order_key(order.id)]))[order_key(order.id)]
    assert unpack(*kept) == await shop.orders.get(order.id)


async def test_whatever_is_in_the_cart_the_quote_is_what_is_charged(
    shop: Shop, prices: Prices
) -> None:
    random = Random(7)
    skus = [await shop.sku(stock=500, price=amount) for amount in (1, 99, 1990, 4001)]
    await prices.sale(skus[2], 990, quota=20, per_buyer=4)
    await prices.sale(skus[3], 3999)
    rules: list[tuple[str, dict[str, Any]]] = [
        ("threshold", {"spend": cny(5000), "off": cny(333), "every": True}),
        ("percent", {"percent": 7, "skus": (skus[0], skus[1])}),
        ("fixed", {"off": cny(3000), "stacks": False, "room": "room"}),
        ("tier", {"tier": "gold", "percent": 15}),
    ]
    for kind, members in rules:
        await prices.promotions.create(rule(kind, **members), by="host")
    coupon = await prices.coupon(off=77, spend=cny(100), quota=100, per_buyer=100)
    for n in range(40):
        sub, tier = f"buyer-{n % 5}", random.choice([None, "gold"])
        await prices.claim(coupon, sub)
        picked = random.sample(skus, random.randint(1, 4))
        lines = [{"sku": sku, "qty": random.randint(1, 5)} for sku in picked]
        body = {"room": "room", "lines": lines, "coupons": [coupon.id]}
        cost = await shop.orders.quote(shop.orders.command(sub, body, tier=tier))
        body["price_version"] = cost.version
        command = shop.orders.command(sub, body, tier=tier)
        order = (await shop.orders.place(command, shop.key())).value
        assert (order.total, order.discounts) == (cost.total, cost.discounts)
        assert order.total == total([line.total for line in order.lines])
        left = sum(line.subtotal.amount for line in order.lines) - order.total.amount
        assert left == sum(discount.amount.amount for discount in order.discounts)


async def test_a_quote_of_one_line_has_the_skus_version_and_of_more_its_own(
    shop: Shop, prices: Prices
) -> None:
    one, two = (await shop.product()).skus[0], (await shop.product(price=5)).skus[0]
    single = await prices.quote("amy", (one.sku, 3))
    assert single["price_version"] == one.price_version
    assert single["total"] == {"amount": 5970, "currency": "CNY"}
    both = await prices.quote("amy", (one.sku, 1), (two.sku, 2))
    again = await prices.quote("ben", (two.sku, 9), (one.sku, 9))
    assert both["price_version"] == again["price_version"]
    assert both["price_version"] not in (one.price_version, two.price_version)
    euro = await shop.sku(currency="EUR")
    with pytest.raises(MixedCurrency):
        await prices.quote("amy", (one.sku, 1), (euro, 1))
    with pytest.raises(NotFound):
        await prices.quote("amy", ("nothing", 1))


async def test_another_price_is_refused_with_the_new_quote(shop: Shop, prices: Prices) -> None:
    sku = await shop.sku(price=10_000)
    quote = await prices.quote("amy", (sku, 1))
    made = await prices.promotions.create(rule("percent", percent=15), by="host")
    version = quote["price_version"]
    with pytest.raises(PriceChanged) as refused:
        await prices.buy("amy", (sku, 1), price_version=version)
    new = refused.value.extra["quote"]
    assert new == await prices.quote("amy", (sku, 1)) and new["total"]["amount"] == 8500
    order = (await prices.buy("amy", (sku, 1), price_version=new["price_version"])).value
    assert order.total == cny(8500)
    shop.clock.pass_s(1)
    await prices.promotions.end(made.rule.id)
    with pytest.raises(PriceChanged):
        await prices.buy("amy", (sku, 1), price_version=new["price_version"])
    assert (await prices.buy("amy", (sku, 1), price_version=version)).value.total == cny(10_000)


async def test_members_pay_what_their_token_says(shop: Shop, prices: Prices) -> None:
    sku = await shop.sku(price=1000)
    await prices.promotions.create(rule("tier", tier="gold", percent=20), by="host")
    assert (await prices.quote("amy", (sku, 1)))["total"]["amount"] == 1000
    quote = await prices.quote("amy", (sku, 1), tier="gold")
    assert quote["total"]["amount"] == 800
    assert quote["discounts"][0]["label"]["zh"] == "Spring：会员（gold）8折"
    body = {"room": "room", "lines": [{"sku": sku, "qty": 1}]}
    command = shop.orders.command("amy", body, tier="gold")
    assert (await shop.orders.place(command, "k")).value.total == cny(800)
    again = await shop.orders.place(shop.orders.command("amy", body), "k")
    assert (again.value.total, again.replayed) == (cny(800), True)


async def test_an_ended_promotion_is_kept_and_ends_once(shop: Shop, prices: Prices) -> None:
    made = await prices.promotions.create(rule("percent", percent=15), by="host")
    shop.clock.pass_s(5)
    ended = await prices.promotions.end(made.rule.id)
    shop.clock.pass_s(5)
    assert (await prices.promotions.end(made.rule.id)).rule == ended.rule
    assert read_rules(await shop.store.load([KEY])).promotions == ()
    other = await prices.promotions.create(rule("fixed", off=cny(1)), by="host")
    found, cursor = await prices.promotions.list(limit=1)
    assert [each.rule.id for each in found] == [other.rule.id] and cursor is not None
    found, cursor = await prices.promotions.list(limit=1, after=cursor)
    assert [each.rule for each in found] == [ended.rule] and cursor is None
    with pytest.raises(NotFound):
        await prices.promotions.get("prm_none")
    with pytest.raises(Invalid):
        await prices.promotions.list(after="x")


async def test_promotions_that_are_over_make_room_for_others(shop: Shop, prices: Prices) -> None:
    end_ms = shop.clock.now + 1000
    full = tuple(
        rule("percent", f"prm_{n:026}", percent=1, ends_ms=end_ms) for n in range(RULES_MAX)
    )
    await shop.store.commit("c", writes={KEY: pack_rules(PriceRules((), full))})
    with pytest.raises(LimitReached):
        await prices.promotions.create(rule("percent", percent=15), by="host")
    shop.clock.pass_s(1)
    await prices.promotions.create(rule("percent", percent=15), by="host")
    assert len(read_rules(await shop.store.load([KEY])).promotions) == 1


@pytest.mark.parametrize(
    ("kind", "members"),
    [
        ("threshold", {"off": cny(1)}),
        ("threshold", {"spend": cny(0), "off": cny(1)}),
        ("fixed", {"off": cny(1), "percent": 5}),
        ("fixed", {"off": cny(0)}),
        ("fixed", {"percent": 5}),
        ("percent", {"percent": 101}),
        ("percent", {"percent": 5, "every": True}),
        ("percent", {"percent": 5, "tier": "gold"}),
        ("tier", {"percent": 5}),
        ("tier", {"tier": "gold", "price": cny(5)}),
        ("percent", {"percent": 5, "ends_ms": 1}),
        ("percent", {"percent": 5, "starts_ms": 2**60}),
        ("percent", {"percent": 5, "skus": ("a b",)}),
        ("percent", {"percent": 5, "title": ""}),
        ("percent", {"percent": 5, "group": "a b"}),
    ],
)
async def test_a_promotion_that_is_none_is_refused(
    prices: Prices, kind: str, members: dict[str, Any]
) -> None:
    with pytest.raises(Invalid):
        await prices.promotions.create(rule(kind, **members), by="host")


async def test_coupons_are_a_part_of_the_command_that_a_key_stands_for(
    shop: Shop, prices: Prices
) -> None:
    sku, coupon = await shop.sku(), await prices.coupon()
    await prices.claim(coupon, "amy")
    await prices.buy("amy", (sku, 1), key="k", coupons=[coupon.id])
    assert (await prices.buy("amy", (sku, 1), key="k", coupons=[coupon.id])).replayed
    with pytest.raises(KeyReused):
        await prices.buy("amy", (sku, 1), key="k")


def test_an_order_of_before_there_were_discounts_is_read() -> None:
    old: dict[str, Any] = {
        "id": "ord_1",
        "sub": "amy",
        "room": None,
        "lines": [
            {
                "sku": "a",
                "product": "p",
                "title": "Cup",
                "options": {},
                "qty": 2,
                "unit": {"amount": 5, "currency": "CNY"},
                "limited": False,
            }
        ],
        "total": {"amount": 10, "currency": "CNY"},
        "price_version": "pv_1",
        "state": "reserved",
        "payment": "none",
        "fulfilment": "none",
        "reserved_until_ms": 1,
        "expires_ms": 1,
        "created_ms": 1,
        "updated_ms": 1,
        "contact": None,
        "referral": None,
        "payments": [],
        "paid_by": None,
        "tracking": None,
        "demo": False,
    }
    order = unpack(msgpack.packb(old), 3)
    assert order is not None and order.discounts == () and order.coupons == ()
    assert order.lines[0].total == cny(10) == order.total
    assert order.lines[0].to_json()["list_unit"] == {"amount": 5, "currency": "CNY"}
