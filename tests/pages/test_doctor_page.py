"""The connection check in Chromium, served without the API, and in browsers that lack something."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright, expect

from tests.pages.pages import LANGUAGES, PAGES, Client, evaluate, serving

SIZES = {"small phone": (360, 640), "phone": (390, 844), "wide": (1280, 800)}
ELSEWHERE = "--host-resolver-rules=MAP show.example 127.0.0.1"  # not a secure context
WIDER_THAN_THE_SCREEN = """() => [...document.querySelectorAll("body *")]
  .filter((each) => each.checkVisibility() && !each.closest(".visually-hidden"))
  .filter((each) => each.getBoundingClientRect().right > innerWidth + 1)
  .map((each) => each.outerHTML.slice(0, 200))"""

NO_WEBRTC = "delete window.RTCPeerConnection;"
NO_H264 = """
  const all = RTCRtpReceiver.getCapabilities.bind(RTCRtpReceiver);
  RTCRtpReceiver.getCapabilities = (kind) => {
    const codecs = all(kind).codecs.filter(({ mimeType }) => mimeType !== "video/H264");
    return { ...all(kind), codecs };
  };"""
AN_HOUR_AHEAD = "const now = Date.now; Date.now = () => now() + 3600_000;"
NO_MEDIA_SOURCE = """
  delete window.MediaSource;
  delete window.ManagedMediaSource;"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(chromium: str) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(
            executable_path=chromium, headless=True, args=["--no-sandbox", ELSEWHERE]
        )
        yield launched
        await launched.close()


@asynccontextmanager
async def examined(
    browser: Browser,
    client: Client,
    *,
    lacking: str = "",
    host: str = "127.0.0.1",
    language: str = "en",
) -> AsyncIterator[Page]:
    """The page when it has looked at everything; no exception and no breach of the policy."""
    wrong: list[str] = []
    visit = await browser.new_context()
    try:
        page = await visit.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on(
            "console",
            lambda said: wrong.append(said.text) if "Security Policy" in said.text else None,
        )
        await page.add_init_script(lacking)
        await page.goto(f"{client.make_url('/doctor').with_host(host)}?lang={language}")
        await expect(page.get_by_test_id("doctor-copy")).to_be_enabled(timeout=20_000)
        yield page
        assert wrong == []
    finally:
        await visit.close()


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("language", LANGUAGES)
async def test_the_check_fits_every_screen_in_every_language(
    language: str, browser: Browser
) -> None:
    async with (
        serving() as client,
        examined(browser, client, host="show.example", language=language) as page,
    ):
        for name, (width, height) in SIZES.items():
            await page.set_viewport_size({"width": width, "height": height})
            assert await page.evaluate(WIDER_THAN_THE_SCREEN) == [], name


@pytest.mark.asyncio(loop_scope="module")
async def test_the_lines_change_with_the_language_and_nothing_is_asked_again(
    browser: Browser,
) -> None:
    async with serving() as client, examined(browser, client) as page:
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        server = page.get_by_test_id("doctor-server")
        await expect(server).to_contain_text("Answers over http in")
        await page.get_by_role("button", name="中文").click()
        await expect(server).to_contain_text("毫秒响应")
        await expect(page.get_by_test_id("doctor-again")).to_have_text("重新检测")
        assert [url for url in asked if "/v1/" in url] == []


@pytest.mark.asyncio(loop_scope="module")
async def test_a_page_that_is_not_secure_is_led_to_https_for_the_camera(browser: Browser) -> None:
    async with serving() as client, examined(browser, client, host="show.example") as page:
        secure = page.get_by_test_id("doctor-secure")
        await expect(secure).to_have_attribute("data-level", "warn")
        await expect(secure).to_contain_text("https://show.example:8443")
    async with (
        serving(https_origin=None) as client,
        examined(browser, client, host="show.example") as page,
    ):
        await expect(page.get_by_test_id("doctor-secure")).to_contain_text("OBS works without")


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("lacking", "line", "level", "words"),
    [
        (NO_WEBRTC, "codecs", "bad", "This browser has no WebRTC"),
        (NO_WEBRTC, "udp", "skip", "Needs WebRTC"),
        (NO_H264, "codecs", "bad", "can’t decode H.264 over WebRTC"),
        (NO_MEDIA_SOURCE, "hls", "bad", "can’t play HLS"),
        (AN_HOUR_AHEAD, "clock", "warn", "ahead of the server’s"),
    ],
)
async def test_what_a_browser_lacks_is_said_with_the_fix(
    lacking: str, line: str, level: str, words: str, browser: Browser
) -> None:
    async with serving() as client, examined(browser, client, lacking=lacking) as page:
        found = page.get_by_test_id(f"doctor-{line}")
        await expect(found).to_have_attribute("data-level", level)
        await expect(found).to_contain_text(words)
        await expect(found.locator(".fix")).to_be_visible(visible=level != "skip")


@pytest.mark.asyncio(loop_scope="module")
async def test_a_server_that_opens_no_session_and_has_no_hls_js_is_told_by_its_answers(
    browser: Browser,
) -> None:
    async with serving() as client, examined(browser, client) as page:
        udp, hls = page.get_by_test_id("doctor-udp"), page.get_by_test_id("doctor-hls")
        await expect(udp).to_contain_text("couldn’t open a session")
        await expect(hls).to_contain_text("has no hls.js")
        await expect(page.get_by_test_id("doctor-verdict")).to_contain_text("can’t be played here")


async def test_the_page_may_not_use_the_camera_itself() -> None:
    async with serving() as client:
        reply = await client.get("/doctor")
        assert reply.status == 200 and reply.content_type == "text/html"
        assert "camera=()" in reply.headers["Permissions-Policy"]


def test_the_servers_addresses_are_read_from_its_answer_each_once(node: str) -> None:
    lines = [
        "a=candidate:1 1 udp 2130706431 203.0.113.5 40000 typ host",
        "a=candidate:2 1 UDP 2130706175 10.0.0.1 40000 typ host",
        "a=candidate:1 1 udp 2130706431 203.0.113.5 40000 typ host",
        "a=candidate:3 1 udp 2130706431 2001:db8::5 40000 typ host",
        "a=candidate:4 1 tcp 1520435199 2001:db8::5 40000 typ host tcptype passive",
        "a=end-of-candidates",
    ]
    program = f"""
      import {{ candidatesOf }} from "PAGES/js/doctor/trial.js";
      const sdp = {json.dumps(chr(10).join(lines))};
      console.log(JSON.stringify([candidatesOf(sdp, "udp"), candidatesOf(sdp, "tcp")]));"""
    udp, tcp = ([each["address"] for each in found] for found in evaluate(node, program))
    assert udp == ["203.0.113.5:40000", "10.0.0.1:40000", "[2001:db8::5]:40000"]
    assert tcp == ["[2001:db8::5]:40000"]


@pytest.mark.parametrize(
    ("lines", "watching", "hosting"),
    [
        ({}, "doctor_watch_live", "doctor_host_ok"),
        ({"udp": "warn", "clock": "warn"}, "doctor_watch_live", "doctor_host_ok"),
        ({"secure": "warn"}, "doctor_watch_live", "doctor_host_https"),
        ({"codecs": "bad"}, "doctor_watch_hls", "doctor_host_ok"),
        ({"udp": "warn", "tcp": "warn"}, "doctor_watch_live", "doctor_host_ok"),
        ({"udp": "skip", "tcp": "ok"}, "doctor_watch_live", "doctor_host_ok"),
        ({"udp": "bad", "tcp": "bad", "dtls": "skip"}, "doctor_watch_hls", "doctor_host_obs"),
        ({"dtls": "bad"}, "doctor_watch_hls", "doctor_host_obs"),
        (
            {"udp": "bad", "tcp": "bad", "dtls": "skip", "hls": "bad"},
            "doctor_watch_none",
            "doctor_host_obs",
        ),
        ({"server": "bad"}, "doctor_watch_unreachable", None),
    ],
)
def test_the_verdict_follows_from_the_lines(
    lines: dict[str, str], watching: str, hosting: str | None, node: str
) -> None:
    all_ok = dict.fromkeys(
        ("server", "codecs", "udp", "tcp", "dtls", "hls", "secure", "clock"), "ok"
    )
    found = {each: {"level": level, "what": ""} for each, level in (all_ok | lines).items()}
    said = evaluate(
        node,
        f"""import {{ verdict }} from "PAGES/js/doctor/verdict.js";
        console.log(JSON.stringify(verdict({json.dumps(found)})));""",
    )
    assert (said["watching"], said["hosting"]) == (watching, hosting)


def test_the_lobby_leads_to_the_check() -> None:
    assert 'href="/doctor"' in (PAGES / "lobby.html").read_text("utf-8")
