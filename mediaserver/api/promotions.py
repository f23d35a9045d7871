"""Promotions over HTTP: the shop's staff make them and end them; everybody sees them on a quote."""

from __future__ import annotations

from typing import Literal

from aiohttp import web
from pydantic import ConfigDict
from pydantic.config import JsonDict

from commerce.promotions import Promotions
from mediaserver.api.auth import caller_of, require
from mediaserver.api.money import Price
from mediaserver.api.operation import operation
from mediaserver.api.pagination import PageQuery, page, read_query
from mediaserver.api.preconditions import NO_STORE
from mediaserver.api.problem import read_json
from mediaserver.api.rule_documents import RuleBody, RuleDocument
from mediaserver.api.strict import Strict

TAG = "prices"
ACT = "promotions.write"
EXAMPLE: JsonDict = {
    "examples": [
        {
            "kind": "threshold",
            "title": "Spring",
            "spend": {"amount": 20000, "currency": "CNY"},
            "off": {"amount": 3000, "currency": "CNY"},
            "every": True,
        }
    ]
}


class NewPromotion(RuleBody):
    """`threshold` (满减) wants `spend`, `percent` a percentage, `fixed` what is `off`, `tier` the
    members' `tier`, whose `price` is that of each piece of `skus`."""

    kind: Literal["percent", "threshold", "fixed", "tier"]
    price: Price | None = None

    model_config = ConfigDict(json_schema_extra=EXAMPLE)


class PromotionsPage(Strict):
    items: list[RuleDocument]
    next: str | None


class PromotionsApi:
    """Handlers of `/v1/promotions`."""

    def __init__(self, promotions: Promotions) -> None:
        self._promotions = promotions

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/promotions", self._create),
            web.get("/v1/promotions", self._list),
            web.get("/v1/promotions/{promotion}", self._get),
            web.post("/v1/promotions/{promotion}/end", self._end),
        ]

    @operation(
        "Make a promotion",
        TAG,
        auth=ACT,
        body=NewPromotion,
        reply=RuleDocument,
        status=201,
        errors={409: "limit_reached"},
    )
    async def _create(self, request: web.Request) -> web.Response:
        await require(request, ACT, room=(await caller_of(request)).room)
        wanted = await read_json(request, NewPromotion)
        caller = await require(request, ACT, room=wanted.room)
        rule = wanted.rule(wanted.kind, wanted.price)
        promotion = await self._promotions.create(rule, by=caller.name)
        return web.json_response(promotion.to_json(), status=201, headers=NO_STORE)

    @operation(
        "List promotions, newest first",
        TAG,
        auth=ACT,
        reply=PromotionsPage,
        query=PageQuery,
        errors={422: "invalid"},
    )
    async def _list(self, request: web.Request) -> web.Response:
        await require(request, ACT, room=(await caller_of(request)).room)
        query = read_query(request, PageQuery)
        found, cursor = await self._promotions.list(after=query.cursor, limit=query.limit)
        items = [promotion.to_json() for promotion in found]
        return web.json_response(page(items, cursor), headers=NO_STORE)

    @operation(
        "Read a promotion",
        TAG,
        auth=ACT,
        reply=RuleDocument,
        errors={404: "promotion_not_found"},
    )
    async def _get(self, request: web.Request) -> web.Response:
        await require(request, ACT, room=(await caller_of(request)).room)
        promotion = await self._promotions.get(request.match_info["promotion"])
        return web.json_response(promotion.to_json(), headers=NO_STORE)

    @operation(
        "End a promotion now",
        TAG,
        auth=ACT,
        reply=RuleDocument,
        errors={404: "promotion_not_found"},
    )
    async def _end(self, request: web.Request) -> web.Response:
        id = request.match_info["promotion"]
        await require(request, ACT, room=(await caller_of(request)).room)
        room = (await self._promotions.get(id)).rule.room
        await require(request, ACT, room=room, promotion=id)
        promotion = await self._promotions.end(id)
        return web.json_response(promotion.to_json(), headers=NO_STORE)
