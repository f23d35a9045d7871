"""What the store holds, read past all services, in the model's words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgpack

from benchmarks.ledger.sold import Gone, Paid, Sold
from commerce.changes import SHOP
from commerce.idempotency import read_bound, scope_item
from commerce.inventory import Stock, read_stock, stock_keys
from commerce.order import Order
from commerce.order_record import unpack
from commerce.ordering import PLACE
from commerce.payments.records import (
    Payment,
    payment_key,
    unpack_payment,
)
from commerce.pricing.claims import claimed_key, claims_left_key, unspent_key
from commerce.refunds import Refund, refund_key
from commerce.refunds import unpack as unpack_refund
from commerce.store import Store, Versioned

ORDERS_AT_ONCE = 1_000
LOADED_AT_ONCE = 2_000
EVENTS_AT_ONCE = 1_000


@dataclass(slots=True)
class Redeemed:
    """What is counted of a coupon: claims left, and by buyer those made and those not spent."""

    left: int = 0
    claimed: dict[str, int] = field(default_factory=dict)
    unspent: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Seen:
    """Everything of one world at one moment; orders as they are kept, by id."""

    orders: dict[str, Order]
    payments: dict[str, Payment]
    refunds: dict[str, Refund]
    stocks: dict[str, Stock]
    labels: dict[str, str] = field(default_factory=dict)  # of orders, by id
    coupon: Redeemed = field(default_factory=Redeemed)

    def sold(self, now_ms: int) -> dict[str, Sold]:
        """The orders in the model's words, by label."""
        return {self.labels[id]: self._sold(order.at(now_ms)) for id, order in self.orders.items()}

    def _sold(self, order: Order) -> Sold:
        paid_by = None if order.paid_by is None else order.payments.index(order.paid_by)
        return Sold(
            order.sub,
            tuple((line.sku, line.qty) for line in order.lines),
            order.total.amount,
            order.reserved_until_ms,
            order.expires_ms,
            order.state,
            order.payment,
            order.fulfilment,
            tuple(self._paid(id) for id in order.payments),
            paid_by,
            tuple(
                Gone(line.sent, line.dropped, line.refunded, line.refunded_minor)
                for line in order.lines
            ),
            bool(order.coupons),
            tuple(0 if line.discount is None else line.discount.amount for line in order.lines),
        )

    def _paid(self, id: str) -> Paid:
        refunds = [(each.amount.amount, each.state) for each in self.refunds_of(id)]
        return Paid(self.payments[id].state, tuple(sorted(refunds)))

    def refunds_of(self, payment: str) -> list[Refund]:
        return [refund for refund in self.refunds.values() if refund.payment == payment]


class Observer:
    """Reads one world again and again; follows its events, too: `seqs` is how far it has read."""

    def __init__(
        self,
        store: Store,
        skus: Iterable[str],
        began_ms: int,
        seqs: dict[str, int],
        coupon: str = "",
        buyers: Sequence[str] = (),
    ) -> None:
        """`coupon` and `buyers`: whose claims are counted."""
        self._coupon, self._buyers = coupon, buyers
        self._coupon_keys = {
            claims_left_key(coupon): "",
            **{claimed_key(coupon, sub): sub for sub in buyers},
            **{unspent_key(coupon, sub): sub for sub in buyers},
        }
        self._store = store
        self._skus = list(skus)
        self._newest = f"{min(10**15 - began_ms + 1, 10**15 - 1):015d}"
        self._stock_keys = [key for sku in self._skus for key in stock_keys(sku)]
        self._labels: dict[str, str] = {}
        self.seqs = seqs

    async def look(self, asked: Mapping[str, str]) -> Seen:
        """`asked` {label: sub} of every order that somebody tried to place."""
        unknown = {
            scope_item(sub, PLACE, label): label
            for label, sub in asked.items()
            if label not in self._labels
        }
        loaded = await self._load([*self._stock_keys, *self._coupon_keys, *unknown])
        for item, label in unknown.items():
            placed, _ = read_bound(loaded[item][0])
            if placed is not None:
                self._labels[label] = placed.removeprefix("order/")
        orders = await self._orders()
        payments = await self._payments([id for each in orders.values() for id in each.payments])
        of_payments = {p.refund for p in payments.values() if p.refund is not None}
        of_orders = {id for each in orders.values() for id in each.refunds}
        refunds = await self._refunds(sorted(of_payments | of_orders))
        stocks = {sku: read_stock(sku, loaded) for sku in self._skus}
        labels = {id: label for label, id in self._labels.items()}
        return Seen(orders, payments, refunds, stocks, labels, self._redeemed(loaded))

    def _redeemed(self, loaded: Mapping[str, Versioned]) -> Redeemed:
        counted = {key: int(loaded[key][0] or b"0") for key in self._coupon_keys}
        claimed = {sub: -counted[claimed_key(self._coupon, sub)] for sub in self._buyers}
        unspent = {sub: counted[unspent_key(self._coupon, sub)] for sub in self._buyers}
        return Redeemed(counted[claims_left_key(self._coupon)], claimed, unspent)

    async def _orders(self) -> dict[str, Order]:
        orders: dict[str, Order] = {}
        low = ""
        while True:
            keys = await self._store.scan("orders", low, self._newest, ORDERS_AT_ONCE)
            for item in (await self._load(keys)).values():
                order = unpack(*item)
                assert order is not None
                orders[order.id] = order
                low = f"{10**15 - order.created_ms:015d}{order.id}\0"
            if len(keys) < ORDERS_AT_ONCE:
                return orders

    async def _load(self, keys: Sequence[str]) -> dict[str, Versioned]:
        loaded: dict[str, Versioned] = {}
        for start in range(0, len(keys), LOADED_AT_ONCE):
            loaded |= await self._store.load(keys[start : start + LOADED_AT_ONCE])
        return loaded

    async def bound(self, items: Mapping[str, str]) -> dict[str, bool]:
        """Of {key: where the store keeps what stands under it}, whether anything does."""
        loaded = await self._store.load(items.values()) if items else {}
        return {key: loaded[item][0] is not None for key, item in items.items()}

    async def _payments(self, ids: Iterable[str]) -> dict[str, Payment]:
        loaded = await self._load([payment_key(id) for id in ids])
        found = [unpack_payment(*item) for item in loaded.values()]
        return {payment.id: payment for payment in found if payment is not None}

    async def _refunds(self, ids: Iterable[str]) -> dict[str, Refund]:
        keys = [refund_key(id) for id in ids]
        found = [unpack_refund(*item) for item in (await self._load(keys)).values()]
        return {refund.id: refund for refund in found if refund is not None}

    async def news(self, stream: str = SHOP) -> list[tuple[int, str, dict[str, str]]]:
        """[(seq, type, data)] above `seqs`, which goes on with it."""
        news = []
        while True:
            found = await self._store.events(stream, self.seqs.get(stream, 0), EVENTS_AT_ONCE)
            for seq, body in found:
                event = msgpack.unpackb(body)
                news.append((seq, event["t"], event["d"]))
                self.seqs[stream] = seq
            if len(found) < EVENTS_AT_ONCE:
                return news
