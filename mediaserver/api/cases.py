"""After-sale cases over HTTP, the staff's notes on an order, and what stands on its invoice."""

from __future__ import annotations

from typing import Annotated, Literal

from aiohttp import web
from pydantic import Field

from commerce.cases import TEXT_CHARS, Case, Cases
from commerce.errors import NotFound
from commerce.invoices import Invoices
from commerce.order import Order
from commerce.ordering import Orders
from mediaserver.api.auth import Caller, Forbidden, require
from mediaserver.api.operation import VIEWER, operation
from mediaserver.api.order_access import (
    acting_sub,
    known_caller,
    owns,
    require_in_own_room,
    staff_name,
    visible_order,
)
from mediaserver.api.order_documents import Nothing
from mediaserver.api.pagination import PageQuery, page, read_query
from mediaserver.api.preconditions import NO_STORE, idempotency_key, replay
from mediaserver.api.problem import read_json
from mediaserver.api.strict import Strict

TAG = "refunds and returns"
ACT = "orders.returns"
NOTES = "orders.notes"
INVOICES = "orders.refund"  # who gives money back writes invoices, too
KEY = ("Idempotency-Key",)
REPLAYED = ("Idempotent-Replayed",)
HIDDEN = {404: "order_not_found"}
GUARDED = {403: "forbidden", 404: "case_not_found", 409: "illegal_transition too_many_records"}

Kind = Literal["damaged", "wrong_item", "missing", "not_arrived", "refund", "other"]
State = Literal["open", "closed"]
Words = Annotated[str, Field(min_length=1, max_length=TEXT_CHARS)]


class NewCase(Strict):
    kind: Kind
    text: Words


class Text(Strict):
    text: Words


class MessageDocument(Strict):
    by: Literal["buyer", "staff"]
    text: str
    at: str


class CaseDocument(Strict):
    id: str
    order: str
    kind: Kind
    state: State
    messages: list[MessageDocument]
    created_at: str
    updated_at: str


class CasesPage(Strict):
    items: list[CaseDocument]
    next: str | None


class CasesQuery(PageQuery):
    state: Annotated[State, Field(description="what state they are in")] = "open"


class NoteDocument(Strict):
    text: str
    by: str
    at: str


class NotesList(Strict):
    items: list[NoteDocument]
    next: None


class Invoice(Strict):
    """Whose invoice it is; kept encrypted, and erased with the buyer's contacts."""

    title: str
    tax_id: str = ""
    email: str = ""


class InvoiceDocument(Strict):
    invoice: Invoice | None


class CasesApi:
    """Handlers of cases, and of an order's notes and invoice."""

    def __init__(self, cases: Cases, invoices: Invoices, orders: Orders) -> None:
        self._cases = cases
        self._invoices = invoices
        self._orders = orders

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/orders/{order}/cases", self._open),
            web.get("/v1/orders/{order}/cases", self._of_order),
            web.get("/v1/cases", self._list),
            web.get("/v1/cases/{case}", self._get),
            web.post("/v1/cases/{case}/messages", self._say),
            web.post("/v1/cases/{case}/close", self._close),
            web.post("/v1/orders/{order}/notes", self._note),
            web.get("/v1/orders/{order}/notes", self._notes),
            web.put("/v1/orders/{order}/invoice", self._put_invoice),
            web.get("/v1/orders/{order}/invoice", self._get_invoice),
        ]

    @operation(
        "Open a case about an order, as its buyer",
        TAG,
        auth=VIEWER,
        body=NewCase,
        reply=CaseDocument,
        status=201,
        headers=KEY,
        errors={403: "forbidden", **HIDDEN, 409: "too_many_records"},
        reply_headers=("Location", *REPLAYED),
    )
    async def _open(self, request: web.Request) -> web.Response:
        caller, order = await self._visible(request)
        if not owns(caller, order):
            raise Forbidden("only its buyer opens a case about an order")
        key = idempotency_key(request)
        body = await read_json(request, NewCase)
        answer = await self._cases.open(order.id, order.sub, body.kind, body.text, key=key)
        headers = {**replay(answer), "Location": f"/v1/cases/{answer.value.id}"}
        return web.json_response(answer.value.to_json(), status=201, headers=headers)

    @operation(
        "List the cases of an order, oldest first",
        TAG,
        auth=VIEWER,
        reply=CasesPage,
        errors=HIDDEN,
    )
    async def _of_order(self, request: web.Request) -> web.Response:
        _, order = await self._visible(request)
        found = await self._cases.of_order(order)
        return web.json_response(page([each.to_json() for each in found], None), headers=NO_STORE)

    @operation(
        "List the cases in a state, oldest first",
        TAG,
        auth="orders.read",
        reply=CasesPage,
        query=CasesQuery,
        errors={422: "invalid"},
    )
    async def _list(self, request: web.Request) -> web.Response:
        caller = await require_in_own_room(request, "orders.read")
        query = read_query(request, CasesQuery)
        found, cursor = await self._cases.list(
            query.state, room=caller.room, after=query.cursor, limit=query.limit
        )
        items = [each.to_json() for each in found]
        return web.json_response(page(items, cursor), headers=NO_STORE)

    @operation("Read a case", TAG, auth=VIEWER, reply=CaseDocument, errors={404: "case_not_found"})
    async def _get(self, request: web.Request) -> web.Response:
        case, _, _ = await self._case(request)
        return web.json_response(case.to_json(), headers=NO_STORE)

    @operation(
        "Say something in a case, as the order's buyer or as staff",
        TAG,
        auth=VIEWER,
        body=Text,
        reply=CaseDocument,
        status=201,
        headers=KEY,
        errors=GUARDED,
        reply_headers=REPLAYED,
    )
    async def _say(self, request: web.Request) -> web.Response:
        case, caller, order = await self._case(request)
        sub = await acting_sub(request, caller, order, ACT)
        key = idempotency_key(request)
        text = (await read_json(request, Text)).text
        staff = staff_name(caller) if sub is None else None
        by = sub or staff_name(caller)
        answer = await self._cases.say(case.id, text, staff=staff, by=by, key=key)
        return web.json_response(answer.value.to_json(), status=201, headers=replay(answer))

    @operation(
        "Close a case",
        TAG,
        auth=ACT,
        body=Nothing,
        reply=CaseDocument,
        headers=KEY,
        errors={401: "token_missing", 404: "case_not_found", 409: "illegal_transition"},
        reply_headers=REPLAYED,
    )
    async def _close(self, request: web.Request) -> web.Response:
        case, caller, order = await self._case(request)
        await require(request, ACT, room=order.room, order=order.id)
        key = idempotency_key(request)
        await read_json(request, Nothing)
        answer = await self._cases.close(case.id, by=staff_name(caller), key=key)
        return web.json_response(answer.value.to_json(), headers=replay(answer))

    @operation(
        "Write a note about an order, which only the staff reads",
        TAG,
        auth=NOTES,
        body=Text,
        reply=NoteDocument,
        status=201,
        headers=KEY,
        errors={**HIDDEN, 401: "token_missing", 409: "too_many_records"},
        reply_headers=REPLAYED,
    )
    async def _note(self, request: web.Request) -> web.Response:
        caller, order = await self._visible(request)
        await require(request, NOTES, room=order.room, order=order.id)
        key = idempotency_key(request)
        text = (await read_json(request, Text)).text
        answer = await self._cases.note(order.id, text, by=staff_name(caller), key=key)
        return web.json_response(answer.value, status=201, headers=replay(answer))

    @operation(
        "Read the staff's notes about an order",
        TAG,
        auth=NOTES,
        reply=NotesList,
        errors={**HIDDEN, 401: "token_missing"},
    )
    async def _notes(self, request: web.Request) -> web.Response:
        _, order = await self._visible(request)
        await require(request, NOTES, room=order.room)
        notes = await self._cases.notes(order.id)
        return web.json_response(page(list(notes), None), headers=NO_STORE)

    @operation(
        "Say what is to stand on an order's invoice, as its buyer",
        TAG,
        auth=VIEWER,
        body=Invoice,
        reply=InvoiceDocument,
        errors={403: "forbidden", **HIDDEN, 409: "illegal_transition"},
    )
    async def _put_invoice(self, request: web.Request) -> web.Response:
        caller, order = await self._visible(request)
        if not owns(caller, order):
            raise Forbidden("only its buyer says what stands on the invoice")
        body = await read_json(request, Invoice)
        invoice = await self._invoices.put(order.id, order.sub, body.model_dump())
        return web.json_response({"invoice": invoice}, headers=NO_STORE)

    @operation(
        "Read what is to stand on an order's invoice",
        TAG,
        auth=VIEWER,
        reply=InvoiceDocument,
        errors={403: "forbidden", **HIDDEN},
    )
    async def _get_invoice(self, request: web.Request) -> web.Response:
        caller, order = await self._visible(request)
        await acting_sub(request, caller, order, INVOICES)
        invoice = await self._invoices.get(order)
        return web.json_response({"invoice": invoice}, headers=NO_STORE)

    async def _visible(self, request: web.Request) -> tuple[Caller, Order]:
        caller = await known_caller(request)
        return caller, await visible_order(self._orders, caller, request.match_info["order"])

    async def _case(self, request: web.Request) -> tuple[Case, Caller, Order]:
        caller = await known_caller(request)
        case = await self._cases.get(request.match_info["case"])
        try:
            return case, caller, await visible_order(self._orders, caller, case.order)
        except NotFound:
            raise NotFound("there is no such case", code="case_not_found") from None
