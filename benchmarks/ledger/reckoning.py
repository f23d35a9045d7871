"""What a shop holds when a run of real processes has ended, compared with what its clients were told.

First everything is let run out, by the shop's own services with their clock in the future; then those
who still want it buy what is left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.ledger.invariants import Facts, Violation, check
from benchmarks.ledger.observe import Observer, Seen
from benchmarks.ledger.process import Clock, Process
from commerce.errors import OutOfStock
from commerce.ids import utc_ms
from commerce.payments.signature import new_secret
from commerce.store import Store

ROUNDS = 8
HOURS_S = 6 * 3600.0  # a round; after 24 h a payment page that nobody used has failed
APPROVED = {"card": "4242424242424242"}
LATE = "late-buyer"


@dataclass(frozen=True, slots=True)
class Reckoning:
    """What came of it; everything but `orders` and `confirmed` is 0 in a shop that works."""

    orders: int
    confirmed: int
    oversold: int
    stuck: int
    doubled: int
    lost: int
    unsold: int
    violation: str

    @property
    def passed(self) -> bool:
        wrong = (self.oversold, self.stuck, self.doubled, self.lost, self.unsold)
        return not any(wrong) and not self.violation

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


async def reckon(
    store: Store,
    stocked: Mapping[str, int],
    limited: Mapping[str, int | None],
    asked: Mapping[str, str],
    told: Mapping[str, str],
    sold_out: str,
) -> Reckoning:
    """`asked` {order key: sub}, `told` {key: id that was acknowledged}; `sold_out`: what all want."""
    clock = Clock(utc_ms())
    process = Process(store, clock, new_secret(), Counter(), _hear)
    await _run_out(process, clock)
    more = await _sell_out(process, sold_out)
    await _run_out(process, clock)
    asked, told = {**asked, **dict.fromkeys(more, LATE)}, {**told, **more}
    seen = await Observer(store, stocked, 0, {}).look(asked)
    violation = ""
    try:
        check(seen, Facts(clock(), stocked, limited, told, asked))
    except Violation as found:
        violation = str(found)
    return _count(seen, stocked, told, sold_out, violation)


async def _run_out(process: Process, clock: Clock) -> None:
    for _ in range(ROUNDS):
        while await process.sandbox.send_due():
            pass
        while await process.orders.sweep():
            pass
        while await process.payments.sweep():
            pass
        clock.pass_s(HOURS_S)


async def _sell_out(process: Process, sku: str) -> dict[str, str]:
    """Somebody buys what is left; {key: order}."""
    body = {"lines": [{"sku": sku, "qty": 1}]}
    bought: dict[str, str] = {}
    while True:
        key = f"late-{len(bought)}"
        try:
            order = (await process.orders.place(process.orders.command(LATE, body), key)).value
        except OutOfStock:
            return bought
        bought[key] = order.id
        await process.payments.pay(order.id, LATE, by=LATE, key=key, method=APPROVED)


async def _hear(process: Process, headers: Mapping[str, str], body: bytes) -> None:
    await process.payments.webhook("sandbox", headers, body)


def _count(
    seen: Seen, stocked: Mapping[str, int], told: Mapping[str, str], sold_out: str, violation: str
) -> Reckoning:
    confirmed = [order for order in seen.orders.values() if order.state == "confirmed"]
    taken: Counter[str] = Counter()
    for order in confirmed:
        for line in order.lines:
            taken[line.sku] += line.qty
    stuck = sum(stock.reserved for stock in seen.stocks.values())
    stuck += sum(payment.state == "pending" for payment in seen.payments.values())
    stuck += sum(refund.state == "open" for refund in seen.refunds.values())
    known = {*seen.orders, *seen.payments}
    return Reckoning(
        orders=len(seen.orders),
        confirmed=len(confirmed),
        oversold=sum(max(0, taken[sku] - stocked[sku]) for sku in stocked),
        stuck=stuck,
        doubled=sum(id not in seen.labels for id in seen.orders),
        lost=sum(id not in known for id in told.values()),
        unsold=stocked[sold_out] - taken[sold_out],
        violation=violation,
    )
