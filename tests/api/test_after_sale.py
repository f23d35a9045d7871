"""After the sale over HTTP: parts of an order are sent, returned and refunded, and who may do it."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.shop_house import APPROVED, Headers, House, open_house, problem


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path) as house:
        yield house


async def paid(house: House, sku: str, qty: int = 2) -> dict[str, Any]:
    order = await house.buy(sku, qty)
    path = f"/v1/orders/{order['id']}/payments"
    await house.made(path, APPROVED, house.viewer() | house.key())
    await house.sandbox.send_due()
    return order


async def act(
    house: House, path: str, body: object = None, headers: Headers | None = None
) -> dict[str, Any]:
    headers = headers or house.staff["operator"]
    status, document = await house.ask("POST", path, headers | house.key(), body or {})
    assert status in (200, 201), document
    return dict(document)


async def refused(house: House, path: str, body: object, headers: Headers) -> tuple[int, str]:
    return await problem(await house.client.post(path, json=body, headers=headers | house.key()))


def lines(sku: str, qty: int) -> dict[str, Any]:
    return {"lines": [{"sku": sku, "qty": qty}]}


async def test_an_order_goes_out_in_parts_comes_back_and_is_paid_back(house: House) -> None:
    sku = await house.sku(5, 1000)
    order = await paid(house, sku)
    at = f"/v1/orders/{order['id']}"
    sent = await act(house, f"{at}/ship", lines(sku, 1) | {"carrier": "SF", "tracking": "SF 1"})
    assert (sent["fulfilment"], sent["tracking"]) == ("partial", "SF 1")
    assert sent["shipments"][0]["lines"] == [{"sku": sku, "qty": 1}]
    assert sent["shipments"][0]["carrier"] == "SF"
    sent = await act(house, f"{at}/ship")
    assert sent["fulfilment"] == "shipped"
    first, second = (each["id"] for each in sent["shipments"])
    assert (await act(house, f"{at}/deliver", {"shipment": first}))["state"] == "confirmed"
    assert (await act(house, f"{at}/deliver", {"shipment": second}))["state"] == "completed"
    made = await act(house, f"{at}/returns", lines(sku, 1) | {"reason": "broken"}, house.viewer())
    assert (made["state"], made["lines"]) == ("requested", [{"sku": sku, "qty": 1}])
    listed = (await house.ask("GET", "/v1/returns", house.staff["operator"]))[1]
    assert [each["id"] for each in listed["items"]] == [made["id"]]
    here = f"/v1/returns/{made['id']}"
    await act(house, f"{here}/approve", {"answer": "send it"})
    received = await act(house, f"{here}/receive", {"restock": False})
    assert (received["state"], received["restocked"]) == ("received", False)
    refunds = (await house.ask("GET", f"{at}/refunds", house.viewer()))[1]["items"]
    assert [(each["amount"]["amount"], each["return"]) for each in refunds] == [(1000, made["id"])]
    assert received["refund"] == refunds[0]["id"]
    await act(house, f"{at}/refunds", {"amount": {"amount": 1, "currency": "CNY"}, "reason": "x"})
    over = {"amount": {"amount": 1000, "currency": "CNY"}, "reason": "x"}
    finance = house.staff["finance"]
    assert await refused(house, f"{at}/refunds", over, finance) == (409, "refund_exceeds")
    both = over | lines(sku, 1)
    assert await refused(house, f"{at}/refunds", both, finance) == (422, "invalid")


async def test_who_may_not_gets_nothing(house: House) -> None:
    sku = await house.sku()
    order = await paid(house, sku)
    at = f"/v1/orders/{order['id']}"
    body = lines(sku, 1) | {"reason": "mine"}
    for path in ("refunds", "returns"):
        assert await refused(house, f"{at}/{path}", body, house.viewer("bob")) == (
            404,
            "order_not_found",
        )
    assert await refused(house, f"{at}/refunds", body, house.viewer()) == (403, "forbidden")
    assert await refused(house, f"{at}/refunds", body, house.staff["host"]) == (
        404,
        "order_not_found",
    )
    assert await refused(house, f"{at}/returns", body, house.viewer()) == (
        409,
        "illegal_transition",
    )
    no_key = await house.client.post(f"{at}/refunds", json=body, headers=house.admin)
    assert await problem(no_key) == (400, "idempotency_key_missing")
    negative = lines(sku, -1) | {"reason": "x"}
    assert await refused(house, f"{at}/refunds", negative, house.admin) == (422, "invalid")


async def test_the_pick_list_has_what_is_not_sent_and_settlement_who_is_owed(house: House) -> None:
    body = {"title": "=cmd|' /C calc'!A0", "merchant": "Kiln"}
    price = {"amount": 1000, "currency": "CNY"}
    made = await house.made(
        "/v1/products", body | {"skus": [{"price": price, "stock": 9}]}, house.admin
    )
    sku = made["skus"][0]["sku"]
    order = await paid(house, sku, 3)
    await house.buy(sku, 1)
    at = f"/v1/orders/{order['id']}"
    await act(house, f"{at}/ship", lines(sku, 1))
    operator, finance = house.staff["operator"], house.staff["finance"]
    picked = (await house.ask("GET", "/v1/pick-list?room=shop", operator))[1]
    assert [(each["sku"], each["qty"]) for each in picked["skus"]] == [(sku, 2)]
    assert [each["order"] for each in picked["orders"]] == [order["id"]]
    assert (await house.ask("GET", "/v1/pick-list?room=other", operator))[1]["orders"] == []
    assert (await house.ask("GET", "/v1/pick-list", finance))[0] == 403
    sheet = await house.client.get("/v1/pick-list?format=csv", headers=operator)
    rows = list(csv.DictReader(io.StringIO((await sheet.read()).decode("utf-8-sig"))))
    assert [(row["qty"], row["title"][:2]) for row in rows] == [("2", "'=")]
    await act(house, f"{at}/refunds", lines(sku, 1) | {"reason": "gone"})
    share = (await house.ask("GET", f"{at}/settlement", finance))[1]["items"][0]
    assert (share["merchant"], share["subtotal"]["amount"]) == ("Kiln", 3000)
    assert (share["refunded"]["amount"], share["net"]["amount"]) == (1000, 2000)
    span = "from=2027-01-01&to=2027-02-01"
    totals = (await house.ask("GET", f"/v1/settlement?{span}", finance))[1]["items"]
    assert totals == [share]
    assert (await house.ask("GET", f"{at}/settlement", house.viewer()))[0] == 403
    sheet = await house.client.get(f"/v1/orders/export?{span}&format=csv", headers=finance)
    rows = list(csv.DictReader(io.StringIO((await sheet.read()).decode("utf-8-sig"))))
    assert [(row["order"], row["net"], row["refunded"]) for row in rows] == [
        (order["id"], "20.00", "10.00")
    ]
    assert rows[0]["title"].startswith("'=")
    none = "from=2026-01-01&to=2026-02-01"
    assert (await house.ask("GET", f"/v1/settlement?{none}", finance))[1]["items"] == []
    for wrong in ("from=2027-01-01&to=2027-01-01", "from=x&to=y", "from=0001-01-01&to=0001-02-01"):
        assert (await house.ask("GET", f"/v1/orders/export?{wrong}", finance))[0] == 422
    assert (await house.ask("GET", "/v1/orders/export?to=2027-01-01", finance))[0] == 400


async def test_a_case_is_talked_over_and_closed(house: House) -> None:
    order = await paid(house, await house.sku())
    at, operator = f"/v1/orders/{order['id']}", house.staff["operator"]
    body = {"kind": "damaged", "text": "It is broken.\nSee the picture."}
    made = await act(house, f"{at}/cases", body, house.viewer())
    here = f"/v1/cases/{made['id']}"
    key = house.key()
    said = {"text": "Sorry."}
    first = await house.ask("POST", f"{here}/messages", operator | key, said)
    assert await house.ask("POST", f"{here}/messages", operator | key, said) == first
    assert [each["by"] for each in first[1]["messages"]] == ["buyer", "staff"]
    assert await refused(house, f"{here}/messages", said, house.viewer("bob")) == (
        404,
        "case_not_found",
    )
    assert await refused(house, f"{here}/close", {}, house.viewer()) == (403, "forbidden")
    assert len((await house.ask("GET", "/v1/cases", operator))[1]["items"]) == 1
    assert (await act(house, f"{here}/close"))["state"] == "closed"
    assert (await house.ask("GET", "/v1/cases", operator))[1]["items"] == []
    assert await refused(house, f"{here}/messages", said, house.viewer()) == (
        409,
        "illegal_transition",
    )
    read = (await house.ask("GET", f"{at}/cases", house.viewer()))[1]["items"]
    assert [(each["id"], each["state"]) for each in read] == [(made["id"], "closed")]
    assert (await house.ask("GET", at, house.viewer()))[1]["cases"] == [made["id"]]


async def test_the_buyer_reads_no_notes(house: House) -> None:
    order = await paid(house, await house.sku())
    at = f"/v1/orders/{order['id']}"
    note = await act(house, f"{at}/notes", {"text": "he rang"}, house.staff["finance"])
    read = await house.ask("GET", f"{at}/notes", house.staff["operator"])
    assert read == (200, {"items": [note], "next": None})
    assert (await house.ask("GET", f"{at}/notes", house.viewer()))[0] == 403
    assert (await house.ask("GET", f"{at}/notes", house.viewer("bob")))[0] == 404
    assert "he rang" not in str((await house.ask("GET", at, house.viewer()))[1])


async def test_invoice_data_is_the_buyers_and_goes_with_his_contacts(house: House) -> None:
    order = await paid(house, await house.sku())
    at = f"/v1/orders/{order['id']}/invoice"
    given = {"title": "Kiln Ltd", "tax_id": "91330", "email": ""}
    status, said = await house.ask("PUT", at, house.viewer(), given)
    assert (status, said["invoice"]) == (200, {"title": "Kiln Ltd", "tax_id": "91330"})
    await house.ask("PUT", at, house.viewer(), {"title": "Kiln"})
    assert (await house.ask("GET", at, house.staff["finance"]))[1]["invoice"] == {"title": "Kiln"}
    assert (await house.ask("GET", at, house.viewer("bob")))[0] == 404
    assert (await house.ask("PUT", at, house.admin, given))[0] == 403
    assert (await house.ask("GET", "/v1/contact", house.viewer()))[1]["contact"] is None
    assert (await house.ask("DELETE", "/v1/contact", house.viewer()))[0] == 204
    assert (await house.ask("GET", at, house.viewer()))[1]["invoice"] is None


async def test_staff_of_a_room_works_on_what_is_of_that_room_and_sees_nothing_else(
    house: House,
) -> None:
    sku = await house.sku(5, 1000)
    order, waiting = await paid(house, sku, 1), await paid(house, sku, 1)
    at = f"/v1/orders/{order['id']}"
    here, elsewhere = (house.viewer("op", room, "operator") for room in ("shop", "other"))
    for path in ("ship", "deliver"):
        await act(house, f"{at}/{path}")
    asked = lines(sku, 1) | {"reason": "broken"}
    made = await act(house, f"{at}/returns", asked, house.viewer())
    case = await act(house, f"{at}/cases", {"kind": "damaged", "text": "x"}, house.viewer())

    async def listed(path: str, headers: Headers) -> list[str]:
        status, found = await house.ask("GET", path, headers)
        assert status == 200
        return [each["id"] for each in found["items"]]

    for path, id in (("/v1/returns", made["id"]), ("/v1/cases", case["id"])):
        assert await listed(path, here) == [id]
        assert await listed(path, elsewhere) == []
    picked = [await house.ask("GET", "/v1/pick-list", who) for who in (here, elsewhere)]
    assert [[each["order"] for each in found["orders"]] for _, found in picked] == [
        [waiting["id"]],
        [],
    ]
    nothing = "0" * 26
    for path, act_on in (
        (f"/v1/returns/{made['id']}", "approve"),
        (f"/v1/cases/{case['id']}", "close"),
    ):
        none = path[: path.index("_") + 1] + nothing
        answers = [await house.ask("GET", each, elsewhere) for each in (path, none)]
        assert answers[0] == answers[1]
        assert answers[0][0] == 404
        both = [await refused(house, f"{each}/{act_on}", {}, elsewhere) for each in (path, none)]
        assert both[0] == both[1]
        assert both[0][0] == 404
        await act(house, f"{path}/{act_on}", {}, here)
