"""The shopping bag of a room over HTTP: everybody looks in, the host and the shop fill it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Protocol

from aiohttp import web
from pydantic import Field

from mediaserver.access import Access
from mediaserver.api.auth import require, require_watcher
from mediaserver.api.operation import WATCHER, operation
from mediaserver.api.pagination import PageQuery, page, read_query
from mediaserver.api.preconditions import NO_STORE
from mediaserver.api.problem import read_json
from mediaserver.api.product_documents import ProductDocument
from mediaserver.api.strict import Strict

TAG = "bag"


class Bag(Protocol):
    """`overlay.bag.Bag`."""

    async def add(
        self, room: str, product_id: str, position: int | None = None
    ) -> dict[str, Any]: ...
    async def remove(self, room: str, product_id: str) -> None: ...
    async def page(
        self,
        room: str,
        after: str | None = None,
        limit: int = 50,
        search: str | None = None,
        category: str | None = None,
    ) -> tuple[Sequence[dict[str, Any]], str | None]: ...


class NewBagItem(Strict):
    """A product for the bag; one that is in it moves to the position."""

    product_id: str
    position: Annotated[int, Field(ge=0, description="from 0; without one: at the end")] | None = (
        None
    )


class BagQuery(PageQuery):
    """`search`: a part of a title, or a SKU; `category`: the whole name."""

    search: str | None = None
    category: str | None = None


class BagItem(Strict):
    product_id: str
    position: int
    product: ProductDocument


class BagPage(Strict):
    items: list[BagItem]
    next: str | None


class BagApi:
    """Handlers of `/v1/rooms/{room}/bag`."""

    def __init__(self, bag: Bag, access: Access) -> None:
        self._bag = bag
        self._access = access

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/rooms/{room}/bag", self._add),
            web.get("/v1/rooms/{room}/bag", self._page),
            web.delete("/v1/rooms/{room}/bag/{product_id}", self._remove),
        ]

    @operation(
        "Put a product into a room's bag, or move it",
        TAG,
        auth="bag.write",
        body=NewBagItem,
        reply=BagItem,
        status=201,
        errors={404: "room_not_found product_not_found", 409: "limit_reached", 422: "invalid"},
    )
    async def _add(self, request: web.Request) -> web.Response:
        room = request.match_info["room"]
        await require(request, "bag.write", room=room)
        wanted = await read_json(request, NewBagItem)
        await require(
            request, "bag.write", room=room, product=wanted.product_id
        )  # for the audit log
        item = await self._bag.add(room, wanted.product_id, wanted.position)
        return web.json_response(item, status=201, headers=NO_STORE)

    @operation(
        "List a room's bag",
        TAG,
        auth=WATCHER,
        reply=BagPage,
        query=BagQuery,
        errors={400: "bad_query", 404: "room_not_found", 422: "invalid"},
    )
    async def _page(self, request: web.Request) -> web.Response:
        query, room = read_query(request, BagQuery), request.match_info["room"]
        await require_watcher(request, self._access, room)
        items, cursor = await self._bag.page(
            room, query.cursor, query.limit, query.search, query.category
        )
        return web.json_response(page(list(items), cursor), headers=NO_STORE)

    @operation(
        "Take a product out of a room's bag, and its card off",
        TAG,
        auth="bag.write",
        status=204,
        errors={404: "room_not_found product_not_found"},
    )
    async def _remove(self, request: web.Request) -> web.Response:
        room, product = request.match_info["room"], request.match_info["product_id"]
        await require(request, "bag.write", room=room, product=product)
        await self._bag.remove(room, product)
        return web.Response(status=204, headers=NO_STORE)
