"""Buyers over data channels that are cut; what was cut is asked again over HTTP.

A cut ends the session in the middle of whatever it does, without a word; in half of the cases the buyer
has heard nothing for a moment before, so that the server has done what was asked and the answer is
lost. Each buy keeps its key over both ways.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from benchmarks.ledger.buyers import ENDLESS, HOT
from benchmarks.load.figures import Figures
from benchmarks.load.talks import ActRefused, ChannelTalk, HttpTalk
from benchmarks.load.viewer import LoadViewer
from benchmarks.webrtc_client import Refused
from mediaserver.rtc.dtls import Certificate

AT_ONCE = 4  # buys of one session under way
DEAF_S = 0.03  # at most, before a cut
WITHIN_S = 0.02  # at most, from the beginning of a buy to the cut
PAUSE_S = 0.1
TRIES_MAX = 300
HOT_SHARE = 0.1
AGAIN = ("rate_limited", "busy", "store_unavailable", "outcome_unknown", "orders_per_minute")
NETWORK = (aiohttp.ClientError, OSError, TimeoutError)  # also a TimeoutError of asyncio


@dataclass(slots=True)
class Book:
    """What all buyers did. `asked` {key: sub}, `told` {key: order}."""

    asked: dict[str, str] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)
    cuts: int = 0
    by_channel: int = 0
    by_http: int = 0
    refused: int = 0


class CutViewer(LoadViewer):
    """A viewer whose line can be cut."""

    async def cut(self) -> None:
        """Leave without goodbye."""
        self._path.close()
        if self._transport is not None:
            self._transport.abort()
        await self.close()

    def deafen(self) -> None:
        """Nothing that comes is heard any more; what is sent still goes."""
        self.drop = lambda data: True


class ChannelBuyer:
    """A buyer with one session after the other; `numbers` are the buys of all, `cut_at` are cut."""

    def __init__(
        self,
        sub: str,
        token: str,
        urls: tuple[str, str],
        http: aiohttp.ClientSession,
        certificate: Certificate,
        numbers: Iterator[int],
        cut_at: frozenset[int],
        book: Book,
        dice: random.Random,
    ) -> None:
        """`urls`: of the server, and of its WHEP."""
        self._sub, self._token, self._http = sub, token, http
        self._url, self._whep = urls
        self._certificate = certificate
        self._numbers, self._cut_at = numbers, cut_at
        self._book, self._dice = book, dice
        self._by_http = HttpTalk(http, self._url, token)
        self._gone = asyncio.Event()

    async def shop(self) -> None:
        """Until all are bought."""
        while (number := next(self._numbers, None)) is not None:
            await self._session(number)

    async def _session(self, first: int) -> None:
        viewer = CutViewer(self._certificate, figures=Figures())
        self._gone = asyncio.Event()
        try:
            await viewer.watch(self._http, self._whep, self._token)
            talk = ChannelTalk(viewer, lambda event: None)
            await talk.opened()
        except (*NETWORK, Refused):
            await viewer.cut()
            await self._buy(first, None)  # over HTTP alone
            return
        try:
            firsts = [first, *(None for _ in range(AT_ONCE - 1))]
            await asyncio.gather(*(self._buys(each, talk, viewer) for each in firsts))
        finally:
            await viewer.cut()

    async def _buys(self, number: int | None, talk: ChannelTalk, viewer: CutViewer) -> None:
        while not self._gone.is_set():
            if number is None and (number := next(self._numbers, None)) is None:
                return
            cutting = asyncio.create_task(self._cut(viewer)) if number in self._cut_at else None
            await self._buy(number, talk)
            if cutting is not None:
                await cutting
            number = None

    async def _cut(self, viewer: CutViewer) -> None:
        await asyncio.sleep(self._dice.uniform(0, WITHIN_S))
        if self._dice.random() < 0.5:
            viewer.deafen()
            await asyncio.sleep(self._dice.uniform(0, DEAF_S))
        self._gone.set()
        await viewer.cut()
        self._book.cuts += 1

    async def _buy(self, number: int, talk: ChannelTalk | None) -> None:
        key = f"buy-{number}"
        self._book.asked[key] = self._sub
        sku = HOT if self._dice.random() < HOT_SHARE else ENDLESS
        order = {"lines": [{"sku": sku, "qty": 1}], "key": key}
        for _ in range(TRIES_MAX):
            channel = None if self._gone.is_set() else talk
            try:
                answer = await self._ask(channel, order)
            except ActRefused as refusal:
                if refusal.code not in AGAIN:
                    self._book.refused += 1
                    return
            except NETWORK:
                talk = None
            else:
                self._book.told[key] = answer["order"]["id"]
                if channel is None:
                    self._book.by_http += 1
                else:
                    self._book.by_channel += 1
                return
            await asyncio.sleep(PAUSE_S if channel is not None else PAUSE_S * self._dice.random())
        raise TimeoutError(f"{key} is not answered")

    async def _ask(self, talk: ChannelTalk | None, order: dict[str, Any]) -> Any:
        if talk is None:
            return await self._by_http.act("buy", order)
        asking = asyncio.create_task(talk.act("buy", order))
        gone = asyncio.create_task(self._gone.wait())
        await asyncio.wait({asking, gone}, return_when=asyncio.FIRST_COMPLETED)
        gone.cancel()
        if asking.done():
            return asking.result()
        asking.cancel()
        raise ConnectionError("the line was cut")
