"""Payments and refunds as they are kept, and what a provider's word does to an order: pure functions.

A payment's intent is committed, as `pending`, before the provider hears of it; a refund's as `open`.
So whatever breaks, there is a record from which to ask again, and the record's id is what the provider
knows it by.

    payment: pending → succeeded | failed;  failed → succeeded (a late word);  succeeded → refunded
    refund:  open → done | failed

A success that comes for an order that has ended either takes its stock again or is refunded, in one
commit, so never both and never neither. Money that comes in another amount than was asked for
confirms nothing: it is kept as `captured`, and refunded; so is, as `unexpected`, what comes in yet
another amount for a payment that has succeeded. What has been applied is not applied again, in whatever
order words come.

Index by when they were begun: `payments`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import msgpack

from commerce.changes import Changes
from commerce.errors import IllegalTransition
from commerce.ids import new_id
from commerce.inventory import Stock, move
from commerce.money import Money
from commerce.order import Order
from commerce.orders import Limits, bought_key, price_holds, save, take_again
from commerce.payments.provider import Next
from commerce.refunds import Refund, given_back, open_refund, parts_of_all, promise, refused
from commerce.store import Versioned
from commerce.timestamps import rfc3339
from commerce.transitions import step

Outcome = Literal["succeeded", "failed"]

PENDING = "payments-pending"  # by when the provider is asked next
BEGUN = "payments"
UNEXPECTED_MAX = 20  # amounts beside the right one, of a payment, which is one record
ASK_AFTER_MS = 15_000  # the webhook of a payment that was made is usually here by then


@dataclass(frozen=True, slots=True)
class Unexpected:
    """Money beside what a payment was for, and the id of its refund."""

    amount: Money
    refund: str


@dataclass(frozen=True, slots=True)
class Payment:
    """One attempt to pay an order, which waits until `deadline_ms`; `version` is the store's.

    `captured` is what came in, where that is another amount than was asked for; `disputes` are ids, of
    which `disputes_open` have not ended. `next` is what the provider has the buyer do, where that is not
    to go to its page.
    """

    id: str
    order: str
    sub: str
    amount: Money
    provider: str
    state: str
    created_ms: int
    updated_ms: int
    deadline_ms: int
    refund: str | None = None
    captured: Money | None = None
    unexpected: tuple[Unexpected, ...] = ()
    disputes: tuple[str, ...] = ()
    disputes_open: int = 0
    next: Next | None = None
    version: int = 0

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "order": self.order,
            "amount": self.amount.to_json(),
            "provider": self.provider,
            "state": self.state,
            "captured": None if self.captured is None else self.captured.to_json(),
            "unexpected": [each.amount.to_json() for each in self.unexpected],
            "refund": self.refund,
            "created_at": rfc3339(self.created_ms),
            "updated_at": rfc3339(self.updated_ms),
        }


def payment_key(id: str) -> str:
    return f"payment/{id}"


def pack(payment: Payment) -> bytes:
    members = asdict(payment)
    del members["version"]
    return msgpack.packb(members)


def unpack_payment(value: bytes | None, version: int) -> Payment | None:
    return None if value is None else Payment(**_members(value), version=version)


def _members(value: bytes) -> dict[str, Any]:
    members: dict[str, Any] = msgpack.unpackb(value)
    members["amount"] = Money(**members["amount"])
    if members.get("captured") is not None:
        members["captured"] = Money(**members["captured"])
    members["unexpected"] = tuple(
        Unexpected(Money(**each["amount"]), each["refund"])
        for each in members.get("unexpected", ())
    )
    if members.get("next") is not None:
        members["next"] = Next(**members["next"])
    members["disputes"] = tuple(members.get("disputes", ()))
    return members


def decide_pay(
    order: Order, provider: str, limits: Limits, now_ms: int
) -> tuple[Changes, Order, Payment]:
    """The intent to pay a reserved order, which waits for it; raises IllegalTransition."""
    state = order.at(now_ms).state
    if state != "reserved":
        raise IllegalTransition("state", state, "confirmed")
    until_ms = now_ms + round(limits.pending_max_s * 1000)
    payment = Payment(
        new_id("pay", now_ms),
        order.id,
        order.sub,
        order.total,
        provider,
        "pending",
        now_ms,
        now_ms,
        until_ms,
    )
    after = replace(
        order,
        payment=step("payment", order.payment, "pending"),
        expires_ms=max(order.expires_ms, until_ms),
        payments=(*order.payments, payment.id),
    )
    changes = Changes(now_ms)
    after = save(changes, order, after)
    save_payment(changes, payment)
    changes.index[BEGUN, payment_key(payment.id)] = begun_at(payment)
    return changes, after, payment


def decide_outcome(
    payment: Payment,
    order: Order,
    stocks: Mapping[str, Stock],
    bought: Mapping[str, Versioned],
    outcome: Outcome,
    now_ms: int,
) -> Changes | None:
    """What the provider's word changes; None if nothing. `stocks` by SKU, `bought` by key."""
    if outcome == "failed":
        return _failed(payment, order, now_ms)
    if payment.state not in ("pending", "failed"):
        return None if payment.captured is None else _unexpected(payment, payment.amount, now_ms)
    changes = Changes(now_ms)
    payment = replace(payment, state="succeeded")
    if order.paid_by is not None:
        save_payment(changes, refund_payment(changes, payment, "the order was paid already"))
        return changes
    after = replace(order, payment=step("payment", order.payment, "paid"), paid_by=payment.id)
    if order.state == "reserved":
        for line in order.lines:
            move(changes, line.sku, line.qty, source="reserved", target="committed")
        after = replace(after, state=step("state", order.state, "confirmed"))
    elif order.state == "expired" and _may_take_again(order, stocks, bought):
        take_again(changes, order)
        after = replace(after, state=step("state", order.state, "confirmed"))
    else:
        why = f"the payment came when the order was {order.state}"
        after, refund = promise(changes, after, parts_of_all(after), why)
        payment = replace(payment, refund=refund.id)
    save_payment(changes, payment)
    save(changes, order, after)
    return changes


def decide_other_amount(
    payment: Payment, order: Order, captured: Money, now_ms: int
) -> Changes | None:
    """Money that came in another amount confirms nothing and goes back; None if nothing changes.

    To its order the payment has failed, so that its buyer may pay anew.
    """
    if payment.state not in ("pending", "failed"):
        return _unexpected(payment, captured, now_ms)
    if captured.amount <= 0:
        return _failed(payment, order, now_ms)
    changes = Changes(now_ms)
    why = f"{captured} came instead of {payment.amount}"
    after = replace(payment, state="succeeded", captured=captured)
    save_payment(changes, refund_payment(changes, after, why))
    if payment.state == "pending":
        _failed_to_order(changes, payment, order)
    return changes


def _unexpected(payment: Payment, came: Money, now_ms: int) -> Changes | None:
    """Money for a payment that has succeeded over another amount; None if it is known, or nothing."""
    known = (payment.captured or payment.amount, *(each.amount for each in payment.unexpected))
    if came in known or came.amount <= 0 or len(payment.unexpected) >= UNEXPECTED_MAX:
        return None
    changes = Changes(now_ms)
    why = f"{came} came beside {known[0]}"
    refund = _refund_of(payment, came, why, now_ms, extra=True)
    open_refund(changes, refund)
    unexpected = (*payment.unexpected, Unexpected(came, refund.id))
    save_payment(changes, replace(payment, unexpected=unexpected))
    return changes


def _failed(payment: Payment, order: Order, now_ms: int) -> Changes | None:
    if payment.state != "pending":
        return None
    changes = Changes(now_ms)
    save_payment(changes, replace(payment, state="failed"))
    _failed_to_order(changes, payment, order)
    return changes


def _failed_to_order(changes: Changes, payment: Payment, order: Order) -> None:
    if order.payment == "pending" and order.payments[-1:] == (payment.id,):
        after = replace(order, payment="failed", expires_ms=order.reserved_until_ms)
        save(changes, order, after)


def _may_take_again(
    order: Order, stocks: Mapping[str, Stock], bought: Mapping[str, Versioned]
) -> bool:
    """There are pieces, and the buyer has not filled his limit with other orders meanwhile."""
    for line in order.lines:
        if stocks[line.sku].available < line.qty:
            return False
        if line.limit is not None:
            before = -int(bought[bought_key(line.sku, order.sub)][0] or b"0")
            if before + line.qty > line.limit:
                return False
    return price_holds(order, bought)


def refund_payment(changes: Changes, payment: Payment, why: str) -> Payment:
    """The intent to give back a payment that no order needs, in the commit that makes it due."""
    amount = payment.captured or payment.amount
    refund = _refund_of(payment, amount, why, changes.now_ms)
    open_refund(changes, refund)
    return replace(payment, refund=refund.id)


def _refund_of(
    payment: Payment, amount: Money, why: str, now_ms: int, *, extra: bool = False
) -> Refund:
    id = new_id("rfd", now_ms)
    return Refund(id, payment.id, payment.order, amount, why, "open", now_ms, extra=extra)


def decide_refunded(refund: Refund, payment: Payment, order: Order, now_ms: int) -> Changes | None:
    """The provider has given the money back; None if that is known."""
    if refund.state != "open":
        return None
    changes = Changes(now_ms)
    after = given_back(changes, refund, order)
    if refund.extra:
        return changes
    whole = order.paid_by != payment.id or after.given_back_minor >= order.total.amount
    state = "refunded" if whole else payment.state
    save_payment(changes, replace(payment, state=state, refund=refund.id))
    return changes


def decide_refund_refused(refund: Refund, order: Order, why: str, now_ms: int) -> Changes | None:
    """The provider never gives the money back; None if the refund has ended."""
    if refund.state != "open":
        return None
    changes = Changes(now_ms)
    refused(changes, refund, order, why)
    return changes


def begun_at(payment: Payment) -> str:
    """Its place in the index `payments`."""
    return f"{payment.created_ms:015d}{payment.id}"


def save_payment(changes: Changes, payment: Payment) -> None:
    """Write the payment; while it is pending it has its place among those to ask about."""
    key = payment_key(payment.id)
    payment = replace(payment, updated_ms=changes.now_ms)
    changes.reads[key] = payment.version
    changes.writes[key] = pack(payment)
    pending = payment.state == "pending"
    changes.index[PENDING, key] = f"{changes.now_ms + ASK_AFTER_MS:015d}" if pending else None
