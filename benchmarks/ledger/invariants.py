"""The twelve invariants, checked on what the store holds and what clients were told.

1. available + reserved + committed = stocked, and each is at least 0.
2. committed + reserved ≤ stocked under any interleaving, crash or retry.
3. If demand ≥ stock and payments succeed, finally committed = stocked: every reservation ends in
   exactly one of committed and released.
4. An expired reservation is released once; a payment that arrives after expiry either takes its
   pieces again or is refunded, never both, never neither.
5. One idempotency key, one order, whatever process answers.
6. The same key with another body is refused, and changes nothing.
7. The limit per buyer holds under concurrency.
8. Coupons: claims ≤ quota, redemptions ≤ claims, one redemption per claim; a cancelled order gives
   the claim back once.
9. Refunded ≤ captured, in minor units, per order and per line.
10. Total = Σ lines - discounts + shipping + tax, in integers, the same in preview and at order; a
    discount never makes a line negative.
11. The event log has no gap, and following it rebuilds the same state.
12. A webhook delivered any number of times, in any order, has the effect of once.

6 and 12 are what the model says of such an act, namely nothing: they fail as "not explained". 8 is
counted by the world, which knows the one coupon; a quote and its order are compared when it is placed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.ledger.observe import Seen

ENDED = ("expired", "cancelled")
LIVE = ("reserved", "confirmed", "completed")
TAKEN = ("succeeded", "refunded", "partially_refunded")


class Violation(Exception):
    """An invariant does not hold; `number` is its number."""

    def __init__(self, number: int, detail: str) -> None:
        super().__init__(f"invariant {number}: {detail}")
        self.number = number


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known besides the store: `stocked` and `limits` by SKU, the id that clients were told
    under each key, and the keys that orders were asked for with {key: sub}."""

    now_ms: int
    stocked: Mapping[str, int]
    limits: Mapping[str, int | None]
    told: Mapping[str, str]
    asked: Mapping[str, str]


def whole(seen: Seen) -> None:
    """No record speaks of one that is not there: asked before all else; raises Violation."""
    for id, order in seen.orders.items():
        _require(id in seen.labels, 5, f"{id} is under no key")
        _require(order.paid_by in (None, *order.payments), 4, f"{id} is paid by {order.paid_by}")
        missing = [each for each in order.payments if each not in seen.payments]
        _require(not missing, 4, f"{id}: {missing} is not there")


def check(seen: Seen, facts: Facts) -> None:
    """All that can be said of one moment; raises Violation."""
    _stock(seen, facts)
    _ends(seen)
    _keys(seen, facts)
    _limits(seen, facts)
    _money(seen)


def _require(holds: bool, number: int, detail: object) -> None:
    if not holds:
        raise Violation(number, str(detail))


def _stock(seen: Seen, facts: Facts) -> None:
    reserved, committed = _pieces(seen)
    for sku, stock in seen.stocks.items():
        counters = stock.available, stock.reserved, stock.committed
        stocked = facts.stocked[sku]
        _require(sum(counters) == stocked and min(counters) >= 0, 1, f"{stock} of {stocked}")
        _require(reserved[sku] + committed[sku] <= stocked, 2, f"{sku}: orders hold more")
        _require(stock.reserved == reserved[sku], 3, f"{stock}, orders hold {reserved[sku]}")
        _require(stock.committed == committed[sku], 3, f"{stock}, orders took {committed[sku]}")


def _pieces(seen: Seen) -> tuple[dict[str, int], dict[str, int]]:
    """{SKU: pieces} that orders hold, and that they have bought and still have on the shelf."""
    reserved: defaultdict[str, int] = defaultdict(int)
    committed: defaultdict[str, int] = defaultdict(int)
    for order in seen.orders.values():
        for line in order.lines:
            if order.state == "reserved":
                reserved[line.sku] += line.qty
            elif order.state == "confirmed":
                committed[line.sku] += line.left
    return reserved, committed


def _ends(seen: Seen) -> None:
    for order in seen.orders.values():
        for id in order.payments:
            payment = seen.payments[id]
            refunds = seen.refunds_of(id)
            back = sum(refund.amount.amount for refund in refunds)
            if payment.state not in TAKEN:
                _require(not refunds, 4, f"{order.id}: {payment} was not taken, {refunds}")
            elif order.state in ENDED or order.paid_by != id:
                whole = back == (payment.captured or payment.amount).amount
                _require(whole, 4, f"{order.id} is {order.state}: {payment}, {refunds}")


def _keys(seen: Seen, facts: Facts) -> None:
    ids = {label: id for id, label in seen.labels.items()}
    for id, order in seen.orders.items():
        asked_by = facts.asked[seen.labels[id]]
        _require(asked_by == order.sub, 5, f"{id} is another buyer's")
    for label, id in facts.told.items():
        if label in facts.asked:
            _require(ids.get(label) == id and id in seen.orders, 5, f"{id} was told for {label}")
        elif id.startswith("pay_"):
            _require(id in seen.payments, 5, f"{id} was told for {label}")


def _limits(seen: Seen, facts: Facts) -> None:
    bought: defaultdict[tuple[str, str], int] = defaultdict(int)
    for order in seen.orders.values():
        if order.at(facts.now_ms).state in LIVE:
            for line in order.lines:
                bought[order.sub, line.sku] += line.qty - line.dropped - line.back
    for (sub, sku), pieces in bought.items():
        limit = facts.limits[sku]
        _require(limit is None or pieces <= limit, 7, f"{sub} has {pieces} of {sku}, limit {limit}")


def _money(seen: Seen) -> None:
    for order in seen.orders.values():
        for id in order.payments:
            payment = seen.payments[id]
            came = (payment.captured or payment.amount).amount
            captured = came if payment.state in TAKEN else 0
            back = sum(refund.amount.amount for refund in seen.refunds_of(id))
            _require(back <= captured, 9, f"{order.id}: {back} of {captured} go back")
        for line in order.lines:
            _require(line.refunded_minor <= line.total.amount, 9, f"{order.id}: {line}")
        lines = sum(line.unit.amount * line.qty for line in order.lines)
        off = sum(discount.amount.amount for discount in order.discounts)
        more = sum(each.amount for each in (order.shipping, order.tax) if each is not None)
        whole = lines - off + more
        _require(order.total.amount == whole, 10, f"{order.id}: {order.total}, {lines} - {off}")
        shares = sum(each.discount.amount for each in order.lines if each.discount is not None)
        _require(shares == off, 10, f"{order.id}: lines share {shares} of {off}")
        _require(all(line.total.amount >= 0 for line in order.lines), 10, f"{order.id}: below 0")


def follow(
    news: Mapping[str, Sequence[tuple[int, str, Mapping[str, str]]]],
    since: Mapping[str, int],
    before: Seen | None,
    seen: Seen,
) -> None:
    """The eleventh: no gap since `since`, and what was not told has not changed; raises Violation."""
    for stream, events in news.items():
        first = since.get(stream, 0) + 1
        seqs = [seq for seq, _, _ in events]
        _require(
            seqs == list(range(first, first + len(seqs))), 11, f"{stream}: {seqs} from {first}"
        )
    if before is None:
        return
    told = {value for events in news.values() for _, _, data in events for value in data.values()}
    for id, order in seen.orders.items():
        same = id in before.orders and before.orders[id].version == order.version
        _require(same or id in told, 11, f"{id} changed and nobody was told")
    for sku, stock in seen.stocks.items():
        _require(stock == before.stocks[sku] or sku in told, 11, f"{sku} changed untold")
