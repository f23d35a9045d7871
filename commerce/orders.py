"""Orders, and the decisions about them: pure functions of what was loaded, a command and the time.

An order begins as a reservation: its pieces are held until `expires_ms`, longer while a payment is
pending. From that moment on it counts as expired, whoever sweeps it and when. A decision gives the
`Changes` to commit and the order as it will be, or raises its refusal.

Several lines are one commit, all or nothing. Where a SKU has a limit per buyer, what he bought is a
counter too, kept negative so that the limit is a floor.

Indexes, newest first: `orders`, `orders/room/<room>`, `orders/buyer/<sub>`, `orders/state/<state>`.
Oldest first, what is confirmed and not all sent: `orders/to-send`.
By expiry, while reserved: `due`, and `due/<sku>` for who looks for pieces of one SKU.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from operator import attrgetter
from typing import Any

import msgpack

from commerce.changes import SHOP, Changes
from commerce.inventory import move
from commerce.money import Money
from commerce.pricing.claims import give_claim_back, spend_claim, unspent_key
from commerce.pricing.discounts import Discount
from commerce.pricing.rules import (
    count,
    give_sale_pieces_back,
    left_key,
    sale_bought_key,
    take_sale_pieces,
)
from commerce.shipments import Shipment
from commerce.shrunk import grow
from commerce.store import Versioned
from commerce.timestamps import rfc3339
from commerce.transitions import step

DUE = "due"
TO_SEND = "orders/to-send"


@dataclass(frozen=True, slots=True)
class Limits:
    """What the config allows; `reservation_s` and `pending_max_s` in seconds."""

    reservation_s: float = 600.0
    pending_max_s: float = 900.0
    order_lines: int = 50
    order_quantity: int = 99


@dataclass(frozen=True, slots=True)
class PlaceOrder:
    """The command in its normal form: one line per SKU, by name; `given` is contact and address.

    `coupons` are ids in order; `tier` and `segment` are what the buyer's token says of him.
    """

    sub: str
    room: str | None
    lines: Mapping[str, int]
    price_version: str | None = None
    given: Mapping[str, Mapping[str, str]] | None = field(default=None, repr=False)
    referral: str | None = None
    coupons: tuple[str, ...] = ()
    tier: str | None = None
    segment: str | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One SKU as it was when it was ordered; `limited`: it counts towards a limit per buyer.

    `unit` is what a piece costs before the order's discounts, `list_unit` what it costs on any other
    day; `sale` is the flash sale that `sale_pieces` of them count in.

    Pieces after placing: `sent`; `dropped` before they were sent; `coming`, in returns that are under
    way; `back`, received from returns; `owed`, in returns and to be paid back; `refunded` in all, for
    `refunded_minor` minor units.
    """

    sku: str
    product: str
    title: str
    options: Mapping[str, str]
    qty: int
    unit: Money
    limited: bool = False
    discount: Money | None = None
    merchant: str | None = None
    list_unit: Money | None = None
    sale: str | None = None
    sale_pieces: int = 0
    sale_limit: int | None = None
    limit: int | None = None  # per buyer, as it was then
    sent: int = 0
    dropped: int = 0
    coming: int = 0
    back: int = 0
    owed: int = 0
    refunded: int = 0
    refunded_minor: int = 0

    @property
    def left(self) -> int:
        """Pieces that are still to be sent."""
        return self.qty - self.sent - self.dropped

    @property
    def refundable(self) -> int:
        """Pieces whose price may be given back without a return."""
        return self.qty - self.refunded - self.owed

    @property
    def returnable(self) -> int:
        """Pieces that were sent, and are neither given back for nor coming back."""
        return self.sent + self.dropped - self.refunded - self.owed

    @property
    def subtotal(self) -> Money:
        """Before the order's discounts."""
        return self.unit * self.qty

    @property
    def total(self) -> Money:
        """What is paid for the line: its subtotal less its share of the discounts."""
        return self.subtotal if self.discount is None else self.subtotal - self.discount

    def to_json(self) -> dict[str, Any]:
        return {
            "sku": self.sku,
            "product_id": self.product,
            "title": self.title,
            "options": dict(self.options),
            "qty": self.qty,
            "unit": self.unit.to_json(),
            "list_unit": (self.list_unit or self.unit).to_json(),
            "subtotal": self.subtotal.to_json(),
            "discount": None if self.discount is None else self.discount.to_json(),
            "total": self.total.to_json(),
            "merchant": self.merchant,
            "sale": self.sale,
            "sent": self.sent,
            "dropped": self.dropped,
            "returned": self.back,
            "refunded": self.refunded,
        }


@dataclass(frozen=True, slots=True)
class Order:
    """`expires_ms` counts while reserved; `reserved_until_ms` is what it goes back to after a failed
    payment. `payments` are ids, the latest last; `demo`: no real sale, left out of reports. `total` is
    that of all lines with `shipping` and `tax`; `coupons` are those that it redeemed, of which each
    spent one claim. `delivered_ms`: when the last shipment arrived; `given_back_minor`: of what refunds
    promise, what the provider has given back; `invoice` is the id of what stands on it.
    `bound` is where its Idempotency-Key is kept; `version` is the store's."""

    id: str
    sub: str
    room: str | None
    lines: tuple[Line, ...]
    total: Money
    price_version: str
    state: str
    payment: str
    fulfilment: str
    reserved_until_ms: int
    expires_ms: int
    created_ms: int
    updated_ms: int
    contact: str | None = None
    referral: str | None = None
    payments: tuple[str, ...] = ()
    paid_by: str | None = None
    tracking: str | None = None
    demo: bool = False
    discounts: tuple[Discount, ...] = ()
    shipping: Money | None = None
    tax: Money | None = None
    coupons: tuple[str, ...] = ()
    shipments: tuple[Shipment, ...] = ()
    delivered_ms: int | None = None
    refunds: tuple[str, ...] = ()
    returns: tuple[str, ...] = ()
    cases: tuple[str, ...] = ()
    shipping_refunded_minor: int = 0
    tax_refunded_minor: int = 0
    given_back_minor: int = 0
    invoice: str | None = None
    bound: str | None = None
    version: int = 0

    @property
    def refunded_minor(self) -> int:
        """What was promised back, in minor units of the order's currency."""
        lines = sum(line.refunded_minor for line in self.lines)
        return lines + self.shipping_refunded_minor + self.tax_refunded_minor

    def at(self, now_ms: int) -> Order:
        """The order as it counts at `now_ms`: a reservation whose time has passed is expired."""
        if self.state == "reserved" and self.expires_ms <= now_ms:
            return replace(self, state="expired")
        return self

    def to_json(self) -> dict[str, Any]:
        """As its buyer and the shop see it, without contact and address."""
        return {
            "id": self.id,
            "room": self.room,
            "buyer": self.sub,
            "lines": [line.to_json() for line in self.lines],
            "discounts": [discount.to_json() for discount in self.discounts],
            "shipping": None if self.shipping is None else self.shipping.to_json(),
            "tax": None if self.tax is None else self.tax.to_json(),
            "coupons": list(self.coupons),
            "total": self.total.to_json(),
            "price_version": self.price_version,
            "state": self.state,
            "payment": self.payment,
            "fulfilment": self.fulfilment,
            "expires_at": rfc3339(self.expires_ms) if self.state == "reserved" else None,
            "payments": list(self.payments),
            "referral": self.referral,
            "tracking": self.tracking,
            "shipments": [shipment.to_json() for shipment in self.shipments],
            "refunded": Money(self.refunded_minor, self.total.currency).to_json(),
            "refunds": list(self.refunds),
            "returns": list(self.returns),
            "cases": list(self.cases),
            "delivered_at": None if self.delivered_ms is None else rfc3339(self.delivered_ms),
            "demo": self.demo,
            "created_at": rfc3339(self.created_ms),
            "updated_at": rfc3339(self.updated_ms),
        }


OPTIONAL: Mapping[type, frozenset[str]] = {
    kind: frozenset(each.name for each in fields(kind) if each.default is not MISSING)
    for kind in (Line, Order)
}
NAMES = {kind: [each.name for each in fields(kind)] for kind in OPTIONAL}
MEMBERS = {kind: attrgetter(*names) for kind, names in NAMES.items()}


def order_key(id: str) -> str:
    return f"order/{id}"


def bought_key(sku: str, sub: str) -> str:
    """The counter of what a buyer has of a SKU with a limit; it counts downwards."""
    return f"bought/{sku}/{hashlib.sha256(sub.encode('utf-8', 'replace')).hexdigest()}"


def pack(order: Order) -> bytes:
    members = _members(order)
    members.pop("version", None)
    return msgpack.packb(members, default=_members)


def _members(value: Any) -> dict[str, Any]:
    """Those of a dataclass with slots; a tenth of what `asdict` costs, which copies everything.

    What an order or a line has nothing of is left out: that is the default of all that may be.
    """
    kind = type(value)
    if kind is Money:  # most of them
        return {"amount": value.amount, "currency": value.currency}
    if kind not in OPTIONAL:
        return {name: getattr(value, name) for name in value.__slots__}
    optional, members = OPTIONAL[kind], zip(NAMES[kind], MEMBERS[kind](value), strict=True)
    return {name: member for name, member in members if member or name not in optional}


def unpack(value: bytes | None, version: int) -> Order | None:
    if value is None:
        return None
    members = msgpack.unpackb(grow(value))
    members["lines"] = tuple(_line_of(line) for line in members["lines"])
    members["discounts"] = tuple(Discount.read(each) for each in members.get("discounts", ()))
    members["coupons"] = tuple(members.get("coupons", ()))
    for name in ("total", "shipping", "tax"):
        members[name] = _money(members.get(name))
    for name in ("payments", "refunds", "returns", "cases"):
        members[name] = tuple(members.get(name, ()))
    _sent_whole(members)
    members["shipments"] = tuple(Shipment(**each) for each in members.get("shipments", ()))
    return Order(**members, version=version)


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


def _line_of(members: dict[str, Any]) -> Line:
    moneys = {name: _money(members.get(name)) for name in ("unit", "discount", "list_unit")}
    return Line(**{**members, **moneys})


def _money(members: Mapping[str, Any] | None) -> Money | None:
    return None if members is None else Money(members["amount"], members["currency"])


def decide_expire(order: Order, now_ms: int) -> tuple[Changes, Order] | None:
    """The end of a reservation whose time has passed; None if it has not, or has ended already."""
    if order.state != "reserved" or order.expires_ms > now_ms:
        return None
    changes = Changes(now_ms)
    give_back(changes, order, "reserved")
    after = replace(order, state=step("state", "reserved", "expired"))
    return changes, save(changes, order, after)


def decide_cancel(order: Order, now_ms: int) -> tuple[Changes, Order]:
    """The end of an order that has not been sent; raises IllegalTransition.

    A payment that is pending then, or made, is for the caller to give back.
    """
    step("state", order.at(now_ms).state, "cancelled")
    if order.fulfilment != "none":
        step("fulfilment", order.fulfilment, "none")
    changes = Changes(now_ms)
    give_back(changes, order, "reserved" if order.state == "reserved" else "committed")
    return changes, save(changes, order, replace(order, state="cancelled"))


def give_back(changes: Changes, order: Order, source: str) -> None:
    """The pieces of an order that were not sent become available again, for him too."""
    for line in order.lines:
        move(changes, line.sku, line.left, source=source, target="available")
        bought_less(changes, order, line, line.left)
        pieces = min(line.left, line.sale_pieces)
        if line.sale is not None and pieces:
            give_sale_pieces_back(changes, line.sale, order.sub, pieces)
    if all(line.left == line.qty for line in order.lines):
        give_back_claims(changes, order)


def give_back_claims(changes: Changes, order: Order) -> None:
    """The coupons that a whole order has spent are its buyer's again."""
    for coupon in order.coupons:
        give_claim_back(changes, coupon, order.sub)


def bought_less(changes: Changes, order: Order, line: Line, pieces: int) -> None:
    """Pieces that no longer count towards the buyer's limit."""
    if line.limited:
        changes.add(bought_key(line.sku, order.sub), pieces, -(2**53))


def take_again(changes: Changes, order: Order) -> None:
    """The pieces of an expired order, for a payment that came late; its limits count as they were."""
    for line in order.lines:
        move(changes, line.sku, line.qty, source="available", target="committed")
        if line.limited:
            floor = -(2**53) if line.limit is None else -line.limit
            changes.add(bought_key(line.sku, order.sub), -line.qty, floor)
        if line.sale is not None and line.sale_pieces:
            take_sale_pieces(changes, line.sale, order.sub, line.sale_pieces, line.sale_limit)
    for coupon in order.coupons:
        spend_claim(changes, coupon, order.sub)


def price_keys(order: Order) -> list[str]:
    """What to load for `price_holds`."""
    sales = [line.sale for line in order.lines if line.sale is not None and line.sale_pieces]
    keys = [key for id in sales for key in (left_key(id), sale_bought_key(id, order.sub))]
    return [*keys, *(unspent_key(coupon, order.sub) for coupon in order.coupons)]


def price_holds(order: Order, loaded: Mapping[str, Versioned]) -> bool:
    """Whether sales and claims have again what an expired order took of them for its price."""
    for line in order.lines:
        if line.sale is None or not line.sale_pieces:
            continue
        if count(loaded, left_key(line.sale)) < line.sale_pieces:
            return False
        bought = -count(loaded, sale_bought_key(line.sale, order.sub))
        if line.sale_limit is not None and bought + line.sale_pieces > line.sale_limit:
            return False
    return all(count(loaded, unspent_key(id, order.sub)) > 0 for id in order.coupons)


def save(changes: Changes, before: Order | None, after: Order) -> Order:
    """Write the order with its places in the indexes, and tell its buyer and the shop."""
    if after.updated_ms != changes.now_ms:
        after = replace(after, updated_ms=changes.now_ms)
    key = order_key(after.id)
    changes.reads[key] = 0 if before is None else before.version
    changes.writes[key] = pack(after)
    newest_first = f"{10**15 - after.created_ms:015d}{after.id}"
    if before is None:
        changes.index["orders", key] = newest_first
        changes.index[f"orders/buyer/{after.sub}", key] = newest_first
        if after.room is not None:
            changes.index[f"orders/room/{after.room}", key] = newest_first
    if before is None or before.state != after.state:
        if before is not None:
            changes.index[f"orders/state/{before.state}", key] = None
        changes.index[f"orders/state/{after.state}", key] = newest_first
    if to_send(after) or (before is not None and to_send(before)):
        oldest_first = f"{after.created_ms:015d}{after.id}"
        changes.index[TO_SEND, key] = oldest_first if to_send(after) else None
    due = f"{after.expires_ms:015d}" if after.state == "reserved" else None
    for index in due_indexes(after.lines):
        changes.index[index, key] = due
    what = _what(before, after)
    changes.tell_all((f"buyer/{after.sub}", SHOP), "order.updated", order=after.id, what=what)
    return after


def _what(before: Order | None, after: Order) -> str:
    """Which of the three tables went where: `state.confirmed payment.paid`; empty for other changes.

    A payment that is `paid` again when its dispute was won is no second payment: `payment.won`.
    """
    if before is None:
        return f"state.{after.state}"
    if (before.payment, after.payment) == ("disputed", "paid"):
        return "payment.won"
    went = {
        "state": (before.state, after.state),
        "payment": (before.payment, after.payment),
        "fulfilment": (before.fulfilment, after.fulfilment),
    }
    return " ".join(
        f"{table}.{target}" for table, (source, target) in went.items() if source != target
    )


def to_send(order: Order) -> bool:
    """Whether pieces of it are to be picked and sent."""
    return order.state == "confirmed" and order.fulfilment in ("none", "partial")


def due_indexes(lines: Sequence[Line]) -> list[str]:
    return [DUE, *(f"{DUE}/{line.sku}" for line in lines)]
