"""Settlement over HTTP: what each merchant is owed, and the orders of a time as a sheet."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Literal

from aiohttp import web
from pydantic import Field

from commerce.errors import Invalid
from commerce.order import Order
from commerce.ordering import Orders
from commerce.settlement import Settlement, checked_span, shares_of, totals_sheet
from mediaserver.api.auth import Caller, require
from mediaserver.api.money import MoneyDocument
from mediaserver.api.operation import operation
from mediaserver.api.order_access import visible_order
from mediaserver.api.pagination import read_query
from mediaserver.api.preconditions import NO_STORE
from mediaserver.api.strict import Strict

TAG = "orders"
ACT = "orders.read"
SPAN = {400: "bad_query", 422: "invalid"}
CSV = "text/csv"
WHEN = "a day or a moment (RFC 3339), in UTC where it names no zone"


class SpanQuery(Strict):
    from_: Annotated[str, Field(alias="from", description=WHEN)]
    to: Annotated[str, Field(description=f"up to here and not it: {WHEN}")]
    format: Annotated[Literal["json", "csv"], Field(description="`json` or `csv`")] = "json"


class SheetQuery(Strict):
    from_: Annotated[str, Field(alias="from", description=WHEN)]
    to: Annotated[str, Field(description=f"up to here and not it: {WHEN}")]
    format: Annotated[Literal["csv"], Field(description="`csv`")] = "csv"


class ShareDocument(Strict):
    """`merchant` null is the shop itself; `net` is what is owed."""

    merchant: str | None
    currency: str
    orders: int
    pieces: int
    subtotal: MoneyDocument
    discount: MoneyDocument
    shipping: MoneyDocument
    tax: MoneyDocument
    refunded: MoneyDocument
    net: MoneyDocument


class SettlementDocument(Strict):
    items: list[ShareDocument]


class SettlementApi:
    """Handlers of `/v1/settlement`, `/v1/orders/export` and an order's settlement."""

    def __init__(self, settlement: Settlement, orders: Orders) -> None:
        self._settlement = settlement
        self._orders = orders

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/v1/settlement", self._totals),
            web.get("/v1/orders/export", self._export),
            web.get("/v1/orders/{order}/settlement", self._of_order),
        ]

    @operation(
        "What each merchant is owed of an order",
        TAG,
        auth=ACT,
        reply=SettlementDocument,
        errors={404: "order_not_found"},
    )
    async def _of_order(self, request: web.Request) -> web.Response:
        caller = await require(request, ACT)
        order = await visible_order(self._orders, caller, request.match_info["order"])
        items = [share.to_json() for share in shares_of(order)]
        return web.json_response({"items": items}, headers=NO_STORE)

    @operation(
        "What each merchant is owed of the paid orders of a time",
        TAG,
        auth=ACT,
        reply=SettlementDocument,
        reply_also=CSV,
        query=SpanQuery,
        errors=SPAN,
        description="By when orders were placed; `format=csv` gives a sheet.",
    )
    async def _totals(self, request: web.Request) -> web.Response:
        caller = await require(request, ACT)
        query = read_query(request, SpanQuery)
        shares = await self._settlement.totals(*span_of(query.from_, query.to), _seen(caller))
        if query.format == "csv":
            return sheet_of(totals_sheet(shares), "settlement.csv")
        items = [share.to_json() for share in shares]
        return web.json_response({"items": items}, headers=NO_STORE)

    @operation(
        "The paid orders of a time as a sheet, a row for each line",
        TAG,
        auth=ACT,
        reply=CSV,
        query=SheetQuery,
        errors=SPAN,
        description="UTF-8 with a byte order mark, sent while it is read. Texts that a spreadsheet "
        "would take for formulas have an apostrophe before them.",
    )
    async def _export(self, request: web.Request) -> web.Response:
        caller = await require(request, ACT)
        query = read_query(request, SheetQuery)
        span = span_of(query.from_, query.to)
        return sheet_of(self._settlement.sheet(*span, _seen(caller)), "orders.csv")


def span_of(since: str, until: str) -> tuple[int, int]:
    """Two moments as UTC ms; raises Invalid."""
    return checked_span(_moment_ms("from", since), _moment_ms("to", until))


def _moment_ms(name: str, text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
        zoned = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        return round(zoned.timestamp() * 1000)
    except (ValueError, OverflowError):
        raise Invalid(name, WHEN) from None


def _seen(caller: Caller) -> Callable[[Order], bool]:
    return lambda order: caller.may(ACT, order.room)


def sheet_of(body: object, name: str) -> web.Response:
    """A reply that is saved as a file."""
    headers = {**NO_STORE, "Content-Disposition": f'attachment; filename="{name}"'}
    return web.Response(body=body, content_type=CSV, charset="utf-8", headers=headers)
