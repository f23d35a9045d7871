"""Placing an order, the decision: what it costs, and the pieces, sales and coupons that it takes.

The quote and the order come from the same `priced`, so who orders at the version of a quote is charged
what it said, or is told of the new one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from commerce.changes import Changes
from commerce.errors import Invalid, LimitReached, NotFound, OutOfStock, PriceChanged
from commerce.ids import new_id
from commerce.inventory import counted, move
from commerce.order import Line, Order
from commerce.orders import Limits, PlaceOrder, bought_key
from commerce.pricing.claims import coupon_key, spend_claim, unspent_key
from commerce.pricing.coupon import Coupon, CouponRefused, check_for
from commerce.pricing.price import Buyer, Charges, Price, PricedLine, Wanted, price
from commerce.pricing.rules import (
    KEY,
    PriceRules,
    Sale,
    count,
    pieces_left,
    take_sale_pieces,
)
from commerce.products import Product, product_key
from commerce.store import Versioned


@dataclass(frozen=True, slots=True)
class Known:
    """Prices found at one moment, and the order's lines by the `id` of their price."""

    prices: dict[object, Price] = field(default_factory=dict)
    lines: dict[int, tuple[Line, ...]] = field(default_factory=dict)


def priced(
    command: PlaceOrder,
    products: Mapping[str, Product],
    items: Mapping[str, Versioned],
    rules: PriceRules,
    coupons: Mapping[str, Coupon],
    charges: Charges | None,
    now_ms: int,
    known: Known | None = None,
) -> Price:
    """What the command costs now; raises Invalid, MixedCurrency, or CouponRefused for its coupons.

    `known` remembers prices while nothing but `items` and the command changes.
    """
    for code in command.lines:
        if code not in products:
            raise Invalid("lines", f"there is no SKU {code}")
    for id in command.coupons:
        _check_coupon(command, id, coupons, items, now_ms)
    left = {
        sale.id: pieces_left(sale, command.sub, items)
        for sale in sales_of(command, rules)
        if sale.runs(now_ms)
    }
    who = command.room, command.tier, command.segment
    asked = (who, tuple(command.lines.items()), command.coupons, tuple(left.items()))
    if known is not None and asked in known.prices:
        return known.prices[asked]
    cost = price(
        [Wanted(products[sku], products[sku].sku(sku), n) for sku, n in command.lines.items()],
        rules,
        buyer=Buyer(*who),
        now_ms=now_ms,
        coupons=[coupons[id].rule for id in command.coupons],
        left=left,
        charges=charges,
    )
    if known is not None:
        known.prices[asked] = cost
    return cost


def decide_place(
    command: PlaceOrder,
    products: Mapping[str, Product],
    items: Mapping[str, Versioned],
    limits: Limits,
    now_ms: int,
    *,
    rules: PriceRules,
    coupons: Mapping[str, Coupon],
    charges: Charges | None = None,
    known: Known | None = None,
) -> tuple[Changes, Order]:
    """A reservation of all lines, or none.

    `products` by SKU; `items` holds the counters of stock, limits, sales and claims. Raises what
    `priced` does, PriceChanged with the new quote, LimitReached, or OutOfStock, which says whether
    others hold pieces.
    """
    cost = priced(command, products, items, rules, coupons, charges, now_ms, known)
    if command.price_version not in (None, cost.version):
        raise PriceChanged(cost.to_json())
    changes = Changes(now_ms)
    changes.reads[KEY] = rules.version
    lines = _lines(cost, products, known)
    for line in lines:
        _take_limit(changes, command.sub, line, items)
    short = [line.sku for line in lines if counted(items, line.sku, "available") < line.qty]
    if short:
        raise OutOfStock(short, held=all(counted(items, sku, "reserved") > 0 for sku in short))
    until_ms = now_ms + round(limits.reservation_s * 1000)
    order = Order(
        id=new_id("ord", now_ms),
        sub=command.sub,
        room=command.room,
        lines=lines,
        total=cost.total,
        price_version=cost.version,
        state="reserved",
        payment="none",
        fulfilment="none",
        reserved_until_ms=until_ms,
        expires_ms=until_ms,
        created_ms=now_ms,
        updated_ms=now_ms,
        referral=command.referral,
        discounts=cost.discounts,
        shipping=cost.shipping,
        tax=cost.tax,
        coupons=cost.coupons,
    )
    for line in lines:
        product = products[line.sku]
        changes.reads[product_key(product.id)] = product.version
        move(changes, line.sku, line.qty, source="available", target="reserved")
    _take_sales(changes, command.sub, lines)
    for id in cost.coupons:
        changes.reads[coupon_key(id)] = coupons[id].version
        spend_claim(changes, id, command.sub)
    return changes, order


def sales_of(command: PlaceOrder, rules: PriceRules) -> list[Sale]:
    """The sales that the command's lines may be in."""
    return [s for s in rules.sales if s.room == command.room and s.sku in command.lines]


def _check_coupon(
    command: PlaceOrder,
    id: str,
    coupons: Mapping[str, Coupon],
    items: Mapping[str, Versioned],
    now_ms: int,
) -> None:
    if id not in coupons:
        raise NotFound(f"there is no coupon {id}", code="coupon_not_found")
    check_for(coupons[id], command.tier, command.segment, now_ms)
    if count(items, unspent_key(id, command.sub)) < 1:
        raise CouponRefused(f"{id} is not claimed, or spent", code="coupon_not_claimed")


def _lines(cost: Price, products: Mapping[str, Product], known: Known | None) -> tuple[Line, ...]:
    lines = None if known is None else known.lines.get(id(cost))
    if lines is None:
        lines = tuple(_line(products[line.sku], line) for line in cost.lines)
        if known is not None:
            known.lines[id(cost)] = lines
    return lines


def _take_limit(changes: Changes, sub: str, line: Line, items: Mapping[str, Versioned]) -> None:
    if line.limit is None:
        return
    key = bought_key(line.sku, sub)
    before = -count(items, key)
    if before + line.qty > line.limit:
        raise LimitReached(
            f"at most {line.limit} of {line.sku} for each buyer",
            extra={"skus": [line.sku], "limit": line.limit, "bought": before},
        )
    changes.add(key, -line.qty, -line.limit)


def _line(product: Product, line: PricedLine) -> Line:
    sku = product.sku(line.sku)
    return Line(
        sku.sku,
        product.id,
        product.title,
        dict(sku.options),
        line.qty,
        line.unit,
        sku.per_buyer is not None,
        discount=line.discount,
        merchant=product.merchant,
        list_unit=None if line.list_unit == line.unit else line.list_unit,
        sale=line.sale,
        sale_pieces=line.sale_pieces,
        sale_limit=line.sale_limit,
        limit=sku.per_buyer,
    )


def _take_sales(changes: Changes, sub: str, lines: tuple[Line, ...]) -> None:
    for line in lines:
        if line.sale is not None and line.sale_pieces:
            take_sale_pieces(changes, line.sale, sub, line.sale_pieces, line.sale_limit)
