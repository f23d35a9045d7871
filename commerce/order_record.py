"""How an order is kept: msgpack arrays of its members, in the order in which the classes name them.

Members that are their defaults are left out at the end, so a new order is a few hundred bytes. A new
member goes to the end of its class and has a default: records without it read as before. Orders kept as
maps of their members, and orders packed away (`commerce.shrunk`), are read alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, replace
from operator import attrgetter
from typing import Any

import msgpack

from commerce.money import Money
from commerce.order import Line, Order
from commerce.pricing.discounts import Discount
from commerce.shipments import Shipment
from commerce.shrunk import grow

KEPT: Mapping[type, Sequence[str]] = {
    kind: [each.name for each in fields(kind) if each.name != "version"]
    for kind in (Order, Line, Money, Discount, Shipment)
}
MEMBERS = {kind: attrgetter(*names) for kind, names in KEPT.items()}
DEFAULTS: Mapping[type, tuple[Any, ...]] = {
    kind: tuple(
        each.default for each in fields(kind) if each.name in names and each.default is not MISSING
    )
    for kind, names in KEPT.items()
}
WANTED = {kind: len(names) - len(DEFAULTS[kind]) for kind, names in KEPT.items()}
AS_PLACED: Mapping[str, Any] = {
    "state": "reserved",
    "payment": "none",
    "fulfilment": "none",
    "payments": (),
    "paid_by": None,
    "tracking": None,
    "shipments": (),
    "delivered_ms": None,
    "refunds": (),
    "returns": (),
    "cases": (),
    "shipping_refunded_minor": 0,
    "tax_refunded_minor": 0,
    "given_back_minor": 0,
    "invoice": None,
}
LINE_AS_PLACED: Mapping[str, Any] = dict.fromkeys(
    ("sent", "dropped", "coming", "back", "owed", "refunded", "refunded_minor"), 0
)


def pack(order: Order) -> bytes:
    return msgpack.packb(_members(order), default=_members)


def _members(value: Any) -> tuple[Any, ...]:
    kind = type(value)
    if kind is Money:  # most of them
        return value.amount, value.currency
    members: tuple[Any, ...] = MEMBERS[kind](value)
    wanted, defaults = WANTED[kind], DEFAULTS[kind]
    if members[wanted:] == defaults:
        return members[:wanted]
    end = len(members)
    while members[end - 1] == defaults[end - 1 - wanted]:
        end -= 1
    return members[:end]


def unpack(value: bytes | None, version: int) -> Order | None:
    """The order of a record, None for none."""
    if value is None:
        return None
    members = _named(Order, msgpack.unpackb(grow(value)))
    members["lines"] = tuple(_line(line) for line in members["lines"])
    discounts = (_named(Discount, each) for each in members.get("discounts", ()))
    members["discounts"] = tuple(
        Discount(**{**each, "amount": _money(each["amount"])}) for each in discounts
    )
    for name in ("total", "shipping", "tax"):
        members[name] = _money(members.get(name))
    for name in ("coupons", "payments", "refunds", "returns", "cases"):
        members[name] = tuple(members.get(name, ()))
    _sent_whole(members)
    shipments = (_named(Shipment, each) for each in members.get("shipments", ()))
    members["shipments"] = tuple(Shipment(**each) for each in shipments)
    return Order(**members, version=version)


def as_placed(order: Order) -> Order:
    """The order as its buyer was answered when he placed it, whatever has become of it."""
    return replace(
        order,
        **AS_PLACED,
        lines=tuple(replace(line, **LINE_AS_PLACED) for line in order.lines),
        expires_ms=order.reserved_until_ms,
        updated_ms=order.created_ms,
        version=0,
    )


def _named(kind: type, kept: Any) -> dict[str, Any]:
    names = KEPT[kind]
    if isinstance(kept, Mapping):
        return {name: kept[name] for name in names if name in kept}
    return dict(zip(names, kept, strict=False))


def _line(kept: Any) -> Line:
    members = _named(Line, kept)
    moneys = {name: _money(members.get(name)) for name in ("unit", "discount", "list_unit")}
    return Line(**{**members, **moneys})


def _money(kept: Any) -> Money | None:
    return None if kept is None else Money(**_named(Money, kept))


def _sent_whole(members: dict[str, Any]) -> None:
    """An order of the time when all of it was sent at once has one shipment."""
    if "shipments" in members or members["fulfilment"] not in ("shipped", "delivered"):
        return
    members["lines"] = tuple(replace(line, sent=line.qty) for line in members["lines"])
    if members["fulfilment"] == "delivered":
        members["delivered_ms"] = members["updated_ms"]
    members["shipments"] = [
        {
            "id": members["id"].replace("ord_", "shp_"),
            "pieces": {line.sku: line.qty for line in members["lines"]},
            "carrier": None,
            "tracking": members.get("tracking"),
            "sent_ms": members["updated_ms"],
            "delivered_ms": members.get("delivered_ms"),
        }
    ]
