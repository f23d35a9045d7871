"""The acts `buy` and `pay`: the same commands as over HTTP, in the room of the token."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from commerce.errors import Invalid, KeyMissing, KeyReused, NotFound, OutOfStock, PriceChanged
from commerce.money import Money
from commerce.pricing.coupon import CouponRefused
from commerce.pricing.rules import Rule
from overlay.acts import Acts
from overlay.errors import WrongRoom
from overlay.tokens import Claims
from tests.commerce.shop import START_MS
from tests.overlay.offer_house import ROOM, House, open_offer_house

ANA = Claims(ROOM, "ana", START_MS + 10**9)
BEN = Claims(ROOM, "ben", START_MS + 10**9)


class Counter:
    """A house with the acts of its viewers."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.acts = Acts(
            house.orders, house.payments, house.coupons, lambda id: f"/orders/{id}#key=k"
        )

    async def sku(self, stock: int = 5) -> str:
        return (await self.house.product(stock=stock)).skus[0].sku

    async def buy(self, sku: str, key: str = "k1", **more: Any) -> Mapping[str, Any]:
        return await self.acts.buy(ANA, {"key": key, "lines": [{"sku": sku, "qty": 1}], **more})


@pytest.fixture
async def counter(tmp_path: Path) -> AsyncIterator[Counter]:
    async with open_offer_house(tmp_path) as house:
        yield Counter(house)


async def test_a_buy_is_an_order_in_the_room_of_the_token(counter: Counter) -> None:
    sku = await counter.sku()
    reply = await counter.buy(sku)
    order = await counter.house.orders.get(reply["order"]["id"])
    assert reply == {
        "order": {**order.to_json(), "link": f"/orders/{order.id}#key=k"},
        "replayed": False,
    }
    assert (order.sub, order.room, order.state) == ("ana", ROOM, "reserved")
    assert await counter.house.shop.stock(sku) == (4, 1, 0)


async def test_the_same_key_is_the_same_order_over_every_transport(counter: Counter) -> None:
    sku = await counter.sku()
    first = await counter.buy(sku, key="k1", room=ROOM)
    again = await counter.buy(sku, key='"k1"', room=None)
    assert again == {**first, "replayed": True}
    body = {"room": ROOM, "lines": [{"sku": sku, "qty": 1}]}
    orders = counter.house.orders
    over_http = await orders.place(orders.command("ana", body), "k1")
    assert (over_http.value.id, over_http.replayed) == (first["order"]["id"], True)
    assert await counter.house.shop.stock(sku) == (4, 1, 0)


async def test_a_key_belongs_to_its_command_and_its_buyer(counter: Counter) -> None:
    sku = await counter.sku()
    first = await counter.buy(sku)
    with pytest.raises(KeyReused):
        await counter.buy(sku, referral="friend")
    data = {"key": "k1", "lines": [{"sku": sku, "qty": 1}]}
    other = await counter.acts.buy(BEN, data)
    assert other["order"]["id"] != first["order"]["id"]
    assert data == {"key": "k1", "lines": [{"sku": sku, "qty": 1}]}


@pytest.mark.parametrize("key", [None, "", '""', "  "])
async def test_acts_want_a_key(counter: Counter, key: str | None) -> None:
    for act in counter.acts.table().values():
        with pytest.raises(KeyMissing) as refused:
            await act(ANA, {"key": key})
        assert (refused.value.status, refused.value.code) == (400, "idempotency_key_missing")


@pytest.mark.parametrize("key", [1, True, ["k"], {"k": 1}, "k" * 256, "é"])
async def test_what_is_no_key_is_refused(counter: Counter, key: object) -> None:
    for act in counter.acts.table().values():
        with pytest.raises(Invalid):
            await act(ANA, {"key": key})


async def test_a_buy_for_another_room_is_refused(counter: Counter) -> None:
    sku = await counter.sku()
    with pytest.raises(WrongRoom) as refused:
        await counter.buy(sku, room="other")
    assert (refused.value.status, refused.value.code) == (403, "wrong_room")
    assert await counter.house.shop.stock(sku) == (5, 0, 0)


@pytest.mark.parametrize(
    "more",
    [
        {"lines": None},
        {"lines": []},
        {"lines": [{"sku": 5, "qty": 1}]},
        {"lines": [{"sku": "x", "qty": 0}]},
        {"room": 5},
        {"room": [ROOM]},
        {"contact": "me"},
        {"price_version": 1},
        {"sub": "ben"},
        {"rid": 1},
    ],
)
async def test_a_buy_that_is_none_is_refused(counter: Counter, more: dict[str, object]) -> None:
    with pytest.raises(Invalid):
        await counter.buy(await counter.sku(), **more)


async def test_a_buy_has_the_refusals_of_the_shop(counter: Counter) -> None:
    sku = await counter.sku(stock=1)
    with pytest.raises(PriceChanged) as changed:
        await counter.buy(sku, price_version="pv_0")
    quote = changed.value.extra["quote"]
    await counter.buy(sku, price_version=quote["price_version"])
    with pytest.raises(OutOfStock) as refused:
        await counter.buy(sku, key="k2")
    assert refused.value.extra == {"skus": [sku], "held": True}


async def test_a_buyer_pays_his_order(counter: Counter) -> None:
    order = (await counter.buy(await counter.sku()))["order"]["id"]
    ask = {"key": "p1", "order": order, "method": {"card": "4242 4242 4242 4242"}}
    reply = await counter.acts.pay(ANA, ask)
    payment = await counter.house.payments.get(reply["payment"]["id"])
    page = counter.house.payments.page(payment)
    next = {"kind": "page", "url": page, "content": None}
    document = {**payment.to_json(), "page": page, "next": next}
    assert reply == {"payment": document, "replayed": False}
    again = await counter.acts.pay(ANA, ask)
    assert (again["payment"]["id"], again["replayed"]) == (payment.id, True)
    await counter.house.sandbox.send_due()
    assert (await counter.house.orders.get(order)).payment == "paid"


async def test_a_payment_without_a_method_goes_to_the_providers_page(counter: Counter) -> None:
    order = (await counter.buy(await counter.sku()))["order"]["id"]
    reply = await counter.acts.pay(ANA, {"key": "p1", "order": order, "method": None})
    assert reply["payment"]["page"].endswith(reply["payment"]["id"])


async def test_somebody_elses_order_is_not_there_to_be_paid(counter: Counter) -> None:
    order = (await counter.buy(await counter.sku()))["order"]["id"]
    for id in (order, "ord_none", "\u2603"):
        with pytest.raises(NotFound) as refused:
            await counter.acts.pay(BEN, {"key": "p1", "order": id})
        assert refused.value.code == "order_not_found"
    assert (await counter.house.orders.get(order)).payment == "none"


@pytest.mark.parametrize(
    "more",
    [
        {"order": None},
        {"order": 5},
        {"order": ["ord"]},
        {"method": "card"},
        {"method": {}},
        {"method": {"card": 4242}},
        {"method": {"card": "4242 4242 4242 4242", "cvc": "1"}},
        {"method": {"card": "1"}},
        {"amount": 1},
        {"sub": "ben"},
    ],
)
async def test_a_payment_that_is_none_is_refused(counter: Counter, more: dict[str, object]) -> None:
    order = (await counter.buy(await counter.sku()))["order"]["id"]
    with pytest.raises(Invalid):
        await counter.acts.pay(ANA, {"key": "p1", "order": order, **more})
    assert (await counter.house.orders.get(order)).payment == "none"


async def test_the_table_names_the_acts(counter: Counter) -> None:
    acts = counter.acts
    assert acts.table() == {"buy": acts.buy, "pay": acts.pay, "coupon.claim": acts.claim}


async def test_a_coupon_is_claimed_as_over_http_and_spent_by_a_buy(counter: Counter) -> None:
    house = counter.house
    rule = Rule("", "coupon", "Thanks", 0, off=Money(500, "CNY"), segment="new")
    coupon = await house.coupons.create(rule, quota=1, by="host")
    with pytest.raises(CouponRefused):
        await counter.acts.claim(ANA, {"key": "c1", "coupon": coupon.id})
    ana = replace(ANA, segment="new")
    reply = await counter.acts.claim(ana, {"key": "c1", "coupon": coupon.id})
    claim = {"coupon": coupon.id, "claimed": 1, "unspent": 1}
    assert reply == {"claim": claim, "replayed": False}
    over_http = await house.coupons.claim(coupon.id, "ana", key="c1", segment="new")
    assert over_http.replayed and over_http.value.to_json() == claim
    lines = [{"sku": await counter.sku(), "qty": 1}]
    data = {"key": "k9", "lines": lines, "coupons": [coupon.id]}
    order = (await counter.acts.buy(ana, data))["order"]
    assert (order["total"]["amount"], order["coupons"]) == (1490, [coupon.id])
    for wrong in ({"coupon": 5}, {}, {"coupon": coupon.id, "sub": "ben"}):
        with pytest.raises(Invalid):
            await counter.acts.claim(ana, {"key": "c2", **wrong})
