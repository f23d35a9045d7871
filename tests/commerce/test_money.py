from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commerce.errors import Invalid, MixedCurrency
from commerce.money import Money, total


def test_money_adds_subtracts_multiplies_and_compares_in_its_currency() -> None:
    assert Money(1990, "CNY") + Money(10, "CNY") == Money(2000, "CNY")
    assert Money(1990, "CNY") - Money(2000, "CNY") == Money(-10, "CNY")
    assert Money(1990, "CNY") * 3 == Money(5970, "CNY")
    assert -Money(1, "CNY") < Money(0, "CNY") <= Money(0, "CNY")
    assert total([Money(1, "EUR"), Money(2, "EUR")]) == Money(3, "EUR")


def test_two_currencies_do_not_add_up() -> None:
    with pytest.raises(MixedCurrency):
        Money(1, "CNY") + Money(1, "EUR")
    with pytest.raises(MixedCurrency):
        assert Money(1, "CNY") < Money(1, "EUR")


@pytest.mark.parametrize(
    ("money", "text"),
    [
        (Money(1990, "JPY"), "1990 JPY"),
        (Money(1990, "CNY"), "19.90 CNY"),
        (Money(1990, "KWD"), "1.990 KWD"),
        (Money(-5, "CNY"), "-0.05 CNY"),
    ],
)
def test_the_point_stands_where_the_currency_has_it(money: Money, text: str) -> None:
    assert str(money) == text


def test_json_comes_back_as_it_went() -> None:
    money = Money(1990, "CNY")
    assert money.to_json() == {"amount": 1990, "currency": "CNY"}
    assert Money.from_json(money.to_json()) == money


@pytest.mark.parametrize(
    "value",
    [
        None,
        1990,
        {"amount": 1990},
        {"amount": 19.9, "currency": "CNY"},
        {"amount": True, "currency": "CNY"},
        {"amount": "1990", "currency": "CNY"},
        {"amount": 2**53, "currency": "CNY"},
        {"amount": 1, "currency": "cny"},
        {"amount": 1, "currency": "XXX"},
        {"amount": 1, "currency": ["CNY"]},
        {"amount": 1, "currency": "CNY", "more": 1},
    ],
)
def test_what_is_no_money_is_refused(value: object) -> None:
    with pytest.raises(Invalid):
        Money.from_json(value)


def test_a_split_gives_what_is_left_over_to_the_largest_remainders() -> None:
    shares = Money(100, "CNY").split([1, 1, 1])
    assert [share.amount for share in shares] == [34, 33, 33]
    assert [share.amount for share in Money(10, "CNY").split([15, 25, 60])] == [2, 2, 6]
    assert [share.amount for share in Money(-100, "CNY").split([1, 1, 1])] == [-34, -33, -33]


@given(
    st.integers(-(10**12), 10**12),
    st.lists(st.integers(0, 10**6), min_size=1, max_size=9).filter(any),
)
def test_a_split_adds_up_and_is_off_by_less_than_one_unit(amount: int, weights: list[int]) -> None:
    shares = [share.amount for share in Money(amount, "CNY").split(weights)]
    assert sum(shares) == amount
    for share, weight in zip(shares, weights, strict=True):
        assert abs(share * sum(weights) - amount * weight) < sum(weights)


@pytest.mark.parametrize("weights", [[], [0, 0], [1, -1], [2, -1]])
def test_a_split_without_proper_weights_is_a_bug(weights: list[int]) -> None:
    with pytest.raises(ValueError):
        Money(1, "CNY").split(weights)
