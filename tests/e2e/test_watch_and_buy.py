"""From card to paid order on the watch page: over data channels, over WebSocket, and across a cut."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, Route, WebSocketRoute, expect

from tests.e2e.browser import PATIENCE_S, browser, transport, until
from tests.e2e.server import Server, program, rtmp, running
from tests.pages.test_in_chromium import OVERFLOWING, SIZES, SMALL_TARGETS, UNNAMED

WITHIN_MS = 1000
SKU = "CUP-1"
STOCK = f"stock-{SKU}"

# when the first card came on the page, ms since the epoch
WATCH_FOR_CARD = """addEventListener("DOMContentLoaded", () => {
  const look = () => {
    if (!document.querySelector("[data-testid=card]")) return;
    window.cardAt ??= performance.timeOrigin + performance.now();
  };
  new MutationObserver(look).observe(document.body, { childList: true, subtree: true });
});"""


@asynccontextmanager
async def _shop(
    data: Path, *settings: str, stock: int = 5
) -> AsyncIterator[tuple[Server, str, str]]:
    """A server with a room and a product in its bag: the server, the stream key, the product's id."""
    async with running(data, "chat.slow_mode_s=0", *settings) as server:
        key = await server.room()
        product = await server.product("Tea bowl", SKU, stock=stock)
        await server.api("POST", "/v1/rooms/show/bag", {"product_id": product["id"]})
        yield server, key, product["id"]


async def _open(opened: Browser, server: Server, query: str = "") -> Page:
    """The watch page for a new visitor, who speaks English."""
    context = await opened.new_context(locale="en-GB", viewport={"width": 390, "height": 844})
    page = await context.new_page()
    await page.add_init_script(WATCH_FOR_CARD)
    await page.goto(f"{server.url}/watch/show{query}")
    return page


async def _carrier(page: Page, name: str) -> None:
    await until(page, f"hawker.carrier === {json.dumps(name)}")


async def _pin(server: Server, product: str) -> dict[str, Any]:
    return dict(await server.api("POST", "/v1/rooms/show/cards", {"product_id": product}))


async def _orders(server: Server) -> list[dict[str, Any]]:
    return list((await server.api("GET", "/v1/orders"))["items"])


async def _available(server: Server) -> int:
    return int((await server.api("GET", f"/v1/skus/{SKU}/stock"))["available"])


async def test_a_card_comes_over_both_carriers_and_a_click_makes_one_paid_order(
    tmp_path: Path, whip_ffmpeg: str, chromium: str, hls_js: Path
) -> None:
    async with (
        _shop(tmp_path) as (server, key, product),
        program(*rtmp(whip_ffmpeg, server, key)),
        browser(chromium) as opened,
    ):
        await server.live()
        buyer, other = await _open(opened, server), await _open(opened, server, "?player=hls")
        await transport(buyer, "webrtc")
        await transport(other, "hls")
        await _carrier(buyer, "channels")
        await _carrier(other, "websocket")

        pinned_at = time.time() * 1000
        card = await _pin(server, product)
        for page in (buyer, other):
            await expect(page.get_by_test_id("card")).to_have_attribute("data-card", card["id"])
            await expect(page.get_by_test_id("card-price")).to_have_text("¥19.90")
            await expect(page.get_by_test_id(STOCK)).to_have_text("5")
            assert await page.evaluate("cardAt") - pinned_at < WITHIN_MS
        assert card["mt"] is not None

        await buyer.get_by_test_id("buy").dblclick()
        status = buyer.get_by_test_id("order-status")
        await expect(status).to_have_attribute("data-state", "reserved")
        for page in (buyer, other):
            await expect(page.get_by_test_id(STOCK)).to_have_text("4")
        assert len(await _orders(server)) == 1

        await buyer.get_by_test_id("pay").click()
        await buyer.frame_locator("[data-testid=pay-frame]").get_by_test_id("pay-submit").click()
        await expect(status).to_have_attribute("data-payment", "paid")
        await expect(status).to_have_attribute("data-state", "confirmed")

        await buyer.reload()
        await expect(status).to_have_attribute("data-state", "confirmed")
        assert len(await _orders(server)) == 1
        assert await _available(server) == 4

        await _carrier(buyer, "channels")
        await _says(buyer, other, "how big is it? <b>bold</b>")
        await _says(other, buyer, "一杯茶的大小")


async def _says(one: Page, others: Page, text: str) -> None:
    await one.get_by_test_id("chat-input").fill(text)
    await one.get_by_test_id("chat-input").press("Enter")
    for page in (one, others):
        await expect(page.get_by_test_id("chat-log").locator("li").last).to_contain_text(text)
    await expect(one.get_by_test_id("chat-input")).to_have_value("")


async def test_the_page_that_waited_for_the_show_goes_on_over_its_data_channels(
    tmp_path: Path, whip_ffmpeg: str, chromium: str
) -> None:
    soon_over = "limits.publisher_grace_s=1"
    async with (
        _shop(tmp_path, soon_over) as (server, key, product),
        browser(chromium) as opened,
    ):
        page = await _open(opened, server)
        await _carrier(page, "websocket")
        first = await _pin(server, product)
        await expect(page.get_by_test_id("card")).to_have_attribute("data-card", first["id"])
        async with program(*rtmp(whip_ffmpeg, server, key)):
            await transport(page, "webrtc")
            await _carrier(page, "channels")
            await _reprice(server, 1490)
            await expect(page.get_by_test_id("card-price")).to_have_text("¥14.90")
            second = await _pin(server, product)
            assert second["mt"] is not None
            await expect(page.get_by_test_id("card")).to_have_attribute("data-card", second["id"])
        await _carrier(page, "websocket")  # the show is over, the shop is not
        await server.api("DELETE", f"/v1/rooms/show/cards/{second['id']}")
        await expect(page.get_by_test_id("card")).to_have_count(0)


async def _reprice(server: Server, amount: int) -> None:
    path = f"/v1/skus/{SKU}/price"
    async with server.http.get(server.url + path) as reply:
        tag = reply.headers["ETag"]
    await server.api("PUT", path, {"price": {"amount": amount, "currency": "CNY"}}, if_match=tag)


Kept = Callable[[dict[str, Any]], bool]


async def _hear_only(page: Page, kept: Kept) -> None:
    """From now on the page's WebSockets bring only the events that are `kept`."""

    def connect(socket: WebSocketRoute) -> None:
        server = socket.connect_to_server()

        def pass_on(message: str | bytes) -> None:
            if kept(json.loads(message)):
                socket.send(message)

        server.on_message(pass_on)

    await page.route_web_socket("**/events*", connect)


async def test_an_event_that_was_lost_is_asked_for_again(tmp_path: Path, chromium: str) -> None:
    lost: list[int] = []

    def lose_one(event: dict[str, Any]) -> bool:
        if event["t"] != "stock.changed" or lost:
            return True
        lost.append(event["seq"])
        return False

    async with _shop(tmp_path) as (server, _, product), browser(chromium) as opened:
        await _pin(server, product)
        page, other = await _open(opened, server), await _open(opened, server)
        await _hear_only(page, lose_one)
        await page.reload()
        await expect(page.get_by_test_id(STOCK)).to_have_text("5")
        await other.get_by_test_id("buy").click()
        await expect(page.get_by_test_id(STOCK)).to_have_text("4")
        assert len(lost) == 1


async def test_after_a_power_cut_the_page_is_back_and_its_order_is_paid(
    tmp_path: Path, chromium: str
) -> None:
    async with browser(chromium) as opened:
        async with _shop(tmp_path) as (server, _, product):
            await _pin(server, product)
            page = await _open(opened, server)
            await page.get_by_test_id("buy").click()
            status = page.get_by_test_id("order-status")
            await expect(status).to_have_attribute("data-state", "reserved")
            port = server.url.rpartition(":")[2]
            await server.kill()
        await _carrier(page, "")
        async with running(tmp_path, f"http.port={port}") as server:
            await _carrier(page, "websocket")
            await page.get_by_test_id("pay").click()
            frame = page.frame_locator("[data-testid=pay-frame]")
            await frame.get_by_test_id("pay-submit").click()
            await expect(status).to_have_attribute("data-payment", "paid")
            assert len(await _orders(server)) == 1


async def test_a_cut_between_the_act_and_its_answer_is_one_order(
    tmp_path: Path, chromium: str
) -> None:
    replayed: list[str | None] = []

    async def lose_the_first(route: Route) -> None:
        if route.request.method == "POST" and not replayed:
            replayed.append(None)
            await route.abort("connectionreset")
            return
        reply = await route.fetch()
        replayed.append(reply.headers.get("idempotent-replayed"))
        await route.fulfill(response=reply)

    async with _shop(tmp_path) as (server, _, product), browser(chromium) as opened:
        page = await _open(opened, server)
        await _hear_only(page, lambda event: event["t"] not in ("reply", "order.updated"))
        await page.route("**/v1/orders", lose_the_first)
        await page.reload()
        await _carrier(page, "websocket")
        await _pin(server, product)
        await page.get_by_test_id("buy").click()
        await expect(page.get_by_test_id("order-status")).to_have_attribute(
            "data-state", "reserved"
        )
        assert replayed == [None, "true"]
        assert len(await _orders(server)) == 1
        await expect(page.get_by_test_id(STOCK)).to_have_text("4")


async def test_an_order_whose_answer_was_never_seen_is_there_after_a_reload(
    tmp_path: Path, chromium: str
) -> None:
    async with _shop(tmp_path) as (server, _, product), browser(chromium) as opened:
        page = await _open(opened, server)
        await _hear_only(page, lambda event: event["t"] not in ("reply", "order.updated"))
        await page.reload()
        await _carrier(page, "websocket")
        await _pin(server, product)
        await page.get_by_test_id("buy").click()
        async with asyncio.timeout(PATIENCE_S):
            while not await _orders(server):
                await asyncio.sleep(0.05)
        await page.reload()
        await expect(page.get_by_test_id("order-status")).to_have_attribute(
            "data-state", "reserved"
        )
        await until(page, "Object.keys(sessionStorage).every((key) => !key.includes('buying'))")
        assert len(await _orders(server)) == 1


async def test_who_saw_an_old_price_is_told_the_new_one_before_anything_is_bought(
    tmp_path: Path, chromium: str
) -> None:
    async with _shop(tmp_path) as (server, _, product), browser(chromium) as opened:
        await _pin(server, product)
        page = await _open(opened, server)
        await _hear_only(page, lambda event: event["t"] not in ("price.changed", "seq"))
        await page.reload()
        await _carrier(page, "websocket")
        await expect(page.get_by_test_id("card-price")).to_have_text("¥19.90")
        await _reprice(server, 2490)
        await page.get_by_test_id("buy").click()
        await expect(page.get_by_test_id("quote-news")).to_contain_text("The price has changed")
        await expect(page.get_by_test_id("quote-total")).to_have_text("¥24.90")
        await expect(page.get_by_test_id("card-price")).to_have_text("¥24.90")
        assert await _orders(server) == []
        await page.get_by_test_id("quote-buy").click()
        await expect(page.get_by_test_id("order-total")).to_have_text("¥24.90")


async def test_the_last_piece_held_by_another_may_come_back(tmp_path: Path, chromium: str) -> None:
    async with _shop(tmp_path, stock=1) as (server, _, product), browser(chromium) as opened:
        await _pin(server, product)
        first, second = await _open(opened, server), await _open(opened, server)
        await first.get_by_test_id("buy").click()
        await expect(first.get_by_test_id("order-status")).to_have_attribute(
            "data-state", "reserved"
        )
        await expect(second.get_by_test_id(STOCK)).to_have_text("0")
        await second.get_by_test_id("buy").click()
        await expect(second.locator(".offer-note")).to_contain_text("Others hold the last pieces")
        assert len(await _orders(server)) == 1

        await first.get_by_test_id("order-cancel").click()
        await first.get_by_test_id("order-cancel").click()
        await expect(first.get_by_test_id("order-status")).to_have_attribute(
            "data-state", "cancelled"
        )
        await expect(second.get_by_test_id(STOCK)).to_have_text("1")
        await second.get_by_test_id("buy").click()
        await expect(second.get_by_test_id("order-status")).to_have_attribute(
            "data-state", "reserved"
        )


async def test_what_is_in_the_bag_is_found_and_bought_and_its_parcel_gets_an_address(
    tmp_path: Path, chromium: str
) -> None:
    async with _shop(tmp_path) as (server, _, _product), browser(chromium) as opened:
        for number in range(25):
            other = await server.product(f"Plate {number}", f"PLATE-{number}", stock=3)
            await server.api("POST", "/v1/rooms/show/bag", {"product_id": other["id"]})
        page = await _open(opened, server)
        await expect(page.get_by_test_id("bag-count")).to_have_text("26")
        await page.get_by_test_id("bag").click()
        items = page.get_by_test_id("bag-list").locator("article")
        await expect(items).to_have_count(20)
        await page.locator("#bag-more").click()
        await expect(items).to_have_count(26)
        await page.get_by_test_id("bag-search").fill("Plate 24")
        await expect(items).to_have_count(1)
        await page.get_by_test_id("bag-buy-PLATE-24").click()
        await expect(page.get_by_test_id("order-status")).to_have_attribute(
            "data-state", "reserved"
        )

        await page.locator("#delivery summary").click()
        await page.locator("#delivery-name").fill("Ann")
        await page.locator("#delivery-street").fill("1 Long Road")
        await page.get_by_test_id("delivery-save").click()
        await expect(page.locator("#delivery-words")).to_have_text("Saved.")
        (order,) = await _orders(server)
        kept = await server.api("GET", f"/v1/orders/{order['id']}")
        assert kept["contact"] == {"name": "Ann"}
        assert kept["address"] == {"name": "Ann", "street": "1 Long Road"}
        link = await page.get_by_test_id("order-link").get_attribute("href")
        assert link is not None and link.startswith(f"/orders/{order['id']}#key=")


OUT_OF_REACH = """() => [...document.querySelectorAll("#deck button, .dock button, .dock input")]
  .filter((each) => each.checkVisibility() && !document.querySelector("dialog[open]"))
  .filter((each) => {
    const { left, top, right, bottom } = each.getBoundingClientRect();
    return left < 0 || top < 0 || right > innerWidth || bottom > innerHeight;
  })
  .map((each) => each.outerHTML)"""


@pytest.mark.parametrize("language", ["en", "zh"])
async def test_card_order_and_bag_fit_every_screen(
    language: str, tmp_path: Path, chromium: str
) -> None:
    async with _shop(tmp_path) as (server, _, product), browser(chromium) as opened:
        price = {"amount": 123_456_700, "currency": "CNY"}
        skus = [{"price": price, "stock": 1, "options": {"Size": size}} for size in "SML"]
        many = await server.api("POST", "/v1/products", {"title": "Bowl " * 20, "skus": skus})
        for id in (product, many["id"]):
            await _pin(server, id)
        page = await _open(opened, server, f"?lang={language}")
        await expect(page.get_by_test_id("card")).to_be_visible()
        await _fits(page)
        await page.get_by_test_id("buy").click()
        await page.locator("#delivery summary").click()
        await _fits(page)
        await page.keyboard.press("Escape")
        await _fits(page)
        await page.get_by_test_id("bag").click()
        await expect(page.get_by_test_id("bag-list").locator("article")).to_have_count(2)
        await _fits(page)


async def _fits(page: Page) -> None:
    for name, (width, height) in SIZES.items():
        await page.set_viewport_size({"width": width, "height": height})
        for wrong in (OVERFLOWING, SMALL_TARGETS, UNNAMED, OUT_OF_REACH):
            assert await page.evaluate(wrong) == [], name
