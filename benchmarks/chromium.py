"""Chromium for a benchmark: headless, one page, and JavaScript that is run in it.

Spoken to by the DevTools protocol over a WebSocket, of which three commands are used.
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-features=WebRtcHideLocalIpsWithMdns",
    "--autoplay-policy=no-user-gesture-required",
    "--remote-debugging-port=0",
)
LISTENING = "DevTools listening on "
START_S = 30.0
ANSWER_S = 60.0
MESSAGE_BYTES = 16 << 20


class BrowserFailed(Exception):
    """Chromium is not there, does not start, or its page threw something."""


def find() -> str | None:
    """Where Chromium is installed, under one of its usual names."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Page:
    """The one page."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._ids = itertools.count(1)

    async def open(self, url: str) -> None:
        """Go there, and wait until it is loaded; its own policy binds what is run in it no more.

        Raises BrowserFailed.
        """
        await self._command("Page.setBypassCSP", enabled=True)
        await self._command("Page.navigate", url=url)
        await self.run(
            "new Promise((r) => document.readyState === 'complete' ? r() : (onload = r))"
        )

    async def run(self, expression: str) -> Any:
        """What the expression's promise comes to; raises BrowserFailed where it is rejected."""
        answer = await self._command(
            "Runtime.evaluate",
            expression=expression,
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        if "exceptionDetails" in answer:
            thrown = answer["exceptionDetails"].get("exception", {})
            raise BrowserFailed(thrown.get("description") or answer["exceptionDetails"]["text"])
        return answer["result"].get("value")

    async def _command(self, method: str, **params: Any) -> Any:
        number = next(self._ids)
        await self._socket.send_json({"id": number, "method": method, "params": params})
        async with asyncio.timeout(ANSWER_S):
            while True:
                message = await self._socket.receive()
                if message.type is not aiohttp.WSMsgType.TEXT:
                    raise BrowserFailed("Chromium has gone")
                answer = message.json()
                if answer.get("id") == number:
                    break
        if "error" in answer:
            raise BrowserFailed(f"{method}: {answer['error']['message']}")
        return answer["result"]


@asynccontextmanager
async def chromium(executable: str) -> AsyncIterator[Page]:
    """A browser of its own with nothing kept; raises BrowserFailed."""
    with tempfile.TemporaryDirectory(prefix="hawker-chromium-", ignore_cleanup_errors=True) as home:
        process = await asyncio.create_subprocess_exec(
            executable,
            *ARGUMENTS,
            f"--user-data-dir={home}",
            "about:blank",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stderr is not None
        draining: asyncio.Task[bytes] | None = None
        try:
            address = await _address(process.stderr)
            draining = asyncio.create_task(process.stderr.read())
            async with aiohttp.ClientSession() as http:
                url = await _page_url(http, address)
                async with http.ws_connect(url, max_msg_size=MESSAGE_BYTES) as socket:
                    yield Page(socket)
        finally:
            process.terminate()
            await process.wait()
            if draining is not None:
                await draining


async def _address(log: asyncio.StreamReader) -> str:
    """host:port of the DevTools."""
    async with asyncio.timeout(START_S):
        while line := (await log.readline()).decode(errors="replace"):
            if line.startswith(LISTENING):
                return line.removeprefix(LISTENING).split("/")[2]
    raise BrowserFailed("Chromium does not start")


async def _page_url(http: aiohttp.ClientSession, address: str) -> str:
    async with http.get(f"http://{address}/json/list") as reply:
        targets = await reply.json()
    return str(next(each["webSocketDebuggerUrl"] for each in targets if each["type"] == "page"))
