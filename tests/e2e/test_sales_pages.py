"""Sales and what comes after them on the buyer's pages: a flash sale, a coupon, the quote, the order."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page, expect

from tests.e2e.browser import browser, until
from tests.e2e.server import Server, cny, running
from tests.pages.test_in_chromium import OVERFLOWING, SMALL_TARGETS, UNNAMED

SKU = "CUP-1"
PRICE, SALE_PRICE, COUPON, OFF = 1990, 990, 300, 1000
SPEND = 4000


@asynccontextmanager
async def _shop(data: Path, *, stock: int) -> AsyncIterator[Server]:
    """A server with a room, and a card of its only product."""
    async with running(data) as server:
        await server.room()
        product = await server.product("Tea bowl", SKU, stock=stock, amount=PRICE)
        await server.api("POST", "/v1/rooms/show/bag", {"product_id": product["id"]})
        await server.api("POST", "/v1/rooms/show/cards", {"product_id": product["id"]})
        yield server


async def _open(opened: Browser, server: Server, locale: str = "en-GB") -> Page:
    """The watch page on a phone, when it hears the room."""
    context = await opened.new_context(locale=locale, viewport={"width": 390, "height": 844})
    page = await context.new_page()
    await page.goto(f"{server.url}/watch/show")
    await until(page, 'hawker.carrier === "websocket"')
    return page


async def _drop(server: Server) -> str:
    """A coupon in the room; its id."""
    coupon = await server.api(
        "POST", "/v1/coupons", {"title": "Thanks", "off": cny(COUPON), "quota": 5}
    )
    await server.api("POST", "/v1/rooms/show/coupon-drops", {"coupon": coupon["id"]})
    return str(coupon["id"])


async def _schedule(server: Server, quota: int) -> dict[str, Any]:
    ends = datetime.now(UTC) + timedelta(minutes=5)
    body = {"sku": SKU, "price": cny(SALE_PRICE), "quota": quota, "ends_at": ends.isoformat()}
    return dict(await server.api("POST", "/v1/rooms/show/flash-sales", body))


async def test_a_viewer_waits_for_the_sale_and_buys_at_its_price(
    tmp_path: Path, chromium: str
) -> None:
    async with _shop(tmp_path, stock=5) as server, browser(chromium) as opened:
        page = await _open(opened, server)
        await _schedule(server, quota=3)
        sale = page.get_by_test_id("card-sale")
        await expect(sale).to_have_attribute("data-phase", "scheduled")
        await expect(sale.get_by_test_id("sale-count")).to_have_text(re.compile(r"^0:0\d$"))
        await expect(page.get_by_test_id("card-price")).to_have_text("¥19.90")

        await expect(sale).to_have_attribute("data-phase", "running")
        await expect(page.get_by_test_id("card-price")).to_have_text("¥9.90")
        await expect(page.get_by_test_id("card-price-list")).to_have_text("¥19.90")
        await expect(sale.get_by_test_id("sale-left")).to_have_text("3 of 3 left")
        await page.get_by_test_id("buy").click()
        await expect(page.get_by_test_id("order-total")).to_have_text("¥9.90")

        # One for each buyer: the second is asked about first.
        await page.keyboard.press("Escape")
        await page.get_by_test_id("buy").click()
        await expect(page.get_by_test_id("quote-news")).to_contain_text("price has changed")
        await expect(page.get_by_test_id("quote-total")).to_have_text("¥19.90")
        await expect(sale.get_by_test_id("sale-left")).to_have_text("2 of 3 left")


async def test_a_coupon_is_claimed_once_and_the_quote_explains_the_price(
    tmp_path: Path, chromium: str
) -> None:
    threshold = {
        "kind": "threshold",
        "title": "Spring",
        "spend": cny(SPEND),
        "off": cny(OFF),
    }
    async with _shop(tmp_path, stock=9) as server, browser(chromium) as opened:
        await server.api("POST", "/v1/promotions", threshold)
        page = await _open(opened, server)
        coupon = await _drop(server)
        await page.get_by_test_id("coupon-claim").dblclick()
        await expect(page.get_by_test_id("coupon")).to_have_attribute("data-state", "claimed")

        await page.get_by_test_id("buy").click()
        total, rows = page.get_by_test_id("quote-total"), page.get_by_test_id("quote-row")
        await expect(total).to_have_text("¥16.90")
        await expect(page.get_by_test_id("quote-hint")).to_contain_text("¥20.10 more for")
        await page.get_by_test_id("quote-more").click()
        await page.get_by_test_id("quote-more").click()
        await expect(total).to_have_text("¥46.70")
        await expect(rows.filter(has_text="−¥10.00")).to_have_count(1)
        await expect(rows.filter(has_text="−¥3.00")).to_have_count(1)
        for probe in (OVERFLOWING, SMALL_TARGETS, UNNAMED):
            assert await page.evaluate(probe) == []

        box = page.get_by_test_id(f"quote-coupon-{coupon}")
        await box.uncheck()
        await expect(total).to_have_text("¥49.70")
        await box.check()
        await expect(total).to_have_text("¥46.70")
        await page.get_by_test_id("quote-buy").click()
        await expect(page.get_by_test_id("order-total")).to_have_text("¥46.70")
        (order,) = (await server.api("GET", "/v1/orders"))["items"]
        assert order["coupons"] == [coupon]
        await page.keyboard.press("Escape")
        await expect(page.get_by_test_id("coupon")).to_be_hidden()


async def test_what_others_hold_may_come_back_and_what_is_sold_does_not(
    tmp_path: Path, chromium: str
) -> None:
    async with _shop(tmp_path, stock=1) as server, browser(chromium) as opened:
        page = await _open(opened, server)
        other = await _reserve(server, 1)
        card = page.get_by_test_id("card")
        await expect(card).to_contain_text("others hold the last ones")
        await page.get_by_test_id("buy").click()
        await expect(card).to_contain_text("Some may come back")
        await server.api("POST", f"/v1/orders/{other['id']}/cancel", {}, idempotency_key="back")
        await expect(card).to_contain_text("Some have come back")
        buy = page.get_by_test_id("buy")
        await expect(buy).to_have_text("Try again")
        await buy.click()
        await expect(page.get_by_test_id("order-status")).to_have_attribute(
            "data-state", "reserved"
        )
        await page.get_by_test_id("pay").click()
        await page.frame_locator("[data-testid=pay-frame]").get_by_test_id("pay-submit").click()
        await expect(page.get_by_test_id("order-status")).to_have_attribute("data-payment", "paid")
        await page.keyboard.press("Escape")
        await expect(card).to_contain_text("sold out")
        await expect(buy).to_have_text("Sold out")
        await expect(buy).to_be_disabled()


async def _reserve(server: Server, qty: int) -> dict[str, Any]:
    """An order of somebody else's, as its buyer sees it, with the link to it."""
    token = await server.viewer("another")
    return await _as(server, token, "/v1/orders", {"lines": [{"sku": SKU, "qty": qty}]})


async def _as(server: Server, token: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """What the server answers to a buyer's act."""
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": secrets.token_hex(8)}
    async with server.http.post(f"{server.url}{path}", json=body, headers=headers) as reply:
        assert reply.status < 300, await reply.text()
        return dict(await reply.json())


async def _paid(server: Server, order: str) -> None:
    """Pay it with a card that is approved, and wait until the money is there."""
    token = await server.viewer("another")
    method = {"card": "4242424242424242"}
    await _as(server, token, f"/v1/orders/{order}/payments", {"method": method})
    async with asyncio.timeout(20):
        while (await server.api("GET", f"/v1/orders/{order}"))["payment"] != "paid":
            await asyncio.sleep(0.1)


async def test_the_order_s_page_shows_parcels_a_return_a_partial_refund_and_an_answer(
    tmp_path: Path, chromium: str
) -> None:
    async def staff(path: str, body: dict[str, Any]) -> dict[str, Any]:
        return dict(await server.api("POST", path, body, idempotency_key=secrets.token_hex(8)))

    async with _shop(tmp_path, stock=9) as server, browser(chromium) as opened:
        off = {"kind": "threshold", "title": "Spring", "spend": cny(SPEND), "off": cny(OFF)}
        await server.api("POST", "/v1/promotions", off)
        order = await _reserve(server, 3)
        base = f"/v1/orders/{order['id']}"
        await _paid(server, order["id"])
        context = await opened.new_context(locale="en-GB", viewport={"width": 390, "height": 844})
        page = await context.new_page()
        await page.goto(f"{server.url}{order['link']}")
        await expect(page.get_by_test_id("order-total")).to_have_text("¥49.70")
        await expect(page.get_by_test_id("order-prices")).to_contain_text("−¥10.00")

        one = [{"sku": SKU, "qty": 1}]
        await staff(f"{base}/ship", {"lines": one, "carrier": "SF", "tracking": "SF123"})
        await page.reload()
        await expect(page.get_by_test_id("order-parcel")).to_contain_text("SF123")
        await expect(page.get_by_test_id("order-parcel-rest")).to_contain_text("Tea bowl × 2")
        await staff(f"{base}/ship", {"carrier": "SF", "tracking": "SF124"})
        await staff(f"{base}/deliver", {})

        await page.reload()
        await page.get_by_test_id("order-return-open").click()
        await page.get_by_test_id("order-return-reason").fill("A crack")
        await page.get_by_test_id("order-return-send").click()
        made = page.get_by_test_id("order-return")
        await expect(made).to_contain_text("Tea bowl × 1")
        back = f"/v1/returns/{await made.get_attribute('data-return')}"
        await staff(f"{back}/approve", {"answer": "Sorry!", "refund": True})

        await page.get_by_test_id("order-case-open").click()
        await page.get_by_test_id("order-case-kind").select_option("damaged")
        await page.get_by_test_id("order-case-text").fill("It came cracked")
        await page.get_by_test_id("order-case-send").click()
        case = page.get_by_test_id("order-case")
        await expect(case).to_contain_text("It came cracked")
        await staff(
            f"/v1/cases/{await case.get_attribute('data-case')}/messages", {"text": "We know"}
        )

        await page.reload()
        await expect(made).to_contain_text("The shop: Sorry!")
        await expect(page.get_by_test_id("order-refund")).to_contain_text("¥16.5")
        await expect(page.get_by_test_id("order-refunded")).to_contain_text("¥16.5")
        await expect(case).to_contain_text("We know")
        await page.locator("#invoice summary").click()
        await page.get_by_test_id("order-invoice-name").fill("Lei Li")
        await page.get_by_test_id("order-invoice-save").click()
        await expect(page.get_by_test_id("order-invoice")).to_have_text("Lei Li")
        for probe in (OVERFLOWING, SMALL_TARGETS, UNNAMED):
            assert await page.evaluate(probe) == []
