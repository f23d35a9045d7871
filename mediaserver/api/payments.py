"""Payments over HTTP: the buyer begins one, whoever may see the order reads it, the provider calls.

A provider's call is checked over its raw bytes, and answered when what it says is durable.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import segno
from aiohttp import web
from pydantic import Field

from commerce.errors import NotFound
from commerce.ordering import Orders
from commerce.payments.records import Payment
from commerce.payments.service import Payments
from mediaserver.api.auth import Forbidden
from mediaserver.api.body import read_body
from mediaserver.api.limits import AddressLimiter
from mediaserver.api.money import MoneyDocument
from mediaserver.api.operation import VIEWER, operation
from mediaserver.api.order_access import known_caller, owns, visible_order
from mediaserver.api.preconditions import NO_STORE, idempotency_key, replay
from mediaserver.api.problem import read_json
from mediaserver.api.strict import Strict

TAG = "payments"
WEBHOOK_BYTES = 64 << 10
METHOD_CHARS = 64
METHOD_MEMBERS = 10

Word = Annotated[str, Field(min_length=1, max_length=METHOD_CHARS)]


class NewPayment(Strict):
    """`method` is the provider's (sandbox: `{"card": …}` or `{"flow": "qr"}`).

    Without it the buyer goes to `page`.
    """

    method: Annotated[dict[Word, Word], Field(max_length=METHOD_MEMBERS)] | None = None


class NextDocument(Strict):
    """What the buyer does next: go to `url`, or scan a QR code whose content is `content`.

    `image` is that code as an SVG in a data URL, null for a content that is too long for one.
    """

    kind: Literal["page", "redirect", "qr"]
    url: str | None
    content: str | None
    image: str | None


class PaymentDocument(Strict):
    """`captured` is what came in, where that is another amount than was asked for; it is refunded.

    So is what came in beside it, `unexpected`.
    """

    id: str
    order: str
    amount: MoneyDocument
    provider: str
    state: Literal["pending", "succeeded", "failed", "refunded"]
    captured: MoneyDocument | None
    unexpected: list[MoneyDocument]
    refund: str | None
    created_at: str
    updated_at: str
    page: str
    next: NextDocument


class PaymentsApi:
    """Handlers of payments and of providers' webhooks; `limiter` is for each address."""

    def __init__(self, payments: Payments, orders: Orders, limiter: AddressLimiter) -> None:
        self._payments = payments
        self._orders = orders
        self._limiter = limiter

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/orders/{order}/payments", self._pay),
            web.get("/v1/payments/{payment}", self._get),
            web.post("/v1/payments/webhooks/{provider}", self._webhook),
        ]

    @operation(
        "Pay an order, as its buyer",
        TAG,
        auth=VIEWER,
        body=NewPayment,
        reply=PaymentDocument,
        status=201,
        headers=("Idempotency-Key",),
        errors={
            403: "forbidden",
            404: "order_not_found",
            409: "illegal_transition",
            429: "too_many",
        },
        reply_headers=("Location", "Idempotent-Replayed"),
    )
    async def _pay(self, request: web.Request) -> web.Response:
        self._limiter.check(request.remote)
        caller = await known_caller(request)
        order = await visible_order(self._orders, caller, request.match_info["order"])
        if not owns(caller, order):
            raise Forbidden("only its buyer pays an order")
        key = idempotency_key(request)
        method = (await read_json(request, NewPayment)).method
        answer = await self._payments.pay(order.id, order.sub, by=order.sub, key=key, method=method)
        headers = {**replay(answer), "Location": f"/v1/payments/{answer.value.id}"}
        return web.json_response(self._document(answer.value), status=201, headers=headers)

    @operation(
        "Read a payment",
        TAG,
        auth=VIEWER,
        reply=PaymentDocument,
        errors={404: "payment_not_found"},
    )
    async def _get(self, request: web.Request) -> web.Response:
        caller = await known_caller(request)
        payment = await self._payments.get(request.match_info["payment"])
        try:
            await visible_order(self._orders, caller, payment.order)
        except NotFound:
            raise NotFound("there is no such payment", code="payment_not_found") from None
        return web.json_response(self._document(payment), headers=NO_STORE)

    @operation(
        "A provider's word about a payment, signed as that provider signs",
        TAG,
        body="application/json",
        status=204,
        errors={
            401: "signature_invalid",
            404: "provider_not_found payment_not_found",
            408: "too_slow",
            413: "too_large",
            422: "invalid",
        },
    )
    async def _webhook(self, request: web.Request) -> web.Response:
        body = await read_body(request, WEBHOOK_BYTES)
        await self._payments.webhook(request.match_info["provider"], request.headers, body)
        return web.Response(status=204, headers=NO_STORE)

    def _document(self, payment: Payment) -> dict[str, Any]:
        next = self._payments.next(payment)
        page = self._payments.page(payment)
        image = qr_image(next.target) if next.kind == "qr" else None
        return {**payment.to_json(), "page": page, "next": {**next.to_json(), "image": image}}


def qr_image(text: str) -> str | None:
    """A QR code (ISO/IEC 18004) of the text as an SVG data URL, one unit for each module.

    None for what none can hold.
    """
    try:
        return segno.make_qr(text).svg_data_uri(border=4, light="#fff", omitsize=False)
    except segno.DataOverflowError:
        return None
