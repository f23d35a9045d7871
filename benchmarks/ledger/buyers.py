"""Buyers over HTTP who remember what they were told, and ask again until they are answered."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Protocol

import aiohttp

HOT, ENDLESS = "hot", "endless"
STOCKED = {HOT: 60, ENDLESS: 1_000_000}
PRICE = {"amount": 1990, "currency": "CNY"}
ANSWER_S = 5.0
AGAIN_S = 0.1
TRIES_MAX = 600  # a minute without an answer: the server does not come back
CARDS = (
    *("4242424242424242",) * 6,
    "4000000000000002",
    "4000000000000119",
    "4000000000000259",
    "4000000000000408",
)
UNPAID, CANCELLED = 0.2, 0.1
ROOM = "show"


class Host(Protocol):
    url: str
    admin_token: str


class Buyers:
    """`asked` {order key: sub}; `told` {key: the id that was acknowledged}, of orders and payments."""

    def __init__(self, server: Host, number: int, seed: int) -> None:
        self._server = server
        self._number = number
        self._dice = random.Random(seed)
        self._stop = False
        self._tasks: list[asyncio.Task[None]] = []
        self.asked: dict[str, str] = {}
        self.told: dict[str, str] = {}
        self.answered = 0
        self.asked_again = 0

    async def __aenter__(self) -> Buyers:
        timeout = aiohttp.ClientTimeout(total=ANSWER_S)
        self._http = aiohttp.ClientSession(timeout=timeout)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._http.close()

    async def open(self) -> None:
        """Put the goods on the shelf, and begin to buy."""
        admin = self._server.admin_token
        await self._ask("/v1/rooms", admin, {"id": ROOM, "title": "Show"})
        skus = [{"sku": sku, "price": PRICE, "stock": n} for sku, n in STOCKED.items()]
        await self._ask("/v1/products", admin, {"title": "Cup", "skus": skus})
        for number in range(self._number):
            sub = f"buyer-{number}"
            _, answer = await self._ask("/v1/viewer-tokens", admin, {"room": ROOM, "sub": sub})
            self._tasks.append(asyncio.create_task(self._shop(sub, answer["token"])))

    async def finish(self) -> None:
        """Let everybody end what he is at; raises what went wrong with one."""
        self._stop = True
        await asyncio.gather(*self._tasks)

    async def _shop(self, sub: str, token: str) -> None:
        number = 0
        while not self._stop:
            number += 1
            await self._buy(sub, token, f"{sub}-{number}")

    async def _buy(self, sub: str, token: str, key: str) -> None:
        self.asked[key] = sub
        sku = HOT if self._dice.random() < 0.3 else ENDLESS
        body = {"lines": [{"sku": sku, "qty": 1}]}
        status, order = await self._ask("/v1/orders", token, body, key)
        if status == 409 and order["code"] == "out_of_stock":
            return
        self._remember(key, status, order)
        fate = self._dice.random()
        path = f"/v1/orders/{order['id']}"
        if fate < UNPAID:
            return
        if fate < UNPAID + CANCELLED:
            await self._ask(f"{path}/cancel", token, {}, f"cancel-{key}")
            return
        method = {"method": {"card": self._dice.choice(CARDS)}}
        status, payment = await self._ask(f"{path}/payments", token, method, f"pay-{key}")
        if status == 409 and payment["code"] == "illegal_transition":
            return  # it expired while the server was away
        self._remember(f"pay-{key}", status, payment)

    def _remember(self, key: str, status: int, answer: Mapping[str, Any]) -> None:
        if status >= 300:
            raise ValueError(f"{key}: {status} {answer}")
        self.told[key] = answer["id"]

    async def _ask(
        self, path: str, token: str, body: Mapping[str, Any], key: str | None = None
    ) -> tuple[int, dict[str, Any]]:
        """The answer, however often it takes."""
        headers = {"Authorization": f"Bearer {token}"}
        if key is not None:
            headers["Idempotency-Key"] = key
        url = f"{self._server.url}{path}"
        for _ in range(TRIES_MAX):
            try:
                async with self._http.post(url, json=body, headers=headers) as reply:
                    answer: dict[str, Any] = await reply.json(content_type=None)
                    if reply.status < 500:
                        self.answered += 1
                        return reply.status, answer
            except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
                pass
            self.asked_again += 1
            await asyncio.sleep(AGAIN_S)
        raise TimeoutError(f"{path} is not answered")
