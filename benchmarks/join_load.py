"""Viewers that join when told to, a few at a time, and stay."""

from __future__ import annotations

import asyncio

import aiohttp

from benchmarks.loads import Commands
from benchmarks.visitor import Visitor
from mediaserver.rtc.dtls import Certificates

AT_ONCE = 8


async def join(commands: Commands, url: str, data: bool) -> None:
    """On each number that many more join `url` (`…/whep/room`); the answer says that they are in.

    In is who has shaken hands, and with data channels has heard the first event.
    """
    certificate = Certificates().current()
    staying: list[Visitor] = []
    async with aiohttp.ClientSession() as http:

        async def one(coming: list[Visitor]) -> None:
            while coming:
                visitor = coming.pop()
                await visitor.watch(http, url, data=data)
                if data:
                    await visitor.heard("hello")

        commands.answer("ready")
        while True:
            coming = [Visitor(certificate) for _ in range(int(await commands.next()))]
            staying += coming
            await asyncio.gather(*(one(coming) for _ in range(AT_ONCE)))
            commands.answer(len(staying))
