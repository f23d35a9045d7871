"""What the studio's selling modules compute, run in Node.js."""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from itertools import product
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from commerce.money import AMOUNT_LIMIT, DIGITS
from tests.pages.pages import evaluate

BATCH = 60  # texts of one start of Node.js

currencies = st.sampled_from(sorted(DIGITS))
numbers = st.from_regex(r"[0-9]{1,18}([.,][0-9]{1,4})?", fullmatch=True)
scribbles = st.text(alphabet="0123456789.,-+e ¥$_", max_size=12)
names = st.text(alphabet="abcSML红", min_size=1, max_size=4)
values = st.lists(names, min_size=1, max_size=4, unique=True)


def parsed(node: str, typed: list[tuple[str, str]]) -> list[int | None]:
    """What parseAmount makes of each (text, currency)."""
    program = f"""
        import {{ parseAmount }} from "PAGES/js/amount.js";
        const typed = {json.dumps(typed)};
        console.log(JSON.stringify(typed.map(([text, currency]) => parseAmount(text, currency))));
    """
    found = evaluate(node, program)
    assert isinstance(found, list)
    return found


def expected(text: str, currency: str) -> int | None:
    """The same by Decimal, for texts of digits and at most one point or comma."""
    digits = DIGITS[currency]
    part = text.replace(",", ".").partition(".")[2]
    if len(part) > digits or ("," in text and len(part) > 2):
        return None
    amount = Decimal(text.replace(",", ".")).scaleb(digits)
    assert amount == int(amount)
    return int(amount) if amount <= AMOUNT_LIMIT else None


@settings(max_examples=15)
@given(st.lists(st.tuples(numbers, currencies), min_size=BATCH, max_size=BATCH))
def test_a_price_that_is_typed_is_what_decimal_makes_of_it(
    node: str, typed: list[tuple[str, str]]
) -> None:
    assert parsed(node, typed) == [expected(text, currency) for text, currency in typed]


@settings(max_examples=15)
@given(st.lists(st.tuples(scribbles, currencies), min_size=BATCH, max_size=BATCH))
def test_what_is_read_as_a_price_is_never_another_number(
    node: str, typed: list[tuple[str, str]]
) -> None:
    for (text, currency), amount in zip(typed, parsed(node, typed), strict=True):
        plain = "".join(text.split()).lstrip("¥$")
        point = plain.replace(",", "") if "." in plain else plain.replace(",", ".")
        try:
            wanted = Decimal(point).scaleb(DIGITS[currency])
        except InvalidOperation:
            assert amount is None, text
            continue
        assert amount is None or amount == wanted, text


@settings(max_examples=15)
@given(
    st.lists(st.tuples(st.integers(0, AMOUNT_LIMIT), currencies), min_size=BATCH, max_size=BATCH)
)
def test_a_price_in_its_field_is_read_back_as_the_same(
    node: str, prices: list[tuple[int, str]]
) -> None:
    program = f"""
        import {{ majorText, parseAmount }} from "PAGES/js/amount.js";
        const prices = {json.dumps(prices)}.map(([amount, currency]) => ({{ amount, currency }}));
        const texts = prices.map(majorText);
        const back = texts.map((text, at) => parseAmount(text, prices[at].currency));
        console.log(JSON.stringify([texts, back]));
    """
    texts, back = evaluate(node, program)
    assert back == [amount for amount, _ in prices]
    for (amount, currency), text in zip(prices, texts, strict=True):
        assert Decimal(text).scaleb(DIGITS[currency]) == amount


def test_prices_as_keyboards_write_them(node: str) -> None:
    typed = {
        ("19.90", "CNY"): 1990,
        ("19,9", "EUR"): 1990,
        (" 1 234.50 ", "USD"): 123450,
        ("1,234.50", "USD"): 123450,
        ("¥１９．９０", "CNY"): 1990,
        ("19。9", "CNY"): 1990,
        ("1990", "JPY"): 1990,
        ("1.234", "KWD"): 1234,
        ("90071992547409.91", "CNY"): AMOUNT_LIMIT,
        ("90071992547409.92", "CNY"): None,
        ("1,990", "CNY"): None,
        ("1,990", "KWD"): None,
        ("19.905", "CNY"): None,
        ("19.0", "JPY"): None,
        ("1.234.50", "EUR"): None,
        ("-1", "CNY"): None,
        ("1e3", "CNY"): None,
        ("", "CNY"): None,
        (".5", "CNY"): None,
        ("9" * 41, "CNY"): None,
    }
    assert parsed(node, list(typed)) == list(typed.values())


def test_the_studio_counts_a_currencys_digits_as_the_server_does(node: str) -> None:
    program = f"""
        import {{ digitsOf }} from "PAGES/js/amount.js";
        import {{ formatMoney }} from "PAGES/js/money.js";
        const all = {json.dumps(sorted(DIGITS))};
        const shown = (currency) => formatMoney({{ amount: 123456, currency }}, "en");
        console.log(JSON.stringify(all.map((code) => [code, digitsOf(code), shown(code)])));
    """
    for code, digits, shown in evaluate(node, program):
        assert digits == DIGITS[code]
        assert len(shown.partition(".")[2]) == digits, (code, shown)


def test_pieces_are_whole_numbers(node: str) -> None:
    program = """
        import { parsePieces } from "PAGES/js/amount.js";
        const typed = ["0", " 20 ", "２０", "1000000000", "1000000001", "-1", "1.5", "", "ten", "1e3"];
        console.log(JSON.stringify(typed.map((text) => parsePieces(text))));
    """
    assert evaluate(node, program) == [0, 20, 20, 10**9, *[None] * 6]


@settings(max_examples=20)
@given(st.dictionaries(names, values, max_size=3))
def test_options_make_each_combination_once_the_last_name_changing_fastest(
    node: str, options: dict[str, list[str]]
) -> None:
    given_options = [{"name": name, "values": each} for name, each in options.items()]
    program = f"""
        import {{ combinations }} from "PAGES/js/options.js";
        console.log(JSON.stringify(combinations({json.dumps(given_options)})));
    """
    wanted = [dict(zip(options, each, strict=True)) for each in product(*options.values())]
    assert evaluate(node, program) == wanted


def test_values_are_split_at_the_commas_of_any_keyboard(node: str) -> None:
    program = """
        import { optionWords, parseValues } from "PAGES/js/options.js";
        const typed = ["S, M,L", "红，蓝、绿", "a;b；c\\nd", " ,, ", "S, S ,M", "one"];
        const words = [optionWords({ Size: "M", Colour: "red" }), optionWords({})];
        console.log(JSON.stringify([...typed.map(parseValues), ...words]));
    """
    assert evaluate(node, program) == [
        ["S", "M", "L"],
        ["红", "蓝", "绿"],
        ["a", "b", "c", "d"],
        [],
        ["S", "M"],
        ["one"],
        "M / red",
        "",
    ]


def order(amount: int, state: str, payment: str, **more: Any) -> dict[str, Any]:
    """An order document, as far as totals read it."""
    document = {"total": {"amount": amount, "currency": "CNY"}, "state": state, "payment": payment}
    return {**document, "demo": False, "created_at": "2026-05-01T12:00:00.000Z", **more}


def test_the_shows_totals_leave_out_demo_orders_earlier_ones_and_what_came_to_nothing(
    node: str,
) -> None:
    orders = [
        order(1000, "confirmed", "paid"),
        order(2, "completed", "paid"),
        order(30, "reserved", "pending"),
        order(5, "expired", "paid"),
        order(10**6, "confirmed", "paid", demo=True),
        order(10**7, "confirmed", "paid", created_at="2026-05-01T11:59:59.999Z"),
        order(10**8, "expired", "none"),
        order(10**8, "cancelled", "refunded"),
        order(700, "reserved", "none", total={"amount": 700, "currency": "JPY"}),
    ]
    program = f"""
        import {{ totalsOf }} from "PAGES/js/studio/selling/order_totals.js";
        const since = Date.parse("2026-05-01T12:00:00.000Z");
        console.log(JSON.stringify(totalsOf({json.dumps(orders)}, since)));
    """
    assert evaluate(node, program) == {
        "orders": 5,
        "byCurrency": {
            "CNY": {"paid": 1007, "waiting": 30},
            "JPY": {"paid": 0, "waiting": 700},
        },
    }


BAG = """
    import { BagState } from "PAGES/js/studio/selling/bag_state.js";
    const sku = { sku: "mug", held: false, price_version: "a" };
    const mug = (available) => ({ id: "prd_mug", skus: [{ ...sku, available }] });
    const state = new BagState();
    const left = () => state.products.get("prd_mug").skus[0].available;
    const stock = (available) => ({ t: "stock.changed", d: { sku: "mug", available, held: true } });
"""


def test_an_event_counts_more_than_an_answer_that_was_asked_for_before_it(node: str) -> None:
    program = f"""{BAG}
        const seen = [];
        state.keep([mug(9)], 1); seen.push(left());
        state.apply(stock(7), 5); seen.push(left());
        state.keep([mug(9)], 4); seen.push(left());    // asked at 4, an order came at 5
        state.keep([mug(6)], 6); seen.push(left());    // asked after it: newer
        state.apply({{ t: "chat", d: {{ messages: [] }} }}, 7);
        console.log(JSON.stringify(seen));
    """
    assert evaluate(node, program) == [9, 7, 7, 6]


def test_a_price_and_a_stock_event_of_one_sku_both_count(node: str) -> None:
    program = f"""{BAG}
        state.keep([mug(9)], 1);
        const price = {{ amount: 5, currency: "CNY" }};
        state.apply({{ t: "price.changed", d: {{ sku: "mug", price, price_version: "b" }} }}, 2);
        state.apply(stock(3), 3);
        state.keep([mug(9)], 1);
        console.log(JSON.stringify(state.products.get("prd_mug").skus[0]));
    """
    assert evaluate(node, program) == {
        "sku": "mug",
        "available": 3,
        "held": True,
        "price": {"amount": 5, "currency": "CNY"},
        "price_version": "b",
    }


def test_a_card_is_pinned_until_it_is_taken_down_whatever_an_older_list_says(node: str) -> None:
    program = f"""{BAG}
        const seen = [];
        const look = () => seen.push(state.cardsOf("prd_mug").join());
        const card = (id) => ({{ id, product_id: "prd_mug" }});
        state.apply({{ t: "card.pinned", d: card("crd_1") }}, 10); look();
        state.keepCards([], 9); look();                      // asked before the card was pinned
        state.apply({{ t: "card.unpinned", d: {{ id: "crd_1", product_id: "prd_mug" }} }}, 20); look();
        state.keepCards([card("crd_1")], 19); look();        // asked while it still was
        state.keepCards([card("crd_2")], 21); look();
        state.apply({{ t: "hello", d: {{ cards: [], stock: {{}} }} }}, 30); look();
        console.log(JSON.stringify(seen));
    """
    assert evaluate(node, program) == ["crd_1", "crd_1", "", "", "crd_2", ""]


def test_the_snapshot_brings_the_stock_up_to_date(node: str) -> None:
    program = f"""{BAG}
        state.keep([mug(9)], 1);
        const at = (available) => ({{ available, held: true }});
        const d = {{ cards: [], stock: {{ mug: at(2), unknown: at(1) }} }};
        const drawn = state.apply({{ t: "hello", d }}, 2);
        console.log(JSON.stringify([drawn, left(), state.products.size]));
    """
    assert evaluate(node, program) == [True, 2, 1]


def test_the_same_command_tried_again_has_the_same_key_and_the_next_one_another(node: str) -> None:
    program = """
        import { CommandKey } from "PAGES/js/keys.js";
        const key = new CommandKey();
        const first = key.of(["mug", 5]);
        const again = key.of(["mug", 5]);
        const other = key.of(["mug", 6]);
        key.done();
        const later = key.of(["mug", 6]);
        const different = new Set([first, other, later]).size;
        console.log(JSON.stringify([first === again, different, first.length]));
    """
    assert evaluate(node, program) == [True, 3, 32]
