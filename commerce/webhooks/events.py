"""The events that webhooks tell of: the one table of names, and what events of `shop` are called there.

An order's event in `shop` says in `what` which of its tables went where (`state.confirmed
payment.paid`), so one commit may be two events outside: the first has the id of the event in `shop`,
the others that id with their place after a dot. Ids are the same whenever they are worked out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgpack

from commerce.errors import Invalid

ANY = "*"
FILTERS_MAX = 50
TEST = "webhook.test"
DISABLED = "webhook.disabled"
ORDER_UPDATED = "order.updated"

EVENTS: Mapping[str, str] = {
    "order.created": "an order was placed; its pieces are held",
    "order.confirmed": "an order is paid and its pieces are committed",
    "order.cancelled": "an order was cancelled; its pieces are for sale again",
    "order.expired": "an order was not paid in time; its pieces are for sale again",
    "order.partially_shipped": "a part of an order was sent",
    "order.shipped": "all of an order was sent",
    "order.completed": "an order has arrived and is complete",
    "order.delivered": "all parcels of an order have arrived",
    "order.updated": "something else of an order has changed, such as its address",
    "payment.pending": "a buyer has begun to pay",
    "payment.succeeded": "an order was paid",
    "payment.failed": "a payment was declined or given up",
    "payment.partially_refunded": "a part of what was paid has been given back",
    "payment.refunded": "all of what was paid has been given back",
    "payment.disputed": "the buyer disputes a payment with his bank",
    "dispute.opened": "a dispute of a payment has begun",
    "dispute.closed": "a dispute of a payment was won or lost",
    "refund.created": "a refund was decided",
    "refund.succeeded": "the provider has given the money of a refund back",
    "refund.failed": "a refund was refused by the provider",
    "return.requested": "a buyer wants to send something back",
    "return.partially_returned": "a part of an order has come back",
    "return.returned": "all of an order has come back",
    "stock.changed": "the pieces of an article for sale, held or sold have changed",
    "stock.low": "few pieces of an article are left",
    "price.changed": "an article has another price",
    "sale.scheduled": "a flash sale was planned",
    "sale.started": "a flash sale has begun",
    "sale.ended": "a flash sale is over",
    "coupon.dropped": "coupons may be claimed in a room",
    "stream.online": "a room is on the air",
    "stream.offline": "a room has left the air",
    "webhook.disabled": "an endpoint was switched off, by its own 410 or after days of failures",
    "webhook.test": "sent on demand, to see whether an endpoint answers",
}

STEPS: Mapping[str, str] = {  # of an order's tables
    "state.reserved": "order.created",
    "state.confirmed": "order.confirmed",
    "state.cancelled": "order.cancelled",
    "state.expired": "order.expired",
    "state.completed": "order.completed",
    "payment.pending": "payment.pending",
    "payment.paid": "payment.succeeded",
    "payment.failed": "payment.failed",
    "payment.partially_refunded": "payment.partially_refunded",
    "payment.refunded": "payment.refunded",
    "payment.disputed": "payment.disputed",
    "fulfilment.partial": "order.partially_shipped",
    "fulfilment.shipped": "order.shipped",
    "fulfilment.delivered": "order.delivered",
    "fulfilment.return_requested": "return.requested",
    "fulfilment.partially_returned": "return.partially_returned",
    "fulfilment.returned": "return.returned",
}


@dataclass(frozen=True, slots=True)
class Occurrence:
    """What a webhook tells: `about` are ids by kind (`order`, `sku`, …)."""

    id: str
    type: str
    at_ms: int
    about: Mapping[str, str]


def occurrences(body: bytes) -> list[Occurrence]:
    """What an event of `shop` is to those outside; nothing for one that is not in the table."""
    event = msgpack.unpackb(body)
    about = {name: value for name, value in event["d"].items() if isinstance(value, str)}
    what = about.pop("what", "")
    if event["t"] == ORDER_UPDATED:
        types = list(dict.fromkeys(STEPS[step] for step in what.split() if step in STEPS))
        types = types or [ORDER_UPDATED]
    else:
        types = [event["t"]] if event["t"] in EVENTS else []
    id, at_ms = event["id"], event["ts"]
    return [
        Occurrence(f"{id}.{place}" if place else id, type, at_ms, about)
        for place, type in enumerate(types)
    ]


def wanted(filters: Iterable[str], type: str) -> bool:
    """Whether one of the filters names the event: `order.paid`, `order.*` or `*`."""
    return any(
        each in (ANY, type) or (each.endswith(".*") and type.startswith(each[:-1]))
        for each in filters
    )


def checked_filters(filters: Sequence[str]) -> tuple[str, ...]:
    """The filters, each once; raises Invalid for none, too many, or one that names no event."""
    if not 1 <= len(filters) <= FILTERS_MAX:
        raise Invalid("events", f"1 to {FILTERS_MAX} names, such as order.* or payment.failed")
    for each in filters:
        if not any(wanted([each], type) for type in EVENTS):
            raise Invalid("events", f"{each[:60]} names no event of /v1/webhook-events")
    return tuple(dict.fromkeys(filters))
