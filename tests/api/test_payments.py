"""Payments, webhooks and the sandbox's page over HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from commerce.payments.signature import new_secret, sign
from mediaserver.api.payments import qr_image
from tests.api.shop_house import APPROVED, House, bearer, open_house, problem

WEBHOOKS = "/v1/payments/webhooks/sandbox"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path) as house:
        yield house


async def begun(house: House, body: object = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """An order and its payment, which waits for a card."""
    order = await house.buy(await house.sku())
    path = f"/v1/orders/{order['id']}/payments"
    return order, await house.made(path, body or {}, house.viewer() | house.key())


async def test_a_payment_begins_once_and_says_where_to_pay(house: House) -> None:
    order = await house.buy(await house.sku())
    path = f"/v1/orders/{order['id']}/payments"
    headers = house.viewer() | house.key("pay")
    response = await house.client.post(path, headers=headers)
    payment = await response.json()
    assert (response.status, payment["state"], payment["order"]) == (201, "pending", order["id"])
    assert payment["page"] == f"/pay/sandbox/{payment['id']}"
    assert payment["amount"] == order["total"]
    assert response.headers["Location"] == f"/v1/payments/{payment['id']}"
    keyed = house.order_key(order["id"]) | house.key("pay")
    again = await house.client.post(path, headers=keyed)
    assert (again.status, again.headers["Idempotent-Replayed"]) == (201, "true")
    assert await again.json() == payment
    other = await house.client.post(path, json=APPROVED, headers=headers)
    assert await problem(other) == (422, "idempotency_key_reused")
    second = await house.client.post(path, headers=house.viewer() | house.key())
    assert await problem(second) == (409, "illegal_transition")


async def test_two_copies_at_once_begin_one_payment(house: House) -> None:
    order = await house.buy(await house.sku())
    path, headers = f"/v1/orders/{order['id']}/payments", house.viewer() | house.key("pay")
    both = await asyncio.gather(*(house.client.post(path, headers=headers) for _ in range(2)))
    assert len({(await response.json())["id"] for response in both}) == 1


async def test_a_card_that_is_approved_confirms_the_order(house: House) -> None:
    order = await house.paid(await house.sku())
    _, read = await house.ask("GET", f"/v1/orders/{order['id']}", house.viewer())
    assert (read["state"], read["payment"]) == ("confirmed", "paid")
    path = f"/v1/payments/{read['payments'][0]}"
    finance = house.staff["finance"]
    for headers in (house.viewer(), house.order_key(order["id"]), finance):
        status, payment = await house.ask("GET", path, headers)
        assert (status, payment["state"]) == (200, "succeeded")


async def test_to_strangers_there_is_no_such_payment(house: House) -> None:
    _, payment = await begun(house)
    other = await house.buy(await house.sku(), sub="bob")
    nowhere = "/v1/payments/pay_" + "0" * 26
    for headers in (
        house.viewer("bob"),
        house.order_key(other["id"]),
        house.viewer("fin", "other", "finance"),
        *(house.staff[role] for role in ("host", "moderator", "engineer")),
    ):
        response = await house.client.get(f"/v1/payments/{payment['id']}", headers=headers)
        absent = await house.client.get(nowhere, headers=headers)
        assert await problem(response) == (404, "payment_not_found")
        assert await response.read() == await absent.read()
    for headers in ({}, bearer(house.stream_key)):
        assert (await house.ask("GET", f"/v1/payments/{payment['id']}", headers))[0] == 401


async def test_only_its_buyer_pays_an_order(house: House) -> None:
    order = await house.buy(await house.sku())
    path = f"/v1/orders/{order['id']}/payments"
    missing = await house.client.post(path, headers=house.viewer())
    assert await problem(missing) == (400, "idempotency_key_missing")
    for headers in (house.staff["finance"], house.admin):
        response = await house.client.post(path, headers=headers | house.key())
        assert await problem(response) == (403, "forbidden")
    for method in ({"card": "4111 1111 1111 1111"}, {"card": 5}, {"iban": "x"}, {}, "4242"):
        response = await house.client.post(
            path, json={"method": method}, headers=house.viewer() | house.key()
        )
        assert await problem(response) == (422, "invalid")


async def test_the_sandboxs_page_pays_with_the_card_that_is_chosen(house: House) -> None:
    order, payment = await begun(house)
    path = f"/v1/sandbox/payments/{payment['id']}"
    status, shown = await house.ask("GET", path)
    assert (status, shown["state"], shown["amount"]) == (200, "pending", order["total"])
    assert {"number": "4242424242424242", "label": "approved"} in shown["cards"]
    real = await house.client.post(path, json={"card": "4111111111111111"})
    assert await problem(real) == (422, "invalid")
    status, paid = await house.ask("POST", path, json={"card": "4242 4242 4242 4242"})
    assert (status, paid["state"]) == (200, "succeeded")
    _, late = await house.ask("POST", path, json={"card": "4000000000000002"})
    assert late["state"] == "succeeded"
    assert await house.sandbox.send_due() == 1
    _, read = await house.ask("GET", f"/v1/orders/{order['id']}", house.viewer())
    assert read["payment"] == "paid"


@pytest.mark.parametrize("id", ["pay_" + "0" * 26, "x", "..%2Fx", "%00", "%FF"])
async def test_a_payment_that_the_sandbox_does_not_know_is_404(house: House, id: str) -> None:
    path = f"/v1/sandbox/payments/{id}"
    for method in ("GET", "POST"):
        status, body = await house.ask(method, path, json={"card": "4242424242424242"})
        assert (status, body["code"]) == (404, "payment_not_found")


def word(about: dict[str, Any], type: str, **data: Any) -> bytes:
    """The sandbox's word about a payment."""
    inside = {"payment": about["id"], "amount": about["amount"]} | data
    return json.dumps({"type": type, "data": inside}).encode()


async def test_a_webhook_is_taken_when_it_is_signed_and_counts_once(house: House) -> None:
    order, payment = await begun(house)
    body = word(payment, "payment.succeeded")
    now_s = house.clock.now // 1000
    for secret, signed in ((new_secret(), body), (house.secret, body + b" ")):
        headers = sign(secret, "msg_1", now_s, signed)
        response = await house.client.post(WEBHOOKS, data=body, headers=headers)
        assert await problem(response) == (401, "signature_invalid")
    assert await problem(await house.client.post(WEBHOOKS, data=body)) == (
        401,
        "signature_invalid",
    )
    headers = sign(house.secret, "msg_1", now_s, body)
    for _ in range(2):
        response = await house.client.post(WEBHOOKS, data=body, headers=headers)
        assert (response.status, await response.read()) == (204, b"")
        _, read = await house.ask("GET", f"/v1/orders/{order['id']}", house.viewer())
        assert (read["state"], read["payment"]) == ("confirmed", "paid")


async def test_a_webhook_that_says_nothing_of_ours_is_refused(house: House) -> None:
    _, payment = await begun(house)
    for body, status in (
        (b"[]", 422),
        (b"\xff", 422),
        (word(payment, "payment.succeeded", payment="pay_" + "0" * 26), 404),
        (b"x" * ((64 << 10) + 1), 413),
    ):
        headers = sign(house.secret, "msg_1", house.clock.now // 1000, body)
        response = await house.client.post(WEBHOOKS, data=body, headers=headers)
        assert (await problem(response))[0] == status
    elsewhere = await house.client.post("/v1/payments/webhooks/nobody", data=b"{}")
    assert await problem(elsewhere) == (404, "provider_not_found")


async def test_money_in_another_amount_is_taken_note_of_and_shown(house: House) -> None:
    order, payment = await begun(house)
    less = {"amount": 1, "currency": "CNY"}
    body = word(payment, "payment.succeeded", amount=less)
    headers = sign(house.secret, "msg_1", house.clock.now // 1000, body)
    response = await house.client.post(WEBHOOKS, data=body, headers=headers)
    assert response.status == 204
    _, shown = await house.ask("GET", f"/v1/payments/{payment['id']}", house.viewer())
    assert (shown["captured"], shown["refund"][:4]) == (less, "rfd_")
    _, read = await house.ask("GET", f"/v1/orders/{order['id']}", house.viewer())
    assert (read["state"], read["payment"]) == ("reserved", "failed")


@pytest.mark.parametrize("flow", ["redirect", "qr"])
async def test_a_redirect_and_a_qr_code_lead_to_the_page_and_a_replay_says_the_same(
    house: House, flow: str
) -> None:
    order = await house.buy(await house.sku())
    path, key = f"/v1/orders/{order['id']}/payments", house.viewer() | house.key("pay")
    method = {"method": {"flow": flow}}
    payment = await house.made(path, method, key)
    page = f"/pay/sandbox/{payment['id']}"
    next = {"kind": flow, "url": None, "content": page, "image": qr_image(page)}
    if flow == "redirect":
        next = {"kind": flow, "url": page, "content": None, "image": None}
    assert (payment["next"], payment["page"]) == (next, page)
    assert await house.made(path, method, key) == payment
    _, read = await house.ask("GET", f"/v1/payments/{payment['id']}", house.viewer())
    assert read["next"] == next
    plain = (await begun(house))[1]
    expected = {"kind": "page", "url": plain["page"], "content": None, "image": None}
    assert plain["next"] == expected
