"""The pages in Chromium, served alone: what they show when there is nothing to show, and how.

No room is live and there is no API, so the watch page finds no room and the lobby no list.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright, expect

from tests.pages.pages import LANGUAGES, Client, serving

SIZES = {"small phone": (360, 640), "phone": (390, 844), "lying": (844, 390), "wide": (1280, 800)}
PATHS = ("/", "/watch/show", "/studio/show")
ELSEWHERE = "--host-resolver-rules=MAP show.example 127.0.0.1"  # not a secure context
CAMERA = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream=fps=10")

OVERFLOWING = """() => {
  const wide = document.documentElement.scrollWidth > innerWidth;
  const words = [...document.querySelectorAll("button, h1, h2, h3, p, dt, dd, label")];
  const cut = words
    .filter((each) => each.checkVisibility() && !each.classList.contains("visually-hidden"))
    .filter((each) => each.scrollWidth > each.clientWidth + 1);
  return [...(wide ? ["page"] : []), ...cut.map((each) => each.outerHTML)];
}"""
SMALL_TARGETS = """() => [...document.querySelectorAll("a, button, input, select")]
  .filter((each) => each.checkVisibility())
  .filter((each) => Math.min(each.offsetWidth || 99, each.offsetHeight || 99) < 24)
  .map((each) => each.outerHTML)"""
UNNAMED = """() => [...document.querySelectorAll("a, button, input, select, video, section")]
  .filter((each) => each.checkVisibility())
  .filter((each) => {
    const label = document.getElementById(each.getAttribute("aria-labelledby"));
    const names = [each.textContent, each.ariaLabel, each.labels?.[0]?.textContent, label?.textContent];
    return !names.some((name) => name?.trim());
  })
  .map((each) => each.outerHTML)"""


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(chromium: str) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(
            executable_path=chromium, headless=True, args=["--no-sandbox", ELSEWHERE, *CAMERA]
        )
        yield launched
        await launched.close()


@asynccontextmanager
async def opened(
    browser: Browser, client: Client, path: str, *, host: str = "127.0.0.1", **context: object
) -> AsyncIterator[tuple[Page, list[str]]]:
    """A page and what went wrong in it: exceptions and breaches of the policy."""
    wrong: list[str] = []
    visit = await browser.new_context(**context)  # type: ignore[arg-type]
    try:
        page = await visit.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on(
            "console",
            lambda said: wrong.append(said.text) if "Security Policy" in said.text else None,
        )
        await page.goto(str(client.make_url("/").with_host(host)) + path.removeprefix("/"))
        yield page, wrong
    finally:
        await visit.close()


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("path", PATHS)
async def test_a_page_fits_every_screen_in_every_language(
    path: str, language: str, browser: Browser
) -> None:
    async with (
        serving() as client,
        opened(browser, client, f"{path}?lang={language}") as (page, wrong),
    ):
        await expect(page.locator("html")).to_have_attribute(
            "lang", {"en": "en", "zh": "zh-CN"}[language]
        )
        if "/watch" in path:
            await expect(page.locator("#retry")).to_be_visible()
        for name, (width, height) in SIZES.items():
            await page.set_viewport_size({"width": width, "height": height})
            assert await page.evaluate(OVERFLOWING) == [], name
            assert await page.evaluate(SMALL_TARGETS) == [], name
        assert await page.evaluate(UNNAMED) == []
        assert wrong == []


async def test_the_language_is_the_browsers_until_another_is_chosen(browser: Browser) -> None:
    async with (
        serving() as client,
        opened(browser, client, "/", locale="zh-TW") as (page, _),
    ):
        title = page.locator("h1")
        await expect(title).to_have_text("正在直播")
        await page.get_by_role("button", name="EN").click()
        await expect(title).to_have_text("Live now")
        await page.goto(page.url)
        await expect(title).to_have_text("Live now")
        await page.goto(f"{page.url}?lang=zh")
        await expect(title).to_have_text("正在直播")
        await page.get_by_role("button", name="EN").click()
        await page.reload()
        await expect(title).to_have_text("Live now")


async def test_a_room_that_does_not_exist_is_said_in_words_and_can_be_tried_again(
    browser: Browser,
) -> None:
    async with (
        serving() as client,
        opened(browser, client, "/watch/nowhere", locale="en-GB") as (page, _),
    ):
        status = page.get_by_test_id("status")
        await expect(status).to_have_text("There is no room with this name. Check the link.")
        await expect(page.get_by_test_id("transport")).to_have_text("")
        assert await page.evaluate("[hawker.state, hawker.transport, hawker.pc]") == [
            "refused",
            "",
            None,
        ]
        async with page.expect_request(lambda request: "/guest-token" in request.url):
            await page.get_by_role("button", name="Try again").click()


@pytest.mark.parametrize(
    ("path", "secret"),
    [("/studio/show#key=key_secret", "key_secret"), ("/watch/show#token=jwt_secret", "jwt_secret")],
)
async def test_a_secret_in_the_link_leaves_the_address_bar_and_reaches_no_url(
    path: str, secret: str, browser: Browser
) -> None:
    async with (
        serving() as client,
        opened(browser, client, "/") as (page, _),
    ):
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url.partition("#")[0]))
        await page.goto(str(client.make_url("/")) + path.removeprefix("/"))
        await expect(page.locator("h1")).to_have_text("show")
        assert secret not in page.url
        assert asked and not any(secret in url for url in asked)
        if "/studio" in path:
            await expect(page.get_by_test_id("stream-key")).to_have_value(secret)
            await expect(page.get_by_test_id("obs-key")).to_have_value(secret)
            await expect(page.get_by_test_id("obs-key")).to_have_attribute("type", "password")
            await page.reload()
            await expect(page.get_by_test_id("stream-key")).to_have_value(secret)


async def test_the_studio_gives_obs_its_settings_for_both_ways(browser: Browser) -> None:
    async with serving() as client, opened(browser, client, "/studio/show") as (page, _):
        server = page.get_by_test_id("obs-server")
        await expect(server).to_have_value("rtmp://127.0.0.1:1935/live")
        await page.get_by_role("button", name="WHIP").click()
        await expect(server).to_have_value(str(client.make_url("/whip")))
        await page.get_by_test_id("stream-key").fill("key_typed")
        await expect(page.get_by_test_id("obs-key")).to_have_value("key_typed")


async def test_going_live_without_a_key_asks_for_it(browser: Browser) -> None:
    async with (
        serving() as client,
        opened(browser, client, "/studio/show", locale="en-GB") as (page, _),
    ):
        await expect(page.get_by_test_id("obs-server")).not_to_have_value("")
        await page.get_by_test_id("publish-start").click()
        await expect(page.get_by_test_id("publish-problem")).to_contain_text("stream key first")
        await expect(page.get_by_test_id("stream-key")).to_be_focused()


async def test_the_camera_opens_and_a_server_without_whip_is_said_in_words(
    browser: Browser,
) -> None:
    async with (
        serving() as client,
        opened(browser, client, "/studio/show#key=key_x", locale="en-GB") as (page, wrong),
    ):
        state = page.get_by_test_id("publish-state")
        await page.get_by_role("button", name="Turn on the camera").click()
        await expect(state).to_have_attribute("data-state", "ready")
        assert await page.evaluate("document.getElementById('preview-video').srcObject.active")
        await page.get_by_test_id("publish-start").click()
        await expect(state).to_have_attribute("data-state", "failed")
        await expect(page.get_by_test_id("publish-problem")).to_be_visible()
        assert wrong == []


async def test_where_the_browser_forbids_the_camera_the_studio_leads_to_https(
    browser: Browser,
) -> None:
    async with (
        serving() as client,
        opened(browser, client, "/studio/show#key=a/b", host="show.example", locale="en-GB") as (
            page,
            _,
        ),
    ):
        link = page.get_by_role("link", name="Open over https")
        await expect(link).to_have_attribute(
            "href", "https://show.example:8443/studio/show#key=a%2Fb"
        )
        await expect(page.get_by_test_id("publish-start")).to_be_hidden()


async def test_a_link_is_copied_also_where_the_page_is_not_a_secure_context(
    browser: Browser,
) -> None:
    async with (
        serving() as client,
        opened(browser, client, "/studio/show", host="show.example", locale="en-GB") as (page, _),
    ):
        await expect(page.get_by_test_id("watch-url")).not_to_have_value("")
        await page.get_by_role("region", name="Send viewers here").get_by_role("button").click()
        await expect(page.locator("#toast")).to_have_text("Copied")
        await page.get_by_test_id("stream-key").focus()
        await page.keyboard.press("Control+V")
        url = await page.get_by_test_id("watch-url").input_value()
        await expect(page.get_by_test_id("stream-key")).to_have_value(url)


async def test_those_who_want_less_motion_see_none(browser: Browser) -> None:
    async with (
        serving() as client,
        opened(browser, client, "/watch/show", reduced_motion="reduce") as (page, _),
    ):
        await expect(page.get_by_test_id("status")).not_to_have_text("")
        running = await page.evaluate(
            "document.getAnimations().filter((each) => each.effect.getTiming().duration > 1).length"
        )
        assert running == 0
