"""The sales of a room over HTTP: the host schedules and ends them, everybody sees them."""

from __future__ import annotations

from typing import Annotated, Literal

from aiohttp import web
from pydantic import Field

from commerce.flash_sales import QUOTA_MAX, FlashSales, new_sale
from commerce.timestamps import ms_of
from mediaserver.access import Access
from mediaserver.api.auth import require, require_watcher
from mediaserver.api.money import MoneyDocument, Price
from mediaserver.api.operation import WATCHER, operation
from mediaserver.api.pagination import PageQuery, page, read_query
from mediaserver.api.preconditions import NO_STORE
from mediaserver.api.problem import read_json
from mediaserver.api.rule_documents import Moment, ms
from mediaserver.api.strict import Strict

TAG = "prices"
ACT = "sales.write"
PATH = "/v1/rooms/{room}/flash-sales"


class NewSale(Strict):
    """`quota` pieces in all at this price, `per_buyer` for each (1, unless it says otherwise); without a
    quota it is the room's price for everybody. It starts no sooner than every viewer's picture has
    caught up: `starts_at` of the answer counts."""

    sku: str
    price: Price
    ends_at: Annotated[Moment, Field(examples=["2027-01-15T08:05:00.000Z"])]
    starts_at: Moment | None = None
    quota: Annotated[int, Field(ge=1, le=QUOTA_MAX)] | None = None
    per_buyer: Annotated[int, Field(ge=1, le=QUOTA_MAX)] | None = None


class SaleDocument(Strict):
    """`left` of the quota; `price_version` is that of a piece at the sale's price."""

    id: str
    room: str
    sku: str
    product_id: str
    price: MoneyDocument
    list_price: MoneyDocument
    price_version: str
    quota: int | None
    left: int | None
    per_buyer: int | None
    state: Literal["scheduled", "running", "ended"]
    starts_at: str
    ends_at: str


class SalesPage(Strict):
    items: list[SaleDocument]
    next: str | None


class FlashSalesApi:
    """Handlers of `/v1/rooms/{room}/flash-sales`."""

    def __init__(self, sales: FlashSales, access: Access) -> None:
        self._sales = sales
        self._access = access

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post(PATH, self._create),
            web.get(PATH, self._list),
            web.get(f"{PATH}/{{sale}}", self._get),
            web.post(f"{PATH}/{{sale}}/end", self._end),
        ]

    @operation(
        "Schedule a sale in a room",
        TAG,
        auth=ACT,
        body=NewSale,
        reply=SaleDocument,
        status=201,
        errors={404: "room_not_found sku_not_found", 409: "limit_reached"},
    )
    async def _create(self, request: web.Request) -> web.Response:
        room = request.match_info["room"]
        await require(request, ACT, room=room)
        wanted = await read_json(request, NewSale)
        caller = await require(request, ACT, room=room, sku=wanted.sku)
        sale = new_sale(
            room,
            wanted.sku,
            wanted.price.money(),
            ends_ms=ms_of(wanted.ends_at),
            starts_ms=ms(wanted.starts_at) or 0,
            quota=wanted.quota,
            per_buyer=wanted.per_buyer,
        )
        document = await self._sales.create(sale, by=caller.name)
        return web.json_response(document, status=201, headers=NO_STORE)

    @operation(
        "List a room's sales, newest first",
        TAG,
        auth=WATCHER,
        reply=SalesPage,
        query=PageQuery,
        errors={422: "invalid"},
    )
    async def _list(self, request: web.Request) -> web.Response:
        query, room = read_query(request, PageQuery), request.match_info["room"]
        await require_watcher(request, self._access, room)
        items, cursor = await self._sales.list(room, after=query.cursor, limit=query.limit)
        return web.json_response(page(list(items), cursor), headers=NO_STORE)

    @operation("Read a sale", TAG, auth=WATCHER, reply=SaleDocument, errors={404: "sale_not_found"})
    async def _get(self, request: web.Request) -> web.Response:
        room = request.match_info["room"]
        await require_watcher(request, self._access, room)
        document = await self._sales.get(room, request.match_info["sale"])
        return web.json_response(document, headers=NO_STORE)

    @operation(
        "End a sale now, or call it off",
        TAG,
        auth=ACT,
        reply=SaleDocument,
        errors={404: "sale_not_found", 409: "sale_over"},
    )
    async def _end(self, request: web.Request) -> web.Response:
        room, sale = request.match_info["room"], request.match_info["sale"]
        await require(request, ACT, room=room, sale=sale)
        return web.json_response(await self._sales.end(room, sale), headers=NO_STORE)
