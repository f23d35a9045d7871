"""Sending and delivery: decisions about a confirmed order, whole or in several shipments.

What was refunded before it was sent is not sent any more; an order is `shipped` when nothing is left,
`delivered` and completed when every shipment has arrived.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from commerce.changes import Changes
from commerce.errors import Invalid, NotFound
from commerce.ids import new_id
from commerce.inventory import Stock, ship_out
from commerce.order import Line, Order
from commerce.orders import save
from commerce.shipments import Shipment
from commerce.transitions import step

SHIPMENTS_MAX = 50  # of an order, which is one record


def checked_pieces(order: Order, pieces: Mapping[str, int]) -> dict[str, int]:
    """The pieces, each SKU of which is in the order; raises Invalid."""
    skus = {line.sku for line in order.lines}
    for sku, count in pieces.items():
        if sku not in skus:
            raise Invalid("lines", f"{sku} is not in the order")
        if count < 1:
            raise Invalid("qty", "a whole number from 1")
    return dict(pieces)


def decide_ship(
    order: Order,
    stocks: Mapping[str, Stock],
    pieces: Mapping[str, int] | None,
    now_ms: int,
    *,
    carrier: str | None = None,
    tracking: str | None = None,
) -> tuple[Changes, Order]:
    """Pieces {sku: count}, None for all that are left, leave the shelf.

    Raises IllegalTransition, or Invalid for more than is left.
    """
    if order.at(now_ms).state != "confirmed":
        step("state", order.at(now_ms).state, "completed")
    if order.fulfilment not in ("none", "partial"):
        step("fulfilment", order.fulfilment, "shipped")
    left = {line.sku: line.left for line in order.lines if line.left}
    sent = left if pieces is None else checked_pieces(order, pieces)
    for sku, count in sent.items():
        if count > left.get(sku, 0):
            raise Invalid("lines", f"{left.get(sku, 0)} of {sku} are left to be sent")
    if len(order.shipments) >= SHIPMENTS_MAX:
        raise Invalid("lines", f"an order goes in at most {SHIPMENTS_MAX} shipments")
    changes = Changes(now_ms)
    for sku, count in sent.items():
        ship_out(changes, stocks[sku], count, order.id)
    shipment = Shipment(new_id("shp", now_ms), sent, carrier, tracking, now_ms)
    after = replace(
        order,
        lines=tuple(_sent(line, sent.get(line.sku, 0)) for line in order.lines),
        shipments=(*order.shipments, shipment),
        tracking=tracking or order.tracking,
    )
    target = "partial" if any(line.left for line in after.lines) else "shipped"
    after = replace(after, fulfilment=step("fulfilment", order.fulfilment, target))
    return changes, save(changes, order, after)


def _sent(line: Line, pieces: int) -> Line:
    return replace(line, sent=line.sent + pieces) if pieces else line


def decide_deliver(order: Order, shipment: str | None, now_ms: int) -> tuple[Changes, Order]:
    """A shipment, None for all of an order that was sent whole, has arrived.

    Raises NotFound or IllegalTransition.
    """
    known = {each.id for each in order.shipments}
    if shipment is not None and shipment not in known:
        raise NotFound("there is no such shipment", code="shipment_not_found")
    partly = order.fulfilment == "partial" and shipment is not None
    if not partly and order.fulfilment != "shipped":
        step("fulfilment", order.fulfilment, "delivered")
    arrived = tuple(
        each.arrived(now_ms) if shipment in (None, each.id) else each for each in order.shipments
    )
    changes = Changes(now_ms)
    return changes, save(changes, order, settled(replace(order, shipments=arrived), now_ms))


def settled(order: Order, now_ms: int) -> Order:
    """The order where its pieces have brought it: all sent, or all arrived."""
    if order.fulfilment == "partial" and not any(line.left for line in order.lines):
        order = replace(order, fulfilment=step("fulfilment", "partial", "shipped"))
    if order.fulfilment == "shipped" and all(each.delivered_ms for each in order.shipments):
        order = replace(
            order,
            fulfilment=step("fulfilment", "shipped", "delivered"),
            state=step("state", order.state, "completed"),
            delivered_ms=now_ms,
        )
    return order
