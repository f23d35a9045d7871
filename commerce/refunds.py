"""Refunds: what of a payment goes back, and for which pieces; pure decisions and the record.

The rule. A piece gives back what was paid for it: its share of its line's total, after all discounts.
Shares are cumulative, `total * pieces // qty` less what went before, so in whatever portions pieces are
refunded, they add up to the line's total to the minor unit. The discount of the other pieces stays,
also where the order would not have reached its threshold without those that went back. Tax goes back in
the proportion of the lines' money, shipping with the last pieces if nothing was sent. An amount that is
given back for no pieces is spread over what is left of lines, tax and shipping, by largest remainder,
and lessens what is left of them.

A refund is promised, `open`, in the commit that counts it on the order's record, whose version guards
it: two at once cannot promise the same money. It is `done` when the provider has given it back, and
`failed` when he refuses that for good: then it is counted on the order no more, and what it was of may
be refunded anew.

Pieces that were not sent are taken off the order, before those that were: to the shelf again, or
written off. Of those that were sent, `restock` says that they are on the shelf again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import msgpack

from commerce.changes import SHOP, Changes
from commerce.errors import IllegalTransition, RefundExceeds
from commerce.fulfilment import checked_pieces, settled
from commerce.ids import new_id
from commerce.inventory import Stock, move, put_back, write_off
from commerce.money import Money
from commerce.order import Line, Order
from commerce.orders import bought_less, give_back_claims, save
from commerce.pricing.rules import give_sale_pieces_back
from commerce.timestamps import rfc3339
from commerce.transitions import step

REFUNDS_OPEN = "refunds-open"
REFUNDS_MAX = 200  # of an order, which is one record
REASON_CHARS = 200
REFUNDABLE = ("paid", "partially_refunded")


@dataclass(frozen=True, slots=True)
class Refund:
    """Money of a payment on its way back; `why` in words.

    `lines` {sku: (pieces, minor units)}, `shipping` and `tax` in minor units: what `amount` is made of
    where it is of an order, and empty where a second payment of the same order goes back. `back_from`
    is the return that it is for. `extra`: money that came beside what a payment was for; `failed`: why
    the provider does not give it back.
    """

    id: str
    payment: str
    order: str
    amount: Money
    why: str
    state: str
    created_ms: int
    lines: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    shipping: int = 0
    tax: int = 0
    by: str | None = None
    back_from: str | None = None
    extra: bool = False
    failed: str | None = None
    version: int = 0

    def to_json(self) -> dict[str, Any]:
        """As its buyer and the shop see it."""
        currency = self.amount.currency
        return {
            "id": self.id,
            "order": self.order,
            "payment": self.payment,
            "amount": self.amount.to_json(),
            "lines": [
                {"sku": sku, "qty": pieces, "amount": Money(minor, currency).to_json()}
                for sku, (pieces, minor) in self.lines.items()
            ],
            "shipping": Money(self.shipping, currency).to_json(),
            "tax": Money(self.tax, currency).to_json(),
            "reason": self.why,
            "state": self.state,
            "return": self.back_from,
            "failure": self.failed,
            "created_at": rfc3339(self.created_ms),
        }


@dataclass(frozen=True, slots=True)
class Parts:
    """What is to go back of an order: by SKU (pieces, minor units), and of shipping and tax."""

    lines: Mapping[str, tuple[int, int]]
    shipping: int
    tax: int

    @property
    def minor(self) -> int:
        return sum(minor for _, minor in self.lines.values()) + self.shipping + self.tax


def refund_key(id: str) -> str:
    return f"refund/{id}"


def pack(refund: Refund) -> bytes:
    members = asdict(refund)
    del members["version"]
    return msgpack.packb(members)


def unpack(value: bytes | None, version: int) -> Refund | None:
    if value is None:
        return None
    members = msgpack.unpackb(value)
    members["amount"] = Money(**members["amount"])
    lines = members.pop("lines", {})
    members["lines"] = {sku: (pieces, minor) for sku, (pieces, minor) in lines.items()}
    return Refund(**members, version=version)


def parts_of_pieces(order: Order, pieces: Mapping[str, int]) -> Parts:
    """What was paid for these pieces {sku: count}, and has not gone back."""
    lines, after = {}, []
    for line in order.lines:
        count = pieces.get(line.sku, 0)
        minor = _share(line, count)
        if count:
            lines[line.sku] = count, minor
        refunded, gone = line.refunded + count, line.refunded_minor + minor
        after.append(replace(line, refunded=refunded, refunded_minor=gone))
    whole = all(line.refunded == line.qty for line in after)
    sent = any(line.sent for line in order.lines)
    shipping = _rest(order)[1] if whole and not sent else 0
    return Parts(lines, shipping, _tax(order, after, whole))


def _share(line: Line, count: int) -> int:
    total, before = line.total.amount, line.refunded
    share = total * (before + count) // line.qty - total * before // line.qty
    return min(share, total - line.refunded_minor)


def _tax(order: Order, after: list[Line], whole: bool) -> int:
    left = _rest(order)[2]
    total = sum(line.total.amount for line in after)
    if order.tax is None or whole or not total:
        return left if whole else 0
    gone = sum(line.refunded_minor for line in after)
    due = order.tax.amount * gone // total - order.tax_refunded_minor
    return min(max(due, 0), left)


def _rest(order: Order) -> tuple[list[int], int, int]:
    """What was not given back of each line, of shipping and of tax, in minor units."""
    shipping = 0 if order.shipping is None else order.shipping.amount
    tax = 0 if order.tax is None else order.tax.amount
    return (
        [line.total.amount - line.refunded_minor for line in order.lines],
        shipping - order.shipping_refunded_minor,
        tax - order.tax_refunded_minor,
    )


def parts_of_amount(order: Order, amount: Money) -> Parts:
    """An amount, spread over what is left; raises RefundExceeds or MixedCurrency."""
    left = order.total.amount - order.refunded_minor
    if not Money(0, order.total.currency) < amount or left < amount.amount:
        raise _exceeds(order)
    lines, shipping, tax = _rest(order)
    *shares, shipping, tax = (each.amount for each in amount.split([*lines, shipping, tax]))
    by_sku = zip(order.lines, shares, strict=True)
    return Parts({line.sku: (0, share) for line, share in by_sku if share}, shipping, tax)


def parts_of_all(order: Order) -> Parts:
    """Everything that is left."""
    lines, shipping, tax = _rest(order)
    by_sku = zip(order.lines, lines, strict=True)
    return Parts(
        {line.sku: (line.qty - line.refunded, minor) for line, minor in by_sku}, shipping, tax
    )


def promise(
    changes: Changes,
    order: Order,
    parts: Parts,
    why: str,
    *,
    by: str | None = None,
    back_from: str | None = None,
) -> tuple[Order, Refund]:
    """The order with the parts counted on it, to be saved in the same commit, and their refund.

    Raises IllegalTransition where the order was not paid, or its payment is disputed; RefundExceeds.
    """
    if order.paid_by is None or order.payment not in REFUNDABLE:
        raise IllegalTransition("payment", order.payment, "partially_refunded")
    amount = Money(parts.minor, order.total.currency)
    if order.refunded_minor + parts.minor > order.total.amount or len(order.refunds) >= REFUNDS_MAX:
        raise _exceeds(order)
    state = "open" if parts.minor else "done"  # nothing to give back, nothing to ask a provider
    refund = Refund(
        new_id("rfd", changes.now_ms),
        order.paid_by,
        order.id,
        amount,
        why,
        state,
        changes.now_ms,
        parts.lines,
        parts.shipping,
        parts.tax,
        by,
        back_from,
    )
    open_refund(changes, refund)
    order = replace(
        order,
        lines=tuple(_counted(line, *parts.lines.get(line.sku, (0, 0))) for line in order.lines),
        shipping_refunded_minor=order.shipping_refunded_minor + parts.shipping,
        tax_refunded_minor=order.tax_refunded_minor + parts.tax,
        refunds=(*order.refunds, refund.id),
    )
    return order, refund


def _counted(line: Line, pieces: int, minor: int) -> Line:
    refunded, gone = line.refunded + pieces, line.refunded_minor + minor
    return replace(line, refunded=refunded, refunded_minor=gone)


def open_refund(changes: Changes, refund: Refund) -> None:
    """Keep a new refund; the till gives back what is open."""
    key = refund_key(refund.id)
    changes.reads[key] = 0
    changes.writes[key] = pack(refund)
    if refund.state == "open":
        changes.index[REFUNDS_OPEN, key] = f"{changes.now_ms:015d}"
    changes.tell(SHOP, "refund.created", refund=refund.id, order=refund.order)
    if refund.state == "done":
        changes.tell(SHOP, "refund.succeeded", refund=refund.id, order=refund.order)


def decide_refund(
    order: Order,
    stocks: Mapping[str, Stock],
    wanted: Mapping[str, int] | Money,
    *,
    restock: bool | None,
    why: str,
    by: str,
    now_ms: int,
) -> tuple[Changes, Order, Refund]:
    """The promise to give back for pieces {sku: count}, or an amount for none.

    `restock` False: what was not sent is written off; True: what was sent is back on the shelf.
    Raises Invalid, IllegalTransition or RefundExceeds, which says what is left.
    """
    changes = Changes(now_ms)
    if isinstance(wanted, Money):
        after, refund = promise(changes, order, parts_of_amount(order, wanted), why, by=by)
        return changes, save(changes, order, after), refund
    if order.state not in ("confirmed", "completed"):  # all that was paid for it goes back already
        raise _exceeds(order)
    pieces = checked_pieces(order, wanted)
    for line in order.lines:
        if pieces.get(line.sku, 0) > line.refundable:
            raise _exceeds(order)
    after, refund = promise(changes, order, parts_of_pieces(order, pieces), why, by=by)
    lines = [
        _taken_off(changes, order, line, stocks[line.sku], pieces.get(line.sku, 0), restock)
        for line in after.lines
    ]
    after = settled(replace(after, lines=tuple(lines)), now_ms)
    if not any(line.left or line.sent for line in lines):
        if all(line.left == line.qty for line in order.lines):  # the whole order, at once
            give_back_claims(changes, order)
        after = replace(after, state=step("state", after.state, "cancelled"))
    return changes, save(changes, order, after), refund


def _taken_off(
    changes: Changes, order: Order, line: Line, stock: Stock, pieces: int, restock: bool | None
) -> Line:
    unsent = min(pieces, line.left) if order.state == "confirmed" else 0
    sent = pieces - unsent
    if unsent and restock is False:
        write_off(changes, stock, unsent, order.id)
    elif unsent:
        move(changes, line.sku, unsent, source="committed", target="available")
    if sent and restock:
        put_back(changes, stock, sent, order.id)
    if line.sale is not None:
        sold = min(line.left, line.sale_pieces) - min(line.left - unsent, line.sale_pieces)
        if sold:
            give_sale_pieces_back(changes, line.sale, order.sub, sold)
    if unsent or (sent and restock):
        bought_less(changes, order, line, unsent + (sent if restock else 0))
    return replace(line, dropped=line.dropped + unsent)


def given_back(changes: Changes, refund: Refund, order: Order) -> Order:
    """The provider has given an open refund back; the order as it is then, saved if it changes."""
    key = refund_key(refund.id)
    changes.reads[key] = refund.version
    changes.writes[key] = pack(replace(refund, state="done"))
    changes.index[REFUNDS_OPEN, key] = None
    changes.tell(SHOP, "refund.succeeded", refund=refund.id, order=refund.order)
    if refund.extra or order.paid_by != refund.payment:
        return order
    after = replace(order, given_back_minor=order.given_back_minor + refund.amount.amount)
    if order.payment in REFUNDABLE:
        whole = after.given_back_minor >= order.total.amount
        target = "refunded" if whole else "partially_refunded"
        after = replace(after, payment=step("payment", order.payment, target))
    return save(changes, order, after)


def refused(changes: Changes, refund: Refund, order: Order, why: str) -> None:
    """The provider will not give it back: what it was of is counted on the order no more."""
    key = refund_key(refund.id)
    changes.reads[key] = refund.version
    changes.writes[key] = pack(replace(refund, state="failed", failed=why[:REASON_CHARS]))
    changes.index[REFUNDS_OPEN, key] = None
    changes.tell(SHOP, "refund.failed", refund=refund.id, order=refund.order)
    if refund.id not in order.refunds:
        return
    lines = refund.lines
    after = replace(
        order,
        lines=tuple(_uncounted(line, *lines.get(line.sku, (0, 0))) for line in order.lines),
        shipping_refunded_minor=order.shipping_refunded_minor - refund.shipping,
        tax_refunded_minor=order.tax_refunded_minor - refund.tax,
    )
    save(changes, order, after)


def _uncounted(line: Line, pieces: int, minor: int) -> Line:
    return _counted(line, -pieces, -minor)


def _exceeds(order: Order) -> RefundExceeds:
    left = Money(order.total.amount - order.refunded_minor, order.total.currency)
    return RefundExceeds(f"{left} are left of the order", extra={"left": left.to_json()})
