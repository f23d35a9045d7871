"""Paying: the intent before the call, each word applied once, late money never lost."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from commerce.errors import IllegalTransition, Invalid, NotFound, SignatureInvalid
from commerce.money import Money
from commerce.payments.provider import ProviderFailed
from commerce.payments.records import Payment
from commerce.payments.sandbox import Sandbox
from commerce.payments.service import Payments
from commerce.payments.signature import new_secret, sign
from tests.commerce.shop import (
    APPROVED,
    DECLINED,
    DELAYED,
    LATE,
    LOST,
    OUT_OF_ORDER,
    TWICE,
    Shop,
)


def word(
    shop: Shop, payment: Payment, type: str, *, amount: int = 1990, id: str = "msg_1"
) -> tuple[dict[str, str], bytes]:
    """A signed webhook of the sandbox: headers and body."""
    data = {"payment": payment.id, "amount": {"amount": amount, "currency": "CNY"}}
    body = json.dumps({"type": type, "data": data}).encode()
    return sign(shop.secret, id, shop.clock() // 1000, body), body


class CutOff(Sandbox):
    """The sandbox behind a cut line."""

    async def start(self, payment: str, amount: Money, method: Mapping[str, str] | None) -> None:
        raise ProviderFailed("no route")


async def states(shop: Shop, order: str) -> tuple[str, str]:
    found = await shop.orders.get(order)
    return found.state, found.payment


async def test_an_approved_payment_confirms_the_order(shop: Shop) -> None:
    sku = await shop.sku(stock=5)
    order = (await shop.buy("amy", (sku, 2))).value
    payment = await shop.pay(order, APPROVED)
    assert (payment.state, payment.amount) == ("pending", Money(3980, "CNY"))
    assert await states(shop, order.id) == ("reserved", "pending")
    assert await shop.sandbox.send_due() == 1
    assert await states(shop, order.id) == ("confirmed", "paid")
    assert (await shop.payments.get(payment.id, "amy")).state == "succeeded"
    assert await shop.stock(sku) == (3, 0, 2)
    shop.clock.pass_s(5_000)
    await shop.sweep()
    assert await states(shop, order.id) == ("confirmed", "paid")


async def test_a_declined_payment_leaves_the_hold_and_may_be_followed_by_another(
    shop: Shop,
) -> None:
    sku = await shop.sku(stock=5)
    order = (await shop.buy("amy", (sku, 1))).value
    await shop.pay(order, DECLINED)
    await shop.sandbox.send_due()
    assert await states(shop, order.id) == ("reserved", "failed")
    assert (await shop.orders.get(order.id)).expires_ms == order.expires_ms
    await shop.pay(order, APPROVED)
    await shop.sandbox.send_due()
    assert await states(shop, order.id) == ("confirmed", "paid")
    assert len((await shop.orders.get(order.id)).payments) == 2


async def test_a_second_payment_beside_a_pending_one_is_refused(shop: Shop) -> None:
    order = (await shop.buy("amy", (await shop.sku(), 1))).value
    await shop.pay(order, None)
    with pytest.raises(IllegalTransition) as refusal:
        await shop.pay(order, APPROVED)
    assert refusal.value.extra == {"table": "payment", "from": "pending", "to": "pending"}


async def test_the_buyer_chooses_the_card_on_the_hosted_page(shop: Shop) -> None:
    order = (await shop.buy("amy", (await shop.sku(), 1))).value
    payment = await shop.pay(order, None)
    assert shop.payments.page(payment) == f"/pay/sandbox/{payment.id}"
    page = await shop.sandbox.page_data(payment.id)
    assert page["amount"] == {"amount": 1990, "currency": "CNY"}
    assert page["state"] == "pending"
    with pytest.raises(Invalid):
        await shop.sandbox.choose(payment.id, "5555555555554444")
    await shop.sandbox.choose(payment.id, page["cards"][0]["number"])
    await shop.sandbox.choose(payment.id, DECLINED["card"])
    await shop.sandbox.send_due()
    assert await states(shop, order.id) == ("confirmed", "paid")
    with pytest.raises(NotFound):
        await shop.sandbox.page_data("pay_x")


async def test_a_card_that_is_no_test_card_is_refused_before_anything_is_kept(shop: Shop) -> None:
    order = (await shop.buy("amy", (await shop.sku(), 1))).value
    for method in ({"card": "5555"}, {"iban": "x"}, {}):
        with pytest.raises(Invalid):
            await shop.pay(order, method)
    assert await states(shop, order.id) == ("reserved", "none")


async def test_a_pending_payment_keeps_its_hold_past_the_reservation(shop: Shop) -> None:
    sku = await shop.sku(stock=1)
    order = (await shop.buy("amy", (sku, 1))).value
    shop.clock.pass_s(599)
    await shop.pay(order, None)
    shop.clock.pass_s(899)
    await shop.sweep()
    assert await states(shop, order.id) == ("reserved", "pending")
    shop.clock.pass_s(1)
    await shop.sweep()
    assert await states(shop, order.id) == ("expired", "pending")
    assert await shop.stock(sku) == (1, 0, 0)


async def test_a_lost_webhook_is_made_good_by_asking(shop: Shop) -> None:
    order = (await shop.buy("amy", (await shop.sku(), 1))).value
    await shop.pay(order, LOST)
    assert await shop.sandbox.send_due() == 0
    shop.clock.pass_s(14.999)
    assert await shop.payments.sweep() == 0
    shop.clock.pass_s(0.001)
    assert await shop.payments.sweep() == 1
    assert await states(shop, order.id) == ("confirmed", "paid")
    assert await shop.payments.sweep() == 0


async def test_a_delayed_payment_is_asked_about_ever_more_seldom(shop: Shop) -> None:
    order = (await shop.buy("amy", (await shop.sku(), 1))).value
    await shop.pay(order, None)
    asked = 0
    for _ in range(900):
        shop.clock.pass_s(1)
        asked += await shop.payments.sweep()
    assert 3 <= asked <= 20


@pytest.mark.parametrize("card", [TWICE, OUT_OF_ORDER, DELAYED])
async def test_twice_late_or_out_of_order_has_the_effect_of_once(
    shop: Shop, card: Mapping[str, str]
) -> None:
    sku = await shop.sku(stock=5)
    order = (await shop.buy("amy", (sku, 1))).value
    await shop.pay(order, card)
    shop.clock.pass_s(5)
    await shop.sandbox.send_due()
    assert await states(shop, order.id) == ("confirmed", "paid")
    told = len(await shop.events("buyer/amy"))
    for headers, body in reversed(shop.webhooks * 3):
        assert not await shop.payments.webhook("sandbox", headers, body)
    assert len(await shop.events("buyer/amy")) == told == 3
    assert await shop.stock(sku) == (4, 0, 1)


async def test_a_failure_that_comes_after_the_success_changes_nothing(shop: Shop) -> None:
    order = (await shop.buy("amy", (await shop.sku(), 1))).value
    payment = await shop.pay(order, APPROVED)
    await shop.sandbox.send_due()
    assert await shop.payments.webhook("sandbox", *word(shop, payment, "payment.failed"))
    assert (await shop.payments.get(payment.id)).state == "succeeded"
    assert await states(shop, order.id) == ("confirmed", "paid")


async def test_a_webhook_is_repeated_until_it_is_taken(shop: Shop) -> None:
    order = (await shop.buy("amy", (await shop.sku(), 1))).value
    await shop.pay(order, APPROVED)
    shop.deaf = True
    assert await shop.sandbox.send_due() == 0
    assert await shop.sandbox.send_due() == 0
    shop.deaf = False
    shop.clock.pass_s(5)
    assert await shop.sandbox.send_due() == 1
    assert await states(shop, order.id) == ("confirmed", "paid")


async def test_a_forged_webhook_is_refused(shop: Shop) -> None:
    order = (await shop.buy("amy", (await shop.sku(), 1))).value
    await shop.pay(order, APPROVED)
    shop.deaf = True
    await shop.sandbox.send_due()
    body = b'{"type":"payment.succeeded","data":{}}'
    with pytest.raises(SignatureInvalid):
        await shop.payments.webhook("sandbox", sign(new_secret(), "m", 1, body), body)
    now_s = shop.clock() // 1000
    with pytest.raises(Invalid):
        headers = sign(shop.secret, "m", now_s, body)
        await shop.payments.webhook("sandbox", headers, body)
    with pytest.raises(NotFound):
        await shop.payments.webhook("nobody", {}, b"")
    assert await states(shop, order.id) == ("reserved", "pending")


async def test_a_payment_after_expiry_takes_stock_that_is_still_there(shop: Shop) -> None:
    sku = await shop.sku(stock=2)
    order = (await shop.buy("amy", (sku, 1))).value
    await shop.pay(order, LATE)
    shop.clock.pass_s(1200)
    await shop.orders.sweep()
    assert await states(shop, order.id) == ("expired", "pending")
    await shop.sandbox.send_due()
    await shop.sweep()
    assert await states(shop, order.id) == ("confirmed", "paid")
    assert await shop.stock(sku) == (1, 0, 1)


async def test_a_payment_after_expiry_is_refunded_where_the_stock_is_gone(shop: Shop) -> None:
    sku = await shop.sku(stock=1)
    order = (await shop.buy("amy", (sku, 1))).value
    payment = await shop.pay(order, LATE)
    shop.clock.pass_s(1200)
    await shop.paid("ben", (sku, 1))
    assert await states(shop, order.id) == ("expired", "paid")
    await shop.sweep()
    assert await states(shop, order.id) == ("expired", "refunded")
    assert (await shop.payments.get(payment.id)).state == "refunded"
    assert await shop.stock(sku) == (0, 0, 1)
    assert await shop.payments.sweep() == 0


async def test_a_payment_of_a_cancelled_order_is_refunded(shop: Shop) -> None:
    sku = await shop.sku(stock=1)
    order = (await shop.buy("amy", (sku, 1))).value
    await shop.pay(order, DELAYED)
    await shop.cancel(order)
    shop.clock.pass_s(5)
    await shop.sandbox.send_due()
    await shop.sweep()
    assert await states(shop, order.id) == ("cancelled", "refunded")
    assert await shop.stock(sku) == (1, 0, 0)


async def test_a_paid_order_that_is_cancelled_is_refunded_once(shop: Shop) -> None:
    sku = await shop.sku(stock=3)
    order = await shop.paid("amy", (sku, 2))
    await shop.cancel(order, key="k")
    await shop.cancel(order, key="k")
    assert await shop.stock(sku) == (3, 0, 0)
    assert await states(shop, order.id) == ("cancelled", "paid")
    assert await shop.payments.sweep() == 1
    assert await states(shop, order.id) == ("cancelled", "refunded")
    assert await shop.payments.sweep() == 0


async def test_a_second_payment_that_succeeds_is_refunded_and_the_order_stands(
    shop: Shop,
) -> None:
    sku = await shop.sku(stock=3)
    order = (await shop.buy("amy", (sku, 1))).value
    first = await shop.pay(order, None)
    await shop.payments.webhook("sandbox", *word(shop, first, "payment.failed"))
    second = await shop.pay(order, APPROVED)
    await shop.sandbox.choose(first.id, APPROVED["card"])
    await shop.sandbox.send_due()
    await shop.sweep()
    found = await shop.orders.get(order.id)
    assert (found.state, found.payment) == ("confirmed", "paid")
    ends = {(await shop.payments.get(id)).state for id in (first.id, second.id)}
    assert ends == {"succeeded", "refunded"}
    assert await shop.stock(sku) == (2, 0, 1)


async def test_a_provider_that_fails_leaves_the_payment_pending_and_it_is_asked_later(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    order = (await shop.buy("amy", (await shop.sku(), 1))).value
    cut_off = CutOff(shop.store, shop.secret, send=shop.hear, now_ms=shop.clock)
    payments = Payments(shop.store, shop.orders, {"sandbox": cut_off}, now_ms=shop.clock)
    payment = (await payments.pay(order.id, "amy", by="amy", key="k", method=APPROVED)).value
    assert payment.state == "pending"
    assert "no route" in caplog.text
    shop.clock.pass_s(15)
    await shop.payments.sweep()
    assert await states(shop, order.id) == ("reserved", "failed")
    await shop.pay(order, APPROVED)
    await shop.sandbox.send_due()
    assert await states(shop, order.id) == ("confirmed", "paid")


async def test_somebody_elses_payment_does_not_exist(shop: Shop) -> None:
    order = (await shop.buy("amy", (await shop.sku(), 1))).value
    payment = await shop.pay(order, None)
    with pytest.raises(NotFound):
        await shop.payments.get(payment.id, "ben")
    with pytest.raises(NotFound):
        await shop.payments.get("pay_x")
