"""The cart of the watch page: several lines, one quote, one order."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, WebSocketRoute, expect

from tests.e2e.browser import PATIENCE_S, browser, until
from tests.e2e.server import Server, cny, running
from tests.pages.test_in_chromium import OVERFLOWING, SIZES, SMALL_TARGETS, UNNAMED


@asynccontextmanager
async def _shop(data: Path) -> AsyncIterator[Server]:
    """A server with a room that sells five bowls and one plate; the bowl has a card."""
    async with running(data) as server:
        await server.room()
        for title, sku, stock in (("Plate", "PLATE-1", 1), ("Tea bowl", "CUP-1", 5)):
            product = await server.product(title, sku, stock=stock, amount=2000)
            await server.api("POST", "/v1/rooms/show/bag", {"product_id": product["id"]})
        await server.api("POST", "/v1/rooms/show/cards", {"product_id": product["id"]})
        yield server


async def _with_both(opened: Browser, server: Server, language: str = "en") -> Page:
    """The watch page of a new visitor who has put a bowl and a plate into the cart."""
    context = await opened.new_context(viewport={"width": 360, "height": 640})
    page = await context.new_page()
    await page.goto(f"{server.url}/watch/show?lang={language}")
    await until(page, 'hawker.carrier === "websocket"')
    await page.get_by_test_id("buy-add").click()
    await page.get_by_test_id("bag").click()
    await page.get_by_test_id("bag-buy-PLATE-1-add").click()
    await page.keyboard.press("Escape")
    await expect(page.get_by_test_id("cart-count")).to_have_text("2")
    return page


async def _orders(server: Server) -> list[dict[str, Any]]:
    return list((await server.api("GET", "/v1/orders"))["items"])


async def test_a_cart_outlives_a_reload_and_is_one_order_at_the_price_of_all_its_lines(
    tmp_path: Path, chromium: str
) -> None:
    spend = {"kind": "threshold", "title": "Spring", "spend": cny(4000), "off": cny(500)}
    async with _shop(tmp_path) as server, browser(chromium) as opened:
        await server.api("POST", "/v1/promotions", spend)
        page = await _with_both(opened, server)
        await page.reload()
        await page.get_by_test_id("cart").click()
        await expect(page.get_by_test_id("quote-total")).to_have_text("¥35.00")
        await expect(page.get_by_test_id("quote-row").filter(has_text="−¥5.00")).to_have_count(1)

        bowl = page.locator("[data-sku='CUP-1'].quote-line")
        await bowl.get_by_test_id("quote-more").press("Enter")
        await expect(page.get_by_test_id("quote-total")).to_have_text("¥55.00")
        await page.get_by_test_id("quote-buy").click()
        await expect(page.get_by_test_id("order-total")).to_have_text("¥55.00")
        await expect(page.get_by_test_id("cart")).to_be_hidden()
        (order,) = await _orders(server)
        assert {line["sku"]: line["qty"] for line in order["lines"]} == {"CUP-1": 2, "PLATE-1": 1}


def _unheard(socket: WebSocketRoute) -> None:
    """The answers of the server, and what it says of orders, never come."""
    server = socket.connect_to_server()

    def pass_on(message: str | bytes) -> None:
        if json.loads(message)["t"] not in ("reply", "order.updated"):
            socket.send(message)

    server.on_message(pass_on)


async def test_an_order_whose_answer_was_never_seen_empties_the_cart_after_a_reload(
    tmp_path: Path, chromium: str
) -> None:
    async with _shop(tmp_path) as server, browser(chromium) as opened:
        page = await _with_both(opened, server)
        await page.route_web_socket("**/events*", _unheard)
        await page.reload()
        await until(page, 'hawker.carrier === "websocket"')
        await page.get_by_test_id("cart").click()
        await expect(page.get_by_test_id("quote-total")).to_have_text("¥40.00")
        await expect(page.get_by_test_id("quote-buy")).to_have_attribute("aria-disabled", "false")
        await page.get_by_test_id("quote-buy").click()
        async with asyncio.timeout(PATIENCE_S):
            while not await _orders(server):
                await asyncio.sleep(0.05)
        await page.reload()
        await expect(page.get_by_test_id("order-total")).to_have_text("¥40.00")
        await expect(page.get_by_test_id("cart")).to_be_hidden()
        assert len(await _orders(server)) == 1


async def test_the_line_that_others_hold_is_named_and_can_be_removed(
    tmp_path: Path, chromium: str
) -> None:
    async with _shop(tmp_path) as server, browser(chromium) as opened:
        page = await _with_both(opened, server)
        token = await server.viewer("another")
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": "another-one"}
        body = {"lines": [{"sku": "PLATE-1", "qty": 1}]}
        async with server.http.post(f"{server.url}/v1/orders", json=body, headers=headers) as reply:
            assert reply.status == 201, await reply.text()

        await page.get_by_test_id("cart").click()
        await expect(page.get_by_test_id("quote-total")).to_have_text("¥40.00")
        await page.get_by_test_id("quote-buy").click()
        problem = page.get_by_test_id("quote-problem")
        await expect(problem).to_contain_text("Plate: Others hold the last pieces")
        await page.locator("[data-sku='PLATE-1'].quote-line").get_by_test_id("quote-remove").click()
        await expect(page.get_by_test_id("quote-total")).to_have_text("¥20.00")
        await expect(problem).to_be_hidden()
        await page.get_by_test_id("quote-buy").click()
        await expect(page.get_by_test_id("order-total")).to_have_text("¥20.00")


async def test_a_price_that_changed_is_asked_about_again_and_mixed_currencies_are_said(
    tmp_path: Path, chromium: str
) -> None:
    async with _shop(tmp_path) as server, browser(chromium) as opened:
        page = await _with_both(opened, server)
        await page.get_by_test_id("cart").click()
        await expect(page.get_by_test_id("quote-total")).to_have_text("¥40.00")
        await _reprice(server, "PLATE-1", cny(2500))
        await page.get_by_test_id("quote-buy").click()
        await expect(page.get_by_test_id("quote-news")).to_contain_text("The price has changed")
        await expect(page.get_by_test_id("quote-total")).to_have_text("¥45.00")
        assert await _orders(server) == []

        await _reprice(server, "PLATE-1", {"amount": 300, "currency": "USD"})
        await page.locator("[data-sku='CUP-1'].quote-line").get_by_test_id("quote-more").click()
        await expect(page.get_by_test_id("quote-problem")).to_contain_text("different currencies")
        await expect(page.get_by_test_id("quote-total")).to_have_text("")


async def _reprice(server: Server, sku: str, price: dict[str, Any]) -> None:
    path = f"/v1/skus/{sku}/price"
    async with server.http.get(server.url + path) as reply:
        tag = reply.headers["ETag"]
    await server.api("PUT", path, {"price": price}, if_match=tag)


@pytest.mark.parametrize("language", ["en", "zh"])
async def test_the_cart_fits_every_screen(language: str, tmp_path: Path, chromium: str) -> None:
    async with _shop(tmp_path) as server, browser(chromium) as opened:
        page = await _with_both(opened, server, language)
        await _fits(page, f"deck-{language}")
        await page.get_by_test_id("cart").click()
        await expect(page.get_by_test_id("quote-total")).to_have_text("¥40.00")
        await _fits(page, f"cart-{language}")


async def _fits(page: Page, what: str) -> None:
    for name, (width, height) in SIZES.items():
        await page.set_viewport_size({"width": width, "height": height})
        for probe in (OVERFLOWING, SMALL_TARGETS, UNNAMED):
            assert await page.evaluate(probe) == [], json.dumps([what, name])
