"""The pick list over HTTP: what is confirmed and not sent yet."""

from __future__ import annotations

from typing import Annotated, Literal

from aiohttp import web
from pydantic import Field

from commerce.pick_list import pick_list
from commerce.store import Store
from mediaserver.api.operation import operation
from mediaserver.api.order_access import require_in_own_room
from mediaserver.api.pagination import read_query
from mediaserver.api.preconditions import NO_STORE
from mediaserver.api.strict import Strict

ACT = "orders.ship"


class PickQuery(Strict):
    room: str | None = None
    format: Annotated[Literal["json", "csv"], Field(description="`json` or `csv`")] = "json"


class PickedSku(Strict):
    sku: str
    title: str
    options: dict[str, str]
    qty: int


class PickedLine(Strict):
    sku: str
    title: str
    qty: int


class PickedOrder(Strict):
    order: str
    room: str | None
    created_at: str
    lines: list[PickedLine]


class PickListDocument(Strict):
    """`more`: there are further orders, for when these are sent."""

    skus: list[PickedSku]
    orders: list[PickedOrder]
    more: bool


class PickListApi:
    """Handler of `/v1/pick-list`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/v1/pick-list", self._get)]

    @operation(
        "What is confirmed and not sent yet, by SKU and by order, oldest first",
        "orders",
        auth=ACT,
        reply=PickListDocument,
        reply_also="text/csv",
        query=PickQuery,
        errors={400: "bad_query"},
        description="`format=csv` gives a sheet with a row for each line.",
    )
    async def _get(self, request: web.Request) -> web.Response:
        caller = await require_in_own_room(request, ACT)
        query = read_query(request, PickQuery)
        found = await pick_list(
            self._store,
            lambda order: query.room in (None, order.room) and caller.may(ACT, order.room),
        )
        if query.format == "json":
            return web.json_response(found.to_json(), headers=NO_STORE)
        headers = {**NO_STORE, "Content-Disposition": 'attachment; filename="pick-list.csv"'}
        return web.Response(
            body=found.to_csv(), content_type="text/csv", charset="utf-8", headers=headers
        )
