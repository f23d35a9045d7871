"""The connection check in Chromium: which ways to a real server work, and what mends the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.e2e.browser import PATIENCE_S, POLL_S, browser
from tests.e2e.server import Server, program, rtmp, running

DONE_MS = 20_000
WITHOUT_UDP = """
const set = RTCPeerConnection.prototype.setRemoteDescription;
RTCPeerConnection.prototype.setRemoteDescription = function ({ type, sdp }) {
  return set.call(this, { type, sdp: sdp.replaceAll(/( udp \\d+) 127.0.0.1 /g, "$1 127.0.0.9 ") });
};"""
LINES = ("server", "codecs", "udp", "tcp", "dtls", "channel", "events", "hls", "secure", "clock")


@asynccontextmanager
async def examined(chromium: str, server: Server) -> AsyncIterator[Page]:
    """The page once it has looked at everything; nothing went wrong in it."""
    wrong: list[str] = []
    async with browser(chromium) as opened:
        page = await (await opened.new_context(locale="en-GB")).new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        await page.goto(f"{server.url}/doctor")
        await done(page)
        yield page
    assert wrong == []


async def done(page: Page) -> None:
    await expect(page.get_by_test_id("doctor-copy")).to_be_enabled(timeout=DONE_MS)


async def on_hls(server: Server) -> None:
    """Wait until the room has its first segment."""
    async with asyncio.timeout(PATIENCE_S):
        while (await server.http.get(f"{server.url}/hls/show/index.m3u8")).status != 200:
            await asyncio.sleep(POLL_S)


async def levels(page: Page) -> dict[str, str | None]:
    return {
        each: await page.get_by_test_id(f"doctor-{each}").get_attribute("data-level")
        for each in LINES
    }


async def test_all_ways_work_to_a_server_on_this_machine_with_a_show_on(
    tmp_path: Path, chromium: str, ffmpeg: str
) -> None:
    async with running(tmp_path) as server:
        key = await server.room()
        async with program(*rtmp(ffmpeg, server, key)):
            await server.live()
            await on_hls(server)
            async with examined(chromium, server) as page:
                assert await levels(page) == dict.fromkeys(LINES, "ok")
                udp = page.get_by_test_id("doctor-udp")
                await expect(udp).to_contain_text(f"127.0.0.1:{server.udp_port} answers in")
                tcp = page.get_by_test_id("doctor-tcp")
                await expect(tcp).to_contain_text(f"127.0.0.1:{server.udp_port} answers in")
                verdict = page.get_by_test_id("doctor-verdict")
                await expect(verdict).to_contain_text("less than a second behind")
                await expect(verdict).to_contain_text("go live from this browser")


async def test_an_address_that_nobody_reaches_is_not_working_and_the_fix_names_the_right_one(
    tmp_path: Path, chromium: str
) -> None:
    async with running(tmp_path, 'webrtc.public_addresses=["127.0.0.9"]') as server:
        await server.room()
        async with examined(chromium, server) as page:
            udp = page.get_by_test_id("doctor-udp")
            await expect(udp).to_have_attribute("data-level", "bad")
            await expect(udp).to_contain_text(f"127.0.0.9:{server.udp_port} doesn’t answer")
            await expect(udp).to_contain_text('set webrtc.public_addresses to ["127.0.0.1"]')
            found = await levels(page)
            assert found["tcp"] == "bad"
            assert [found[each] for each in ("dtls", "channel", "events")] == ["skip", "skip", "ok"]
            verdict = page.get_by_test_id("doctor-verdict")
            await expect(verdict).to_contain_text("only HLS gets through")


async def test_of_two_addresses_one_is_enough_and_the_silent_one_is_named(
    tmp_path: Path, chromium: str
) -> None:
    addresses = 'webrtc.public_addresses=["127.0.0.9", "127.0.0.1"]'
    async with running(tmp_path, addresses) as server, examined(chromium, server) as page:
        udp = page.get_by_test_id("doctor-udp")
        await expect(udp).to_have_attribute("data-level", "ok")
        await expect(udp).to_contain_text("at 1 of its 2 addresses")
        await expect(udp).to_contain_text(f"127.0.0.9:{server.udp_port} doesn’t answer")
        await expect(page.get_by_test_id("doctor-events")).to_have_attribute("data-level", "skip")


async def test_where_tcp_alone_gets_through_shows_are_live_and_the_fix_is_for_udp(
    tmp_path: Path, chromium: str
) -> None:
    async with running(tmp_path) as server:
        await server.room()
        async with browser(chromium) as opened:
            page = await (await opened.new_context(locale="en-GB")).new_page()
            # as in a network that lets no UDP out
            await page.add_init_script(WITHOUT_UDP)
            await page.goto(f"{server.url}/doctor")
            await done(page)
            found = await levels(page)
            assert [found[each] for each in ("udp", "tcp", "dtls", "channel")] == [
                *("warn", "ok", "ok", "ok")
            ]
            await expect(page.get_by_test_id("doctor-udp")).to_contain_text("let UDP port")
            verdict = page.get_by_test_id("doctor-verdict")
            await expect(verdict).to_contain_text("less than a second behind")


async def test_every_address_of_both_families_is_named_with_what_came_of_it(
    tmp_path: Path, chromium: str
) -> None:
    addresses = 'webrtc.public_addresses=["127.0.0.1", "2001:db8::9"]'
    async with running(tmp_path, addresses) as server, examined(chromium, server) as page:
        for each in ("udp", "tcp"):
            line = page.get_by_test_id(f"doctor-{each}")
            await expect(line).to_have_attribute("data-level", "ok")
            await expect(line).to_contain_text(f"127.0.0.1:{server.udp_port} answers")
            await expect(line).to_contain_text(f"[2001:db8::9]:{server.udp_port} doesn’t answer")


async def test_a_server_that_has_gone_is_said_and_checked_again_by_the_button(
    tmp_path: Path, chromium: str
) -> None:
    async with running(tmp_path) as server, examined(chromium, server) as page:
        await page.context.set_offline(True)
        await page.get_by_test_id("doctor-again").click()
        await done(page)
        await expect(page.get_by_test_id("doctor-server")).to_have_attribute("data-level", "bad")
        verdict = page.get_by_test_id("doctor-verdict")
        await expect(verdict).to_contain_text("can’t be reached")
        away = {each: level for each, level in (await levels(page)).items() if level == "skip"}
        assert away.keys() == {"udp", "tcp", "dtls", "channel", "events", "hls", "clock"}
        await page.context.set_offline(False)
        await page.get_by_test_id("doctor-again").click()
        await done(page)
        await expect(page.get_by_test_id("doctor-server")).to_have_attribute("data-level", "ok")


@pytest.mark.parametrize("language", ["en", "zh"])
async def test_the_report_is_copied_with_every_line_and_without_the_rest_of_the_address(
    tmp_path: Path, chromium: str, language: str
) -> None:
    async with running(tmp_path) as server, browser(chromium) as opened:
        context = await opened.new_context(permissions=["clipboard-read", "clipboard-write"])
        page = await context.new_page()
        await page.goto(f"{server.url}/doctor?lang={language}&token=secret")
        await done(page)
        await page.get_by_test_id("doctor-copy").click()
        await expect(page.locator("#toast")).not_to_have_text("")
        report = await page.evaluate("navigator.clipboard.readText()")
        assert report.count("\n[") == len(LINES)
        assert server.url in report and "secret" not in report
        assert f"127.0.0.1:{server.udp_port}" in report
