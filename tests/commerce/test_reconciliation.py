"""Reconciliation: the report's sums are those of a recount, and what does not fit is named."""

from __future__ import annotations

import json
from collections import Counter

import msgpack
import pytest

from commerce.after_sale import AfterSale
from commerce.errors import Invalid
from commerce.money import Money
from commerce.order import Order
from commerce.payments.reconciliation import DAY_MS, Mismatch, Reconciliation, Report, sheet
from commerce.payments.records import Payment
from commerce.payments.signature import sign
from tests.commerce.shop import (
    APPROVED,
    DECLINED,
    DELAYED,
    NO_REFUND,
    OTHER_AMOUNT,
    START_MS,
    Shop,
)


async def report(shop: Shop, days: int = 10) -> Report:
    reconciliation = Reconciliation(shop.store, now_ms=shop.clock)
    return await reconciliation.report(START_MS, START_MS + days * DAY_MS)


async def bought(shop: Shop, card: dict[str, str] | None, currency: str = "CNY") -> Order:
    order = (await shop.buy("amy", (await shop.sku(stock=3, currency=currency), 2))).value
    await shop.pay(order, card)
    await shop.sandbox.send_due()
    return await shop.orders.get(order.id)


async def succeeded(shop: Shop, payment: Payment, minor: int) -> None:
    """The provider's word that so much came in."""
    amount = {"amount": minor, "currency": payment.amount.currency}
    body = {"type": "payment.succeeded", "data": {"payment": payment.id, "amount": amount}}
    raw = json.dumps(body).encode()
    id = f"m{payment.id}{minor}"
    await shop.payments.webhook("sandbox", sign(shop.secret, id, shop.clock() // 1000, raw), raw)


def kinds(found: Report) -> Counter[str]:
    return Counter(each.kind for each in found.mismatches)


def desk(shop: Shop) -> AfterSale:
    return AfterSale(shop.store, shop.orders, shop.catalogue, now_ms=shop.clock)


async def recount(shop: Shop, orders: list[Order]) -> tuple[Counter[str], Counter[str]]:
    """What came and what went, by currency, from the records themselves."""
    came: Counter[str] = Counter()
    gone: Counter[str] = Counter()
    for order in orders:
        for id in (await shop.orders.get(order.id)).payments:
            payment = await shop.payments.get(id)
            if payment.state in ("succeeded", "refunded"):
                for money in (
                    payment.captured or payment.amount,
                    *(u.amount for u in payment.unexpected),
                ):
                    came[money.currency] += money.amount
    refunds = {
        event["d"]["refund"]
        for event in (msgpack.unpackb(body) for _, body in await shop.events())
        if event["t"] == "refund.succeeded"
    }
    for id in refunds:
        key = f"refund/{id}"
        amount = msgpack.unpackb((await shop.store.load([key]))[key][0] or b"")["amount"]
        gone[amount["currency"]] += amount["amount"]
    return came, gone


async def test_the_sums_are_those_of_a_recount(shop: Shop) -> None:
    orders = []
    for card in (APPROVED, DECLINED, OTHER_AMOUNT, None, APPROVED, NO_REFUND):
        for currency in ("CNY", "JPY"):
            orders.append(await bought(shop, card, currency))
            shop.clock.pass_s(6 * 3600)
    paid = orders[8], orders[9]
    for number, order in enumerate(paid):
        part = Money(7 + number, order.total.currency)
        await desk(shop).refund(order.id, part, "sorry", by="fin", key=f"k{number}")
    await shop.sandbox.dispute(orders[0].payments[0], "opened")
    await shop.sandbox.send_due()
    await shop.sandbox.dispute(orders[0].payments[0], "lost")
    await shop.sandbox.send_due()
    await succeeded(shop, await shop.payments.get(paid[0].payments[0]), 5)
    await shop.sweep()
    found = await report(shop)
    came, gone = await recount(shop, orders)
    for currency in ("CNY", "JPY"):
        rows = [row for row in found.rows if row.currency == currency]
        assert sum(row.captured for row in rows) == came[currency] > 0
        assert sum(row.refunded for row in rows) == gone[currency] > 0
        assert sum(row.payments for row in rows) == 6
        assert sum(row.lost for row in rows) == (3980 if currency == "CNY" else 0)
    assert len({row.day for row in found.rows}) >= 3
    first = await report(shop, 1)
    assert sum(row.payments for row in first.rows) < sum(row.payments for row in found.rows)
    text = sheet(found).decode("utf-8-sig").splitlines()
    assert len(text) == 1 + len(found.rows) + len(found.mismatches)


async def test_what_does_not_fit_is_named_with_its_order_and_payment(shop: Shop) -> None:
    await bought(shop, APPROVED)
    assert not (await report(shop)).mismatches
    other = await bought(shop, OTHER_AMOUNT)
    [mismatch] = (await report(shop)).mismatches
    refund = (await shop.payments.get(other.payments[0])).refund
    came = Money(3981, "CNY")
    assert mismatch == Mismatch("other_amount", other.id, other.payments[0], came, refund)


async def test_a_payment_that_is_pending_for_long_and_one_of_an_order_that_is_over_are_named(
    shop: Shop,
) -> None:
    order = (await shop.buy("amy", (await shop.sku(), 1))).value
    await shop.pay(order, DELAYED)
    await shop.cancel(order)
    shop.clock.pass_s(5)
    await shop.sandbox.send_due()
    assert kinds(await report(shop)) == {"paid_but_over": 1}
    await bought(shop, None)
    shop.clock.pass_s(2 * 3600)
    assert kinds(await report(shop)) == {"paid_but_over": 1, "intent_open": 1}
    shop.clock.pass_s(24 * 3600)
    assert kinds(await report(shop)) == {"paid_but_over": 1, "intent_open": 1, "refund_open": 1}
    await shop.payments.sweep()
    assert not (await report(shop)).mismatches


async def test_more_money_for_a_payment_that_succeeded_is_kept_and_goes_back(shop: Shop) -> None:
    order = await bought(shop, APPROVED)
    payment = await shop.payments.get(order.payments[0])
    for minor in (5, 5, 3980, 0):
        await succeeded(shop, payment, minor)
    after = await shop.payments.get(payment.id)
    assert [each.amount for each in after.unexpected] == [Money(5, "CNY")]
    assert kinds(await report(shop)) == {"unexpected_money": 1}
    assert await shop.payments.sweep() == 1
    found = await shop.orders.get(order.id)
    assert (found.state, found.payment, found.given_back_minor) == ("confirmed", "paid", 0)
    key = f"refund/{after.unexpected[0].refund}"
    refund = msgpack.unpackb((await shop.store.load([key]))[key][0] or b"")
    assert (refund["state"], refund["amount"]["amount"]) == ("done", 5)


async def test_the_right_amount_after_a_wrong_one_goes_back_too(shop: Shop) -> None:
    order = await bought(shop, OTHER_AMOUNT)
    payment = await shop.payments.get(order.payments[0])
    await succeeded(shop, payment, 3980)
    assert await shop.payments.sweep() == 2
    found = await shop.orders.get(order.id)
    assert (found.state, found.payment) == ("reserved", "failed")
    row = (await report(shop)).rows[0]
    assert row.captured == row.refunded == 3980 + 3981


async def test_a_refund_that_the_provider_refuses_is_shown_and_may_be_made_anew(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    order = await bought(shop, NO_REFUND)
    await desk(shop).refund(order.id, {order.lines[0].sku: 1}, "sorry", by="fin", key="a")
    await shop.sweep()
    found = await shop.orders.get(order.id)
    assert (found.payment, found.refunded_minor, found.given_back_minor) == ("paid", 0, 0)
    [refund] = await desk(shop).refunds(found)
    assert (refund.state, refund.failed) == ("failed", "the account is closed")
    assert kinds(await report(shop)) == {"refund_failed": 1}
    told = [msgpack.unpackb(body)["t"] for _, body in await shop.events()]
    assert told.count("refund.failed") == told.count("refund.created") == 1
    await shop.cancel(found)
    await shop.sweep()
    over = await shop.orders.get(order.id)
    assert (over.state, over.payment, over.refunded_minor) == ("cancelled", "paid", 0)
    again = await desk(shop).refund(order.id, order.total, "by hand", by="fin", key="b")
    assert again.value.state == "open"
    assert "does not give it back" in caplog.text


async def test_a_report_is_of_a_bounded_time(shop: Shop) -> None:
    with pytest.raises(Invalid):
        await report(shop, 101)
