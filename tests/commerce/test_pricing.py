"""The price of some lines: its order of application, its stacking rules, and what is always true."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commerce.errors import MixedCurrency
from commerce.money import Money
from commerce.pricing.price import Buyer, Price, PricedLine, Wanted, half_even, price
from commerce.pricing.rules import PriceRules, Rule, Sale
from commerce.pricing.words import rule_label
from commerce.products import Product, Sku, price_version
from tests.commerce.prices import cny, rule

NOW_MS = 1_800_000_000_000
ANN = Buyer("room", "gold", "new")


def want(sku: str, amount: int, qty: int = 1, currency: str = "CNY", merchant: str = "") -> Wanted:
    article = Sku(sku, Money(amount, currency), 1)
    product = Product(f"prd_{sku}", "Cup", (article,), merchant or None, None, 0, 0)
    return Wanted(product, article, qty)


def sale(id: str, amount: int, quota: int | None = 10, sku: str = "a") -> Sale:
    per_buyer = None if quota is None else 5
    return Sale(id, "room", sku, "", cny(amount), NOW_MS, NOW_MS + 1000, quota, per_buyer)


def cost(*wanted: Wanted, rules: Sequence[Rule] = (), sales: Sequence[Sale] = ()) -> Price:
    left = {each.id: None if each.quota is None else each.quota for each in sales}
    return price(
        wanted, PriceRules(tuple(sales), tuple(rules)), buyer=ANN, now_ms=NOW_MS, left=left
    )


def taken(found: Price) -> list[tuple[str, int]]:
    return [(discount.id, discount.amount.amount) for discount in found.discounts]


def test_without_rules_it_is_the_list_price_at_the_version_of_the_skus() -> None:
    one, two = want("a", 1990, 3), want("b", 5)
    found = cost(two, one)
    assert (found.total, found.discounts, found.hints) == (cny(5975), (), ())
    assert [line.sku for line in found.lines] == ["a", "b"]
    assert found.version == price_version([one.sku, two.sku])


def test_a_live_price_comes_before_the_flash_sale_and_the_lower_one_counts() -> None:
    live, flash = sale("sal_1", 1500, quota=None), sale("sal_2", 990)
    assert cost(want("a", 1990), sales=[live]).lines[0].unit == cny(1500)
    line = cost(want("a", 1990, 2), sales=[flash, live]).lines[0]
    assert (line.unit, line.list_unit, line.sale, line.sale_pieces) == (
        cny(990),
        cny(1990),
        "sal_2",
        2,
    )
    assert cost(want("a", 1990), sales=[live, sale("sal_2", 1600)]).lines[0].unit == cny(1500)


def test_a_sale_gives_its_price_to_as_many_pieces_as_it_has_left() -> None:
    found = price(
        [want("a", 1000, 3)],
        PriceRules((sale("sal_1", 600),)),
        buyer=ANN,
        now_ms=NOW_MS,
        left={"sal_1": 2},
    )
    assert taken(found) == [("sal_1", 800)] and found.total == cny(2200)
    assert found.lines[0].unit == cny(1000) and found.lines[0].sale_pieces == 2
    assert found.discounts[0].label["zh"] == "3件中2件享秒杀价6.00"


@pytest.mark.parametrize(("late_ms", "unit"), [(-1, 1000), (0, 600), (999, 600), (1000, 1000)])
def test_a_sale_holds_from_its_start_to_the_millisecond_before_its_end(
    late_ms: int, unit: int
) -> None:
    found = price(
        [want("a", 1000)],
        PriceRules((sale("sal_1", 600),)),
        buyer=ANN,
        now_ms=NOW_MS + late_ms,
        left={"sal_1": 5},
    )
    assert found.total == cny(unit)


def test_each_step_works_on_what_the_one_before_left() -> None:
    rules = [
        rule("coupon", "cpn_1", off=cny(100)),
        rule("fixed", "prm_4", off=cny(50)),
        rule("percent", "prm_3", percent=10),
        rule("threshold", "prm_2", spend=cny(8000), off=cny(1000), every=True),
        rule("tier", "prm_1", tier="gold", percent=10),
    ]
    found = cost(want("a", 10_000), rules=rules)
    # 10000 - 10 % = 9000; once 8000 reached: 8000; - 10 % = 7200; - 50 = 7150; - 100 = 7050
    assert taken(found) == [
        ("prm_1", 1000),
        ("prm_2", 1000),
        ("prm_3", 800),
        ("prm_4", 50),
        ("cpn_1", 100),
    ]
    assert found.total == cny(7050) and found.coupons == ("cpn_1",)
    assert [(hint.id, hint.missing) for hint in found.hints] == [("prm_2", cny(7000))]


def test_a_threshold_counts_once_or_each_time_and_says_what_is_missing() -> None:
    once = rule("threshold", "prm_1", spend=cny(300), off=cny(50))
    assert cost(want("a", 1000), rules=[once]).total == cny(950)
    each = replace(once, every=True)
    found = cost(want("a", 1000), rules=[each])
    assert (found.total, found.hints[0].missing) == (cny(850), cny(200))
    missed = cost(want("a", 299), rules=[once])
    assert (missed.total, missed.hints[0].missing) == (cny(299), cny(1))
    assert missed.hints[0].label["zh"] == "Spring：满3.00减0.50"
    assert missed.hints[0].label["en"] == "Spring: 0.50 CNY off for 3.00 CNY spent"


def test_of_a_group_the_best_comes_and_of_equal_ones_the_older() -> None:
    steps = [
        rule("threshold", "prm_1", spend=cny(200), off=cny(20), group="g"),
        rule("threshold", "prm_2", spend=cny(300), off=cny(50), group="g"),
        rule("threshold", "prm_3", spend=cny(300), off=cny(50), group="g"),
    ]
    assert taken(cost(want("a", 250), rules=steps)) == [("prm_1", 20)]
    assert taken(cost(want("a", 300), rules=steps[::-1])) == [("prm_2", 50)]


def test_what_does_not_stack_comes_alone_if_it_takes_more_than_all_that_do() -> None:
    stacking = [rule("percent", "prm_1", percent=10), rule("fixed", "prm_2", off=cny(10))]
    alone = rule("fixed", "prm_0", off=cny(110), stacks=False)
    assert taken(cost(want("a", 1000), rules=[alone, *stacking])) == [("prm_1", 100), ("prm_2", 10)]
    more = replace(alone, off=cny(111))
    assert taken(cost(want("a", 1000), rules=[*stacking, more])) == [("prm_0", 111)]
    twin = replace(more, id="prm_00")
    assert taken(cost(want("a", 1000), rules=[more, twin])) == [("prm_0", 111)]


@pytest.mark.parametrize(
    "condition",
    [
        {"room": "other"},
        {"tier": "silver"},
        {"segment": "old"},
        {"skus": ("b",)},
        {"merchant": "tea"},
        {"starts_ms": NOW_MS + 1},
        {"ends_ms": NOW_MS},
    ],
)
def test_a_rule_is_for_whom_what_and_when_it_says(condition: dict[str, object]) -> None:
    for holds in (False, True):
        members = {} if holds else condition
        found = cost(want("a", 1000), rules=[rule("percent", "prm_1", percent=50, **members)])
        assert found.total == cny(500 if holds else 1000)


def test_a_member_price_is_that_of_each_piece_and_never_raises_one() -> None:
    members = rule("tier", "prm_1", tier="gold", price=cny(800), skus=("a", "b"))
    found = cost(want("a", 1000, 2), want("b", 700), want("c", 900), rules=[members])
    assert [line.off for line in found.lines] == [400, 0, 0]


@pytest.mark.parametrize(
    ("amount", "percent", "share"),
    [(5, 10, 0), (15, 10, 2), (25, 10, 2), (35, 10, 4), (1, 50, 0), (3, 50, 2), (99, 100, 99)],
)
def test_a_percentage_is_rounded_half_to_even(amount: int, percent: int, share: int) -> None:
    assert half_even(amount, percent) == share


@pytest.mark.parametrize("currency", ["JPY", "CNY", "KWD"])
def test_currencies_of_any_digits_count_in_minor_units(currency: str) -> None:
    found = cost(want("a", 1005, 1, currency), rules=[rule("percent", "prm_1", percent=50)])
    assert found.total == Money(503, currency)
    other = rule("fixed", "prm_1", off=Money(5, "EUR"))
    assert cost(want("a", 1005, 1, currency), rules=[other]).discounts == ()


def test_an_order_is_in_one_currency() -> None:
    with pytest.raises(MixedCurrency):
        cost(want("a", 1), want("b", 1, 1, "EUR"))


def test_a_version_on_a_card_is_good_for_any_number_of_pieces() -> None:
    flash = [sale("sal_1", 600)]
    one, three = (cost(want("a", 1000, qty), sales=flash).version for qty in (1, 3))
    assert one == three != cost(want("a", 1000)).version
    off = [rule("fixed", "prm_1", off=cny(1))]
    assert cost(want("a", 1000), rules=off).version != cost(want("a", 1000, 2), rules=off).version


@pytest.mark.parametrize(
    ("percent", "words"), [(12, "8.8折"), (10, "9折"), (100, "免单"), (95, "0.5折")]
)
def test_a_percentage_is_told_in_tenths_in_chinese(percent: int, words: str) -> None:
    assert rule_label(rule("percent", percent=percent))["zh"] == f"Spring：{words}"


class Carrier:
    """Ten for the parcel unless 500 are reached; a tenth of all is tax."""

    def shipping(self, goods: Money, lines: Sequence[PricedLine]) -> Money | None:
        return Money(0 if goods.amount >= 500 else 10, goods.currency)

    def tax(self, goods: Money, shipping: Money | None) -> Money | None:
        assert shipping is not None
        return Money(half_even((goods + shipping).amount, 10), goods.currency)


amounts = st.integers(0, 3000)
wants = st.lists(
    st.tuples(amounts, st.integers(1, 9), st.sampled_from(["", "tea"])), min_size=1, max_size=6
)
rules_drawn = st.lists(
    st.builds(
        lambda kind, off, percent, spend, every, stacks, group, merchant: rule(
            kind,
            off=None if percent else Money(off, "CNY"),
            percent=percent,
            spend=Money(spend, "CNY") if kind in ("threshold", "coupon") else None,
            every=every,
            stacks=stacks,
            group=group,
            merchant=merchant,
            tier="gold" if kind == "tier" else None,
        ),
        st.sampled_from(["tier", "threshold", "percent", "fixed", "coupon"]),
        st.integers(1, 2000),
        st.none() | st.integers(1, 100),
        st.integers(1, 3000),
        st.booleans(),
        st.booleans(),
        st.sampled_from([None, "g"]),
        st.sampled_from([None, "tea"]),
    ),
    max_size=7,
)
sales_drawn = st.lists(
    st.tuples(st.integers(0, 5), amounts, st.none() | st.integers(0, 12)), max_size=4
)


@settings(max_examples=120, deadline=None)
@given(wants, rules_drawn, sales_drawn, st.randoms(use_true_random=False))
def test_lines_less_discounts_with_shipping_and_tax_are_the_total_whatever_their_order(
    drawn: list[tuple[int, int, str]],
    rules: list[Rule],
    sold: list[tuple[int, int, int | None]],
    random: object,
) -> None:
    lines = [want(f"s{n}", each, qty, "CNY", tea) for n, (each, qty, tea) in enumerate(drawn)]
    named = [replace(each, id=f"prm_{n}") for n, each in enumerate(rules)]
    sales = [sale(f"sal_{n}", at, left, f"s{sku}") for n, (sku, at, left) in enumerate(sold)]
    left = {each.id: each.quota for each in sales}

    def found() -> Price:
        return price(
            lines,
            PriceRules(tuple(sales), tuple(each for each in named if each.kind != "coupon")),
            coupons=[each for each in named if each.kind == "coupon"],
            buyer=ANN,
            now_ms=NOW_MS,
            left=left,
            charges=Carrier(),
        )

    first = found()
    for each in (lines, named, sales):
        random.shuffle(each)  # type: ignore[attr-defined]
    assert found() == first
    subtotal = sum(line.unit.amount * line.qty for line in first.lines)
    off = sum(discount.amount.amount for discount in first.discounts)
    assert sum(line.off for line in first.lines) == off
    assert first.shipping is not None and first.tax is not None
    assert first.total.amount == subtotal - off + first.shipping.amount + first.tax.amount
    for line in first.lines:
        assert 0 <= line.off <= line.unit.amount * line.qty and line.unit <= line.list_unit
        assert type(line.off) is int
    assert all(discount.amount.amount > 0 for discount in first.discounts)
    assert type(first.total.amount) is int
