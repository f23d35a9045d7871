"""Sending and delivery over HTTP, by the staff: whole orders, or one shipment after the other."""

from __future__ import annotations

from aiohttp import web

from commerce.ordering import Orders
from mediaserver.api.auth import require
from mediaserver.api.operation import operation
from mediaserver.api.order_access import known_caller, staff_name, visible_order
from mediaserver.api.order_documents import Delivery, OrderDocument, Shipment, pieces_of
from mediaserver.api.preconditions import idempotency_key, replay
from mediaserver.api.problem import read_json

TAG = "orders"
KEY = ("Idempotency-Key",)
REPLAYED = ("Idempotent-Replayed",)
ACT = "orders.ship"


class FulfilmentApi:
    """Handlers of `/v1/orders/{order}/ship` and `/deliver`."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/orders/{order}/ship", self._ship),
            web.post("/v1/orders/{order}/deliver", self._deliver),
        ]

    @operation(
        "Ship a confirmed order, or some pieces of it",
        TAG,
        auth=ACT,
        body=Shipment,
        reply=OrderDocument,
        headers=KEY,
        errors={401: "token_missing", 404: "order_not_found", 409: "illegal_transition"},
        reply_headers=REPLAYED,
        description="Without `lines` all that is left is sent. `fulfilment` is `partial` until "
        "nothing is left; each call adds one of `shipments`.",
    )
    async def _ship(self, request: web.Request) -> web.Response:
        id, by = await self._allowed(request)
        key = idempotency_key(request)
        body = await read_json(request, Shipment)
        answer = await self._orders.ship(
            id,
            by=by,
            key=key,
            pieces=None if body.lines is None else pieces_of(body.lines),
            carrier=body.carrier,
            tracking=body.tracking,
        )
        return web.json_response(answer.value.to_json(), headers=replay(answer))

    @operation(
        "A shipment has arrived, or the whole order",
        TAG,
        auth=ACT,
        body=Delivery,
        reply=OrderDocument,
        headers=KEY,
        errors={
            401: "token_missing",
            404: "order_not_found shipment_not_found",
            409: "illegal_transition",
        },
        reply_headers=REPLAYED,
        description="Without `shipment` all that was sent has arrived. The order is completed when "
        "all of it has; the window for returns begins then.",
    )
    async def _deliver(self, request: web.Request) -> web.Response:
        id, by = await self._allowed(request)
        key = idempotency_key(request)
        shipment = (await read_json(request, Delivery)).shipment
        answer = await self._orders.deliver(id, by=by, key=key, shipment=shipment)
        return web.json_response(answer.value.to_json(), headers=replay(answer))

    async def _allowed(self, request: web.Request) -> tuple[str, str]:
        """The order's id and the name of who acts."""
        caller = await known_caller(request)
        order = await visible_order(self._orders, caller, request.match_info["order"])
        await require(request, ACT, room=order.room, order=order.id)
        return order.id, staff_name(caller)
