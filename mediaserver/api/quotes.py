"""Quotes over HTTP: what some lines would be charged now, with the version of their prices."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from pydantic import Field

from commerce.ordering import Orders
from mediaserver.api.auth import WRONG_TOKEN, Forbidden, caller_of
from mediaserver.api.limits import AddressLimiter
from mediaserver.api.money import MoneyDocument
from mediaserver.api.operation import operation
from mediaserver.api.preconditions import NO_STORE
from mediaserver.api.problem import read_json
from mediaserver.api.strict import Strict

ANYBODY = "anybody"  # who has bought and claimed nothing


class LineBody(Strict):
    sku: str
    qty: int


class NewQuote(Strict):
    """`room` may be left out by a viewer, whose token names it; `coupons` are those to spend."""

    lines: list[LineBody]
    coupons: list[str] = Field([])
    room: str | None = None


class DiscountDocument(Strict):
    """What one rule takes off; `label` says why, by language."""

    id: str
    kind: str
    label: dict[str, str]
    amount: MoneyDocument


class HintDocument(Strict):
    """What is missing until a rule gives something, or once more."""

    id: str
    kind: str
    label: dict[str, str]
    missing: MoneyDocument


class QuotedLine(Strict):
    """`unit` of `qty` pieces is the `subtotal`; less its share of the discounts it is the `total`."""

    sku: str
    qty: int
    list_unit: MoneyDocument
    unit: MoneyDocument
    subtotal: MoneyDocument
    discount: MoneyDocument | None
    total: MoneyDocument
    sale: str | None


class QuoteDocument(Strict):
    """`coupons` are those that are spent at this price: the others give nothing here."""

    lines: list[QuotedLine]
    discounts: list[DiscountDocument]
    hints: list[HintDocument]
    coupons: list[str]
    shipping: MoneyDocument | None
    tax: MoneyDocument | None
    total: MoneyDocument
    price_version: str


class QuotesApi:
    """Handler of `/v1/quotes`; `limiter` is for each address."""

    def __init__(self, orders: Orders, limiter: AddressLimiter) -> None:
        self._orders = orders
        self._limiter = limiter

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/v1/quotes", self._quote)]

    @operation(
        "Quote a price",
        "orders",
        body=NewQuote,
        reply=QuoteDocument,
        errors={
            **WRONG_TOKEN,
            400: "mixed_currency",
            403: "wrong_room csrf",
            404: "sku_not_found coupon_not_found",
            409: "limit_reached coupon_over coupon_not_yours coupon_not_claimed",
            429: "too_many",
        },
        description="With a viewer token it is the price of this viewer, with its tier, its limits "
        "and its coupons; without one that of anybody.",
    )
    async def _quote(self, request: web.Request) -> web.Response:
        self._limiter.check(request.remote)
        caller = await caller_of(request)
        body: dict[str, Any] = (await read_json(request, NewQuote)).model_dump()
        if body["room"] is None:
            body["room"] = caller.room
        if caller.room not in (None, body["room"]):
            raise Forbidden(f"the token is for the room {caller.room}", code="wrong_room")
        command = self._orders.command(
            caller.sub or ANYBODY, body, tier=caller.tier, segment=caller.segment
        )
        return web.json_response((await self._orders.quote(command)).to_json(), headers=NO_STORE)
