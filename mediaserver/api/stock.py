"""Stock over HTTP: what there is of a SKU, an edit of what is on hand, and the log of edits.

An edit wants If-Match with the version it is based on, and an Idempotency-Key: sent a second time, it
gets the first answer, though the version it names is not the current one any more.
"""

from __future__ import annotations

from typing import Annotated, Any

from aiohttp import web
from pydantic import Field

from commerce.errors import NotFound
from commerce.idempotency import Scope, fingerprint
from commerce.inventory import ON_HAND_LIMIT, Inventory, Stock
from commerce.products import SKU_CODE
from mediaserver.api.auth import require
from mediaserver.api.operation import operation
from mediaserver.api.pagination import PAGE, PAGE_MAX, page, read_query
from mediaserver.api.preconditions import (
    NO_STORE,
    NO_VERSION,
    etag,
    idempotency_key,
    if_match,
    replay,
)
from mediaserver.api.problem import read_json
from mediaserver.api.strict import Strict

TAG = "stock"
SET = "stock.set"


class StockEdit(Strict):
    """`on_hand` is all there is, with what orders hold; `reason` in words.

    `low_at`: tell the staff when so few are available, null: no more; what is not given stays.
    """

    on_hand: Annotated[int, Field(ge=0, le=ON_HAND_LIMIT)]
    reason: str
    low_at: Annotated[int | None, Field(ge=0, le=ON_HAND_LIMIT)] = None


class StockDocument(Strict):
    sku: str
    on_hand: int
    available: int
    reserved: int
    committed: int
    version: int
    low_at: int | None


class AdjustmentDocument(Strict):
    id: str
    sku: str
    before: int
    after: int
    reason: str
    by: str
    at: str


class AdjustmentsPage(Strict):
    items: list[AdjustmentDocument]
    next: None


class LatestQuery(Strict):
    """The latest `limit` of them; there is no second page."""

    limit: Annotated[int, Field(ge=1, le=PAGE_MAX, strict=False)] = PAGE


class StockApi:
    """Handlers of `/v1/skus/{sku}/stock` and its adjustments."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/v1/skus/{sku}/stock", self._get),
            web.put("/v1/skus/{sku}/stock", self._put),
            web.get("/v1/skus/{sku}/adjustments", self._adjustments),
        ]

    @operation(
        "Read the stock of a SKU",
        TAG,
        auth="stock.read",
        reply=StockDocument,
        errors={404: "sku_not_found"},
        reply_headers=("ETag",),
    )
    async def _get(self, request: web.Request) -> web.Response:
        await require(request, "stock.read")
        return _reply(await self._stock(request))

    @operation(
        "Set what is on hand",
        TAG,
        auth="stock.adjust",
        body=StockEdit,
        reply=StockDocument,
        headers=("If-Match", "Idempotency-Key"),
        errors={404: "sku_not_found", 409: "below_held"},
        reply_headers=("ETag", "Idempotent-Replayed"),
    )
    async def _put(self, request: web.Request) -> web.Response:
        sku = request.match_info["sku"]
        caller = await require(request, "stock.adjust", sku=sku)
        key = idempotency_key(request)
        wanted = await read_json(request, StockEdit)
        stock = await self._stock(request)
        marked = "low_at" in wanted.model_fields_set
        command: dict[str, Any] = {
            "sku": sku,
            "on_hand": wanted.on_hand,
            "reason": wanted.reason.strip(),
        }
        if marked:
            command["low_at"] = wanted.low_at
        answer = await self._inventory.set_on_hand(
            sku,
            wanted.on_hand,
            wanted.reason,
            by=caller.name,
            low_at=wanted.low_at if marked else ...,
            if_version=stock.version if if_match(request, stock.version) else NO_VERSION,
            scope=Scope(caller.sub or caller.name, SET, key, fingerprint(command)),
        )
        return _reply(answer.value, dict(replay(answer)))

    @operation(
        "List the latest edits of a SKU's stock, newest first",
        TAG,
        auth="stock.read",
        reply=AdjustmentsPage,
        query=LatestQuery,
        errors={400: "bad_query", 404: "sku_not_found"},
    )
    async def _adjustments(self, request: web.Request) -> web.Response:
        await require(request, "stock.read")
        query = read_query(request, LatestQuery)
        stock = await self._stock(request)
        latest = await self._inventory.adjustments(stock.sku, limit=query.limit)
        items = [
            {name: entry[name] for name in AdjustmentDocument.model_fields} for entry in latest
        ]
        return web.json_response(page(items, None), headers=NO_STORE)

    async def _stock(self, request: web.Request) -> Stock:
        sku = request.match_info["sku"]
        if not SKU_CODE.fullmatch(sku):  # it becomes a part of the store's keys
            raise NotFound("there is no such SKU", code="sku_not_found")
        return await self._inventory.get(sku)


def _reply(stock: Stock, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response(stock.to_json(), headers={**etag(stock.version), **(headers or {})})
