"""What a host sees and decides in the studio while on the air: quality, access, scheduled files."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.e2e.browser import browser
from tests.e2e.server import Server, program, rtmp, running, source, x264
from tests.e2e.test_studio import sign_in, studio, visit
from tests.ingest import test_channel
from tests.pages.pages import LANGUAGES
from tests.pages.test_in_chromium import OVERFLOWING, SIZES, SMALL_TARGETS, UNNAMED

WAIT_MS = 20_000

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory, ffmpeg: str) -> AsyncIterator[Server]:
    data = tmp_path_factory.mktemp("hosting")
    media = data / "media"
    media.mkdir()
    codecs = test_channel.x264("-bf", "0")
    for name in ("first.mp4", "second.mp4"):
        test_channel.film(ffmpeg, media / name, seconds=3.0, codecs=codecs)
    async with running(data) as started:
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chrome(chromium: str) -> AsyncIterator[Browser]:
    async with browser(chromium) as opened:
        yield opened


async def test_the_host_sees_figures_and_loudness_and_then_that_the_slate_is_shown(
    server: Server, chrome: Browser, ffmpeg: str
) -> None:
    key = await server.room("figures")
    async with visit(chrome, f"{server.url}/studio/figures") as page:
        await sign_in(page)
        async with program(*rtmp(ffmpeg, server, key, gop=30)) as publisher:
            quality = page.get_by_test_id("quality")
            await expect(quality).to_contain_text("Main", timeout=WAIT_MS)
            await expect(quality).to_contain_text("every 1.0 s", timeout=WAIT_MS)
            await expect(quality).to_contain_text(re.compile(r"\d kbit/s|\d Mbit/s"))
            meter = page.get_by_role("meter", name="Loudness")
            await expect(meter).to_have_attribute(
                "aria-valuetext",
                re.compile(r"-\d\d LUFS now, -\d\d over a minute"),
                timeout=WAIT_MS,
            )
            publisher.kill()
        state = page.get_by_text("Viewers see the slate: waiting for you to come back.")
        await expect(state).to_be_visible(timeout=WAIT_MS)
        await expect(page.get_by_test_id("loudness")).to_be_hidden()
        await expect(quality).to_contain_text("Slate")


async def test_a_notice_is_there_as_soon_as_the_server_has_found_it(
    server: Server, chrome: Browser, ffmpeg: str
) -> None:
    key = await server.room("noticed")
    async with visit(chrome, f"{server.url}/studio/noticed") as page:
        await sign_in(page)
        await page.evaluate("() => { window.setTimeout = () => 0; }")  # asks no more by itself
        mute = [*source(ffmpeg)[:-5], *x264(), "-an", "-f", "flv"]
        async with program(*mute, f"{server.ready['rtmp']}/{key}"):
            notice = page.locator("li[data-code=NoAudio]")
            await expect(notice).to_contain_text("viewers hear nothing", timeout=WAIT_MS)
            await page.get_by_role("button", name="中文").click()
            await expect(notice).to_contain_text("观众听不到")


async def test_a_rehearsal_is_watched_by_staff_with_their_link_and_by_nobody_else(
    server: Server, chrome: Browser, ffmpeg: str
) -> None:
    key = await server.room("rehearsing")
    async with (
        visit(chrome, f"{server.url}/studio/rehearsing") as page,
        program(*rtmp(ffmpeg, server, key, gop=30)),
    ):
        access = page.get_by_test_id("access")
        await expect(access).to_contain_text("Everyone with this link can watch.")
        await expect(access.get_by_role("button")).to_have_count(0)
        await sign_in(page)
        await access.get_by_role("button", name="Rehearsal").click()
        await expect(access).to_contain_text("only staff can come in")
        assert (await server.api("GET", "/v1/rooms/rehearsing"))["access"] == "rehearsal"
        await server.live("rehearsing")
        await access.get_by_role("button", name="Copy a link for staff").click()
        link = page.get_by_label("Link for staff")
        await expect(link).to_have_value(re.compile("/watch/rehearsing#token="))
        async with visit(chrome, await link.input_value()) as watching:
            await plays(watching)
        async with visit(chrome, f"{server.url}/watch/rehearsing") as stranger:
            await expect(stranger.get_by_text("By invitation").first).to_be_visible()
        await heard(page)
        token = await server.viewer("crew", "rehearsing", name="Lin", role="host")
        url = f"{server.url}/v1/rooms/rehearsing/events?token={token}"
        async with server.http.ws_connect(url, protocols=("hawker.v1.json",)) as line:
            await line.send_json({"rid": 1, "t": "chat.send", "d": {"text": "Camera two?"}})
            await expect(page.get_by_test_id("chat-log")).to_contain_text("Camera two?")
        await access.get_by_role("button", name="Everyone").click()
        await expect(access).to_contain_text("Everyone with this link can watch.")


async def test_files_are_put_in_order_played_watched_and_stopped(
    server: Server, chrome: Browser
) -> None:
    async with studio(chrome, server, "films") as page:
        card = page.get_by_test_id("channel")
        await expect(card).to_contain_text("Nothing is planned.")
        await card.get_by_role("button", name="Play the list").click()
        await expect(card).to_contain_text("Add a file to the list first.")
        for name in ("first.mp4", "second.mp4", "first.mp4"):
            await card.get_by_label("File", exact=True).select_option(name)
            await card.get_by_role("button", name="Add to the list").click()
        await card.get_by_role("button", name="Earlier: second.mp4").press("Enter")
        await expect(card.get_by_role("button", name="Take out: second.mp4")).to_be_focused()
        await card.get_by_role("button", name="Take out: first.mp4").last.click()
        await expect(page.get_by_test_id("channel-list").get_by_role("listitem")).to_have_text(
            [re.compile("second.mp4"), re.compile("first.mp4")]
        )
        await card.get_by_label("Again from the start").check()
        await card.get_by_role("button", name="Play the list").click()
        await expect(card).to_contain_text(
            re.compile(r"Plays \w+\.mp4 \(\d of 2\)"), timeout=WAIT_MS
        )
        await expect(page.get_by_test_id("quality")).to_contain_text("Files", timeout=WAIT_MS)
        planned = await server.api("GET", "/v1/rooms/films/channel")
        assert (planned["files"], planned["loop"]) == (["second.mp4", "first.mp4"], True)
        await card.get_by_role("button", name="Stop the files").click()
        await expect(card).to_contain_text("Nothing is planned.")
        await card.get_by_label("Starts at").fill("2031-05-01T20:15")
        await card.get_by_role("button", name="Play the list").click()
        await expect(card).to_contain_text("Starts May 1, 2031, 8:15 PM")
        await card.get_by_role("button", name="Stop the files").click()


@pytest.mark.parametrize("language", LANGUAGES)
async def test_the_panels_fit_every_screen_in_every_language(
    language: str, server: Server, chrome: Browser, ffmpeg: str
) -> None:
    room = f"hosting-{language}"
    key = await server.room(room)
    async with (
        program(*rtmp(ffmpeg, server, key)),
        visit(chrome, f"{server.url}/studio/{room}") as page,
    ):
        await sign_in(page)
        await page.goto(f"{server.url}/studio/{room}?lang={language}")
        await page.locator("#channel-add").click()
        await page.locator("[data-access=rehearsal]").click()
        await page.locator("#access-link").click()
        await expect(page.get_by_test_id("access-link-url")).to_be_visible()
        await expect(page.get_by_test_id("loudness")).to_be_visible(timeout=WAIT_MS)
        for name, (width, height) in SIZES.items():
            await page.set_viewport_size({"width": width, "height": height})
            assert await page.evaluate(OVERFLOWING) == [], name
            assert await page.evaluate(SMALL_TARGETS) == [], name
        assert await page.evaluate(UNNAMED) == []


async def heard(page: Page) -> None:
    """Open the page anew, until it hears its room."""
    told = asyncio.Event()
    page.on("websocket", lambda line: line.on("framereceived", lambda _: told.set()))
    await page.reload()
    await asyncio.wait_for(told.wait(), WAIT_MS / 1000)


async def plays(page: Page) -> None:
    moving = "() => document.querySelector('video').currentTime > 1"
    await page.wait_for_function(moving, timeout=WAIT_MS)
