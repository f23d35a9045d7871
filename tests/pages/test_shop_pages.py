"""The shop's pages alone: what their modules compute, how they fit and refuse."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from playwright.async_api import async_playwright, expect

from commerce.transitions import FULFILMENT, PAYMENT, STATE
from tests.pages.pages import LANGUAGES, PAGES, evaluate, serving, strings
from tests.pages.test_in_chromium import OVERFLOWING, SIZES, SMALL_TARGETS, UNNAMED, opened

PATHS = {
    "/shop": "shop.html",
    "/orders/ord_0": "order.html",
    "/pay/sandbox/pay_0": "pay.html",
    "/login": "login.html",
}
ELSEWHERE = [
    "//elsewhere.example/",
    "/\\elsewhere.example/",
    "/\t/elsewhere.example/",
    "/\n/elsewhere.example/",
    "\\\\elsewhere.example/",
    "https://elsewhere.example/",
    "javascript:alert(1)",
    "elsewhere",
    "",
]
CNY = {"amount": 1990, "currency": "CNY"}


def own_paths(node: str, asked: list[Any]) -> Any:
    program = f"""
        import {{ ownPath }} from "PAGES/js/shop/own_path.js";
        console.log(JSON.stringify({json.dumps(asked)}.map((each) => ownPath(each, "refused"))));
    """
    return evaluate(node, program)


def order(**members: Any) -> dict[str, Any]:
    """An order that is paid and waits to be sent, but for `members`."""
    line = {"sku": "red", "title": "Scarf", "options": {"colour": "red"}, "qty": 1}
    return {
        "id": "ord_1",
        "state": "confirmed",
        "payment": "paid",
        "fulfilment": "none",
        "demo": False,
        "total": CNY,
        "created_at": "2026-11-01T00:00:00.000Z",
        "payments": ["pay_1"],
        "lines": [line],
        **members,
    }


@pytest.mark.parametrize("path", PATHS)
async def test_a_page_is_served_under_the_policy_and_kept_from_search_engines(path: str) -> None:
    async with serving() as client:
        reply = await client.get(path)
        assert reply.status == 200
        assert await reply.text() == (PAGES / PATHS[path]).read_text("utf-8")
        assert "default-src 'self'" in reply.headers["Content-Security-Policy"]
        assert "camera=()" in reply.headers["Permissions-Policy"]
        assert reply.headers["Referrer-Policy"] == "no-referrer"
        assert '<meta name="robots" content="noindex">' in await reply.text()


async def test_the_page_of_an_order_does_not_tell_whether_there_is_such_an_order() -> None:
    async with serving() as client:
        one = await client.get("/orders/ord_01kasddk2hgrd7dxtz10s1b4f9")
        other = await client.get("/orders/nothing")
        assert (one.status, await one.read()) == (other.status, await other.read())


def test_a_link_leads_only_to_paths_of_this_site(node: str) -> None:
    assert own_paths(node, [*ELSEWHERE, None]) == ["refused"] * (len(ELSEWHERE) + 1)
    own = ["/", "/shop?tab=orders", "/orders/ord_1#key=ord_1.a-b_c", "/watch/%E5%BA%97"]
    assert own_paths(node, own) == own


@settings(max_examples=20)
@given(st.lists(st.text(alphabet="/\\.:@?#\t\n\r ae%2f"), min_size=100, max_size=100))
def test_no_path_that_is_allowed_leaves_the_site(node: str, asked: list[str]) -> None:
    allowed = [path for path in own_paths(node, asked) if path != "refused"]
    program = f"""
        const hosts = {json.dumps(allowed)}.map((path) => new URL(path, "https://shop.example").host);
        console.log(JSON.stringify([...new Set(hosts)]));
    """
    assert evaluate(node, program) in ([], ["shop.example"])


def test_totals_count_money_by_currency_and_leave_demo_orders_out(node: str) -> None:
    orders = [
        order(),
        order(state="completed", fulfilment="delivered"),
        order(total={"amount": 300, "currency": "JPY"}),
        order(state="cancelled", payment="refunded"),
        order(state="reserved", payment="pending"),
        order(state="expired", payment="none"),
        order(demo=True, total={"amount": 10**9, "currency": "CNY"}),
    ]
    program = f"""
        import {{ sumsOf }} from "PAGES/js/shop/shop_sums.js";
        console.log(JSON.stringify([sumsOf({json.dumps(orders)}), sumsOf([])]));
    """
    nothing = {"count": 0, "amounts": {}}
    assert evaluate(node, program) == [
        {
            "orders": 6,
            "demo": 1,
            "open": 1,
            "paid": {"count": 3, "amounts": {"CNY": 3980, "JPY": 300}},
            "refunded": {"count": 1, "amounts": {"CNY": 1990}},
        },
        {"orders": 0, "demo": 0, "open": 0, "paid": nothing, "refunded": nothing},
    ]


def test_the_pick_list_counts_pieces_by_sku_of_what_is_paid_and_not_sent(node: str) -> None:
    red = {"sku": "red", "title": "Scarf", "options": {"colour": "red"}, "qty": 2}
    tea = {"sku": "tea", "title": "Green tea", "options": {}, "qty": 5}
    orders = [
        order(id="new", lines=[red, tea], created_at="2026-11-03T00:00:00.000Z"),
        order(id="old"),
        order(id="sent", fulfilment="shipped"),
        order(id="unpaid", state="reserved", payment="none"),
        order(id="demo", demo=True),
    ]
    program = f"""
        import {{ pickList, toShip }} from "PAGES/js/shop/shop_sums.js";
        const waiting = toShip({json.dumps(orders)});
        console.log(JSON.stringify([waiting.map(({{ id }}) => id), pickList(waiting)]));
    """
    waiting, rows = evaluate(node, program)
    assert waiting == ["old", "new"]
    assert [(row["sku"], row["qty"], row["orders"]) for row in rows] == [
        ("tea", 5, 1),
        ("red", 3, 2),
    ]


def test_the_months_go_back_over_the_turn_of_the_year(node: str) -> None:
    program = """
        import { lastMonths } from "PAGES/js/shop/shop_sums.js";
        console.log(JSON.stringify(lastMonths(new Date(2026, 1, 28), 4)));
    """
    assert evaluate(node, program) == [[2026, 1], [2026, 0], [2025, 11], [2025, 10]]


def test_every_standing_of_an_order_has_a_sentence_for_its_buyer(node: str) -> None:
    orders = [
        order(state=state, payment=payment, fulfilment=fulfilment)
        for state in STATE
        for payment in PAYMENT
        for fulfilment in FULFILMENT
    ]
    program = f"""
        import {{ headline, steps }} from "PAGES/js/order_words.js";
        const orders = {json.dumps(orders)};
        console.log(JSON.stringify(orders.map((each) => [headline(each), steps(each)])));
    """
    known = strings(node)["en"]
    for each, (sentence, stages) in zip(orders, evaluate(node, program), strict=True):
        assert sentence in known, each
        assert (stages is None) == (each["state"] in ("cancelled", "expired")), each


def test_a_payment_under_way_is_gone_on_with_and_looked_at_often(node: str) -> None:
    orders = [
        order(state="reserved", payment="pending", payments=["pay_1", "pay_2"]),
        order(state="reserved", payment="none", payments=[]),
        order(state="cancelled"),
        order(state="cancelled", payment="refunded"),
        order(),
    ]
    program = f"""
        import {{ mayChange, pendingPayment }} from "PAGES/js/order_words.js";
        const all = (order) => [pendingPayment(order), mayChange(order)];
        console.log(JSON.stringify({json.dumps(orders)}.map(all)));
    """
    assert evaluate(node, program) == [
        ["pay_2", True],
        [None, True],
        [None, True],
        [None, False],
        [None, False],
    ]


def test_an_act_keeps_its_key_until_an_answer_to_it_has_come(node: str) -> None:
    program = """
        import { ActKeys } from "PAGES/js/keys.js";
        import { Problem } from "PAGES/js/problem.js";
        const keys = new ActKeys();
        const used = [];
        const act = async (what, problem) => {
          const answer = keys.run(what, async (key) => { used.push(key); if (problem) throw problem; });
          await answer.catch((error) => { if (error !== problem) throw error; });
        };
        await act("ship", new Problem("unreachable"));
        await act("ship", new Problem("unavailable", { status: 503 }));
        await act("deliver");
        await act("ship", new Problem("illegal_transition", { status: 409 }));
        await act("ship");
        await act("ship");
        console.log(JSON.stringify(used.map((key) => [used.indexOf(key), /^[0-9a-f]{32}$/.test(key)])));
    """
    assert evaluate(node, program) == [[at, True] for at in (0, 0, 2, 0, 4, 5)]


def test_a_table_of_orders_is_read_back_by_a_spreadsheet_and_reckons_with_nothing_in_it(
    node: str,
) -> None:
    money = {"unit": CNY, "total": {"amount": 5, "currency": "CNY"}}
    yen = {"unit": {"amount": 300, "currency": "JPY"}, "total": {"amount": 900, "currency": "JPY"}}
    scarf = {"sku": "red", "title": 'Scarf "silk", long', "options": {"a": "红", "b": "M"}}
    tea = {"sku": "tea", "title": "=HYPERLINK(1)", "options": {}, "qty": 3, **yen}
    orders = [
        order(id="new", room=None, buyer="guest", tracking="-1+1", lines=[tea]),
        order(id="old", room="show", buyer="guest", tracking=None, lines=[scarf | money]),
        order(id="demo", demo=True),
    ]
    program = f"""
        import {{ ordersCsv }} from "PAGES/js/shop/shop_csv.js";
        console.log(JSON.stringify(ordersCsv({json.dumps(orders)})));
    """
    text = evaluate(node, program)
    assert text.startswith("\ufeff")
    rows = list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline="")))
    assert [row["order"] for row in rows] == ["old", "new"]
    assert [row["title"] for row in rows] == [scarf["title"], "'=HYPERLINK(1)"]
    assert [(row["unit"], row["total"]) for row in rows] == [("19.90", "0.05"), ("300", "900")]
    assert (rows[0]["options"], rows[0]["tracking"], rows[1]["tracking"]) == ("红 / M", "", "'-1+1")


def test_one_looks_at_a_time_and_once_more_for_who_asks_meanwhile(node: str) -> None:
    program = """
        import { Polling } from "PAGES/js/shop/polling.js";
        let looks = 0, under_way = 0, most = 0;
        const gates = [];
        const polling = new Polling(async () => {
          looks += 1;
          most = Math.max(most, ++under_way);
          await new Promise((open) => gates.push(open));
          under_way -= 1;
        }, () => null);
        const first = polling.now();
        const others = [polling.now(), polling.now()];
        gates.shift()();
        await new Promise(setImmediate);
        const again = looks;
        gates.shift()();
        await Promise.all([first, ...others]);
        console.log(JSON.stringify([again, looks, most]));
    """
    assert evaluate(node, program) == [2, 2, 1]


def test_contact_and_address_are_written_once_on_the_parcel(node: str) -> None:
    contact = {"name": "李雷", "phone": "138", "email": "li@example.com"}
    address = {"name": "李雷", "phone": "139", "street": "文三路 1 号", "city": "杭州"}
    given = [{"contact": contact, "address": address}, {"contact": None, "address": None}]
    program = f"""
        import {{ addressLines }} from "PAGES/js/order_lines.js";
        console.log(JSON.stringify({json.dumps(given)}.map(addressLines)));
    """
    assert evaluate(node, program) == [
        ["李雷 139 138", "li@example.com", "文三路 1 号", "杭州"],
        [],
    ]


@pytest.mark.parametrize("language", LANGUAGES)
async def test_the_pages_fit_every_screen_and_say_what_is_wrong(
    chromium: str, language: str
) -> None:
    said = {
        "/shop": "#problem-text",
        "/orders/ord_0": "[data-testid=order-missing]",
        "/pay/sandbox/pay_0": "#problem-text",
        "/login": "h1",
    }
    async with async_playwright() as playwright, serving() as client:
        browser = await playwright.chromium.launch(
            executable_path=chromium, headless=True, args=["--no-sandbox"]
        )
        for path, place in said.items():
            async with opened(browser, client, f"{path}?lang={language}") as (page, wrong):
                await expect(page.locator(place)).to_be_visible()
                sizes = {**SIZES, "frame": (340, 640)} if "/pay" in path else SIZES
                for name, (width, height) in sizes.items():
                    await page.set_viewport_size({"width": width, "height": height})
                    assert await page.evaluate(OVERFLOWING) == [], (path, name)
                    assert await page.evaluate(SMALL_TARGETS) == [], (path, name)
                assert await page.evaluate(UNNAMED) == [], path
                assert wrong == [], path
        await browser.close()
