"""Disputes over HTTP: who reads them, who notes evidence, and what the order shows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.shop_house import House, open_house

LIST = "/v1/payments/disputes"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path) as house:
        yield house


async def disputed(house: House) -> dict[str, Any]:
    """The dispute of a paid order, told by the sandbox's bank."""
    order = await house.paid(await house.sku())
    _, order = await house.ask("GET", f"/v1/orders/{order['id']}", house.viewer())
    path = f"/v1/sandbox/payments/{order['payments'][0]}/dispute"
    status, _ = await house.ask("POST", path, house.staff["finance"], {"said": "opened"})
    assert (status, await house.sandbox.send_due()) == (204, 1)
    _, found = await house.ask("GET", LIST, house.staff["finance"])
    dispute: dict[str, Any] = found["items"][0]
    assert (dispute["order"], dispute["state"], found["next"]) == (order["id"], "open", None)
    return dispute


async def test_finance_reads_a_dispute_notes_evidence_once_and_sees_it_end(house: House) -> None:
    dispute = await disputed(house)
    finance = house.staff["finance"]
    path = f"{LIST}/{dispute['id']}"
    for _ in range(2):
        headers = finance | house.key("note")
        noted = await house.made(f"{path}/evidence", {"text": "a receipt"}, headers)
        assert [each["text"] for each in noted["evidence"]] == ["a receipt"]
    bank = f"/v1/sandbox/payments/{dispute['payment']}/dispute"
    for status in (204, 422):
        assert (await house.ask("POST", bank, finance, {"said": "lost"}))[0] == status
    await house.sandbox.send_due()
    _, read = await house.ask("GET", path, finance)
    assert (read["state"], len(read["evidence"])) == ("lost", 1)
    _, order = await house.ask("GET", f"/v1/orders/{dispute['order']}", house.viewer())
    assert order["payment"] == "refunded"


async def test_others_see_no_disputes(house: House) -> None:
    dispute = await disputed(house)
    path = f"{LIST}/{dispute['id']}"
    for headers in (
        house.viewer(),
        house.order_key(dispute["order"]),
        *(house.staff[role] for role in ("host", "moderator", "engineer")),
    ):
        assert (await house.ask("GET", LIST, headers))[0] == 403
        assert (await house.ask("GET", path, headers))[0] == 403
        headers = headers | house.key()
        assert (await house.ask("POST", f"{path}/evidence", headers, {"text": "x"}))[0] == 403
    elsewhere = house.viewer("fin", "other", "finance")
    assert (await house.ask("GET", LIST, elsewhere))[1] == {"items": [], "next": None}
    there, none = ((f"{LIST}/{id}") for id in (dispute["id"], f"dsp_{'0' * 26}"))
    assert await house.ask("GET", there, elsewhere) == await house.ask("GET", none, elsewhere)
    assert (await house.ask("GET", there, elsewhere))[0] == 404
    noting = elsewhere | house.key()
    assert (await house.ask("POST", f"{path}/evidence", noting, {"text": "x"}))[0] == 404
    cursor = await house.ask("GET", f"{LIST}?cursor={dispute['id']}", elsewhere)
    assert (cursor[0], cursor[1]["code"]) == (404, "dispute_not_found")
    assert (await house.ask("GET", LIST))[0] == 401
    nowhere = f"{LIST}/dsp_{'0' * 26}"
    assert (await house.ask("GET", nowhere, house.admin))[1]["code"] == "dispute_not_found"
    assert (await house.ask("GET", f"{LIST}?cursor=x", house.admin))[0] == 422


async def test_finance_reads_the_reconciliation_and_others_do_not(house: House) -> None:
    await house.paid(await house.sku())
    path = "/v1/payments/reconciliation?from=2027-01-01&to=2027-04-01"
    status, read = await house.ask("GET", path, house.staff["finance"])
    assert status == 200
    [row] = read["items"]
    assert (row["captured"]["amount"], row["payments"], read["mismatches"]) == (1990, 1, [])
    sheet = await house.client.get(f"{path}&format=csv", headers=house.staff["operator"])
    assert (sheet.status, sheet.content_type) == (200, "text/csv")
    assert len((await sheet.text()).splitlines()) == 2
    for headers in (house.viewer(), house.staff["host"], house.staff["engineer"]):
        assert (await house.ask("GET", path, headers))[0] == 403
    long = path.replace("2027-01", "2025-01")
    assert (await house.ask("GET", long, house.admin))[1]["code"] == "invalid"


async def test_finance_of_a_room_works_on_the_disputes_of_that_room(house: House) -> None:
    dispute = await disputed(house)
    here = house.viewer("fin", "shop", "finance")
    _, found = await house.ask("GET", LIST, here)
    assert [each["id"] for each in found["items"]] == [dispute["id"]]
    path = f"{LIST}/{dispute['id']}"
    noted = await house.made(f"{path}/evidence", {"text": "a receipt"}, here | house.key())
    assert [each["by"] for each in noted["evidence"]] == ["fin"]
    assert (await house.ask("GET", path, here))[0] == 200
