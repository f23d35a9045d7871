"""Quotes over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from mediaserver.api.auth import CALLERS
from mediaserver.api.limits import AddressLimiter
from mediaserver.api.problem import install
from mediaserver.api.quotes import QuotesApi
from tests.api.shop_house import House, open_house, problem


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path) as house:
        yield house


async def test_anybody_gets_the_price_with_its_version(house: House) -> None:
    product = await house.product()
    sku = product["skus"][0]
    lines = [{"sku": sku["sku"], "qty": 1}, {"sku": sku["sku"], "qty": 2}]
    status, quote = await house.ask("POST", "/v1/quotes", json={"lines": lines})
    assert (status, quote["price_version"]) == (200, sku["price_version"])
    assert quote["total"] == {"amount": 5970, "currency": "CNY"}
    assert [line["qty"] for line in quote["lines"]] == [3]


async def test_what_has_no_price_says_why(house: House) -> None:
    yuan, euro = await house.sku(), await house.sku(currency="EUR")
    dear = await house.sku(amount=2**53 - 1)
    refused = {
        (400, "mixed_currency"): [{"sku": yuan, "qty": 1}, {"sku": euro, "qty": 1}],
        (404, "sku_not_found"): [{"sku": "nothing", "qty": 1}],
        (409, "limit_reached"): [{"sku": yuan, "qty": 10**30}],
    }
    for wanted, lines in refused.items():
        response = await house.client.post("/v1/quotes", json={"lines": lines})
        assert await problem(response) == wanted
    wrong = [[], [{"sku": yuan, "qty": 0}], [{"sku": yuan, "qty": 1.5}], [{"sku": dear, "qty": 2}]]
    wrong.append([{"sku": yuan, "qty": 1}] * 51)
    for lines in wrong:
        response = await house.client.post("/v1/quotes", json={"lines": lines})
        assert await problem(response) == (422, "invalid")


async def test_who_asks_too_often_is_told_when_to_come_back(house: House) -> None:
    limiter = AddressLimiter(per_s=0.01, burst=1)
    app = web.Application()
    app[CALLERS] = house.callers
    install(app)
    app.add_routes(QuotesApi(house.orders, limiter).routes())
    body = {"lines": [{"sku": await house.sku(), "qty": 1}]}
    async with TestClient(TestServer(app)) as client:
        assert (await client.post("/v1/quotes", json=body)).status == 200
        second = await client.post("/v1/quotes", json=body)
        assert await problem(second) == (429, "too_many")
        assert second.headers["Retry-After"] == "100"
