"""Whose an order is, and who may see it.

An order is its buyer's, who comes with a token of the same `sub` or with the order's own key, and of
staff who may read orders, in its room. To all others there is no such order, in the same words as for
one that never was.
"""

from __future__ import annotations

from aiohttp import web

from commerce.errors import NotFound
from commerce.order import Order
from commerce.ordering import Orders
from mediaserver.api.auth import CHALLENGE, NOBODY, Caller, caller_of, require
from mediaserver.errors import Unauthorized


def owns(caller: Caller, order: Order) -> bool:
    """Whether the order is the caller's: by its `sub`, or by the order's key."""
    return caller.order == order.id or caller.sub == order.sub


async def known_caller(request: web.Request) -> Caller:
    """The caller with any credential; raises Unauthorized `token_missing`."""
    caller = await caller_of(request)
    if caller.role == NOBODY:
        raise Unauthorized("a token is missing", code="token_missing", headers=CHALLENGE)
    return caller


async def visible_order(orders: Orders, caller: Caller, id: str) -> Order:
    """The order, if the caller may see it; raises NotFound, whether it is there or not."""
    order = await orders.get(id)
    if not owns(caller, order) and not caller.may("orders.read", order.room):
        raise NotFound("there is no such order", code="order_not_found")
    return order


async def acting_sub(request: web.Request, caller: Caller, order: Order, act: str) -> str | None:
    """The `sub` to act on the order as: its own for its buyer, None for staff who may do this."""
    if owns(caller, order):
        return order.sub
    await require(request, act, room=order.room, order=order.id)
    return None


async def require_in_own_room(request: web.Request, act: str) -> Caller:
    """Staff who may do this act in some room: who is bound to one, in that. Raises as `require` does."""
    caller = await caller_of(request)
    return await require(request, act, room=caller.room)


def staff_name(caller: Caller) -> str:
    """Whose Idempotency-Keys the staff's are."""
    return caller.sub or caller.name
