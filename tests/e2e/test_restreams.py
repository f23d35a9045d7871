"""Restreaming from the studio: ffmpeg publishes, Hawker pushes to nginx-rtmp, the host watches."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.async_api import Page, expect

from tests.e2e.browser import browser
from tests.e2e.server import Server, program, rtmp, running
from tests.e2e.test_studio import sign_in, visit
from tests.egress.nginx_rtmp import free_port, platform, recorded
from tests.pages.test_in_chromium import OVERFLOWING, SMALL_TARGETS, UNNAMED

KEY = "their-secret-stream-key"
WAIT_MS = 20_000


async def test_the_host_adds_watches_stops_and_deletes_a_platform(
    tmp_path: Path, chromium: str, ffmpeg: str
) -> None:
    port = free_port()
    async with (
        platform(tmp_path / "theirs", port),
        running(tmp_path / "data", "restream.allow_private=true") as server,
        browser(chromium) as chrome,
    ):
        key = await server.room("show")
        async with (
            program(*rtmp(ffmpeg, server, key, gop=30)),
            visit(chrome, f"{server.url}/studio/show") as page,
        ):
            await sign_in(page)
            await add(page, f"rtmp://127.0.0.1:{port}/live")
            row = page.get_by_test_id("restream-list").get_by_role("listitem")
            await expect(row).to_contain_text(
                re.compile(r"Live[\s\S]*\d\.\d\d Mbit/s"), timeout=WAIT_MS
            )
            await expect(row).to_contain_text("key …-key")
            assert KEY not in await page.content()
            for script in (OVERFLOWING, SMALL_TARGETS, UNNAMED):
                assert await page.evaluate(script) == []
            await page.get_by_role("button", name="中文").click()
            await expect(row).to_contain_text("推送中")
            await row.get_by_role("button", name="停止").click()
            await expect(row).to_contain_text("已停止")
            page.on("dialog", lambda dialog: dialog.accept())
            await row.get_by_role("button", name="删除").click()
            await expect(page.get_by_text("还没有添加。")).to_be_visible()
        assert not server.logged(KEY)
        await told(server)
    kinds = {kind for kind, _, _ in recorded(tmp_path / "theirs", KEY)[0]}
    assert kinds >= {8, 9}


async def add(page: Page, url: str) -> None:
    card = page.get_by_test_id("restreams")
    await card.get_by_role("button", name="Add", exact=True).click()
    await card.get_by_label("Name").fill("Their channel")
    await card.get_by_label("Server").fill(url)
    await card.get_by_label("Stream key", exact=True).fill(KEY)
    await card.get_by_role("button", name="Add and start").click()


async def told(server: Server) -> None:
    """The audit log names every act, and no key."""
    entries = (await server.api("GET", "/v1/audit"))["items"]
    acts = [each for each in entries if each["act"] == "restreams.write"]
    assert len(acts) == 3 and all(each["wrote"] == ["restreams/show"] for each in acts)
    assert KEY not in str(entries)
