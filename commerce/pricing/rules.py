"""The rules that a price goes by: sales of one SKU in one room, promotions, and what a coupon gives.

All that are scheduled or running are kept together under `price-rules`, so an order reads one key for
them and is guarded by its version: an order that is committed after a rule has ended is without it.
Times are UTC ms; a rule holds from `starts_ms` and no longer at `ends_ms`, exact to the ms by the clock
of the decision, whoever tells the room of it and when.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgpack

from commerce.changes import Changes
from commerce.money import Money
from commerce.products import Product
from commerce.store import Versioned

KEY = "price-rules"
FORMAT = 1
RULES_MAX = 200  # sales and promotions at a time: every order reads them, some 30 kB
NO_FLOOR = -(2**53)
KINDS = ("tier", "threshold", "percent", "fixed", "coupon")  # in the order of their application


@dataclass(frozen=True, slots=True)
class Sale:
    """A price of one SKU in one room for a while.

    With a `quota` it is a flash sale: that many pieces in all have the price, `per_buyer` of them for
    each buyer. Without one it is the price while the room sells it (a live price), for everybody.
    """

    id: str
    room: str
    sku: str
    product: str
    price: Money
    starts_ms: int
    ends_ms: int
    quota: int | None = None
    per_buyer: int | None = None

    def runs(self, now_ms: int) -> bool:
        return self.starts_ms <= now_ms < self.ends_ms


@dataclass(frozen=True, slots=True)
class Rule:
    """What a promotion or a coupon takes off, from what and for whom; None or () is no condition.

    `off`, `percent` or, for members, a `price` for each piece; `spend` must be reached, and counts
    again each time with `every`. `stacks` False: it comes alone. Of one `group` the best comes.
    """

    id: str
    kind: str
    title: str
    starts_ms: int
    ends_ms: int | None = None
    spend: Money | None = None
    off: Money | None = None
    percent: int | None = None
    price: Money | None = None
    every: bool = False
    stacks: bool = True
    group: str | None = None
    room: str | None = None
    skus: tuple[str, ...] = ()
    merchant: str | None = None
    tier: str | None = None
    segment: str | None = None

    @property
    def currency(self) -> str | None:
        money = self.spend or self.off or self.price
        return None if money is None else money.currency

    def runs(self, now_ms: int) -> bool:
        return self.starts_ms <= now_ms and (self.ends_ms is None or now_ms < self.ends_ms)


@dataclass(frozen=True, slots=True)
class PriceRules:
    """All that are not over; `version` is the store's."""

    sales: tuple[Sale, ...] = ()
    promotions: tuple[Rule, ...] = ()
    version: int = 0


NO_RULES = PriceRules()


def read_rules(loaded: Mapping[str, Versioned]) -> PriceRules:
    """As they were loaded under KEY."""
    value, version = loaded[KEY]
    if value is None:
        return PriceRules(version=version)
    members = msgpack.unpackb(value)
    return PriceRules(
        tuple(read_sale(each) for each in members["sales"]),
        tuple(read_rule(each) for each in members["promotions"]),
        version,
    )


def pack_rules(rules: PriceRules) -> bytes:
    return msgpack.packb(
        {"v": FORMAT, "sales": rules.sales, "promotions": rules.promotions}, default=members_of
    )


def members_of(value: Any) -> dict[str, Any]:
    """Those of a dataclass with slots, as they are kept; pass it to msgpack as `default`."""
    return {name: getattr(value, name) for name in value.__slots__}


def read_sale(members: Mapping[str, Any]) -> Sale:
    """As it is kept."""
    return Sale(**{**members, "price": Money(**members["price"])})


def read_rule(members: Mapping[str, Any]) -> Rule:
    """As it is kept."""
    moneys = {
        name: None if members[name] is None else Money(**members[name])
        for name in ("spend", "off", "price")
    }
    return Rule(**{**members, **moneys, "skus": tuple(members["skus"])})


def left_key(sale: str) -> str:
    """The counter of the pieces that a flash sale has left: its quota, less what orders hold."""
    return f"sale-left/{sale}"


def sale_bought_key(sale: str, sub: str) -> str:
    """The counter of the pieces that a buyer has of a flash sale; it counts downwards."""
    return f"sale-bought/{sale}/{hashed(sub)}"


def hashed(sub: str) -> str:
    """A buyer's part of a key: a sub may hold anything."""
    return hashlib.sha256(sub.encode("utf-8", "replace")).hexdigest()


def sale_keys(sale: Sale, sub: str) -> list[str]:
    """What to load for `pieces_left`."""
    return [] if sale.quota is None else [left_key(sale.id), sale_bought_key(sale.id, sub)]


def pieces_left(sale: Sale, sub: str, loaded: Mapping[str, Versioned]) -> int | None:
    """How many pieces of the sale this buyer may have now; None: as many as he likes."""
    if sale.quota is None:
        return None
    left = count(loaded, left_key(sale.id))
    if sale.per_buyer is None:
        return max(0, left)
    return max(0, min(left, sale.per_buyer + count(loaded, sale_bought_key(sale.id, sub))))


def take_sale_pieces(changes: Changes, sale: str, sub: str, pieces: int, limit: int | None) -> None:
    """Pieces of a flash sale go into an order of this buyer, who may have `limit` in all."""
    changes.add(left_key(sale), -pieces)
    changes.add(sale_bought_key(sale, sub), -pieces, NO_FLOOR if limit is None else -limit)


def give_sale_pieces_back(changes: Changes, sale: str, sub: str, pieces: int) -> None:
    """They come out of an order that has ended."""
    changes.add(left_key(sale), pieces)
    changes.add(sale_bought_key(sale, sub), pieces, NO_FLOOR)


def count(loaded: Mapping[str, Versioned], key: str) -> int:
    """What a counter holds."""
    return int(loaded[key][0] or b"0")


def matches(rule: Rule, product: Product, sku: str) -> bool:
    """Whether the rule is about this SKU."""
    return (not rule.skus or sku in rule.skus) and rule.merchant in (None, product.merchant)
