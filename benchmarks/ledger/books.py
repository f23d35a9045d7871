"""The model: a shop in memory that does one thing at a time, never fails, and is right at a glance.

Each act takes the answer that the real shop gave, says whether that answer was possible, and if it was
"ok" does it. Time matters at once here: a reservation that has passed its time is gone, whoever
sweeps it and when.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace

from benchmarks.ledger.sold import (
    BELOW_HELD,
    CLAIMS,
    CLAIMS_EACH,
    GONE,
    ILLEGAL,
    INVALID,
    KEY_REUSED,
    LIMIT_REACHED,
    NOT_CLAIMED,
    OFF,
    OK,
    OUT_OF_STOCK,
    PENDING_MS,
    REFUND_EXCEEDS,
    REPLAYED,
    RESERVED_MS,
    STALE,
    Gone,
    Label,
    Lines,
    Paid,
    PaymentLabel,
    Sold,
    spread,
)


@dataclass(slots=True)
class Books:
    """All that is true at `now_ms`. `bound` holds what stands under the keys of other acts."""

    now_ms: int
    on_hand: dict[str, int]
    limits: Mapping[str, int | None]
    prices: Mapping[str, int]
    orders: dict[Label, Sold] = field(default_factory=dict)
    bound: dict[str, str] = field(default_factory=dict)
    claims: dict[str, int] = field(default_factory=dict)  # by buyer

    def copy(self) -> Books:
        return replace(
            self,
            on_hand=dict(self.on_hand),
            orders=dict(self.orders),
            bound=dict(self.bound),
            claims=dict(self.claims),
        )

    def mark(self) -> Hashable:
        """The same for books in which the same is true at one time."""
        held = self.on_hand, self.orders, self.bound, self.claims
        return tuple(frozenset(each.items()) for each in held)

    # -- what follows from it -------------------------------------------------------------------

    def state(self, label: Label) -> str:
        order = self.orders[label]
        passed = order.state == "reserved" and order.expires_ms <= self.now_ms
        return "expired" if passed else order.state

    def held(self, sku: str) -> int:
        """Pieces on the shelf that belong to somebody."""
        return sum(
            order.left(place)
            for label, order in self.orders.items()
            if self.state(label) in ("reserved", "confirmed")
            for place, (each, _) in enumerate(order.lines)
            if each == sku
        )

    def available(self, sku: str) -> int:
        return self.on_hand[sku] - self.held(sku)

    def _within(self, sub: str, sku: str, pieces: int) -> bool:
        limit = self.limits[sku]
        return limit is None or self.bought(sub, sku) + pieces <= limit

    def bought(self, sub: str, sku: str) -> int:
        return sum(
            pieces - gone.dropped
            for label, order in self.orders.items()
            if order.sub == sub and self.state(label) not in ("expired", "cancelled")
            for (each, pieces), gone in zip(order.lines, order.gone, strict=True)
            if each == sku
        )

    # -- acts -----------------------------------------------------------------------------------

    def unspent(self, sub: str) -> int:
        """Claims of the coupon that the buyer may spend."""
        spent = (
            order.sub == sub and order.coupon and not self._came_back(label)
            for label, order in self.orders.items()
        )
        return self.claims.get(sub, 0) - sum(spent)

    def _came_back(self, label: Label) -> bool:
        """A claim comes back once, with the end of an order of which nothing had gone before."""
        order = self.orders[label]
        return self.state(label) == "expired" or (order.state == "cancelled" and order.whole)

    def claim(self, key: str, sub: str, answer: str) -> bool:
        if key in self.bound:
            return answer == REPLAYED
        if self.claims.get(sub, 0) >= CLAIMS_EACH:
            return answer == LIMIT_REACHED
        if sum(self.claims.values()) >= CLAIMS:
            return answer == GONE
        self.bound[key] = sub
        self.claims[sub] = self.claims.get(sub, 0) + 1
        return answer == OK

    def place(
        self, label: Label, sub: str, lines: Lines, coupon: bool, late: bool, answer: str
    ) -> bool:
        """`late`: claims of expired orders may be held until they are swept."""
        if label in self.orders:
            before = self.orders[label]
            same = (before.sub, before.lines, before.coupon) == (sub, lines, coupon)
            return answer == (REPLAYED if same else KEY_REUSED)
        if coupon and late and answer == NOT_CLAIMED:
            return True
        refusals = set()
        if coupon and self.unspent(sub) < 1:
            refusals.add(NOT_CLAIMED)
        for sku, pieces in lines:
            if not self._within(sub, sku, pieces):
                refusals.add(LIMIT_REACHED)
            if self.available(sku) < pieces:
                refusals.add(OUT_OF_STOCK)
        if refusals:
            return answer in refusals
        subtotals = [self.prices[sku] * pieces for sku, pieces in lines]
        off = spread(OFF if coupon else 0, subtotals)
        total = sum(subtotals) - sum(off)
        until_ms = self.now_ms + RESERVED_MS
        gone = (Gone(),) * len(lines)
        self.orders[label] = Sold(
            sub, lines, total, until_ms, until_ms, gone=gone, coupon=coupon, off=off
        )
        return answer == OK

    def pay(self, key: str, label: Label, method: str, answer: str) -> bool:
        if key in self.bound:
            return answer == (REPLAYED if self.bound[key] == f"{label} {method}" else KEY_REUSED)
        order = self.orders[label]
        if self.state(label) != "reserved" or order.payment not in ("none", "failed"):
            return answer == ILLEGAL
        self.bound[key] = f"{label} {method}"
        self.orders[label] = replace(
            order,
            payment="pending",
            payments=(*order.payments, Paid()),
            expires_ms=max(order.expires_ms, self.now_ms + PENDING_MS),
        )
        return answer == OK

    def cancel(self, key: str, label: Label, answer: str) -> bool:
        if key in self.bound:
            return answer == (REPLAYED if self.bound[key] == label else KEY_REUSED)
        order = self.orders[label]
        if self.state(label) not in ("reserved", "confirmed") or order.fulfilment != "none":
            return answer == ILLEGAL
        self.bound[key] = label
        whole = all(order.left(place) == n for place, (_, n) in enumerate(order.lines))
        self.orders[label] = replace(order, state="cancelled", whole=whole)
        if order.paid_by is not None:
            self._refund_all(label)
        return answer == OK

    def ship(self, key: str, label: Label, pieces: Lines | None, answer: str) -> bool:
        """Send some pieces, None for all that are left."""
        if key in self.bound:
            return answer == REPLAYED
        order = self.orders[label]
        if self.state(label) != "confirmed" or order.fulfilment not in ("none", "partial"):
            return answer == ILLEGAL
        wanted = None if pieces is None else dict(pieces)
        places = range(len(order.lines))
        sent = [
            order.left(place) if wanted is None else wanted.get(order.lines[place][0], 0)
            for place in places
        ]
        if any(sent[place] > order.left(place) for place in places):
            return answer == INVALID
        gone = [replace(each, sent=each.sent + n) for each, n in zip(order.gone, sent, strict=True)]
        for (sku, _), pieces_sent in zip(order.lines, sent, strict=True):
            self.on_hand[sku] -= pieces_sent
        self.bound[key] = label
        after = replace(order, gone=tuple(gone))
        left = any(after.left(place) for place in range(len(gone)))
        self.orders[label] = replace(after, fulfilment="partial" if left else "shipped")
        return answer == OK

    def deliver(self, key: str, label: Label, answer: str) -> bool:
        if key in self.bound:
            return answer == REPLAYED
        order = self.orders[label]
        if order.fulfilment != "shipped":
            return answer == ILLEGAL
        self.bound[key] = label
        self.orders[label] = replace(order, fulfilment="delivered", state="completed")
        return answer == OK

    def refund(self, key: str, label: Label, pieces: Lines, answer: str) -> bool:
        """Give back for pieces; those that were not sent are on sale again."""
        if key in self.bound:
            return answer == REPLAYED
        order, wanted = self.orders[label], dict(pieces)
        places = range(len(order.lines))
        counts = [wanted.get(sku, 0) for sku, _ in order.lines]
        beyond = any(order.gone[p].refunded + counts[p] > order.lines[p][1] for p in places)
        if self.state(label) not in ("confirmed", "completed") or beyond:
            return answer == REFUND_EXCEEDS
        if order.payment not in ("paid", "partially_refunded"):
            return answer == ILLEGAL
        gone = [self._refunded_of(order, place, counts[place]) for place in places]
        minor = sum(each.minor for each in gone) - sum(each.minor for each in order.gone)
        after = replace(order, gone=tuple(gone))
        left = any(after.left(place) for place in places)
        if not left and after.fulfilment == "partial":
            after = replace(after, fulfilment="shipped")
        if not left and not any(each.sent for each in gone):
            whole = all(order.left(place) == n for place, (_, n) in enumerate(order.lines))
            after = replace(after, state="cancelled", whole=whole)
        self.bound[key] = label
        self.orders[label] = after
        assert order.paid_by is not None
        self._promise(label, order.paid_by, minor)
        return answer == OK

    def _refunded_of(self, order: Sold, place: int, count: int) -> Gone:
        pieces = order.lines[place][1]
        before, total = order.gone[place], order.paid_for(place, self.prices)
        unsent = min(count, order.left(place)) if order.state == "confirmed" else 0
        share = total * (before.refunded + count) // pieces - total * before.refunded // pieces
        refunded, minor = before.refunded + count, before.minor + share
        return Gone(before.sent, before.dropped + unsent, refunded, minor)

    def count(self, key: str, sku: str, on_hand: int, kept: int, answer: str) -> bool:
        """Set what is on hand; `kept`: what holds not swept yet still hold at most."""
        if key in self.bound:
            return answer == (REPLAYED if self.bound[key] == f"{sku} {on_hand}" else KEY_REUSED)
        if answer in (STALE, BELOW_HELD):
            return answer == STALE or on_hand < self.held(sku) + kept
        if on_hand < self.held(sku):
            return False
        self.bound[key] = f"{sku} {on_hand}"
        self.on_hand[sku] = on_hand
        return answer == OK

    def word(self, payment: PaymentLabel, said: str, minor: int = 0) -> bool:
        """What the provider said of a payment; a second time it changes nothing.

        `minor`: how much came in or was given back, 0 for what was asked.
        """
        label, number = payment
        state = self.orders[label].payments[number].state
        if said == "failed" and state == "pending":
            self._failed(label, number, Paid("failed"))
        elif said == "succeeded" and state in ("pending", "failed"):
            if minor in (0, self.orders[label].total):
                self._succeeded(label, number)
            else:  # another amount goes back, and to the order the payment has failed
                self._failed(label, number, Paid("succeeded", ((minor, "open"),)))
        elif said == "refunded":
            self._given(label, number, minor)
        return True

    def _failed(self, label: Label, number: int, after: Paid) -> None:
        self._set(label, number, after)
        order = self.orders[label]
        if order.payment == "pending" and number == len(order.payments) - 1:
            self.orders[label] = replace(order, payment="failed", expires_ms=order.until_ms)

    def _succeeded(self, label: Label, number: int) -> None:
        state = self.state(label)
        self._set(label, number, Paid("succeeded"))
        order = self.orders[label]
        if order.paid_by is not None:
            self._promise(label, number, order.total)
            return
        order = replace(order, payment="paid", paid_by=number)
        again = state == "expired" and self._may_take(order)
        if state == "reserved" or again:
            order = replace(order, state="confirmed")
        self.orders[label] = order
        if order.state != "confirmed":
            self._refund_all(label)

    def _may_take(self, order: Sold) -> bool:
        return (not order.coupon or self.unspent(order.sub) > 0) and all(
            self.available(sku) >= pieces and self._within(order.sub, sku, pieces)
            for sku, pieces in order.lines
        )

    def _refund_all(self, label: Label) -> None:
        order = self.orders[label]
        gone = []
        for place, (_, pieces) in enumerate(order.lines):
            minor = order.paid_for(place, self.prices)
            gone.append(replace(order.gone[place], refunded=pieces, minor=minor))
        self.orders[label] = replace(order, gone=tuple(gone))
        assert order.paid_by is not None
        self._promise(label, order.paid_by, order.left_minor)

    def _promise(self, label: Label, number: int, minor: int) -> None:
        paid = self.orders[label].payments[number]
        refunds = tuple(sorted((*paid.refunds, (minor, "open"))))
        self._set(label, number, replace(paid, refunds=refunds))

    def _given(self, label: Label, number: int, minor: int) -> None:
        order = self.orders[label]
        paid = order.payments[number]
        refunds = list(paid.refunds)
        if (minor, "open") not in refunds:
            return
        refunds.remove((minor, "open"))
        refunds = sorted([*refunds, (minor, "done")])
        given = sum(each for each, state in refunds if state == "done")
        whole = order.paid_by != number or given >= order.total
        state = "refunded" if whole else paid.state
        self._set(label, number, Paid(state, tuple(refunds)))
        if order.paid_by == number:
            payment = "refunded" if whole else "partially_refunded"
            self.orders[label] = replace(self.orders[label], payment=payment)

    def _set(self, label: Label, number: int, paid: Paid) -> None:
        order = self.orders[label]
        payments = (*order.payments[:number], paid, *order.payments[number + 1 :])
        self.orders[label] = replace(order, payments=payments)
