"""The shop's pages in Chromium against the real server: login, buyer's link, paying, shipping."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jwt
import pytest
from playwright.async_api import Browser, Page, expect

from tests.e2e.browser import browser
from tests.e2e.server import ADMIN, Server, running

SECRET = "a secret of more than 32 bytes for tokens"
PASSWORD = "correct horse battery"
PRICE = {"amount": 12900, "currency": "CNY"}
APPROVED, DECLINED = "4242424242424242", "4000000000000002"
ADDRESS = {"name": "李雷", "city": "杭州", "street": "文三路 1 号"}
ELSEWHERE = ("//elsewhere.example/x", "/\\elsewhere.example/x", "https://elsewhere.example/x")


@dataclass(frozen=True, slots=True)
class Shop:
    """A server with one room and one product, and a guest who buys there."""

    server: Server
    guest: str

    async def buyer(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """What the server answers to the guest."""
        headers = {"Authorization": f"Bearer {self.guest}", "Idempotency-Key": secrets.token_hex(8)}
        url = f"{self.server.url}{path}"
        async with self.server.http.request(method, url, json=body, headers=headers) as reply:
            assert reply.status < 300, await reply.text()
            return dict(await reply.json())

    async def order(self, qty: int = 1) -> dict[str, Any]:
        """An order that is reserved."""
        body = {
            "room": "show",
            "lines": [{"sku": "scarf-red", "qty": qty}],
            "contact": {"phone": "13800000000"},
            "address": ADDRESS,
        }
        return await self.buyer("POST", "/v1/orders", body)

    async def payment(self, order: str, card: str | None = None) -> dict[str, Any]:
        """A payment that is begun; with a card it goes on by itself."""
        method = None if card is None else {"card": card}
        return await self.buyer("POST", f"/v1/orders/{order}/payments", {"method": method})


@asynccontextmanager
async def shop(data: Path) -> AsyncIterator[Shop]:
    async with running(data, f"auth.viewer_secret={SECRET}") as server:
        await server.room()
        sku = {"sku": "scarf-red", "price": PRICE, "stock": 20, "options": {"colour": "red"}}
        await server.api("POST", "/v1/products", {"title": "Silk scarf", "skus": [sku]})
        async with server.http.post(f"{server.url}/v1/rooms/show/guest-token") as reply:
            guest = str((await reply.json())["token"])
        yield Shop(server, guest)


async def fresh(opened: Browser) -> Page:
    """A page of a browser that has never been here, in English."""
    context = await opened.new_context(locale="en-GB")
    page = await context.new_page()
    page.set_default_timeout(20_000)
    return page


async def sign_in(page: Page, name: str, password: str) -> None:
    await page.get_by_test_id("login-name").fill(name)
    await page.get_by_test_id("login-password").fill(password)
    await page.get_by_test_id("login-submit").click()


@pytest.mark.timeout(120)
async def test_only_the_right_password_opens_the_shop_and_no_link_leads_away_from_it(
    tmp_path: Path, chromium: str
) -> None:
    async with shop(tmp_path) as sold, browser(chromium) as opened:
        server, account = sold.server, {"name": "alice", "password": PASSWORD, "role": "operator"}
        await server.api("POST", "/v1/staff", account)
        page = await fresh(opened)
        await page.goto(f"{server.url}/shop?tab=orders")
        await page.wait_for_url("**/login?next=*")
        await sign_in(page, "alice", "wrong horse battery")
        await expect(page.get_by_test_id("login-problem")).to_contain_text("don’t belong together")
        await sign_in(page, "alice", PASSWORD)
        await page.wait_for_url("**/shop?tab=orders")
        await expect(page.get_by_test_id("who")).to_have_text("alice (operator)")
        cookies = {cookie["name"]: cookie for cookie in await page.context.cookies()}
        assert cookies["hawker_session"]["httpOnly"]
        assert "hawker_session" not in await page.evaluate("document.cookie")
        for path in ELSEWHERE:  # who is signed in goes on at once
            await page.goto(f"{server.url}/login?next={quote(path)}")
            await page.wait_for_url(f"{server.url}/shop")
        await page.get_by_test_id("sign-out").click()
        await page.wait_for_url("**/login")
        await page.goto(f"{server.url}/shop")
        await page.wait_for_url("**/login?next=*")
        await page.get_by_role("button", name="Admin token").click()
        await page.get_by_test_id("login-token").fill(ADMIN)
        await page.get_by_test_id("login-submit").click()
        await page.wait_for_url("**/shop")
        await expect(page.get_by_test_id("tab-staff")).to_be_visible()


@pytest.mark.timeout(120)
async def test_a_paid_order_appears_in_the_shop_and_is_picked_shipped_and_delivered(
    tmp_path: Path, chromium: str
) -> None:
    async with shop(tmp_path) as sold, browser(chromium) as opened:
        page = await fresh(opened)
        await page.goto(f"{sold.server.url}/login?next=/shop")
        await page.get_by_role("button", name="Admin token").click()
        await page.get_by_test_id("login-token").fill(ADMIN)
        await page.get_by_test_id("login-submit").click()
        stock = page.get_by_test_id("stock-scarf-red")
        await expect(stock).to_have_text("20")
        order = await sold.order(qty=2)
        await sold.payment(order["id"], APPROVED)
        await expect(stock).to_have_text("18", timeout=15_000)

        await page.get_by_test_id("tab-picking").click()
        parcel = page.get_by_test_id("parcels").get_by_role("listitem")
        await expect(parcel).to_contain_text("文三路 1 号", timeout=15_000)
        await expect(page.get_by_test_id("pick-list").locator("tbody tr")).to_contain_text("2")

        await page.get_by_test_id("tab-orders").click()
        await expect(page.get_by_test_id("orders-sums")).to_contain_text("1 paid, ¥258.00")
        await page.get_by_test_id("orders-month").select_option(index=1)
        async with page.expect_download() as saving:
            await page.get_by_test_id("orders-csv").click()
        table = (await (await saving.value).path()).read_text("utf-8-sig")
        assert f"{order['id']}," in table and ",258.00,CNY," in table
        await page.get_by_test_id(f"order-{order['id']}").click()
        sheet = page.get_by_test_id("order-sheet")
        await expect(sheet.get_by_test_id("sheet-address")).to_contain_text("李雷")
        await sheet.get_by_test_id("ship-tracking").fill("SF 1234")
        await sheet.get_by_test_id("ship").click()
        status = sheet.get_by_test_id("order-status")
        await expect(status).to_have_attribute("data-fulfilment", "shipped")
        assert (await sold.buyer("GET", f"/v1/orders/{order['id']}"))["tracking"] == "SF 1234"
        await sheet.get_by_test_id("deliver").click()
        await expect(status).to_have_attribute("data-state", "completed")
        assert (await sold.buyer("GET", f"/v1/orders/{order['id']}"))["fulfilment"] == "delivered"


@pytest.mark.timeout(120)
async def test_who_may_only_read_orders_sees_no_address_and_ships_nothing(
    tmp_path: Path, chromium: str
) -> None:
    async with shop(tmp_path) as sold, browser(chromium) as opened:
        account = {"name": "zhang", "password": PASSWORD, "role": "finance"}
        await sold.server.api("POST", "/v1/staff", account)
        order = await sold.order()
        await sold.payment(order["id"], APPROVED)
        page = await fresh(opened)
        await page.goto(f"{sold.server.url}/shop?tab=orders&order={order['id']}")
        await sign_in(page, "zhang", PASSWORD)
        sheet = page.get_by_test_id("order-sheet")
        await expect(sheet.get_by_test_id("sheet-address")).to_contain_text("Your role")
        status = sheet.get_by_test_id("order-status")
        await expect(status).to_have_attribute("data-payment", "paid", timeout=15_000)
        for act in ("ship", "deliver", "cancel"):
            await expect(sheet.get_by_test_id(act)).to_be_hidden()
        await page.goto(f"{sold.server.url}/orders/{order['id']}")
        await expect(page.get_by_test_id("order-staff")).to_be_visible()
        await expect(page.get_by_test_id("order-status")).to_have_attribute("data-payment", "paid")
        for act in ("order-pay", "order-cancel", "order-address", "order-link"):
            await expect(page.get_by_test_id(act)).to_be_hidden()
        await page.goto(f"{sold.server.url}/shop?tab=staff")
        await expect(page.get_by_test_id("audit").get_by_text("zhang").first).to_be_visible()
        await expect(page.get_by_test_id("account-add")).to_be_hidden()


@pytest.mark.timeout(120)
async def test_an_account_is_made_and_an_api_key_is_shown_this_once(
    tmp_path: Path, chromium: str
) -> None:
    async with shop(tmp_path) as sold, browser(chromium) as opened:
        page = await fresh(opened)
        await page.goto(f"{sold.server.url}/login?next=/shop?tab=staff")
        await page.get_by_role("button", name="Admin token").click()
        await page.get_by_test_id("login-token").fill(ADMIN)
        await page.get_by_test_id("login-submit").click()
        await page.get_by_label("Name (a–z, 0–9)").fill("wang")
        await page.get_by_label("Password (10 characters or more)").fill(PASSWORD)
        await page.get_by_test_id("account-add").click()
        await expect(page.get_by_test_id("accounts")).to_contain_text("wang")
        await page.get_by_label("What it is for").fill("printer")
        await page.get_by_test_id("key-add").click()
        await expect(page.get_by_test_id("api-key")).to_have_value(re.compile("^hk_"))
        key = await page.get_by_test_id("api-key").input_value()
        headers = {"Authorization": f"Bearer {key}"}
        async with sold.server.http.get(f"{sold.server.url}/v1/orders", headers=headers) as reply:
            assert reply.status == 200
        await page.reload()
        await expect(page.get_by_test_id("api-keys")).to_contain_text("printer")
        await expect(page.get_by_test_id("api-key")).to_have_value("")
        await page.get_by_role("button", name="Delete: wang").click()
        await page.get_by_role("button", name="Really delete: wang").click()
        await expect(page.get_by_test_id("accounts")).not_to_contain_text("wang")


@pytest.mark.timeout(120)
async def test_stock_is_corrected_with_a_reason_and_never_below_what_orders_hold(
    tmp_path: Path, chromium: str
) -> None:
    async with shop(tmp_path) as sold, browser(chromium) as opened:
        page = await fresh(opened)
        await page.goto(f"{sold.server.url}/login")
        await page.get_by_role("button", name="Admin token").click()
        await page.get_by_test_id("login-token").fill(ADMIN)
        await page.get_by_test_id("login-submit").click()
        await sold.order(qty=3)
        await page.get_by_test_id("edit-stock-scarf-red").click()
        await expect(page.get_by_test_id("stock-on-hand")).to_have_value("20")
        await page.get_by_test_id("stock-on-hand").fill("2")
        await page.get_by_test_id("stock-reason").fill("breakage")
        await page.get_by_test_id("stock-save").click()
        await expect(page.get_by_test_id("stock-problem")).to_contain_text("Orders hold more")
        await page.get_by_test_id("stock-on-hand").fill("8")
        await page.get_by_test_id("stock-save").click()
        await expect(page.get_by_test_id("stock-sheet")).to_be_hidden()
        await expect(page.get_by_test_id("stock-scarf-red")).to_have_text("5")
        edits = await sold.server.api("GET", "/v1/skus/scarf-red/adjustments")
        latest = edits["items"][0]
        assert (latest["after"], latest["reason"], latest["by"]) == (8, "breakage", "admin")


@pytest.mark.timeout(120)
async def test_the_buyers_link_opens_the_order_in_any_browser_and_a_changed_key_opens_nothing(
    tmp_path: Path, chromium: str
) -> None:
    async with shop(tmp_path) as sold, browser(chromium) as opened:
        order = await sold.order()
        link = f"{sold.server.url}{order['link']}"
        page = await fresh(opened)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url.partition("#")[0]))
        await page.goto(link)
        status = page.get_by_test_id("order-status")
        await expect(status).to_have_attribute("data-state", "reserved")
        await expect(page.get_by_test_id("order-total")).to_have_text("¥129.00")
        await expect(page.get_by_test_id("order-left")).to_contain_text("Held for you")
        await expect(page.get_by_test_id("order-address")).to_contain_text("杭州")
        await expect(page.get_by_test_id("order-link")).to_have_value(link)
        key = order["link"].partition("=")[2]
        assert key not in page.url and not any(key in url for url in asked)
        await page.reload()
        await expect(status).to_have_attribute("data-state", "reserved")

        last = {"A": "B"}.get(key[-5], "A")
        for changed in (key[:-5] + last + key[-4:], key.partition(".")[0], "ord_nothing.x", ""):
            other = await fresh(opened)
            await other.goto(f"{sold.server.url}/orders/{order['id']}#key={changed}")
            await expect(other.get_by_test_id("order-missing")).to_be_visible()
            await expect(other.get_by_test_id("order-status")).to_be_hidden()
        missing = await other.get_by_test_id("order-missing").inner_text()
        await other.goto(f"{sold.server.url}/orders/ord_{'0' * 26}")
        await expect(other.get_by_test_id("order-missing")).to_have_text(
            missing, use_inner_text=True
        )

        known = await fresh(opened)  # the browser that bought, long after its token has expired
        claims = jwt.decode(sold.guest, SECRET, algorithms=["HS256"])
        expired = jwt.encode(claims | {"exp": int(time.time()) - 3600}, SECRET, "HS256")
        await known.goto(sold.server.url)
        await known.evaluate("(old) => localStorage.setItem('hawker.guest.show', old)", expired)
        await known.goto(f"{sold.server.url}/orders/{order['id']}")
        await expect(known.get_by_test_id("order-status")).to_have_attribute(
            "data-state", "reserved"
        )
        await known.get_by_test_id("order-cancel").click()
        await known.get_by_test_id("order-cancel-yes").click()
        for each in (known, page):
            await expect(each.get_by_test_id("order-status")).to_have_attribute(
                "data-state", "cancelled"
            )


@pytest.mark.timeout(120)
async def test_a_declined_card_leaves_the_order_to_be_paid_with_another_one(
    tmp_path: Path, chromium: str
) -> None:
    async with shop(tmp_path) as sold, browser(chromium) as opened:
        order = await sold.order()
        page = await fresh(opened)
        await page.goto(f"{sold.server.url}{order['link']}")
        status = page.get_by_test_id("order-status")
        await page.get_by_test_id("order-pay").click()
        await page.wait_for_url("**/pay/sandbox/pay_*")
        await expect(page.get_by_test_id("pay-amount")).to_have_text("¥129.00")
        assert "ord_" not in page.url
        await page.get_by_test_id(f"pay-card-{DECLINED}").check()
        await page.get_by_test_id("pay-submit").click()
        await expect(page.get_by_test_id("pay-state")).to_have_attribute("data-state", "failed")
        await page.get_by_test_id("pay-back").click()
        await expect(status).to_have_attribute("data-payment", "failed")
        await page.get_by_test_id("order-pay").click()
        await page.wait_for_url("**/pay/sandbox/pay_*")
        await page.get_by_test_id(f"pay-card-{APPROVED}").check()
        await page.get_by_test_id("pay-submit").click()
        await page.wait_for_url(f"**/orders/{order['id']}")
        await expect(status).to_have_attribute("data-state", "confirmed")
        await expect(status).to_have_attribute("data-payment", "paid")


@pytest.mark.timeout(120)
async def test_the_till_leads_back_to_nowhere_but_this_site(tmp_path: Path, chromium: str) -> None:
    async with shop(tmp_path) as sold, browser(chromium) as opened:
        order = await sold.order()
        for path in ELSEWHERE:
            payment = await sold.payment(order["id"])
            page = await fresh(opened)
            left: list[str] = []
            page.on("request", lambda request, left=left: left.append(request.url))
            await page.goto(f"{sold.server.url}{payment['page']}#return={quote(path)}")
            await page.get_by_test_id(f"pay-card-{DECLINED}").check()
            await expect(page.get_by_test_id("pay-back")).to_be_hidden()
            await page.get_by_test_id("pay-submit").click()
            state = page.get_by_test_id("pay-state")
            await expect(state).to_have_attribute("data-state", "failed")
            await expect(page.get_by_test_id("pay-back")).to_be_hidden()
            assert all(url.startswith(sold.server.url) for url in left)
            await page.goto(f"{sold.server.url}{order['link']}")
            await expect(page.get_by_test_id("order-status")).to_have_attribute(
                "data-payment", "failed"
            )
