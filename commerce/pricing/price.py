"""The price of some lines: one pure function, the same for the quote and for the order.

What is applied, in this order:

1. The list price of each SKU.
2. A live price: a sale in the order's room without a quota, where it is lower. Of several the lowest.
3. A flash sale in the room, where it is lower still: for as many pieces as its quota and the buyer's
   limit leave. All pieces of a line: it is their `unit`. Some: the line keeps its unit, and these
   pieces' difference is a discount of kind `sale` of that line.
4. `tier`: member price or member discount.
5. `threshold` (满减): spend X, get Y off, once or for every X.
6. `percent`, then `fixed`.
7. Coupons.
8. Shipping, of what is left to pay for the goods.
9. Tax, of goods and shipping.

From 4 to 7 each rule works on what those before it left of the lines it is about: that is what must
reach its `spend`, and of which it takes. Within a step the older id comes first. Of those of one step
and `group` only the one that takes most comes, the older of two equal ones. A rule that does not stack
comes without any other one of 4 to 7, in place of all that stack, if it takes more than they do
together; of several such the one that takes most, the older of two equal ones. A coupon that does
not come this way is not redeemed.

Amounts are whole minor units of the one currency; a rule about another currency does not count. A
percentage is taken of the sum of its lines and rounded half to even, once. A discount is spread over
its lines by largest remainder in proportion to what is left of each, so it never makes one negative,
and the shares add up to it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from commerce.errors import MixedCurrency
from commerce.money import Money
from commerce.pricing.discounts import Discount
from commerce.pricing.rules import KINDS, NO_RULES, PriceRules, Rule, Sale, matches
from commerce.pricing.words import Label, rule_label, sale_label
from commerce.products import Product, Sku

NOTHING_LEFT: Mapping[str, int | None] = {}


@dataclass(frozen=True, slots=True)
class Buyer:
    """Who buys where; None: it is not known."""

    room: str | None = None
    tier: str | None = None
    segment: str | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Some pieces of a SKU."""

    product: Product
    sku: Sku
    qty: int


@dataclass(frozen=True, slots=True)
class PricedLine:
    """`unit` is what a piece costs before the order's discounts, `off` the line's share of these.

    `sale_pieces` count in the quota of `sale`, none where it has no quota; `sale_limit` is that of
    each buyer.
    """

    sku: str
    qty: int
    list_unit: Money
    unit: Money
    off: int = 0
    sale: str | None = None
    sale_pieces: int = 0
    sale_limit: int | None = None

    @property
    def discount(self) -> Money | None:
        return Money(self.off, self.unit.currency) if self.off else None

    def to_json(self) -> dict[str, Any]:
        subtotal = self.unit * self.qty
        discount = self.discount
        return {
            "sku": self.sku,
            "qty": self.qty,
            "list_unit": self.list_unit.to_json(),
            "unit": self.unit.to_json(),
            "subtotal": subtotal.to_json(),
            "discount": None if discount is None else discount.to_json(),
            "total": (subtotal if discount is None else subtotal - discount).to_json(),
            "sale": self.sale,
        }


@dataclass(frozen=True, slots=True)
class Hint:
    """What is missing until a rule gives something, or gives it once more."""

    id: str
    kind: str
    label: Label
    missing: Money

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "kind": self.kind,
            "label": dict(self.label),
            "missing": self.missing.to_json(),
        }


@dataclass(frozen=True, slots=True)
class Price:
    """Lines by SKU; `coupons` are the ids of those that are redeemed at this price."""

    lines: tuple[PricedLine, ...]
    discounts: tuple[Discount, ...]
    hints: tuple[Hint, ...]
    coupons: tuple[str, ...]
    shipping: Money | None
    tax: Money | None
    total: Money
    version: str

    def to_json(self) -> dict[str, Any]:
        """The quote."""
        return {
            "lines": [line.to_json() for line in self.lines],
            "discounts": [discount.to_json() for discount in self.discounts],
            "hints": [hint.to_json() for hint in self.hints],
            "coupons": list(self.coupons),
            "shipping": None if self.shipping is None else self.shipping.to_json(),
            "tax": None if self.tax is None else self.tax.to_json(),
            "total": self.total.to_json(),
            "price_version": self.version,
        }


class Charges(Protocol):
    """What comes on top of the goods: pure functions of what they are given; None: nothing."""

    def shipping(self, goods: Money, lines: Sequence[PricedLine]) -> Money | None: ...
    def tax(self, goods: Money, shipping: Money | None) -> Money | None: ...


class NoCharges:
    """Neither shipping nor tax."""

    def shipping(self, goods: Money, lines: Sequence[PricedLine]) -> Money | None:
        return None

    def tax(self, goods: Money, shipping: Money | None) -> Money | None:
        return None


@dataclass(slots=True)
class _Run:
    """Some rules applied: what is left of each line, what each took, and what was missing to more."""

    left: list[int]
    taken: list[tuple[Rule, int]]
    missing: dict[str, tuple[int, Rule]]  # by id

    @property
    def total(self) -> int:
        return sum(amount for _, amount in self.taken)


def price(
    wanted: Iterable[Wanted],
    rules: PriceRules = NO_RULES,
    *,
    buyer: Buyer,
    now_ms: int,
    coupons: Sequence[Rule] = (),
    left: Mapping[str, int | None] = NOTHING_LEFT,
    charges: Charges | None = None,
) -> Price:
    """What the lines cost this buyer now; raises MixedCurrency, or Invalid for a sum beyond Money.

    `left` {sale: pieces}: what a sale has for him, None: as many as he likes; one that is not there
    has none.
    """
    wants = sorted(wanted, key=lambda want: want.sku.sku)
    currency = _currency(wants)
    lines: list[PricedLine] = []
    discounts: list[Discount] = []
    for want in wants:
        line, discount = _at_sale(want, rules.sales, buyer.room, left, now_ms)
        lines.append(line)
        discounts += [] if discount is None else [discount]
    run = _Run([line.unit.amount * line.qty - line.off for line in lines], [], {})
    hints: list[tuple[int, Rule]] = []
    held = [
        rule
        for rule in (*rules.promotions, *coupons)
        if _holds(rule, buyer, now_ms) and rule.currency in (None, currency)
    ]
    if held:
        run, hints = _best(held, wants, run.left)
    discounts += [
        Discount(rule.id, rule.kind, rule_label(rule), Money(amount, currency))
        for rule, amount in run.taken
    ]
    lines = [_less(line, rest) for line, rest in zip(lines, run.left, strict=True)]
    goods = total = Money(sum(run.left), currency)
    shipping = tax = None
    if charges is not None:
        shipping = charges.shipping(goods, lines)
        tax = charges.tax(goods, shipping)
        for more in (shipping, tax):
            total = total if more is None else total + more
    return Price(
        tuple(lines),
        tuple(discounts),
        tuple(_hint(rule, amount, currency) for amount, rule in hints),
        tuple(sorted(rule.id for rule, _ in run.taken if rule.kind == "coupon")),
        shipping,
        tax,
        total,
        _version(wants, lines, discounts, shipping, tax),
    )


def half_even(amount: int, percent: int) -> int:
    """`percent` of an amount that is not negative, rounded half to even."""
    whole, rest = divmod(amount * percent, 100)
    return whole + (2 * rest > 100 or (2 * rest == 100 and whole % 2 == 1))


def _currency(wants: Sequence[Wanted]) -> str:
    currencies = {want.sku.price.currency for want in wants}
    if len(currencies) != 1:
        raise MixedCurrency(f"an order is in one currency, not in {', '.join(sorted(currencies))}")
    return currencies.pop()


def _at_sale(
    want: Wanted,
    sales: Sequence[Sale],
    room: str | None,
    left: Mapping[str, int | None],
    now_ms: int,
) -> tuple[PricedLine, Discount | None]:
    listed, qty = want.sku.price, want.qty
    running = [
        sale
        for sale in sales
        if sale.sku == want.sku.sku
        and sale.room == room
        and sale.runs(now_ms)
        and sale.price.currency == listed.currency
    ]
    line = PricedLine(want.sku.sku, qty, listed, listed)
    # Live prices first, so that a flash sale is measured against them.
    for sale in sorted(
        running, key=lambda sale: (sale.quota is not None, sale.price.amount, sale.id)
    ):
        pieces = left.get(sale.id, 0)
        if sale.price < line.unit and (pieces is None or pieces >= qty):
            counted = 0 if pieces is None else qty
            line = PricedLine(
                line.sku, qty, listed, sale.price, 0, sale.id, counted, sale.per_buyer
            )
        elif sale.price < line.unit and pieces:
            off = (line.unit.amount - sale.price.amount) * pieces
            line = PricedLine(
                line.sku, qty, listed, line.unit, off, sale.id, pieces, sale.per_buyer
            )
            label = sale_label(sale, pieces, qty)
            return line, Discount(sale.id, "sale", label, Money(off, listed.currency))
    return line, None


def _holds(rule: Rule, buyer: Buyer, now_ms: int) -> bool:
    return (
        rule.runs(now_ms)
        and rule.room in (None, buyer.room)
        and rule.tier in (None, buyer.tier)
        and rule.segment in (None, buyer.segment)
    )


def _best(
    rules: Sequence[Rule], wants: Sequence[Wanted], left: Sequence[int]
) -> tuple[_Run, list[tuple[int, Rule]]]:
    """The run that takes most, and what was missing in any of them."""
    rules = sorted(rules, key=lambda rule: rule.id)
    runs = [_apply([rule for rule in rules if rule.stacks], wants, left)]
    runs += [_apply([rule], wants, left) for rule in rules if not rule.stacks]
    missing: dict[str, tuple[int, Rule]] = {}
    for run in runs:
        missing.update(run.missing)
    nearest = sorted(missing.values(), key=lambda each: (each[0], each[1].id))
    return max(runs, key=lambda run: run.total), nearest  # of equal ones the first


def _apply(rules: Sequence[Rule], wants: Sequence[Wanted], left: Sequence[int]) -> _Run:
    run = _Run(list(left), [], {})
    for kind in KINDS:
        slots: dict[str, list[Rule]] = {}
        for rule in rules:
            if rule.kind == kind:
                slots.setdefault(rule.id if rule.group is None else f"={rule.group}", []).append(
                    rule
                )
        for slot in slots.values():
            offers = [(rule, _shares(rule, wants, run)) for rule in slot]
            rule, shares = max(offers, key=lambda offer: sum(offer[1]))
            if any(shares):
                run.taken.append((rule, sum(shares)))
                run.left = [rest - share for rest, share in zip(run.left, shares, strict=True)]
    return run


def _shares(rule: Rule, wants: Sequence[Wanted], run: _Run) -> list[int]:
    """What the rule takes of each line; what is missing to its `spend` is noted in the run."""
    about = [
        rest if matches(rule, want.product, want.sku.sku) else 0
        for want, rest in zip(wants, run.left, strict=True)
    ]
    base = sum(about)
    times = 1
    if rule.spend is not None and rule.spend.amount > 0:
        times, over = divmod(base, rule.spend.amount)
        if base and (rule.every or not times):
            run.missing[rule.id] = (rule.spend.amount - over, rule)
        times = times if rule.every else min(times, 1)
    if not base or not times:
        return [0] * len(about)
    if rule.price is not None:
        pieces = rule.price.amount
        return [max(0, rest - pieces * want.qty) for rest, want in zip(about, wants, strict=True)]
    amount = rule.off.amount * times if rule.off is not None else half_even(base, rule.percent or 0)
    taken = Money(min(amount, base), wants[0].sku.price.currency)
    return [share.amount for share in taken.split(about)]


def _less(line: PricedLine, rest: int) -> PricedLine:
    off = line.unit.amount * line.qty - rest
    if off == line.off:
        return line
    return replace(line, off=off)


def _hint(rule: Rule, missing: int, currency: str) -> Hint:
    return Hint(rule.id, rule.kind, rule_label(rule), Money(missing, currency))


def _version(
    wants: Sequence[Wanted],
    lines: Sequence[PricedLine],
    discounts: Sequence[Discount],
    shipping: Money | None,
    tax: Money | None,
) -> str:
    """`pv_` and 16 characters. Without discounts it is that of the units, whatever their number, so
    the version on a card is good for any number of pieces."""
    parts: list[Any] = []
    for want, line in zip(wants, lines, strict=True):
        part = [line.sku, want.sku.price_changes, line.list_unit.amount, line.unit.currency]
        if line.unit != line.list_unit:
            part += [line.sale, line.unit.amount]
        parts.append(part)
    if discounts or shipping is not None or tax is not None:
        parts.append([[line.qty, line.off] for line in lines])
        parts.append([[discount.id, discount.amount.amount] for discount in discounts])
        parts.append([None if more is None else more.amount for more in (shipping, tax)])
    return f"pv_{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]}"
