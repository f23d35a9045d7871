"""The API's page in Chromium, over the description of the whole API."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from playwright.async_api import Browser, Page, async_playwright, expect

from mediaserver.api import problem
from mediaserver.api.openapi.document import document
from mediaserver.api.openapi.handler import PATH, OpenApi
from mediaserver.api.pages import Pages
from tests.api.test_openapi import operations, whole
from tests.e2e.server import ADMIN, running
from tests.pages.pages import LANGUAGES, PAGES

SIZES = {"small phone": (360, 640), "phone": (390, 844), "wide": (1280, 800)}
WIDER_THAN_THE_SCREEN = """() => [...document.querySelectorAll("body *")]
  .filter((each) => each.checkVisibility() && !each.closest("pre, .visually-hidden"))
  .filter((each) => each.getBoundingClientRect().right > innerWidth + 1)
  .map((each) => each.outerHTML.slice(0, 200))"""
OPEN_ALL = (
    """() => document.querySelectorAll(".operation").forEach((each) => { each.open = true; })"""
)

pytestmark = pytest.mark.asyncio(loop_scope="module")
Client = TestClient[web.Request, web.Application]


async def _no_room(room: str) -> bool:
    return False


@asynccontextmanager
async def serving(described: dict[str, Any] | None) -> AsyncIterator[Client]:
    """A server of the pages and of a description, if there is one."""
    pages = Pages(
        PAGES,
        Path("not/installed.js"),
        room_exists=_no_room,
        rtmp_server=lambda host: None,
        srt_server=lambda host: None,
        https_origin=lambda host: None,
    )
    app = web.Application()
    problem.install(app)
    app.add_routes(pages.routes())
    if described is not None:
        app.add_routes(OpenApi(described).routes())
    async with TestClient(TestServer(app)) as client:
        yield client


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    return document(whole(), version="1.2.3")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(described: dict[str, Any]) -> AsyncIterator[Client]:
    async with serving(described) as client:
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(chromium: str) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(
            executable_path=chromium, headless=True, args=["--no-sandbox"]
        )
        yield launched
        await launched.close()


@asynccontextmanager
async def opened(
    browser: Browser, client: Client, place: str = "", *, size: str = "wide", language: str = "en"
) -> AsyncIterator[Page]:
    address = str(client.make_url("/docs")) + f"?lang={language}{place}"
    async with browser_at(browser, address, size) as page:
        yield page


@asynccontextmanager
async def browser_at(browser: Browser, address: str, size: str = "wide") -> AsyncIterator[Page]:
    """A page; at the end there was no exception in it and no breach of its policy."""
    wrong: list[str] = []
    width, height = SIZES[size]
    visit = await browser.new_context(viewport={"width": width, "height": height})
    try:
        page = await visit.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on(
            "console",
            lambda said: wrong.append(said.text) if "Security Policy" in said.text else None,
        )
        await page.goto(address)
        yield page
        assert wrong == []
    finally:
        await visit.close()


def operation(page: Page, id: str) -> Any:
    return page.locator(f"#{id}")


async def test_the_page_may_run_only_what_this_server_serves(server: Client) -> None:
    reply = await server.get("/docs")
    assert reply.status == 200 and reply.content_type == "text/html"
    policy = reply.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy and "unsafe" not in policy
    assert "camera=()" in reply.headers["Permissions-Policy"]


async def test_every_operation_is_on_the_page_and_in_its_contents(
    browser: Browser, server: Client, described: dict[str, Any]
) -> None:
    async with opened(browser, server) as page:
        await expect(page.locator(".operation")).not_to_have_count(0)
        shown = await page.evaluate(
            """() => [...document.querySelectorAll(".operation")].map((each) => [each.id,
              ...[...each.querySelector("summary").children].map((part) => part.textContent)])"""
        )
        told = [
            [said["operationId"], method.upper(), path, said["summary"].replace("`", "")]
            for method, path, said in operations(described)
        ]
        assert sorted(shown) == sorted(told)
        links = await page.evaluate(
            """() => [...document.querySelectorAll("#toc a")].map((each) => each.hash.slice(1))"""
        )
        assert links == [id for id, *_ in shown]


async def test_an_operation_opens_and_says_everything(browser: Browser, server: Client) -> None:
    async with opened(browser, server) as page:
        await operation(page, "post_products").locator("summary").click()
        inside = operation(page, "post_products").locator(".inside")
        await expect(inside).to_contain_text("Staff whose role may products.write")
        sku = inside.locator("tr", has=page.locator("code", has_text="skus[].price.amount")).first
        await expect(sku).to_contain_text("required")
        await expect(sku).to_contain_text("integer")
        await expect(sku).to_contain_text("≥ 0")
        await expect(inside.locator(".refusals")).to_contain_text("sku_exists")
        await expect(inside.locator(".status")).to_have_text("201 Created")


async def test_the_example_is_a_command_that_a_shell_reads(
    browser: Browser, server: Client, described: dict[str, Any]
) -> None:
    async with opened(browser, server, "#put_skus_sku_stock") as page:
        text = await operation(page, "put_skus_sku_stock").locator(".curl").text_content()
        words = shlex.split(text or "", posix=True)
        assert words[:4] == ["curl", "-X", "PUT", "$B/v1/skus/$SKU/stock"]
        assert "Authorization: Bearer $ADMIN" in words and 'If-Match: "1"' in words
        assert "Idempotency-Key: $KEY" in words
        told = described["paths"]["/v1/skus/{sku}/stock"]["put"]["requestBody"]["content"]
        assert json.loads(words[-1]) == told["application/json"]["example"]


async def test_an_example_run_by_a_shell_makes_a_room(browser: Browser, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    async with running(tmp_path) as started, browser_at(browser, f"{started.url}/docs") as page:
        await operation(page, "post_rooms").locator("summary").click()
        command = await operation(page, "post_rooms").locator(".curl").text_content()
        assert command is not None
        process = await asyncio.create_subprocess_exec(
            *("sh", "-c", command.replace("curl", "curl -sS --fail-with-body", 1)),
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "B": started.url, "ADMIN": ADMIN},
        )
        printed, _ = await process.communicate()
        assert process.returncode == 0, printed
        made = json.loads(printed)
        assert (await started.api("GET", f"/v1/rooms/{made['id']}"))["title"] == made["title"]


async def test_a_viewers_example_carries_a_viewers_token(browser: Browser, server: Client) -> None:
    async with opened(browser, server, "#post_orders") as page:
        example = operation(page, "post_orders").locator(".curl")
        await expect(example).to_contain_text('"Authorization: Bearer $TOKEN"')


async def test_a_link_opens_its_operation_alone(browser: Browser, server: Client) -> None:
    async with opened(browser, server, "#get_rooms_room_events") as page:
        await expect(page.locator(".operation[open]")).to_have_count(1)
        events = operation(page, "get_rooms_room_events")
        await expect(events.locator(".inside")).to_contain_text("order.updated")
        await expect(events.locator("summary")).to_be_in_viewport()
        await page.locator('#toc a[href="#post_whip"]').click()
        await expect(operation(page, "post_whip").locator(".inside")).to_contain_text("RFC 9725")
        await expect(operation(page, "post_whip").locator("summary")).to_be_in_viewport()


async def test_the_filter_goes_by_path_word_and_code(browser: Browser, server: Client) -> None:
    async with opened(browser, server) as page:
        shown = page.locator(".operation:visible")
        field = page.get_by_test_id("docs-filter")
        await field.fill("openapi 3.1")
        await expect(shown).to_have_count(1)
        await expect(page.locator("#toc li:visible")).to_have_count(1)
        await expect(page.locator("#operations h2:visible")).to_have_count(1)
        await field.fill("has_b_frames")
        await expect(shown).to_have_count(1)
        await expect(shown).to_have_id("post_whep_room")
        await field.fill("no-such-word")
        await expect(shown).to_have_count(0)
        await expect(page.locator("#nothing")).to_be_visible()
        await page.evaluate('() => { location.hash = "#post_whip"; }')
        await expect(operation(page, "post_whip")).to_be_visible()


async def test_the_other_language_keeps_open_what_is_open(browser: Browser, server: Client) -> None:
    async with opened(browser, server, "#post_whip") as page:
        await expect(operation(page, "post_whip").locator("h4").first).to_have_text("Who may")
        await page.locator("[data-language=zh]").click()
        await expect(operation(page, "post_whip").locator("h4").first).to_have_text("谁可以调用")
        await expect(page.locator(".operation[open]")).to_have_count(1)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("size", SIZES)
async def test_everything_open_fits_every_screen(
    browser: Browser, server: Client, size: str, language: str
) -> None:
    async with opened(browser, server, size=size, language=language) as page:
        await expect(page.locator(".operation").first).to_be_visible()
        await page.evaluate(OPEN_ALL)
        all_of_them = await page.locator(".operation").count()
        await expect(page.locator(".operation .inside")).to_have_count(all_of_them)
        assert await page.evaluate(WIDER_THAN_THE_SCREEN) == []
        assert "undefined" not in await page.inner_text("#operations")


async def test_what_the_document_says_is_text_and_never_html(browser: Browser) -> None:
    app = whole()
    made = json.loads(json.dumps(document(app, version="1")))
    evil = '<img src="x" onerror="document.title = 1"><b>bold</b>'
    said = made["paths"]["/whip"]["post"]
    said["summary"] = said["description"] = evil
    async with serving(made) as client, opened(browser, client, "#post_whip") as page:
        await expect(operation(page, "post_whip").locator(".says")).to_have_text(evil)
        await expect(operation(page, "post_whip").locator(".prose").first).to_have_text(evil)
        assert await page.locator("main img, main b").count() == 0


async def test_a_document_that_does_not_come_is_said_and_asked_for_again(
    browser: Browser, described: dict[str, Any]
) -> None:
    async with serving(None) as client, opened(browser, client) as page:
        await expect(page.locator("#problem")).to_be_visible()
        await page.route(f"**{PATH}", lambda route: route.fulfill(json=described))
        await page.locator("#again").click()
        await expect(page.locator(".operation").first).to_be_visible()
        await expect(page.locator("#problem")).to_be_hidden()
