"""The seller's half of sales, in Chromium: the host's panels, the shop's desk, and the month's money."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.e2e.browser import browser
from tests.e2e.server import Server, running
from tests.pages.test_in_chromium import OVERFLOWING, SMALL_TARGETS, UNNAMED

PASSWORD = "correct horse battery"
ROLES = ("host", "operator", "finance")
APPROVED = "4242424242424242"
BOWL, CUP = 1990, 1000
SIZES = ((1280, 800), (390, 844))
SHOTS = os.environ.get("HAWKER_TEST_SHOTS")  # a folder: what the pages look like

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]


@dataclass(frozen=True, slots=True)
class Shop:
    """A server with a room, two products in its bag, an account of each role, and a buyer."""

    server: Server
    opened: Browser
    buyer: str

    async def call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """What the server answers to the buyer."""
        headers = {"Authorization": f"Bearer {self.buyer}", "Idempotency-Key": secrets.token_hex(8)}
        url = f"{self.server.url}{path}"
        async with self.server.http.request(method, url, json=body, headers=headers) as reply:
            assert reply.status < 300, await reply.text()
            return dict(await reply.json())

    async def paid(self, **lines: int) -> str:
        """An order that is paid; its id."""
        wanted = [{"sku": sku, "qty": qty} for sku, qty in lines.items()]
        order = await self.call("POST", "/v1/orders", {"room": "show", "lines": wanted})
        method = {"method": {"card": APPROVED}}
        await self.call("POST", f"/v1/orders/{order['id']}/payments", method)
        return str(order["id"])

    @asynccontextmanager
    async def visit(self, role: str, path: str, language: str = "en-GB") -> AsyncIterator[Page]:
        """A page of somebody who has signed in, in which no script fails."""
        width, height = SIZES[0]
        profile = await self.opened.new_context(
            locale=language, viewport={"width": width, "height": height}, reduced_motion="reduce"
        )
        try:
            account = {"name": role, "password": PASSWORD}
            answer = await profile.request.post(f"{self.server.url}/v1/login", data=account)
            assert answer.ok, await answer.text()
            page = await profile.new_page()
            page.set_default_timeout(20_000)
            errors: list[str] = []
            page.on("pageerror", lambda error: errors.append(str(error)))
            await page.goto(f"{self.server.url}{path}")
            yield page
            assert errors == []
        finally:
            await profile.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(tmp_path_factory: pytest.TempPathFactory, chromium: str) -> AsyncIterator[Shop]:
    async with running(tmp_path_factory.mktemp("shop")) as server, browser(chromium) as opened:
        await server.room()
        for title, sku, amount in (("Tea bowl", "bowl", BOWL), ("Cup", "cup", CUP)):
            product = await server.product(title, sku, stock=20, amount=amount)
            await server.api("POST", "/v1/rooms/show/bag", {"product_id": product["id"]})
        for role in ROLES:
            account = {"name": role, "password": PASSWORD, "role": role}
            await server.api("POST", "/v1/staff", account)
        yield Shop(server, opened, await server.viewer("buyer-1"))


async def look(page: Page, name: str) -> None:
    """Nothing is cut off, nameless or too small to hit, at a desk and on a phone."""
    for width, height in SIZES:
        await page.set_viewport_size({"width": width, "height": height})
        if SHOTS:
            await page.screenshot(path=f"{SHOTS}/{name}-{width}.png", full_page=True)
        assert await page.evaluate(OVERFLOWING) == []
        assert await page.evaluate(UNNAMED) == []
        assert await page.evaluate(SMALL_TARGETS) == []
    width, height = SIZES[0]
    await page.set_viewport_size({"width": width, "height": height})


async def test_a_host_starts_a_flash_sale_and_drops_a_coupon_and_ends_the_sale(shop: Shop) -> None:
    async with shop.visit("host", "/studio/show") as page:
        await page.get_by_test_id("sale-new").click()
        await page.get_by_test_id("sale-sku").select_option("bowl")
        await page.get_by_test_id("sale-price").fill("9.90")
        await page.get_by_test_id("sale-quota").fill("5")
        await look(page, "studio-form")
        await page.get_by_test_id("sale-make").click()
        sale = page.get_by_test_id("sale")
        await expect(sale).to_contain_text("Tea bowl")
        await expect(sale.get_by_test_id("sale-left")).to_have_text("5 of 5 left")
        await expect(sale.get_by_test_id("sale-clock")).to_contain_text("ends in 0")

        await page.get_by_test_id("drop-new").click()
        await page.get_by_test_id("drop-title").fill("Thank you")
        await page.get_by_test_id("drop-off").fill("3")
        await page.get_by_test_id("drop-quota").fill("10")
        await page.get_by_test_id("drop-make").click()
        coupon = page.get_by_test_id("coupon")
        await coupon.get_by_test_id("coupon-drop").click()
        await expect(coupon).to_contain_text("in the room")
        id = await coupon.get_attribute("data-coupon")
        await shop.call("POST", f"/v1/coupons/{id}/claims", {})
        await expect(coupon.get_by_test_id("coupon-claimed")).to_have_text("1 of 10 claimed")
        await look(page, "studio-en")
        await page.get_by_role("button", name="中文").click()
        await look(page, "studio-zh")
        await page.get_by_role("button", name="EN", exact=True).click()

        await sale.get_by_test_id("sale-end").click()
        await expect(sale.get_by_test_id("sale-clock")).to_have_text("ended")


async def test_an_operator_ships_in_parts_refunds_a_line_and_receives_a_return(shop: Shop) -> None:
    order = await shop.paid(bowl=2, cup=1)
    async with shop.visit("operator", f"/shop?tab=orders&order={order}") as page:
        sheet = page.get_by_test_id("order-sheet")
        status = sheet.get_by_test_id("order-status")
        await expect(status).to_have_attribute("data-payment", "paid")
        await sheet.get_by_test_id("ship-bowl").fill("1")
        await sheet.get_by_test_id("ship-cup").fill("0")
        await sheet.get_by_test_id("ship-tracking").fill("SF 1")
        await sheet.get_by_test_id("ship").click()
        await expect(status).to_have_attribute("data-fulfilment", "partial")
        await expect(sheet.get_by_test_id("shipment")).to_contain_text("1 × Tea bowl")
        await expect(sheet.get_by_test_id("ship-cup")).to_have_value("1")  # of the next parcel

        await sheet.get_by_test_id("refund-box").locator("summary").click()
        await sheet.get_by_test_id("refund-cup").fill("1")
        await sheet.get_by_test_id("refund-reason").fill("Out of glaze")
        give = sheet.get_by_test_id("refund-make")
        await expect(give).to_have_text("Give back ¥10.00")
        await look(page, "order-en")
        await page.set_viewport_size({"width": 1280, "height": 800})
        await give.click()
        await expect(sheet.get_by_test_id("refund-item")).to_contain_text("¥10.00")
        assert (await shop.call("GET", f"/v1/orders/{order}"))["refunded"]["amount"] == CUP

        await sheet.get_by_test_id("ship").click()
        await expect(status).to_have_attribute("data-fulfilment", "shipped")
        await sheet.get_by_test_id("deliver").click()
        await expect(status).to_have_attribute("data-state", "completed")

        asked = {"lines": [{"sku": "bowl", "qty": 1}], "reason": "Too small"}
        await shop.call("POST", f"/v1/orders/{order}/returns", asked)
        words = {"kind": "damaged", "text": "The other one has a crack."}
        await shop.call("POST", f"/v1/orders/{order}/cases", words)
        await page.goto(f"{shop.server.url}/shop?tab=after_sale")
        await look(page, "after-en")
        waiting = page.get_by_test_id("waiting-returns").get_by_test_id("waiting")
        await expect(waiting).to_contain_text("Too small")
        await waiting.click()
        back = sheet.get_by_test_id("return-item")
        await back.get_by_test_id("return-approve").click()
        await back.get_by_test_id("return-receive").click()
        await expect(back).to_contain_text("Back on the shelf")
        await sheet.get_by_test_id("case-answer").fill("We send you another one.")
        await sheet.get_by_test_id("case-say").click()
        await expect(sheet.get_by_test_id("case-item")).to_contain_text("We send you another one.")
        await look(page, "order-after-en")
        assert (await shop.call("GET", f"/v1/orders/{order}"))["fulfilment"] == "partially_returned"


async def test_an_operator_makes_a_promotion_and_a_coupon_and_ends_one(shop: Shop) -> None:
    async with shop.visit("operator", "/shop?tab=offers") as page:
        await page.get_by_test_id("offer-title").fill("Spring")
        await page.get_by_test_id("offer-make").click()
        await expect(page.get_by_test_id("offer-problem")).to_contain_text("missing")
        await page.get_by_test_id("offer-spend").fill("200")
        await page.get_by_test_id("offer-off").fill("30")
        await page.get_by_test_id("offer-make").click()
        offer = page.get_by_test_id("promotions").get_by_test_id("offer")
        await expect(offer).to_contain_text("Spring")
        await page.get_by_test_id("offer-kind").select_option("coupon")
        await page.get_by_test_id("offer-title").fill("Friends")
        await page.get_by_test_id("offer-off").fill("5")
        await page.get_by_test_id("offer-make").click()
        await expect(page.get_by_test_id("coupons")).to_contain_text("Friends")
        await look(page, "offers-en")
        await page.get_by_role("button", name="中文").click()
        await look(page, "offers-zh")
        await offer.get_by_test_id("offer-end").click()
        await expect(offer).to_contain_text("已结束")


async def test_an_offer_is_made_for_a_room_a_merchant_and_a_segment_and_stands_alone(
    shop: Shop,
) -> None:
    async with shop.visit("operator", "/shop?tab=offers") as page:
        await page.get_by_test_id("offer-kind").select_option("percent")
        await page.get_by_test_id("offer-title").fill("Regulars")
        await page.get_by_test_id("offer-percent").fill("10")
        await page.get_by_test_id("offer-conditions").locator("summary").click()
        await page.get_by_test_id("offer-room").select_option("show")
        await page.get_by_test_id("offer-merchant").fill("Kiln & Co")
        await page.get_by_test_id("offer-segment").fill("regulars")
        await page.get_by_test_id("offer-group").fill("autumn")
        await page.get_by_test_id("offer-alone").check()
        await look(page, "offer-conditions-en")
        await page.get_by_test_id("offer-make").click()
        offer = page.get_by_test_id("offer").filter(has_text="Regulars")
        for words in ("room show", "goods of Kiln & Co", "segment regulars", "group autumn"):
            await expect(offer).to_contain_text(words)
        await expect(offer).to_contain_text("Not together with other offers")
        await expect(page.get_by_test_id("offer-room")).to_have_value("")
        await page.get_by_role("button", name="中文").click()
        await look(page, "offer-conditions-zh")
    made = (await shop.server.api("GET", "/v1/promotions"))["items"][0]
    names = ("room", "merchant", "segment", "group", "stacks")
    wanted = ("show", "Kiln & Co", "regulars", "autumn", False)
    assert tuple(made[name] for name in names) == wanted
    await shop.server.api("POST", f"/v1/promotions/{made['id']}/end")


async def test_finance_sees_the_months_money_and_takes_the_sheets_along(shop: Shop) -> None:
    order = await shop.paid(cup=1)
    async with shop.visit("finance", "/shop?tab=money") as page:
        await expect(page.get_by_test_id("day").first).to_contain_text("sandbox")
        await expect(page.get_by_test_id("mismatches-fine")).to_be_visible()
        await look(page, "money-en")
        await page.get_by_role("button", name="中文").click()
        await look(page, "money-zh")
        for sheet, wanted in (
            ("money-csv", "sandbox"),
            ("settlement-csv", "CNY"),
            ("export-csv", order),
        ):
            async with page.expect_download() as saving:
                await page.get_by_test_id(sheet).click()
            assert wanted in (await (await saving.value).path()).read_text("utf-8-sig")


async def test_a_webhook_shows_its_secret_once_and_what_was_sent_to_it(shop: Shop) -> None:
    async with shop.visit("operator", "/shop?tab=hooks") as page:
        await page.get_by_test_id("hook-url").fill("https://127.0.0.1/hawker")
        await page.get_by_test_id("hook-add").click()
        await expect(page.get_by_test_id("hook-problem")).to_be_visible()  # it is no public address
        await page.get_by_test_id("hook-url").fill("https://erp.invalid/hawker")
        await page.get_by_test_id("hook-add").click()
        await expect(page.get_by_test_id("hook-secret")).to_have_value(re.compile("^whsec_"))
        await page.get_by_test_id("hook-test").click()
        await expect(page.get_by_test_id("delivery").first).to_contain_text("webhook.test")
        await look(page, "hooks-en")
        await page.reload()
        await expect(page.get_by_test_id("hook")).to_contain_text("erp.invalid")
        await expect(page.get_by_test_id("hook-secret")).to_be_hidden()


async def test_a_webhook_gets_a_new_secret_sends_again_what_failed_and_is_deleted_when_sure(
    shop: Shop,
) -> None:
    server = shop.server
    wanted = {"url": "https://crm.invalid/hawker", "events": ["order.*"], "enabled": False}
    made = await server.api("POST", "/v1/webhook-endpoints", wanted)
    async with shop.visit("operator", "/shop?tab=hooks") as page:
        hook = page.get_by_test_id("hook").filter(has_text="crm.invalid")
        rotate, delete = hook.get_by_test_id("hook-rotate"), hook.get_by_test_id("hook-delete")
        secret = page.get_by_test_id("hook-secret")
        await rotate.click()
        await expect(rotate).to_have_text("Really a new secret")
        await expect(secret).to_be_hidden()
        await rotate.click()
        await expect(secret).to_have_value(re.compile("^whsec_"))
        await expect(page.get_by_test_id("hook-secret-of")).to_have_text(made["url"])
        assert await secret.input_value() != made["secret"]
        await look(page, "hooks-secret-en")
        await page.get_by_role("button", name="中文").click()
        await look(page, "hooks-secret-zh")
        await page.get_by_role("button", name="EN", exact=True).click()

        await hook.get_by_role("button", name="Look").click()
        await expect(page.get_by_test_id("deliveries-of")).to_have_text(made["url"])
        await page.get_by_test_id("hook-since").fill("2026-01-01T00:00")
        await page.get_by_test_id("hook-replay-failed").click()
        await expect(page.locator("#toast")).to_have_text("Sent again: 0")

        await delete.click()
        await expect(delete).to_have_text("Really delete")
        await rotate.focus()
        await expect(delete).to_have_text("Delete")  # nobody was sure
        await delete.click()
        await delete.click()
        await expect(hook).to_have_count(0)
        await expect(secret).to_be_hidden()
    items = (await server.api("GET", "/v1/webhook-endpoints"))["items"]
    assert made["id"] not in [each["id"] for each in items]


async def test_who_may_not_sees_no_buttons_for_it(shop: Shop) -> None:
    order = await shop.paid(cup=1)
    async with shop.visit("finance", f"/shop?tab=orders&order={order}") as page:
        sheet = page.get_by_test_id("order-sheet")
        await expect(sheet.get_by_test_id("refund-box")).to_be_visible()
        await expect(sheet.get_by_test_id("ship-form")).to_be_hidden()
        await expect(page.get_by_test_id("tab-offers")).to_be_hidden()
        await page.goto(f"{shop.server.url}/studio/show")
        await expect(page.get_by_test_id("selling")).to_be_visible()
        for panel in ("sales", "drops"):
            await expect(page.get_by_test_id(panel)).to_be_hidden()
    async with shop.visit("host", "/shop") as page:
        await expect(page.get_by_test_id("tab-offers")).to_be_visible()
        for tab in ("orders", "after_sale", "money"):
            await expect(page.get_by_test_id(f"tab-{tab}")).to_be_hidden()
