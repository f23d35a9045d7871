"""Flash sales, promotions and coupons over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from commerce.timestamps import rfc3339
from tests.api.shop_house import House, open_house, problem

SALES = "/v1/rooms/shop/flash-sales"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path) as house:
        yield house


def cny(amount: int) -> dict[str, Any]:
    return {"amount": amount, "currency": "CNY"}


async def scheduled(house: House, sku: str, **more: Any) -> dict[str, Any]:
    ends_at = rfc3339(house.clock.now + 60_000)
    body = {"sku": sku, "price": cny(990), "quota": 3, "ends_at": ends_at, **more}
    return await house.made(SALES, body, house.staff["host"])


async def test_a_sale_is_scheduled_bought_at_and_ended(house: House) -> None:
    sku = await house.sku(5)
    sale = await scheduled(house, sku)
    assert (sale["state"], sale["per_buyer"]) == ("scheduled", 1)
    assert sale["starts_at"] == rfc3339(house.clock.now + 8_000)
    house.clock.pass_s(8)
    body = {"lines": [{"sku": sku, "qty": 1}]}
    quote = (await house.ask("POST", "/v1/quotes", house.viewer(), body))[1]
    assert quote["price_version"] == sale["price_version"]
    order = await house.buy(sku, price_version=sale["price_version"])
    assert (order["total"], order["lines"][0]["sale"]) == (cny(990), sale["id"])
    assert order["lines"][0]["list_unit"] == cny(1990)
    path = f"{SALES}/{sale['id']}"
    assert (await house.ask("GET", path))[1]["left"] == 2
    assert [each["id"] for each in (await house.ask("GET", SALES))[1]["items"]] == [sale["id"]]
    status, ended = await house.ask("POST", f"{path}/end", house.staff["host"])
    assert (status, ended["state"]) == (200, "ended")
    again = await house.client.post(f"{path}/end", headers=house.staff["host"])
    assert await problem(again) == (409, "sale_over")


async def test_a_sale_that_is_none_says_why(house: House) -> None:
    sku = await house.sku(5)
    good = {"sku": sku, "price": cny(990), "ends_at": rfc3339(house.clock.now + 60_000)}
    wrong: list[tuple[dict[str, Any], tuple[int, str]]] = [
        ({"sku": "none"}, (404, "sku_not_found")),
        ({"price": cny(1990)}, (422, "invalid")),
        ({"price": {"amount": 9, "currency": "EUR"}}, (422, "invalid")),
        ({"ends_at": "2020-01-01T00:00:00Z"}, (422, "invalid")),
        ({"ends_at": "tomorrow"}, (422, "invalid")),
        ({"per_buyer": 2}, (422, "invalid")),
        ({"color": "red"}, (422, "invalid")),
    ]
    for more, refused in wrong:
        response = await house.client.post(SALES, json=good | more, headers=house.admin)
        assert await problem(response) == refused, more
    for path in (f"{SALES}/sal_none", "/v1/rooms/none/flash-sales"):
        assert (await house.ask("GET", path))[0] == 404


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (SALES, {"sku": "a", "price": cny(1), "ends_at": "2030-01-01T00:00:00Z"}),
        ("/v1/promotions", {"kind": "percent", "title": "Spring", "percent": 5}),
        ("/v1/coupons", {"title": "Spring", "percent": 5, "quota": 1}),
        ("/v1/rooms/shop/coupon-drops", {"coupon": "cpn_none"}),
    ],
)
async def test_prices_are_made_by_host_and_operator_alone(
    house: House, path: str, body: dict[str, Any]
) -> None:
    for role in ("moderator", "finance", "engineer"):
        assert (await house.ask("POST", path, house.staff[role], body))[0] == 403
    assert (await house.ask("POST", path, house.viewer(), body))[0] == 403
    assert (await house.ask("POST", path, None, body))[0] == 401
    for role in ("host", "operator"):
        assert (await house.ask("POST", path, house.staff[role], body))[0] in (201, 404)


async def test_a_promotion_is_explained_on_the_quote_until_it_ends(house: House) -> None:
    sku = await house.sku(9, amount=6000)
    body = {
        "kind": "threshold",
        "title": "Spring",
        "spend": cny(10_000),
        "off": cny(1500),
    }
    made = await house.made("/v1/promotions", body, house.staff["operator"])
    assert made["label"]["zh"] == "Spring：满100.00减15.00"

    async def quoted(qty: int) -> dict[str, Any]:
        lines = {"lines": [{"sku": sku, "qty": qty}]}
        document: dict[str, Any] = (await house.ask("POST", "/v1/quotes", None, lines))[1]
        return document

    assert (await quoted(1))["hints"][0]["missing"] == cny(4000)
    two = await quoted(2)
    assert (two["total"], two["discounts"][0]["amount"]) == (cny(10_500), cny(1500))
    path = f"/v1/promotions/{made['id']}"
    assert (await house.ask("GET", path, house.admin))[1] == made
    house.clock.pass_s(1)
    assert (await house.ask("POST", f"{path}/end", house.admin))[1]["ends_at"] is not None
    listed = (await house.ask("GET", "/v1/promotions", house.admin))[1]["items"]
    assert [each["id"] for each in listed] == [made["id"]]
    stale = {"lines": [{"sku": sku, "qty": 2}], "price_version": two["price_version"]}
    headers = house.viewer() | house.key()
    response = await house.client.post("/v1/orders", json=stale, headers=headers)
    refused = await response.json()
    assert (response.status, refused["code"]) == (409, "price_changed")
    assert refused["quote"] == await quoted(2)


async def test_a_coupon_is_dropped_claimed_and_spent(house: House) -> None:
    sku = await house.sku(5)
    body = {"title": "Thanks", "off": cny(500), "quota": 1}
    coupon = await house.made("/v1/coupons", body, house.staff["host"])
    assert (coupon["left"], coupon["code"]) == (1, None)
    drop = await house.made(
        "/v1/rooms/shop/coupon-drops", {"coupon": coupon["id"]}, house.staff["host"]
    )
    assert "code" not in drop
    path = f"/v1/coupons/{coupon['id']}/claims"
    missing = await house.client.post(path, headers=house.viewer())
    assert await problem(missing) == (400, "idempotency_key_missing")
    key = house.key()
    claim = await house.made(path, {}, house.viewer() | key)
    assert claim == {"coupon": coupon["id"], "claimed": 1, "unspent": 1}
    again = await house.client.post(path, headers=house.viewer() | key)
    assert again.headers["Idempotent-Replayed"] == "true" and await again.json() == claim
    gone = await house.client.post(path, headers=house.viewer("bob") | house.key())
    assert await problem(gone) == (409, "coupon_gone")
    mine = (await house.ask("GET", "/v1/coupon-claims", house.viewer()))[1]["items"]
    assert [each["coupon"]["id"] for each in mine] == [coupon["id"]]
    lines = {"lines": [{"sku": sku, "qty": 1}], "coupons": [coupon["id"]]}
    theirs = await house.client.post("/v1/quotes", json=lines, headers=house.viewer("bob"))
    assert await problem(theirs) == (409, "coupon_not_claimed")
    quote = (await house.ask("POST", "/v1/quotes", house.viewer(), lines))[1]
    order = await house.buy(sku, coupons=[coupon["id"]], price_version=quote["price_version"])
    assert order["total"] == quote["total"] == cny(1490)
    assert (order["coupons"], order["discounts"]) == ([coupon["id"]], quote["discounts"])
    assert (await house.ask("GET", "/v1/coupon-claims", house.viewer()))[1]["items"] == []
    ended = await house.ask("POST", f"/v1/coupons/{coupon['id']}/end", house.admin)
    assert ended[0] == 200
    listed = (await house.ask("GET", "/v1/coupons", house.admin))[1]["items"]
    assert [each["id"] for each in listed] == [coupon["id"]]


async def test_a_code_is_known_to_those_who_were_told(house: House) -> None:
    body = {"title": "Thanks", "percent": 10, "quota": 9, "code": "SPRING"}
    coupon = await house.made("/v1/coupons", body, house.admin)
    taken = await house.client.post("/v1/coupons", json=body, headers=house.admin)
    assert await problem(taken) == (409, "coupon_exists")
    by_id = f"/v1/coupons/{coupon['id']}/claims"
    wrong = await house.client.post(by_id, headers=house.viewer() | house.key())
    assert await problem(wrong) == (404, "coupon_not_found")
    claim = await house.made("/v1/coupons/SPRING/claims", {}, house.viewer() | house.key())
    assert claim["coupon"] == coupon["id"]
    assert "code" not in (await house.ask("GET", "/v1/coupons/SPRING", house.viewer()))[1]


async def test_a_members_token_makes_his_price(house: House) -> None:
    sku = await house.sku(9, amount=1000)
    body = {"kind": "tier", "title": "Club", "tier": "gold", "percent": 12}
    await house.made("/v1/promotions", body, house.admin)
    gold = {"Authorization": f"Bearer {house.tokens.issue('shop', 'eve', tier='gold').token}"}
    lines = {"lines": [{"sku": sku, "qty": 1}]}
    assert (await house.ask("POST", "/v1/quotes", house.viewer(), lines))[1]["total"] == cny(1000)
    quote = (await house.ask("POST", "/v1/quotes", gold, lines))[1]
    assert quote["discounts"][0]["label"]["zh"] == "Club：会员（gold）8.8折"
    order = await house.made("/v1/orders", lines, gold | house.key())
    assert order["total"] == quote["total"] == cny(880)
    other = await house.client.post("/v1/quotes", json=lines | {"room": "other"}, headers=gold)
    assert await problem(other) == (403, "wrong_room")
