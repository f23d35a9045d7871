"""The viewers of one process of `hawker bench cards`: listeners that lose datagrams each way."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import aiohttp

from benchmarks.company import TICK_S, Company
from benchmarks.cores import stay_on
from benchmarks.listener import Listener
from benchmarks.loads import Commands


@dataclass(frozen=True, slots=True)
class Heard:
    """By card: the kernel's stamps, UTC in ns, of those who have it."""

    stamps: dict[str, list[int]]
    asked: int  # refills
    messages: int


async def listen(
    commands: Commands, url: str, cores: set[int], joins_per_s: float, loss: float, seed: str
) -> None:
    """As `company.watch`; also told `lossy`, `calm`, and `heard`."""
    stay_on(cores)
    async with aiohttp.ClientSession() as http:
        await Hall(http, url, joins_per_s, loss, seed).obey(commands)


class Hall(Company):
    """Listeners of one room on one loop."""

    def __init__(
        self, http: aiohttp.ClientSession, url: str, joins_per_s: float, loss: float, seed: str
    ) -> None:
        super().__init__(http, url, joins_per_s, data=True)
        self._loss = loss
        self._seed = seed
        self._listeners: list[Listener] = []

    def new(self, number: int) -> Listener:
        listener = Listener(self.certificate, loss=self._loss, seed=f"{self._seed} {number}")
        self._listeners.append(listener)
        return listener

    def answer(self, command: list[str]) -> Any:
        match command:
            case ["lossy" | "calm" as how]:
                for each in self._listeners:
                    each.lossy = how == "lossy"
            case ["heard"]:
                return self._heard()
        return super().answer(command)

    async def report_forever(self) -> None:
        ticking = asyncio.create_task(self._tick_forever())
        try:
            await super().report_forever()
        finally:
            ticking.cancel()

    async def _tick_forever(self) -> None:
        while True:
            now = time.monotonic()
            for each in self._listeners:
                each.tick(now)
            await asyncio.sleep(TICK_S)

    def _heard(self) -> Heard:
        stamps: dict[str, list[int]] = {}
        for each in self._listeners:
            for card, stamp_ns in each.heard.items():
                stamps.setdefault(card, []).append(stamp_ns)
        asked = sum(each.asked for each in self._listeners)
        return Heard(stamps, asked, sum(each.messages for each in self._listeners))
