"""`hawker demo`, as `make run` starts it: a show is on the air before a visitor has done anything."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.e2e.browser import browser, plays, transport
from tests.e2e.server import running


async def test_the_demo_show_is_seen_and_heard_and_the_terminal_says_where(
    tmp_path: Path, chromium: str
) -> None:
    async with running(tmp_path, "http.https_port=0", command="demo") as server:
        await server.live("demo")
        async with browser(chromium) as opened:
            page = await opened.new_page()
            await page.goto(server.url)
            await page.get_by_test_id("live-rooms").get_by_role("link").first.click()
            await transport(page, "webrtc")
            await plays(page)
        said = "".join(server.log)
        for words in (f"{server.url}/watch/demo", "/studio/live#key=", "rtmp://", "https://"):
            assert words in said
        key = next(word for word in said.split() if word.startswith("key_"))
        async with server.http.get(f"{server.url}/v1/rooms/live/publish-info") as reply:
            assert (await reply.json())["rtmp_server"].startswith("rtmp://")
    async with running(tmp_path, command="demo") as again:
        while key not in "".join(again.log):  # OBS stays set up over a restart
            await asyncio.sleep(0.05)
