"""Stripe through its own package: calls in its documented shapes, webhooks that the package signs."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import stripe
from aiohttp import web
from aiohttp.test_utils import TestServer
from pydantic import ValidationError

from commerce.after_sale import AfterSale
from commerce.errors import Invalid, NotFound, SignatureInvalid
from commerce.money import Money
from commerce.order import Order
from commerce.payments.disputes import Disputes
from commerce.payments.provider import Provider, ProviderFailed
from commerce.payments.records import Payment
from commerce.payments.service import Payments
from commerce.payments.stripe_provider import StripeProvider, from_stripe, to_stripe
from config.schema import Payments as Section
from tests.commerce.shop import APPROVED, Shop

SECRET = "whsec_of_this_test"
BACK = "https://shop.example/back"


@dataclass
class Stripe:
    """A server that speaks as docs.stripe.com/api has it; `asked` are (path, key, form)."""

    asked: list[tuple[str, str | None, dict[str, str]]] = field(default_factory=list)
    sessions: dict[str, dict[str, Any]] = field(default_factory=dict)
    refunds: dict[str, dict[str, Any]] = field(default_factory=dict)
    refund_status: str = "succeeded"
    error: dict[str, Any] | None = None

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/v1/checkout/sessions", self._open)
        app.router.add_get("/v1/checkout/sessions/{id}", self._read)
        app.router.add_post("/v1/refunds", self._refund)
        app.router.add_get("/v1/refunds/{id}", self._read_refund)
        return app

    async def _form(self, request: web.Request) -> dict[str, str]:
        form = {name: str(value) for name, value in (await request.post()).items()}
        assert request.headers["Authorization"] == "Bearer sk_test_1"
        self.asked.append((request.path, request.headers.get("Idempotency-Key"), form))
        return form

    async def _open(self, request: web.Request) -> web.Response:
        form = await self._form(request)
        if self.error is not None:
            return web.json_response({"error": self.error}, status=400)
        price = "line_items[0][price_data]"
        session = {
            "id": f"cs_test_{len(self.sessions)}",
            "object": "checkout.session",
            "url": "https://checkout.stripe.com/c/pay/cs_test",
            "client_reference_id": form["client_reference_id"],
            "amount_total": int(form[f"{price}[unit_amount]"]),
            "currency": form[f"{price}[currency]"],
            "status": "open",
            "payment_status": "unpaid",
            "payment_intent": None,
        }
        self.sessions[str(session["id"])] = session
        return web.json_response(session)

    async def _read(self, request: web.Request) -> web.Response:
        session = self.sessions[request.match_info["id"]]
        intent = session["payment_intent"]
        whole = None if intent is None else {"id": intent, "object": "payment_intent"}
        return web.json_response({**session, "payment_intent": whole})

    async def _refund(self, request: web.Request) -> web.Response:
        form = await self._form(request)
        if self.error is not None:
            return web.json_response({"error": self.error}, status=400)
        key = request.headers["Idempotency-Key"]
        refund = {"id": f"re_{key}", "object": "refund", "status": self.refund_status}
        self.refunds[f"re_{key}"] = refund | {"amount": int(form["amount"])}
        return web.json_response(self.refunds[f"re_{key}"])

    async def _read_refund(self, request: web.Request) -> web.Response:
        refund = self.refunds[request.match_info["id"]]
        return web.json_response({**refund, "status": self.refund_status})


@dataclass
class Till:
    """A shop whose payments go to Stripe."""

    shop: Shop
    stripe: Stripe
    payments: Payments
    provider: StripeProvider

    async def begun(self, price: int = 1990) -> tuple[Order, Payment]:
        order = (await self.shop.buy("amy", (await self.shop.sku(price=price), 2))).value
        key = self.shop.key()
        return order, (await self.payments.pay(order.id, "amy", by="amy", key=key)).value

    async def paid(self) -> tuple[Order, Payment]:
        order, payment = await self.begun()
        session = self.session(payment)
        session |= {"status": "complete", "payment_status": "paid", "payment_intent": "pi_1"}
        assert await self.hears("checkout.session.completed", session)
        return await self.shop.orders.get(order.id), payment

    def session(self, payment: Payment) -> dict[str, Any]:
        [found] = [
            each
            for each in self.stripe.sessions.values()
            if each["client_reference_id"] == payment.id
        ]
        return found

    async def hears(self, type: str, about: object, id: str = "") -> bool:
        """A webhook as Stripe sends it."""
        event = {
            "id": id or f"evt_{type}",
            "object": "event",
            "type": type,
            "data": {"object": about},
        }
        return await self.payments.webhook("stripe", *signed(json.dumps(event)))


def signed(body: str, secret: str = SECRET) -> tuple[dict[str, str], bytes]:
    signature = stripe.WebhookSignature.generate_signature_header(body, secret, int(time.time()))
    return {"Stripe-Signature": signature}, body.encode()


@pytest.fixture
async def till(shop: Shop) -> AsyncIterator[Till]:
    peer = Stripe()
    async with TestServer(peer.app()) as server:
        api = str(server.make_url("")).rstrip("/")
        provider = StripeProvider(
            shop.store, "sk_test_1", SECRET, return_url=BACK, api=api, now_ms=shop.clock
        )
        providers: dict[str, Provider] = {"sandbox": shop.sandbox, "stripe": provider}
        payments = Payments(shop.store, shop.orders, providers, default="stripe", now_ms=shop.clock)
        yield Till(shop, peer, payments, provider)


async def test_a_buyer_is_sent_to_a_session_that_is_opened_under_our_id(till: Till) -> None:
    order, payment = await till.begun()
    [(path, key, form)] = till.stripe.asked
    assert (path, key) == ("/v1/checkout/sessions", payment.id)
    assert form["mode"] == "payment"
    assert form["metadata[hawker_payment]"] == payment.id == form["client_reference_id"]
    assert form["line_items[0][price_data][unit_amount]"] == "3980"
    assert form["success_url"] == BACK
    assert int(form["expires_at"]) >= till.shop.clock() // 1000 + 1800
    url = "https://checkout.stripe.com/c/pay/cs_test"
    assert till.payments.next(payment).to_json() == {
        "kind": "redirect",
        "url": url,
        "content": None,
    }
    assert till.payments.page(await till.payments.get(payment.id)) == url
    assert (await till.shop.orders.get(order.id)).payment == "pending"


async def test_a_webhook_that_stripe_signed_confirms_the_order_once(till: Till) -> None:
    order, payment = await till.paid()
    assert (order.state, order.payment) == ("confirmed", "paid")
    assert not await till.hears("checkout.session.completed", till.session(payment))
    body = json.dumps({"id": "e", "object": "event", "type": "x", "data": {"object": {}}})
    assert not await till.payments.webhook("stripe", *signed(body))
    for headers, raw in (signed(body, "whsec_other"), ({}, body.encode())):
        with pytest.raises(SignatureInvalid):
            await till.payments.webhook("stripe", headers, raw)
    for broken in ("[]", "{}", '{"object":"event","id":"e","type":"charge.dispute.created"}', "x"):
        with pytest.raises(Invalid):
            await till.payments.webhook("stripe", *signed(broken))


@pytest.mark.parametrize(
    ("type", "status", "state"),
    [
        ("checkout.session.completed", "unpaid", ("reserved", "pending")),
        ("checkout.session.async_payment_succeeded", "paid", ("confirmed", "paid")),
        ("checkout.session.async_payment_failed", "unpaid", ("reserved", "failed")),
        ("checkout.session.expired", "unpaid", ("reserved", "failed")),
    ],
)
async def test_what_stripe_says_of_a_session(
    till: Till, type: str, status: str, state: tuple[str, str]
) -> None:
    order, payment = await till.begun()
    await till.hears(type, till.session(payment) | {"payment_status": status})
    found = await till.shop.orders.get(order.id)
    assert (found.state, found.payment) == state


async def test_a_lost_webhook_is_made_good_by_asking_and_a_dispute_still_finds_its_payment(
    till: Till,
) -> None:
    order, payment = await till.begun()
    till.shop.clock.pass_s(15)
    await till.payments.sweep()
    assert (await till.shop.orders.get(order.id)).payment == "pending"
    session = till.session(payment)
    session |= {"status": "complete", "payment_status": "paid", "payment_intent": "pi_1"}
    till.shop.clock.pass_s(60)
    await till.payments.sweep()
    assert (await till.shop.orders.get(order.id)).payment == "paid"
    dispute = {"id": "dp_1", "amount": 3980, "currency": "cny", "payment_intent": "pi_1"}
    dispute |= {"reason": "fraudulent", "status": "needs_response"}
    await till.hears("charge.dispute.created", dispute)
    assert (await till.shop.orders.get(order.id)).payment == "disputed"
    await till.hears("charge.dispute.closed", dispute | {"status": "won"})
    assert (await till.shop.orders.get(order.id)).payment == "paid"
    [kept] = (await Disputes(till.shop.store).list())[0]
    assert (kept.ref, kept.state, kept.reason) == ("dp_1", "won", "fraudulent")
    with pytest.raises(NotFound):
        await till.hears("charge.dispute.created", dispute | {"payment_intent": "pi_2"}, id="e2")


async def test_a_partial_refund_is_asked_for_under_our_id_and_again_until_it_is_through(
    till: Till,
) -> None:
    order, payment = await till.paid()
    till.stripe.refund_status = "pending"
    desk = AfterSale(till.shop.store, till.shop.orders, till.shop.catalogue, now_ms=till.shop.clock)
    part = Money(700, "CNY")
    refund = (await desk.refund(order.id, part, "sorry", by="fin", key="a")).value
    await till.payments.sweep()
    path, key, form = till.stripe.asked[-1]
    assert (path, key, form["amount"], form["payment_intent"]) == (
        "/v1/refunds",
        refund.id,
        "700",
        "pi_1",
    )
    assert (await till.shop.orders.get(order.id)).payment == "paid"
    till.stripe.refund_status = "succeeded"
    metadata = {"hawker_payment": payment.id, "hawker_refund": refund.id}
    about = {"id": "re", "amount": 700, "currency": "cny", "metadata": metadata}
    await till.hears("refund.updated", about)
    assert (await till.shop.orders.get(order.id)).payment == "partially_refunded"
    assert len(till.stripe.asked) == 2


@pytest.mark.parametrize("late", [False, True])
async def test_a_refund_that_stripe_refuses_has_failed(
    till: Till, late: bool, caplog: pytest.LogCaptureFixture
) -> None:
    order, _ = await till.paid()
    till.stripe.refund_status = "failed"
    if not late:
        till.stripe.error = {"type": "invalid_request_error", "code": "charge_disputed"}
    desk = AfterSale(till.shop.store, till.shop.orders, till.shop.catalogue, now_ms=till.shop.clock)
    await desk.refund(order.id, Money(700, "CNY"), "sorry", by="fin", key="a")
    await till.payments.sweep()
    [refund] = await desk.refunds(await till.shop.orders.get(order.id))
    assert refund.state == "failed"
    assert "does not give it back" in caplog.text


async def test_a_call_that_fails_leaves_the_payment_to_be_asked_about(
    till: Till, caplog: pytest.LogCaptureFixture
) -> None:
    till.stripe.error = {"type": "invalid_request_error", "message": "no such thing"}
    order, payment = await till.begun()
    assert (payment.state, till.payments.page(payment)) == ("pending", BACK)
    assert "not reached" in caplog.text
    till.shop.clock.pass_s(15)
    await till.payments.sweep()
    assert (await till.shop.orders.get(order.id)).payment == "failed"
    with pytest.raises(Invalid):
        till.provider.check(APPROVED, Money(1990, "CNY"))
    with pytest.raises(Invalid):
        till.provider.check(None, Money(12_345, "KWD"))
    with pytest.raises(ProviderFailed):
        await till.provider.refund("rfd_x", "pay_x", Money(1, "CNY"))


def test_amounts_are_in_stripes_units_or_refused() -> None:
    for amount, units in (
        (Money(1990, "CNY"), 1990),
        (Money(500, "JPY"), 500),
        (Money(5, "ISK"), 500),
        (Money(5, "UGX"), 500),
        (Money(12_340, "KWD"), 12_340),
        (Money(1_200, "MGA"), 12),
    ):
        assert to_stripe(amount) == units
        assert from_stripe(units, amount.currency.lower()) == amount
    for amount in (Money(12_345, "KWD"), Money(1_250, "MGA"), Money(10, "IQD")):
        with pytest.raises(Invalid):
            to_stripe(amount)


def test_stripe_wants_its_keys_and_a_way_back() -> None:
    keys: dict[str, Any] = {
        "stripe_api_key": "sk_test_1",
        "stripe_webhook_secret": SECRET,
        "return_url": BACK,
    }
    assert Section(provider="stripe", **keys).return_url == BACK
    for missing in keys:
        with pytest.raises(ValidationError, match="stripe wants"):
            Section(provider="stripe", **(keys | {missing: ""}))
