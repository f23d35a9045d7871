"""Refunds over HTTP: the staff gives back, whoever may see the order reads what was given."""

from __future__ import annotations

from typing import Annotated, Literal

from aiohttp import web
from pydantic import Field

from commerce.after_sale import AfterSale
from commerce.errors import Invalid
from commerce.ordering import Orders
from mediaserver.api.auth import require
from mediaserver.api.money import MoneyDocument, Price
from mediaserver.api.operation import VIEWER, operation
from mediaserver.api.order_access import known_caller, staff_name, visible_order
from mediaserver.api.order_documents import LINES_MAX, pieces_of
from mediaserver.api.pagination import page
from mediaserver.api.preconditions import NO_STORE, idempotency_key, replay
from mediaserver.api.problem import read_json
from mediaserver.api.quotes import LineBody
from mediaserver.api.strict import Strict

TAG = "refunds and returns"
ACT = "orders.refund"


class NewRefund(Strict):
    """Either `lines` or `amount`; `restock` speaks of the pieces of `lines`."""

    lines: Annotated[list[LineBody], Field(min_length=1, max_length=LINES_MAX)] | None = None
    amount: Annotated[Price | None, Field(examples=[None])] = None
    reason: str
    restock: bool | None = None


class RefundLine(Strict):
    sku: str
    qty: int
    amount: MoneyDocument


class RefundDocument(Strict):
    """`open` until the provider has given the money back, or has refused to, for `failure`.

    `return` is the return that it is for.
    """

    id: str
    order: str
    payment: str
    amount: MoneyDocument
    lines: list[RefundLine]
    shipping: MoneyDocument
    tax: MoneyDocument
    reason: str
    state: Literal["open", "done", "failed"]
    return_: Annotated[str | None, Field(alias="return")]
    failure: str | None
    created_at: str


class RefundsList(Strict):
    items: list[RefundDocument]
    next: None


class RefundsApi:
    """Handlers of `/v1/orders/{order}/refunds`."""

    def __init__(self, after_sale: AfterSale, orders: Orders) -> None:
        self._after_sale = after_sale
        self._orders = orders

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/orders/{order}/refunds", self._refund),
            web.get("/v1/orders/{order}/refunds", self._list),
        ]

    @operation(
        "Give back money of an order",
        TAG,
        auth=ACT,
        body=NewRefund,
        reply=RefundDocument,
        status=201,
        headers=("Idempotency-Key",),
        errors={
            400: "mixed_currency",
            401: "token_missing",
            404: "order_not_found",
            409: "illegal_transition refund_exceeds",
        },
        reply_headers=("Idempotent-Replayed",),
        description="With `lines`: what was paid for those pieces, their share of the line after all "
        "discounts; in whatever portions, pieces add up to the line's total. The discount of the "
        "other pieces stays. Pieces that were not sent are not sent any more, and are on the shelf "
        "again, or written off with `restock` `false`; for pieces that were sent, `restock` `true` "
        "puts them back on the shelf. Shipping goes back with the last pieces if nothing was sent. "
        "With `amount`: that much, for no pieces. Never more than was paid.",
    )
    async def _refund(self, request: web.Request) -> web.Response:
        caller = await known_caller(request)
        order = await visible_order(self._orders, caller, request.match_info["order"])
        await require(request, ACT, room=order.room, order=order.id)
        key = idempotency_key(request)
        body = await read_json(request, NewRefund)
        if (body.lines is None) == (body.amount is None):
            raise Invalid("lines", "either lines or an amount")
        wanted = pieces_of(body.lines or ()) if body.amount is None else body.amount.money()
        answer = await self._after_sale.refund(
            order.id, wanted, body.reason, restock=body.restock, by=staff_name(caller), key=key
        )
        return web.json_response(answer.value.to_json(), status=201, headers=replay(answer))

    @operation(
        "List the refunds of an order, oldest first",
        TAG,
        auth=VIEWER,
        reply=RefundsList,
        errors={404: "order_not_found"},
    )
    async def _list(self, request: web.Request) -> web.Response:
        caller = await known_caller(request)
        order = await visible_order(self._orders, caller, request.match_info["order"])
        found = await self._after_sale.refunds(order)
        return web.json_response(page([each.to_json() for each in found], None), headers=NO_STORE)
