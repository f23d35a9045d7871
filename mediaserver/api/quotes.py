"""Quotes over HTTP: what some lines would be charged now, with the version of their prices."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from pydantic import Field

from commerce.catalogue import Catalogue
from commerce.ordering import Orders
from mediaserver.api.limits import AddressLimiter
from mediaserver.api.money import MoneyDocument
from mediaserver.api.operation import operation
from mediaserver.api.preconditions import NO_STORE
from mediaserver.api.problem import read_json
from mediaserver.api.strict import Strict

NOBODY = "quote"  # whoever asks: a quote is the same for all


class LineBody(Strict):
    sku: str
    qty: int


class NewQuote(Strict):
    """`coupons`: there are none here, so the list is empty."""

    lines: list[LineBody]
    coupons: list[str] = Field([])


class QuotedLine(Strict):
    sku: str
    qty: int
    unit: MoneyDocument
    total: MoneyDocument


class QuoteDocument(Strict):
    lines: list[QuotedLine]
    total: MoneyDocument
    price_version: str


class QuotesApi:
    """Handler of `/v1/quotes`; `limiter` is for each address."""

    def __init__(self, catalogue: Catalogue, orders: Orders, limiter: AddressLimiter) -> None:
        self._catalogue = catalogue
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
            400: "mixed_currency",
            404: "sku_not_found",
            409: "limit_reached",
            429: "too_many",
        },
    )
    async def _quote(self, request: web.Request) -> web.Response:
        self._limiter.check(request.remote)
        body: dict[str, Any] = (await read_json(request, NewQuote)).model_dump()
        lines = self._orders.command(NOBODY, body).lines
        return web.json_response(await self._catalogue.quote(lines), headers=NO_STORE)
