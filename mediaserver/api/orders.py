"""Orders over HTTP: place, read, list, change the contact, cancel.

A buyer's Idempotency-Keys are bound to the order's `sub` however he comes, staff's to theirs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web

from commerce.contact import Contacts
from commerce.idempotency import Answer, parse_key
from commerce.order import Order
from commerce.ordering import Orders
from mediaserver.api.auth import (
    CHALLENGE,
    Caller,
    Forbidden,
    require_buyer,
)
from mediaserver.api.limits import AddressLimiter
from mediaserver.api.operation import VIEWER, operation
from mediaserver.api.order_access import acting_sub, known_caller, owns, staff_name, visible_order
from mediaserver.api.order_documents import (
    AnyObject,
    ContactDocument,
    ContactPatch,
    NewOrder,
    Nothing,
    OrderDocument,
    OrdersPage,
    OrdersQuery,
)
from mediaserver.api.pagination import page, read_query
from mediaserver.api.preconditions import NO_STORE, idempotency_key, replay
from mediaserver.api.problem import read_json
from mediaserver.errors import Unauthorized

TAG = "orders"
KEY = ("Idempotency-Key",)
HIDDEN = {404: "order_not_found"}
ACT_ERRORS = {403: "forbidden", 404: "order_not_found", 409: "illegal_transition"}
REPLAYED = ("Idempotent-Replayed",)


class OrdersApi:
    """Handlers of `/v1/orders` and `/v1/contact`.

    `link(order id)` is the page that opens the order for its buyer; `limiter` is for each address.
    """

    def __init__(
        self,
        orders: Orders,
        contacts: Contacts,
        limiter: AddressLimiter,
        *,
        link: Callable[[str], str],
    ) -> None:
        self._orders = orders
        self._contacts = contacts
        self._link = link
        self._limiter = limiter

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/orders", self._place),
            web.get("/v1/orders", self._list),
            web.get("/v1/orders/by-key/{key}", self._by_key),
            web.get("/v1/orders/{order}", self._get),
            web.patch("/v1/orders/{order}", self._patch),
            web.post("/v1/orders/{order}/cancel", self._cancel),
            web.get("/v1/contact", self._last_contact),
            web.delete("/v1/contact", self._erase_contacts),
        ]

    @operation(
        "Place an order",
        TAG,
        auth=VIEWER,
        body=NewOrder,
        reply=OrderDocument,
        status=201,
        headers=KEY,
        errors={
            400: "mixed_currency",
            403: "wrong_room",
            404: "room_not_found coupon_not_found",
            409: "out_of_stock price_changed limit_reached coupon_over coupon_not_yours "
            "coupon_not_claimed",
            429: "too_many",
        },
        reply_headers=("Location", *REPLAYED),
    )
    async def _place(self, request: web.Request) -> web.Response:
        self._limiter.check(request.remote)
        caller, sub = await _buyer(request)
        key = idempotency_key(request)
        body = dict((await read_json(request, AnyObject)).model_extra or {})
        if body.get("room") is None:
            body["room"] = caller.room
        command = self._orders.command(sub, body, tier=caller.tier, segment=caller.segment)
        if caller.room not in (None, command.room):
            raise Forbidden(f"the token is for the room {caller.room}", code="wrong_room")
        answer = await self._orders.place(command, key)
        headers = {**replay(answer), "Location": f"/v1/orders/{answer.value.id}"}
        document = self._document(caller, answer.value)
        return web.json_response(document, status=201, headers=headers)

    @operation(
        "List orders, newest first: a viewer its own, staff those they may read",
        TAG,
        auth=VIEWER,
        reply=OrdersPage,
        query=OrdersQuery,
        errors={422: "invalid"},
    )
    async def _list(self, request: web.Request) -> web.Response:
        caller, _ = await _buyer(request)
        bound = _narrowed(caller, read_query(request, OrdersQuery))
        found, cursor = (
            ([], None)
            if bound is None
            else await self._orders.list(
                room=bound.room,
                buyer=bound.buyer,
                state=bound.state,
                after=bound.cursor,
                limit=bound.limit,
            )
        )
        body = page([self._document(caller, order) for order in found], cursor)
        return web.json_response(body, headers=NO_STORE)

    @operation(
        "Read the order that the caller placed under an Idempotency-Key",
        TAG,
        auth=VIEWER,
        reply=OrderDocument,
        errors={**HIDDEN, 422: "invalid"},
    )
    async def _by_key(self, request: web.Request) -> web.Response:
        caller, sub = await _buyer(request)
        order = await self._orders.by_key(sub, parse_key(request.match_info["key"]))
        return await self._whole(caller, order)

    @operation("Read an order", TAG, auth=VIEWER, reply=OrderDocument, errors=HIDDEN)
    async def _get(self, request: web.Request) -> web.Response:
        return await self._whole(*await self._visible(request))

    @operation(
        "Change the contact and address of an order before it is sent",
        TAG,
        auth=VIEWER,
        body=ContactPatch,
        reply=OrderDocument,
        errors=ACT_ERRORS,
    )
    async def _patch(self, request: web.Request) -> web.Response:
        caller, order = await self._visible(request)
        sub = await acting_sub(request, caller, order, "orders.contact")
        given = (await read_json(request, ContactPatch)).model_dump(exclude_unset=True)
        contact, address = given.get("contact"), given.get("address")
        order = await self._orders.set_contact(order.id, sub, contact, address)
        return await self._whole(caller, order)

    @operation(
        "Cancel an order that was not sent",
        TAG,
        auth=VIEWER,
        body=Nothing,
        reply=OrderDocument,
        headers=KEY,
        errors=ACT_ERRORS,
        reply_headers=REPLAYED,
    )
    async def _cancel(self, request: web.Request) -> web.Response:
        caller, order = await self._visible(request)
        sub = await acting_sub(request, caller, order, "orders.cancel")
        key = idempotency_key(request)
        await read_json(request, Nothing)
        by = sub or staff_name(caller)
        return self._answer(caller, await self._orders.cancel(order.id, sub, by=by, key=key))

    @operation(
        "Read the contact and address that the caller gave last",
        TAG,
        auth=VIEWER,
        reply=ContactDocument,
    )
    async def _last_contact(self, request: web.Request) -> web.Response:
        _, sub = await _buyer(request)
        return web.json_response(_given(await self._contacts.last(sub)), headers=NO_STORE)

    @operation(
        "Erase every contact and address that the caller ever gave, of orders under way too",
        TAG,
        auth=VIEWER,
        status=204,
    )
    async def _erase_contacts(self, request: web.Request) -> web.Response:
        _, sub = await _buyer(request)
        await self._contacts.erase(sub)
        return web.Response(status=204, headers=NO_STORE)

    async def _visible(self, request: web.Request) -> tuple[Caller, Order]:
        caller = await known_caller(request)
        return caller, await visible_order(self._orders, caller, request.match_info["order"])

    def _document(self, caller: Caller, order: Order) -> dict[str, Any]:
        document = order.to_json()
        return {**document, "link": self._link(order.id)} if owns(caller, order) else document

    async def _whole(self, caller: Caller, order: Order) -> web.Response:
        document = self._document(caller, order)
        if owns(caller, order) or caller.may("orders.contact", order.room):
            document |= _given(await self._orders.contact(order.id, None))
        return web.json_response(document, headers=NO_STORE)

    def _answer(self, caller: Caller, answer: Answer[Order]) -> web.Response:
        return web.json_response(self._document(caller, answer.value), headers=replay(answer))


async def _buyer(request: web.Request) -> tuple[Caller, str]:
    """Who can own orders, and his `sub`; one with spaces around it would become another's."""
    caller = await require_buyer(request)
    if caller.sub is None or caller.sub != caller.sub.strip():
        raise Unauthorized("the token's sub is not plain", code="token_invalid", headers=CHALLENGE)
    return caller, caller.sub


def _narrowed(caller: Caller, query: OrdersQuery) -> OrdersQuery | None:
    """The query within what the caller may see, None where nothing is left of it."""
    if not caller.may("orders.read", caller.room):
        own = query.buyer in (None, caller.sub)
        return query.model_copy(update={"buyer": caller.sub}) if own else None
    if caller.room not in (None, query.room or caller.room):
        return None
    return query.model_copy(update={"room": query.room or caller.room})


def _given(given: dict[str, Any] | None) -> dict[str, Any]:
    return {name: (given or {}).get(name) for name in ("contact", "address")}
