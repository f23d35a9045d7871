"""Returns over HTTP: the buyer asks, the staff approves or refuses, and receives."""

from __future__ import annotations

from typing import Annotated, Literal

from aiohttp import web
from pydantic import Field

from commerce.after_sale import AfterSale, Decision
from commerce.errors import NotFound
from commerce.order import Order
from commerce.ordering import Orders
from mediaserver.api.auth import Caller, require
from mediaserver.api.operation import VIEWER, operation
from mediaserver.api.order_access import (
    acting_sub,
    known_caller,
    require_in_own_room,
    staff_name,
    visible_order,
)
from mediaserver.api.order_documents import LINES_MAX, PiecesDocument, pieces_of
from mediaserver.api.pagination import PageQuery, page, read_query
from mediaserver.api.preconditions import NO_STORE, idempotency_key, replay
from mediaserver.api.problem import read_json
from mediaserver.api.quotes import LineBody
from mediaserver.api.strict import Strict

TAG = "refunds and returns"
ACT = "orders.returns"
KEY = ("Idempotency-Key",)
REPLAYED = ("Idempotent-Replayed",)
DECIDED = {404: "return_not_found", 409: "illegal_transition refund_exceeds"}

State = Literal["requested", "approved", "refused", "received"]


class NewReturn(Strict):
    lines: Annotated[list[LineBody], Field(min_length=1, max_length=LINES_MAX)]
    reason: str


class Approval(Strict):
    """`refund` `true`: paid back at once, and not when the pieces are here."""

    refund: bool = False
    answer: str | None = None


class Answered(Strict):
    answer: str | None = None


class Receipt(Strict):
    """`restock` `false`: the pieces are not fit to be sold again."""

    restock: bool = True
    answer: str | None = None


class ReturnDocument(Strict):
    """`answer` is the staff's, in words; `refund` is the refund that pays for it."""

    id: str
    order: str
    lines: list[PiecesDocument]
    reason: str
    state: State
    answer: str | None
    restocked: bool | None
    refund: str | None
    created_at: str
    updated_at: str


class ReturnsPage(Strict):
    items: list[ReturnDocument]
    next: str | None


class ReturnsQuery(PageQuery):
    state: Annotated[State, Field(description="what state they are in")] = "requested"


class ReturnsApi:
    """Handlers of `/v1/orders/{order}/returns` and `/v1/returns`."""

    def __init__(self, after_sale: AfterSale, orders: Orders) -> None:
        self._after_sale = after_sale
        self._orders = orders

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/orders/{order}/returns", self._request),
            web.get("/v1/orders/{order}/returns", self._of_order),
            web.get("/v1/returns", self._list),
            web.get("/v1/returns/{return}", self._get),
            web.post("/v1/returns/{return}/approve", self._approve),
            web.post("/v1/returns/{return}/refuse", self._refuse),
            web.post("/v1/returns/{return}/receive", self._receive),
        ]

    @operation(
        "Ask to send pieces of an order back",
        TAG,
        auth=VIEWER,
        body=NewReturn,
        reply=ReturnDocument,
        status=201,
        headers=KEY,
        errors={
            403: "forbidden",
            404: "order_not_found",
            409: "illegal_transition not_returnable return_window_over too_many_records",
        },
        reply_headers=("Location", *REPLAYED),
        description="By its buyer once the order has arrived, within `returns.window_days` from "
        "then, and not of products with `returnable` `false`; by the staff at any time.",
    )
    async def _request(self, request: web.Request) -> web.Response:
        caller, order = await self._visible(request)
        sub = await acting_sub(request, caller, order, ACT)
        key = idempotency_key(request)
        body = await read_json(request, NewReturn)
        by, pieces = sub or staff_name(caller), pieces_of(body.lines)
        answer = await self._after_sale.request(order.id, sub, pieces, body.reason, by=by, key=key)
        headers = {**replay(answer), "Location": f"/v1/returns/{answer.value.id}"}
        return web.json_response(answer.value.to_json(), status=201, headers=headers)

    @operation(
        "List the returns of an order, oldest first",
        TAG,
        auth=VIEWER,
        reply=ReturnsPage,
        errors={404: "order_not_found"},
    )
    async def _of_order(self, request: web.Request) -> web.Response:
        _, order = await self._visible(request)
        found = await self._after_sale.returns(order)
        return web.json_response(page([each.to_json() for each in found], None), headers=NO_STORE)

    @operation(
        "List the returns in a state, oldest first",
        TAG,
        auth="orders.read",
        reply=ReturnsPage,
        query=ReturnsQuery,
        errors={422: "invalid"},
    )
    async def _list(self, request: web.Request) -> web.Response:
        caller = await require_in_own_room(request, "orders.read")
        query = read_query(request, ReturnsQuery)
        found, cursor = await self._after_sale.list_returns(
            query.state, room=caller.room, after=query.cursor, limit=query.limit
        )
        items = [each.to_json() for each in found]
        return web.json_response(page(items, cursor), headers=NO_STORE)

    @operation(
        "Read a return", TAG, auth=VIEWER, reply=ReturnDocument, errors={404: "return_not_found"}
    )
    async def _get(self, request: web.Request) -> web.Response:
        caller = await known_caller(request)
        made = await self._after_sale.get_return(request.match_info["return"])
        try:
            await visible_order(self._orders, caller, made.order)
        except NotFound:
            raise _no_return() from None
        return web.json_response(made.to_json(), headers=NO_STORE)

    @operation(
        "Approve a return",
        TAG,
        auth=ACT,
        body=Approval,
        reply=ReturnDocument,
        headers=KEY,
        errors=DECIDED,
        reply_headers=REPLAYED,
        description="With `refund` it is paid back at once, which `orders.refund` must allow, too.",
    )
    async def _approve(self, request: web.Request) -> web.Response:
        key = idempotency_key(request)
        body = await read_json(request, Approval)
        decision = Decision("approve", body.answer, pay_now=body.refund)
        return await self._decide(request, key, decision)

    @operation(
        "Refuse a return",
        TAG,
        auth=ACT,
        body=Answered,
        reply=ReturnDocument,
        headers=KEY,
        errors=DECIDED,
        reply_headers=REPLAYED,
    )
    async def _refuse(self, request: web.Request) -> web.Response:
        key = idempotency_key(request)
        body = await read_json(request, Answered)
        return await self._decide(request, key, Decision("refuse", body.answer))

    @operation(
        "The pieces of an approved return are here; they are paid back",
        TAG,
        auth=ACT,
        body=Receipt,
        reply=ReturnDocument,
        headers=KEY,
        errors=DECIDED,
        reply_headers=REPLAYED,
    )
    async def _receive(self, request: web.Request) -> web.Response:
        key = idempotency_key(request)
        body = await read_json(request, Receipt)
        decision = Decision("receive", body.answer, restock=body.restock)
        return await self._decide(request, key, decision)

    async def _decide(self, request: web.Request, key: str, decision: Decision) -> web.Response:
        id = request.match_info["return"]
        caller = await require_in_own_room(request, ACT)
        made = await self._after_sale.get_return(id)
        if not caller.may(ACT, made.room):
            raise _no_return()
        await require(request, ACT, room=made.room, order=made.order)
        if decision.pay_now:
            await require(request, "orders.refund", room=made.room, order=made.order)
        answer = await self._after_sale.decide_return(id, decision, by=staff_name(caller), key=key)
        return web.json_response(answer.value.to_json(), headers=replay(answer))

    async def _visible(self, request: web.Request) -> tuple[Caller, Order]:
        caller = await known_caller(request)
        return caller, await visible_order(self._orders, caller, request.match_info["order"])


def _no_return() -> NotFound:
    return NotFound("there is no such return", code="return_not_found")
