"""Orders, and the decisions about them: pure functions of what was loaded, a command and the time.

An order begins as a reservation: its pieces are held until `expires_ms`, longer while a payment is
pending. From that moment on it counts as expired, whoever sweeps it and when. A decision gives the
`Changes` to commit and the order as it will be, or raises its refusal.

Several lines are one commit, all or nothing. Where a SKU has a limit per buyer, what he bought is a
counter too, kept negative so that the limit is a floor.

Indexes, newest first: `orders`, `orders/room/<room>`, `orders/buyer/<sub>`, `orders/state/<state>`.
By expiry, while reserved: `due`, and `due/<sku>` for who looks for pieces of one SKU.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import msgpack

from commerce.changes import SHOP, Changes
from commerce.errors import Invalid, LimitReached, OutOfStock, PriceChanged
from commerce.ids import new_id
from commerce.inventory import Stock, move, ship_out
from commerce.money import Money
from commerce.products import Product, Sku, product_key, quote
from commerce.store import Versioned
from commerce.timestamps import rfc3339
from commerce.transitions import step

DUE = "due"


@dataclass(frozen=True, slots=True)
class Limits:
    """What the config allows; `reservation_s` and `pending_max_s` in seconds."""

    reservation_s: float = 600.0
    pending_max_s: float = 900.0
    order_lines: int = 50
    order_quantity: int = 99


@dataclass(frozen=True, slots=True)
class PlaceOrder:
    """The command in its normal form: one line per SKU, by name; `given` is contact and address."""

    sub: str
    room: str | None
    lines: Mapping[str, int]
    price_version: str | None = None
    given: Mapping[str, Mapping[str, str]] | None = field(default=None, repr=False)
    referral: str | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One SKU as it was when it was ordered; `limited`: it counts towards a limit per buyer."""

    sku: str
    product: str
    title: str
    options: Mapping[str, str]
    qty: int
    unit: Money
    limited: bool = False

    @property
    def total(self) -> Money:
        return self.unit * self.qty

    def to_json(self) -> dict[str, Any]:
        return {
            "sku": self.sku,
            "product_id": self.product,
            "title": self.title,
            "options": dict(self.options),
            "qty": self.qty,
            "unit": self.unit.to_json(),
            "total": self.total.to_json(),
        }


@dataclass(frozen=True, slots=True)
class Order:
    """`expires_ms` counts while reserved; `reserved_until_ms` is what it goes back to after a failed
    payment. `payments` are ids, the latest last; `demo`: no real sale, left out of reports.
    `version` is the store's."""

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
    version: int = 0

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
            "total": self.total.to_json(),
            "price_version": self.price_version,
            "state": self.state,
            "payment": self.payment,
            "fulfilment": self.fulfilment,
            "expires_at": rfc3339(self.expires_ms) if self.state == "reserved" else None,
            "payments": list(self.payments),
            "referral": self.referral,
            "tracking": self.tracking,
            "demo": self.demo,
            "created_at": rfc3339(self.created_ms),
            "updated_at": rfc3339(self.updated_ms),
        }


def order_key(id: str) -> str:
    return f"order/{id}"


def bought_key(sku: str, sub: str) -> str:
    """The counter of what a buyer has of a SKU with a limit; it counts downwards."""
    return f"bought/{sku}/{hashlib.sha256(sub.encode('utf-8', 'replace')).hexdigest()}"


def pack(order: Order) -> bytes:
    members = asdict(order)
    del members["version"]
    return msgpack.packb(members)


def unpack(value: bytes | None, version: int) -> Order | None:
    if value is None:
        return None
    members = msgpack.unpackb(value)
    members["lines"] = tuple(
        Line(**{**line, "unit": Money(**line["unit"])}) for line in members["lines"]
    )
    members["total"] = Money(**members["total"])
    members["payments"] = tuple(members["payments"])
    return Order(**members, version=version)


def decide_place(
    command: PlaceOrder,
    products: Mapping[str, Product],
    stocks: Mapping[str, Stock],
    bought: Mapping[str, Versioned],
    limits: Limits,
    now_ms: int,
) -> tuple[Changes, Order]:
    """A reservation of all lines, or none.

    `products` and `stocks` by SKU; `bought` by `bought_key`. Raises Invalid, MixedCurrency,
    PriceChanged with the new quote, LimitReached, or OutOfStock, which says whether others hold pieces.
    """
    skus = {code: _known(products, code).sku(code) for code in command.lines}
    quoted = quote(skus, command.lines)
    if command.price_version not in (None, quoted["price_version"]):
        raise PriceChanged(quoted)
    changes = Changes(now_ms)
    lines = tuple(
        _line(changes, command.sub, products[code], skus[code], pieces, bought)
        for code, pieces in command.lines.items()
    )
    short = [line.sku for line in lines if stocks[line.sku].available < line.qty]
    if short:
        raise OutOfStock(short, held=all(stocks[sku].reserved > 0 for sku in short))
    until_ms = now_ms + round(limits.reservation_s * 1000)
    order = Order(
        id=new_id("ord", now_ms),
        sub=command.sub,
        room=command.room,
        lines=lines,
        total=Money(quoted["total"]["amount"], quoted["total"]["currency"]),
        price_version=quoted["price_version"],
        state="reserved",
        payment="none",
        fulfilment="none",
        reserved_until_ms=until_ms,
        expires_ms=until_ms,
        created_ms=now_ms,
        updated_ms=now_ms,
        referral=command.referral,
    )
    for line in lines:
        product = products[line.sku]
        changes.reads[product_key(product.id)] = product.version
        move(changes, line.sku, line.qty, source="available", target="reserved")
    return changes, order


def _known(products: Mapping[str, Product], code: str) -> Product:
    if code not in products:
        raise Invalid("lines", f"there is no SKU {code}")
    return products[code]


def _line(
    changes: Changes,
    sub: str,
    product: Product,
    sku: Sku,
    pieces: int,
    bought: Mapping[str, Versioned],
) -> Line:
    if sku.per_buyer is not None:
        key = bought_key(sku.sku, sub)
        before = -int(bought[key][0] or b"0")
        if before + pieces > sku.per_buyer:
            raise LimitReached(
                f"at most {sku.per_buyer} of {sku.sku} for each buyer",
                extra={"skus": [sku.sku], "limit": sku.per_buyer, "bought": before},
            )
        changes.add(key, -pieces, -sku.per_buyer)
    return Line(
        sku.sku,
        product.id,
        product.title,
        dict(sku.options),
        pieces,
        sku.price,
        sku.per_buyer is not None,
    )


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


def decide_ship(
    order: Order, stocks: Mapping[str, Stock], tracking: str | None, now_ms: int
) -> tuple[Changes, Order]:
    """All of a confirmed order leaves the shelf; raises IllegalTransition."""
    if order.at(now_ms).state != "confirmed":
        step("state", order.at(now_ms).state, "completed")
    after = replace(
        order, fulfilment=step("fulfilment", order.fulfilment, "shipped"), tracking=tracking
    )
    changes = Changes(now_ms)
    for line in order.lines:
        ship_out(changes, stocks[line.sku], line.qty, order.id)
    return changes, save(changes, order, after)


def decide_deliver(order: Order, now_ms: int) -> tuple[Changes, Order]:
    """A shipped order has arrived and is completed; raises IllegalTransition."""
    after = replace(
        order,
        fulfilment=step("fulfilment", order.fulfilment, "delivered"),
        state=step("state", order.state, "completed"),
    )
    changes = Changes(now_ms)
    return changes, save(changes, order, after)


def give_back(changes: Changes, order: Order, source: str) -> None:
    """The pieces of an order become available again, for him too."""
    for line in order.lines:
        move(changes, line.sku, line.qty, source=source, target="available")
        if line.limited:
            changes.add(bought_key(line.sku, order.sub), line.qty, -(2**53))


def take_again(changes: Changes, order: Order) -> None:
    """The pieces of an expired order, for a payment that came late; limits were its own then."""
    for line in order.lines:
        move(changes, line.sku, line.qty, source="available", target="committed")
        if line.limited:
            changes.add(bought_key(line.sku, order.sub), -line.qty, -(2**53))


def save(changes: Changes, before: Order | None, after: Order) -> Order:
    """Write the order with its places in the indexes, and tell its buyer and the shop."""
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
    due = f"{after.expires_ms:015d}" if after.state == "reserved" else None
    for index in due_indexes(after.lines):
        changes.index[index, key] = due
    for stream in (f"buyer/{after.sub}", SHOP):
        changes.tell(stream, "order.updated", order=after.id)
    return after


def due_indexes(lines: Sequence[Line]) -> list[str]:
    return [DUE, *(f"{DUE}/{line.sku}" for line in lines)]
