"""Buyers who order and pay with the sandbox's test card, and chatters who hear themselves speak."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Mapping
from typing import Any

import aiohttp

from benchmarks.load.figures import Figures
from benchmarks.load.talks import ActRefused, SocketTalk, Talk
from overlay.events import Event

THINK_S = 1.0  # between two orders of a buyer, the mean of an exponential distribution
CHAT_S = 2.0  # between two lines of a chatter; slower than chat.slow_mode_s allows
TRIES = 2
CARD = {"card": "4242424242424242"}
REFUSALS = ("out_of_stock", "limit_reached", "price_changed")  # of a shop that works
LINES_MAX = 64  # own lines that have not come back yet

NETWORK = (aiohttp.ClientError, OSError, TimeoutError)


class Buyer:
    """Buys one piece again and again, each time pays for it, and asks again with the same key."""

    def __init__(self, talk: Talk, figures: Figures, room: str, sku: str, seed: str) -> None:
        self._talk = talk
        self._figures = figures
        self._room = room
        self._sku = sku
        self._dice = random.Random(seed)

    async def shop_forever(self) -> None:
        while True:
            await self.buy()
            await asyncio.sleep(self._dice.expovariate(1 / THINK_S))

    async def buy(self) -> None:
        """One order with its payment, both counted."""
        lines = [{"sku": self._sku, "qty": 1}]
        answer = await self._act("buy", {"room": self._room, "lines": lines})
        if answer is None:
            return
        self._figures.counts["orders"] += 1
        data = {"order": answer["order"]["id"], "method": CARD}
        if await self._act("pay", data) is not None:
            self._figures.counts["payments"] += 1

    async def _act(self, type: str, data: Mapping[str, Any]) -> Mapping[str, Any] | None:
        command = {**data, "key": secrets.token_hex(8)}
        for left in reversed(range(TRIES)):
            began_at = time.monotonic()
            try:
                answer = await self._talk.act(type, command)
            except ActRefused as refusal:
                if refusal.code in REFUSALS:
                    self._figures.counts["refused"] += 1
                else:
                    self._failed(type, f"{refusal.status or ''} {refusal.code}")
                return None
            except NETWORK as error:
                self._failed(type, type_name(error))
                if not left:
                    return None
            else:
                took_ms = (time.monotonic() - began_at) * 1000
                self._figures.time("order" if type == "buy" else "pay", took_ms)
                return answer
        return None

    def _failed(self, type: str, why: str) -> None:
        self._figures.errors[f"{type} by {self._talk.name}: {why.strip()}"] += 1


class Chatter:
    """Says a line every CHAT_S and measures until it comes back with everybody's."""

    def __init__(self, number: int, figures: Figures) -> None:
        self.talk = SocketTalk(self._on_event)
        self._name = f"load {number} {secrets.token_hex(2)}"
        self._figures = figures
        self._said: dict[str, float] = {}

    async def chat_forever(self) -> None:
        line = 0
        while not self.talk.closed:
            line += 1
            await self.say(f"{self._name} {line}")
            await asyncio.sleep(CHAT_S)
        self._figures.errors["chat: closed by the server"] += 1

    async def say(self, text: str) -> None:
        """Say it, and wait for the server's reply."""
        if len(self._said) < LINES_MAX:
            self._said[text] = time.monotonic()
        try:
            await self.talk.act("chat.send", {"text": text})
        except ActRefused as refusal:
            self._figures.errors[f"chat: {refusal.code}"] += 1
        except NETWORK as error:
            self._figures.errors[f"chat: {type_name(error)}"] += 1
        else:
            self._figures.counts["lines_said"] += 1

    def _on_event(self, event: Event) -> None:
        self._figures.counts["events"] += 1
        if event.type != "chat":
            return
        for message in event.data["messages"]:
            self._figures.counts["lines_heard"] += 1
            said_at = self._said.pop(message["text"], None)
            if said_at is not None:
                self._figures.time("chat", (time.monotonic() - said_at) * 1000)


def type_name(error: BaseException) -> str:
    """What an error of the network is called in the figures."""
    return type(error).__name__
