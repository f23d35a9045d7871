"""The body of a webhook: `{type, timestamp, data}` of Standard Webhooks, as true as when it is sent.

`data` has the ids of the event (`order_id`, `sku`, …) and the documents that the API shows of them,
without contact and address, which go to nobody by themselves.
"""

from __future__ import annotations

import json
from typing import Any

from commerce.inventory import read_stock, stock_keys
from commerce.order import Order
from commerce.order_record import unpack as unpack_order
from commerce.orders import order_key
from commerce.payments.records import Payment, payment_key, unpack_payment
from commerce.store import Store
from commerce.timestamps import rfc3339
from commerce.webhooks.deliveries import Delivery

BODY_BYTES_MAX = 20_000  # Standard Webhooks, "Payload size"; with more, `data` is the ids alone
AS_THEY_ARE = ("sku", "why")


async def body_of(store: Store, delivery: Delivery) -> bytes:
    """The JSON to be signed and sent."""
    ids = {
        name if name in AS_THEY_ARE else f"{name}_id": value
        for name, value in delivery.about.items()
    }
    body = _pack(delivery, {**ids, **await _documents(store, delivery)})
    return body if len(body) < BODY_BYTES_MAX else _pack(delivery, ids)


def _pack(delivery: Delivery, data: dict[str, Any]) -> bytes:
    whole = {"type": delivery.type, "timestamp": rfc3339(delivery.at_ms), "data": data}
    return json.dumps(whole, ensure_ascii=False, separators=(",", ":")).encode()


async def _documents(store: Store, delivery: Delivery) -> dict[str, Any]:
    found: dict[str, Any] = {}
    about = delivery.about
    order = await _order(store, about["order"]) if "order" in about else None
    if order is not None:
        found["order"] = order.to_json()
    payment_id = about.get("payment") or _payment_of(delivery, order)
    payment = None if payment_id is None else await _payment(store, payment_id)
    if payment is not None:
        found["payment"] = payment.to_json()
    if "sku" in about and (stock := await _stock(store, about["sku"])) is not None:
        found["stock"] = stock
    return found


def _payment_of(delivery: Delivery, order: Order | None) -> str | None:
    if order is None or not delivery.type.startswith("payment."):
        return None
    return order.paid_by or (order.payments[-1] if order.payments else None)


async def _order(store: Store, id: str) -> Order | None:
    key = order_key(id)
    return unpack_order(*(await store.load([key]))[key])


async def _payment(store: Store, id: str) -> Payment | None:
    key = payment_key(id)
    return unpack_payment(*(await store.load([key]))[key])


async def _stock(store: Store, sku: str) -> dict[str, int] | None:
    loaded = await store.load(stock_keys(sku))
    if loaded[f"stock/{sku}"][0] is None:
        return None
    stock = read_stock(sku, loaded)
    return {
        "on_hand": stock.on_hand,
        "available": stock.available,
        "reserved": stock.reserved,
        "committed": stock.committed,
    }
