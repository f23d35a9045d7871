"""Products, prices and quotes over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.shop_house import CNY, ROLES, House, bearer, open_house, problem


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path) as house:
        yield house


async def change(house: House, product: dict[str, Any], headers: Any = None, **body: Any) -> Any:
    headers = house.admin | (headers or {"If-Match": f'"{product["version"]}"'})
    return await house.client.patch(f"/v1/products/{product['id']}", json=body, headers=headers)


async def test_a_product_is_made_and_read_with_its_stock_by_anybody(house: House) -> None:
    sku = {"sku": "cup-red", "price": CNY, "stock": 3, "options": {"颜色": "红"}, "per_buyer": 2}
    body = {"title": "杯", "merchant": "Kiln", "category": "Cups", "skus": [sku]}
    response = await house.client.post("/v1/products", json=body, headers=house.staff["host"])
    made = await response.json()
    assert response.status == 201
    assert response.headers["Location"] == f"/v1/products/{made['id']}"
    shown = made["skus"][0]
    assert (made["title"], made["merchant"], made["category"]) == ("杯", "Kiln", "Cups")
    assert (shown["available"], shown["held"], shown["price"]) == (3, False, CNY)
    again = await house.client.get(f"/v1/products/{made['id']}")
    assert await again.json() == made
    assert again.headers["ETag"] == response.headers["ETag"] == f'"{made["version"]}"'
    await house.buy("cup-red")
    sold = (await house.ask("GET", f"/v1/products/{made['id']}"))[1]["skus"][0]
    assert (sold["available"], sold["held"]) == (2, True)


@pytest.mark.parametrize(
    "wrong",
    [
        {"title": ""},
        {"title": 5},
        {"skus": []},
        {"skus": [{"price": {"amount": 19.9, "currency": "CNY"}, "stock": 1}]},
        {"skus": [{"price": {"amount": "1990", "currency": "CNY"}, "stock": 1}]},
        {"skus": [{"price": {"amount": True, "currency": "CNY"}, "stock": 1}]},
        {"skus": [{"price": {"amount": -1, "currency": "CNY"}, "stock": 1}]},
        {"skus": [{"price": {"amount": 2**53, "currency": "CNY"}, "stock": 1}]},
        {"skus": [{"price": {"amount": 1, "currency": "XXX"}, "stock": 1}]},
        {"skus": [{"price": CNY, "stock": -1}]},
        {"skus": [{"price": CNY, "sku": "a/b"}]},
        {"skus": [{"price": CNY, "colour": "red"}]},
        {"image": "img_00000000000000000000000000000000"},
        {"colour": "red"},
    ],
)
async def test_what_is_no_product_is_422_and_nothing_is_made(
    house: House, wrong: dict[str, object]
) -> None:
    body = {"title": "Cup", "skus": [{"price": CNY}]} | wrong
    response = await house.client.post("/v1/products", json=body, headers=house.admin)
    assert await problem(response) == (422, "invalid")
    assert await house.ask("GET", "/v1/products") == (200, {"items": [], "next": None})


async def test_only_who_may_write_products_does(house: House) -> None:
    body = {"title": "Cup", "skus": [{"price": CNY}]}
    callers = {"nobody": {}, "viewer": house.viewer(), "stream key": bearer(house.stream_key)}
    callers |= {role: house.staff[role] for role in ROLES}
    statuses = {
        who: (await house.ask("POST", "/v1/products", headers, body))[0]
        for who, headers in callers.items()
    }
    assert {who for who, status in statuses.items() if status == 201} == {"host", "operator"}
    assert {who for who, status in statuses.items() if status == 401} == {"nobody", "stream key"}
    assert set(statuses.values()) == {201, 401, 403}


async def test_products_are_listed_in_pages_and_found_by_title(house: House) -> None:
    for title in ("Red CUP", "Jug", "cup of tea"):
        body = {"title": title, "skus": [{"price": CNY}]}
        await house.made("/v1/products", body, house.admin)
        house.clock.pass_s(0.001)
    _, first = await house.ask("GET", "/v1/products?limit=2")
    _, rest = await house.ask("GET", f"/v1/products?limit=2&cursor={first['next']}")
    assert [len(first["items"]), len(rest["items"]), rest["next"]] == [2, 1, None]
    _, found = await house.ask("GET", "/v1/products?search=Cup&cursor=")
    assert [product["title"] for product in found["items"]] == ["Red CUP", "cup of tea"]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("limit=0", 400),
        ("limit=x", 400),
        ("limit=201", 400),
        ("qq=a", 400),
        ("cursor=../x", 422),
        ("cursor=%FF", 422),
        ("search=%00", 422),
        ("search=" + "x" * 201, 422),
    ],
)
async def test_a_bad_query_is_refused(house: House, query: str, status: int) -> None:
    assert (await house.ask("GET", f"/v1/products?{query}"))[0] == status


async def test_a_change_wants_the_etag_that_stands(house: House) -> None:
    product = await house.product()
    path, body = f"/v1/products/{product['id']}", {"title": "Mug"}
    missing = await house.client.patch(path, json=body, headers=house.admin)
    assert await problem(missing) == (428, "if_match_missing")
    for tag in ('"1"', f'W/"{product["version"]}"', "nonsense", f"{product['version']}"):
        stale = await change(house, product, {"If-Match": tag}, **body)
        assert await problem(stale) == (412, "stale")
    changed = await change(house, product, **body)
    document = await changed.json()
    assert (changed.status, document["title"]) == (200, "Mug")
    assert changed.headers["ETag"] == f'"{document["version"]}"' != f'"{product["version"]}"'
    assert await problem(await change(house, product, title="Jug")) == (412, "stale")
    anyhow = await change(house, product, {"If-Match": "*"}, merchant="Kiln", category="Cups")
    document = await anyhow.json()
    assert (document["title"], document["merchant"]) == ("Mug", "Kiln")
    assert document["category"] == "Cups"


async def test_of_two_changes_at_once_one_is_stale(house: House) -> None:
    product = await house.product()
    both = await asyncio.gather(*(change(house, product, title=title) for title in ("a", "b")))
    assert sorted(response.status for response in both) == [200, 412]


async def test_a_change_reaches_skus_and_adds_new_ones(house: House) -> None:
    product = await house.product()
    code = product["skus"][0]["sku"]
    patched = {"sku": code, "price": {"amount": 5, "currency": "CNY"}, "per_buyer": 3}
    response = await change(
        house, product, skus=[patched], new_skus=[{"sku": "big", "price": CNY, "stock": 7}]
    )
    old, new = (await response.json())["skus"]
    assert (old["price"]["amount"], old["per_buyer"]) == (5, 3)
    assert (new["sku"], new["available"]) == ("big", 7)
    unknown = await change(house, await response.json(), skus=[{"sku": "no", "per_buyer": 1}])
    assert await problem(unknown) == (404, "sku_not_found")


async def test_a_price_is_set_under_its_own_version(house: House) -> None:
    sku = await house.sku()
    path = f"/v1/skus/{sku}/price"
    response = await house.client.get(path)
    before = await response.json()
    assert response.headers["ETag"] == f'"{before["price_version"]}"'
    body = {"price": {"amount": 990, "currency": "CNY"}}
    host = house.staff["host"]
    assert await problem(await house.client.put(path, json=body, headers=host)) == (
        428,
        "if_match_missing",
    )
    good = host | {"If-Match": response.headers["ETag"]}
    changed = await house.client.put(path, json=body, headers=good)
    after = await changed.json()
    assert (changed.status, after["price"]["amount"]) == (200, 990)
    assert after["price_version"] != before["price_version"]
    assert changed.headers["ETag"] == f'"{after["price_version"]}"'
    assert await problem(await house.client.put(path, json=body, headers=good)) == (412, "stale")
    finance = house.staff["finance"] | {"If-Match": "*"}
    assert (await house.ask("PUT", path, finance, body))[0] == 403
    await house.buy(sku)  # over the same connection, and no act of the staff's
    entry = (await house.audit.page())[0][0]
    assert (entry.by, entry.act, entry.target) == ("key:host", "prices.write", {"sku": sku})


@pytest.mark.parametrize("path", ["/v1/products/x", "/v1/skus/no/price", "/v1/skus/a%2Fb/price"])
async def test_what_is_not_there_is_404(house: House, path: str) -> None:
    assert (await house.ask("GET", path))[0] == 404
    method = "PUT" if "skus" in path else "PATCH"
    body = {"price": CNY} if "skus" in path else {"title": "Mug"}
    assert (await house.ask(method, path, house.admin | {"If-Match": "*"}, body))[0] == 404
