"""Payments and refunds as they are kept, and what a provider's word does to an order: pure functions.

A payment's intent is committed, as `pending`, before the provider hears of it; a refund's as `open`.
So whatever breaks, there is a record from which to ask again, and the record's id is what the provider
knows it by.

    payment: pending → succeeded | failed;  failed → succeeded (a late word);  succeeded → refunded
    refund:  open → done

A success that comes for an order that has ended either takes its stock again or is refunded, in one
commit, so never both and never neither. What has been applied is not applied again, in whatever
order words come.
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
from commerce.orders import Limits, Order, save, take_again
from commerce.timestamps import rfc3339
from commerce.transitions import step

Outcome = Literal["succeeded", "failed"]

PENDING = "payments-pending"  # by when the provider is asked next
REFUNDS_OPEN = "refunds-open"
ASK_AFTER_MS = 15_000  # the webhook of a payment that was made is usually here by then


@dataclass(frozen=True, slots=True)
class Payment:
    """One attempt to pay an order, which waits until `deadline_ms`; `version` is the store's."""

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
    version: int = 0

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "order": self.order,
            "amount": self.amount.to_json(),
            "provider": self.provider,
            "state": self.state,
            "refund": self.refund,
            "created_at": rfc3339(self.created_ms),
            "updated_at": rfc3339(self.updated_ms),
        }


@dataclass(frozen=True, slots=True)
class Refund:
    """All of a payment on its way back; `why` in words."""

    id: str
    payment: str
    order: str
    amount: Money
    why: str
    state: str
    created_ms: int
    version: int = 0


def payment_key(id: str) -> str:
    return f"payment/{id}"


def refund_key(id: str) -> str:
    return f"refund/{id}"


def pack(record: Payment | Refund) -> bytes:
    members = asdict(record)
    del members["version"]
    return msgpack.packb(members)


def unpack_payment(value: bytes | None, version: int) -> Payment | None:
    return None if value is None else Payment(**_members(value), version=version)


def unpack_refund(value: bytes | None, version: int) -> Refund | None:
    return None if value is None else Refund(**_members(value), version=version)


def _members(value: bytes) -> dict[str, Any]:
    members: dict[str, Any] = msgpack.unpackb(value)
    members["amount"] = Money(**members["amount"])
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
    return changes, after, payment


def decide_outcome(
    payment: Payment,
    order: Order,
    stocks: Mapping[str, Stock],
    outcome: Outcome,
    now_ms: int,
) -> Changes | None:
    """What the provider's word changes; None if nothing."""
    if outcome == "failed":
        return _failed(payment, order, now_ms)
    if payment.state not in ("pending", "failed"):
        return None
    changes = Changes(now_ms)
    payment = replace(payment, state="succeeded")
    if order.paid_by is not None:
        save_payment(changes, open_refund(changes, payment, "the order was paid already"))
        return changes
    after = replace(order, payment=step("payment", order.payment, "paid"), paid_by=payment.id)
    if order.state == "reserved":
        for line in order.lines:
            move(changes, line.sku, line.qty, source="reserved", target="committed")
        after = replace(after, state=step("state", order.state, "confirmed"))
    elif order.state == "expired" and _in_stock(order, stocks):
        take_again(changes, order)
        after = replace(after, state=step("state", order.state, "confirmed"))
    else:
        why = f"the payment came when the order was {order.state}"
        payment = open_refund(changes, payment, why)
    save_payment(changes, payment)
    save(changes, order, after)
    return changes


def _failed(payment: Payment, order: Order, now_ms: int) -> Changes | None:
    if payment.state != "pending":
        return None
    changes = Changes(now_ms)
    save_payment(changes, replace(payment, state="failed"))
    if order.payment == "pending" and order.payments[-1:] == (payment.id,):
        after = replace(order, payment="failed", expires_ms=order.reserved_until_ms)
        save(changes, order, after)
    return changes


def _in_stock(order: Order, stocks: Mapping[str, Stock]) -> bool:
    return all(stocks[line.sku].available >= line.qty for line in order.lines)


def open_refund(changes: Changes, payment: Payment, why: str) -> Payment:
    """The intent to give a payment back, in the commit that makes it due."""
    refund = Refund(
        new_id("rfd", changes.now_ms),
        payment.id,
        payment.order,
        payment.amount,
        why,
        "open",
        changes.now_ms,
    )
    changes.reads[refund_key(refund.id)] = 0
    changes.writes[refund_key(refund.id)] = pack(refund)
    changes.index[REFUNDS_OPEN, refund_key(refund.id)] = f"{changes.now_ms:015d}"
    return replace(payment, refund=refund.id)


def decide_refunded(refund: Refund, payment: Payment, order: Order, now_ms: int) -> Changes | None:
    """The provider has given the money back; None if that is known."""
    if refund.state == "done":
        return None
    changes = Changes(now_ms)
    key = refund_key(refund.id)
    changes.reads[key] = refund.version
    changes.writes[key] = pack(replace(refund, state="done"))
    changes.index[REFUNDS_OPEN, key] = None
    save_payment(changes, replace(payment, state="refunded"))
    if order.paid_by == payment.id:
        after = replace(order, payment=step("payment", order.payment, "refunded"))
        save(changes, order, after)
    return changes


def save_payment(changes: Changes, payment: Payment) -> None:
    """Write the payment; while it is pending it has its place among those to ask about."""
    key = payment_key(payment.id)
    payment = replace(payment, updated_ms=changes.now_ms)
    changes.reads[key] = payment.version
    changes.writes[key] = pack(payment)
    pending = payment.state == "pending"
    changes.index[PENDING, key] = f"{changes.now_ms + ASK_AFTER_MS:015d}" if pending else None
