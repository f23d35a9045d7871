"""Disputes: what a bank's claim does to a payment and its order, in whatever order it is told."""

from __future__ import annotations

import json
from typing import Literal

import msgpack
import pytest

from commerce.after_sale import AfterSale
from commerce.errors import IllegalTransition, Invalid, NotFound
from commerce.money import Money
from commerce.order import Order
from commerce.payments.disputes import Dispute, Disputes
from commerce.payments.signature import sign
from commerce.webhooks.events import occurrences
from tests.commerce.shop import Shop

Said = Literal["opened", "won", "lost"]


async def paid(shop: Shop) -> Order:
    return await shop.paid("amy", (await shop.sku(stock=3), 2))


async def bank(shop: Shop, order: Order, said: Said) -> str:
    """The order's payment after the bank's word."""
    await shop.sandbox.dispute(order.payments[-1], said, "fraudulent")
    await shop.sandbox.send_due()
    return (await shop.orders.get(order.id)).payment


async def all_of(shop: Shop) -> list[Dispute]:
    return list((await Disputes(shop.store).list())[0])


async def told(shop: Shop) -> list[str]:
    events = [msgpack.unpackb(body) for _, body in await shop.events()]
    return [event["t"] for event in events if event["t"].startswith("dispute.")]


async def test_a_dispute_that_is_won_leaves_the_payment_as_it_was(shop: Shop) -> None:
    order = await paid(shop)
    assert await bank(shop, order, "opened") == "disputed"
    [dispute] = await all_of(shop)
    assert (dispute.state, dispute.reason, dispute.amount) == ("open", "fraudulent", order.total)
    assert await bank(shop, order, "won") == "paid"
    assert [each.state for each in await all_of(shop)] == ["won"]
    assert (await shop.payments.get(order.payments[0])).state == "succeeded"
    assert await told(shop) == ["dispute.opened", "dispute.closed"]


async def test_a_dispute_that_is_lost_has_given_the_money_back(shop: Shop) -> None:
    order = await paid(shop)
    await bank(shop, order, "opened")
    assert await bank(shop, order, "lost") == "refunded"
    assert (await shop.payments.get(order.payments[0])).state == "refunded"
    for said in ("opened", "won"):
        with pytest.raises(Invalid):
            await bank(shop, order, said)


async def test_nothing_is_refunded_while_it_is_disputed_and_what_went_back_before_counts(
    shop: Shop,
) -> None:
    order = await paid(shop)
    desk = AfterSale(shop.store, shop.orders, shop.catalogue, now_ms=shop.clock)
    part = Money(100, "CNY")
    await desk.refund(order.id, part, "sorry", by="fin", key="a")
    await shop.payments.sweep()
    await bank(shop, order, "opened")
    with pytest.raises(IllegalTransition):
        await desk.refund(order.id, part, "sorry", by="fin", key="b")
    assert await bank(shop, order, "won") == "partially_refunded"


async def test_a_word_counts_once_and_an_end_without_a_beginning_is_both(shop: Shop) -> None:
    order = await paid(shop)
    data = {"payment": order.payments[0], "amount": order.total.to_json(), "dispute": "bank_1"}
    for id, type, state in (
        ("m2", "dispute.lost", "refunded"),
        ("m2", "dispute.lost", "refunded"),
        ("m1", "dispute.opened", "refunded"),
        ("m3", "dispute.won", "refunded"),
    ):
        body = json.dumps({"type": type, "data": data}).encode()
        headers = sign(shop.secret, id, shop.clock() // 1000, body)
        await shop.payments.webhook("sandbox", headers, body)
        assert (await shop.orders.get(order.id)).payment == state
    assert [each.state for each in await all_of(shop)] == ["lost"]
    assert await told(shop) == ["dispute.opened", "dispute.closed"]


async def test_of_two_disputes_the_last_one_won_ends_it(shop: Shop) -> None:
    order = await paid(shop)
    for type, ref, state in (
        ("opened", "bank_1", "disputed"),
        ("opened", "bank_2", "disputed"),
        ("won", "bank_1", "disputed"),
        ("won", "bank_2", "paid"),
    ):
        data = {"payment": order.payments[0], "amount": order.total.to_json(), "dispute": ref}
        body = json.dumps({"type": f"dispute.{type}", "data": data}).encode()
        headers = sign(shop.secret, f"{type}{ref}", shop.clock() // 1000, body)
        await shop.payments.webhook("sandbox", headers, body)
        assert (await shop.orders.get(order.id)).payment == state


async def test_the_staff_adds_its_evidence_once_and_pages_through_all_of_them(shop: Shop) -> None:
    orders = [await paid(shop) for _ in range(3)]
    for order in orders:
        shop.clock.pass_s(1)
        await bank(shop, order, "opened")
    disputes = Disputes(shop.store, now_ms=shop.clock)
    first, cursor = await disputes.list(limit=2)
    rest, end = await disputes.list(after=cursor, limit=2)
    assert [each.order for each in (*first, *rest)] == [each.id for each in reversed(orders)]
    assert end is None
    here, cursor = await disputes.list(room="room", limit=2)
    assert (here, await disputes.list(room="room", after=cursor)) == (first, (rest, None))
    assert await disputes.list(room="other") == ([], None)
    with pytest.raises(NotFound):
        await disputes.list(room="other", after=cursor)
    for replayed in (False, True):
        answer = await disputes.add_evidence(first[0].id, "a receipt", by="fin", key="k")
        assert answer.replayed == replayed
    [note] = (await disputes.get(first[0].id)).evidence
    assert (note.text, note.by) == ("a receipt", "fin")
    with pytest.raises(NotFound):
        await disputes.get("dsp_x")
    with pytest.raises(Invalid):
        await disputes.list(after="x")


async def test_what_was_not_paid_is_not_disputed(shop: Shop) -> None:
    order = (await shop.buy("amy", (await shop.sku(), 1))).value
    payment = await shop.pay(order, None)
    with pytest.raises(Invalid):
        await shop.sandbox.dispute(payment.id, "opened")
    with pytest.raises(NotFound):
        await shop.sandbox.dispute("pay_x", "opened")


async def test_a_dispute_that_is_won_is_no_second_payment_to_webhooks(shop: Shop) -> None:
    order = await paid(shop)
    await bank(shop, order, "opened")
    await bank(shop, order, "won")
    told = [each.type for _, body in await shop.events() for each in occurrences(body)]
    assert told.count("payment.succeeded") == told.count("payment.disputed") == 1
    assert told[-2:] == ["dispute.closed", "order.updated"]


async def test_an_order_is_disputed_and_lost_in_one_commit_where_that_is_all_that_is_told(
    shop: Shop,
) -> None:
    order = await paid(shop)
    data = {"payment": order.payments[0], "amount": order.total.to_json(), "dispute": "bank_1"}
    body = json.dumps({"type": "dispute.lost", "data": data}).encode()
    headers = sign(shop.secret, "m", shop.clock() // 1000, body)
    await shop.payments.webhook("sandbox", headers, body)
    told = [each.type for _, body in await shop.events() for each in occurrences(body)]
    assert told[-3:] == ["dispute.opened", "dispute.closed", "payment.refunded"]
