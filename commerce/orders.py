"""Orders, and the decisions about them: pure functions of what was loaded, a command and the time.

An order begins as a reservation: its pieces are held until `expires_ms`, longer while a payment is
pending. From that moment on it counts as expired, whoever sweeps it and when. A decision gives the
`Changes` to commit and the order as it will be, or raises its refusal.

Several lines are one commit, all or nothing. Where a SKU has a limit per buyer, what he bought is a
counter too, kept negative so that the limit is a floor.

Indexes, newest first: `orders`, `orders/room/<room>`, `orders/buyer/<sub>`, `orders/state/<state>`.
Oldest first, what is confirmed and not all sent: `orders/to-send`.
By expiry, while reserved: `due`. What is reserved has no index by state: it is new, and most orders are
that only for a moment.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from commerce.changes import SHOP, Changes
from commerce.inventory import move
from commerce.order import Line, Order
from commerce.order_record import pack
from commerce.pricing.claims import give_claim_back, spend_claim, unspent_key
from commerce.pricing.rules import (
    count,
    give_sale_pieces_back,
    left_key,
    sale_bought_key,
    take_sale_pieces,
)
from commerce.store import Versioned
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


def order_key(id: str) -> str:
    return f"order/{id}"


def bought_key(sku: str, sub: str) -> str:
    """The counter of what a buyer has of a SKU with a limit; it counts downwards."""
    return f"bought/{sku}/{hashlib.sha256(sub.encode('utf-8', 'replace')).hexdigest()}"


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
    elif before.state != after.state:
        changes.index[f"orders/state/{before.state}", key] = None
        changes.index[f"orders/state/{after.state}", key] = newest_first
    if to_send(after) or (before is not None and to_send(before)):
        oldest_first = f"{after.created_ms:015d}{after.id}"
        changes.index[TO_SEND, key] = oldest_first if to_send(after) else None
    changes.index[DUE, key] = f"{after.expires_ms:015d}" if after.state == "reserved" else None
    what = _what(before, after)
    changes.tell_all((f"buyer/{after.sub}", SHOP), "order.updated", order=after.id, what=what)
    return after


def _what(before: Order | None, after: Order) -> str:
    """Which of the three tables went where: `state.confirmed payment.paid`; empty for other changes.

    A further return or partial refund is told like the first, though the table stays where it is.

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
    moved = [f"{table}.{target}" for table, (source, target) in went.items() if source != target]
    return " ".join(dict.fromkeys([*moved, *_again(before, after)]))


def _again(before: Order, after: Order) -> list[str]:
    """What has happened once more to an order whose tables are where it brings them to."""
    steps = []
    if len(after.returns) > len(before.returns):
        steps.append("fulfilment.return_requested")
    if after.fulfilment == "return_requested" and _back(after) > _back(before):
        steps.append("fulfilment.partially_returned")
    if after.payment == "partially_refunded" and after.given_back_minor > before.given_back_minor:
        steps.append("payment.partially_refunded")
    return steps


def _back(order: Order) -> int:
    return sum(line.back for line in order.lines)


def to_send(order: Order) -> bool:
    """Whether pieces of it are to be picked and sent."""
    return order.state == "confirmed" and order.fulfilment in ("none", "partial")
