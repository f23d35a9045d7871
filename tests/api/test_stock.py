"""Stock over HTTP: edits under If-Match and Idempotency-Key, and their log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse

from tests.api.shop_house import Headers, House, bearer, open_house, problem


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path) as house:
        yield house


async def put(
    house: House, sku: str, on_hand: Any, tag: object, key: str = "k", **more: Any
) -> ClientResponse:
    headers = house.admin | {"If-Match": f'"{tag}"', "Idempotency-Key": key}
    body = {"on_hand": on_hand, "reason": "counted"} | more
    return await house.client.put(f"/v1/skus/{sku}/stock", json=body, headers=headers)


async def test_an_edit_moves_what_is_available_and_is_logged(house: House) -> None:
    sku = await house.sku(5)
    await house.buy(sku, 2)
    response = await house.client.get(f"/v1/skus/{sku}/stock", headers=house.staff["finance"])
    before = await response.json()
    assert before == {
        "sku": sku,
        "on_hand": 5,
        "available": 3,
        "reserved": 2,
        "committed": 0,
        "version": before["version"],
        "low_at": None,
    }
    house.clock.pass_s(1)
    changed = await put(house, sku, 9, before["version"])
    after = await changed.json()
    assert (after["on_hand"], after["available"], after["reserved"]) == (9, 7, 2)
    assert changed.headers["ETag"] == f'"{after["version"]}"' != response.headers["ETag"]
    path = f"/v1/skus/{sku}/adjustments?limit=1"
    _, log = await house.ask("GET", path, house.staff["host"])
    assert log["next"] is None
    entry = log["items"][0]
    assert (entry["before"], entry["after"], entry["by"]) == (5, 9, "admin")
    assert entry["reason"] == "counted"


async def test_below_what_orders_hold_is_409_and_changes_nothing(house: House) -> None:
    sku = await house.sku(5)
    await house.buy(sku, 4)
    _, before = await house.ask("GET", f"/v1/skus/{sku}/stock", house.admin)
    response = await put(house, sku, 3, before["version"])
    assert (await response.json())["held"] == 4
    assert await problem(response) == (409, "below_held")
    assert (await house.ask("GET", f"/v1/skus/{sku}/stock", house.admin))[1] == before


async def test_an_edit_sent_again_gets_the_first_answer(house: House) -> None:
    sku = await house.sku(5)
    _, before = await house.ask("GET", f"/v1/skus/{sku}/stock", house.admin)
    first = await put(house, sku, 9, before["version"])
    again = await put(house, sku, 9, before["version"], reason=" counted ")
    assert await again.json() == await first.json()
    assert (again.status, again.headers["Idempotent-Replayed"]) == (200, "true")
    assert "Idempotent-Replayed" not in first.headers
    other = await put(house, sku, 8, before["version"])
    assert await problem(other) == (422, "idempotency_key_reused")
    stale = await put(house, sku, 8, before["version"], "another")
    assert await problem(stale) == (412, "stale")
    both = await asyncio.gather(*(put(house, sku, 7, "*", "twice") for _ in range(2)))
    assert sorted("Idempotent-Replayed" in each.headers for each in both) == [False, True]


async def test_an_edit_without_key_or_if_match_is_refused(house: House) -> None:
    path = f"/v1/skus/{await house.sku()}/stock"
    body = {"on_hand": 1, "reason": "counted"}
    for headers, wanted in (
        ({"If-Match": "*"}, (400, "idempotency_key_missing")),
        ({"If-Match": "*", "Idempotency-Key": "x" * 256}, (422, "invalid")),
        ({"Idempotency-Key": "k"}, (428, "if_match_missing")),
    ):
        response = await house.client.put(path, json=body, headers=house.admin | headers)
        assert await problem(response) == wanted


@pytest.mark.parametrize("on_hand", [-1, 1.0, "1", True, None, 10**9 + 1, 10**40])
async def test_what_is_no_number_of_pieces_is_422(house: House, on_hand: object) -> None:
    response = await put(house, await house.sku(), on_hand, "*")
    assert await problem(response) == (422, "invalid")


@pytest.mark.parametrize("sku", ["no", "a%2Favailable", "%00", "..", "%FF", "x" * 65])
async def test_a_sku_that_is_not_there_is_404(house: House, sku: str) -> None:
    await house.sku(sku="a")
    for path in (f"/v1/skus/{sku}/stock", f"/v1/skus/{sku}/adjustments"):
        assert (await house.ask("GET", path, house.admin))[0] == 404
    assert (await put(house, sku, 1, "*")).status == 404


async def test_stock_is_for_those_whom_the_table_lets(house: House) -> None:
    path = f"/v1/skus/{await house.sku()}/stock"
    body = {"on_hand": 5, "reason": "counted"}

    async def tried(headers: Headers) -> tuple[int, int]:
        more = headers | house.key() | {"If-Match": "*"}
        read = (await house.ask("GET", path, headers))[0]
        return read, (await house.ask("PUT", path, more, body))[0]

    assert await tried(house.staff["host"]) == (200, 200)
    assert await tried(house.staff["operator"]) == (200, 200)
    assert await tried(house.staff["finance"]) == (200, 403)
    assert await tried(house.staff["engineer"]) == (403, 403)
    assert await tried(house.staff["moderator"]) == (403, 403)
    assert await tried(house.viewer()) == (403, 403)
    assert await tried({}) == (401, 401)
    assert await tried(bearer(house.stream_key)) == (401, 401)


async def test_a_mark_for_few_is_set_kept_and_taken_away(house: House) -> None:
    sku = await house.sku(5)
    for given, kept in (({"low_at": 2}, 2), ({}, 2), ({"low_at": None}, None)):
        headers = house.admin | house.key() | {"If-Match": "*"}
        body = {"on_hand": 5, "reason": "counted", **given}
        status, said = await house.ask("PUT", f"/v1/skus/{sku}/stock", headers, body)
        assert (status, said["low_at"]) == (200, kept)
