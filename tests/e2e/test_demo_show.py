"""The demo show against the real server: its shop, its cards, its flash sale, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from overlay.demo import words
from overlay.demo.bots import token_of
from overlay.demo.catalogue import ARTICLES, LOW, SALE_ITEM, STOCK, stock_shop
from overlay.demo.client import Client
from overlay.demo.show import SALE_PIECES, SALE_PRICE, Pace, Show
from tests.e2e.server import ADMIN, Server, running

ROOM = "demo"
QUICK = Pace(card_s=1.0, head_start_s=1.0, rush_s=3.0, sold_out_s=0.5)
SALE_AFTER_S = 2.0
POLL_S = 0.05


class Onlooker:
    """A visitor's page: every event of the room, in order."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self._came = asyncio.Event()

    @contextlib.asynccontextmanager
    async def watching(self, server: Server) -> AsyncIterator[None]:
        url = f"{server.url}/v1/rooms/{ROOM}/events"
        async with server.http.ws_connect(url, protocols=["hawker.v1.json"]) as socket:
            reading = asyncio.create_task(self._read(socket))
            yield
            reading.cancel()
            await asyncio.wait([reading])

    async def _read(self, socket: Any) -> None:
        async for message in socket:
            self.events.append(message.json())
            self._came.set()

    def of(self, type: str) -> list[dict[str, Any]]:
        return [event["d"] for event in self.events if event["t"] == type]

    async def until(self, seen: Callable[[], object]) -> None:
        while not seen():
            self._came.clear()
            await self._came.wait()

    def prices(self) -> list[int]:
        return [each["price"]["amount"] for each in self.of("price.changed")]

    def left(self) -> list[int]:
        return [
            each["available"] for each in self.of("stock.changed") if each["sku"] == SALE_ITEM.sku
        ]

    def lines(self) -> list[dict[str, Any]]:
        return [line for batch in self.of("chat") for line in batch["messages"]]


@pytest.mark.timeout(180)
async def test_the_show_fills_its_shop_pins_cards_and_bots_sell_out_what_a_visitor_may_buy_first(
    tmp_path: Path,
) -> None:
    async with running(tmp_path, "chat.slow_mode_s=0") as server:
        await server.room(ROOM)
        client = Client(server.http, server.url, ADMIN)
        onlooker = Onlooker()
        async with onlooker.watching(server):
            products = await stock_shop(client, ROOM)
            sale_at = asyncio.get_running_loop().time() + SALE_AFTER_S
            show = asyncio.create_task(Show(client, ROOM, QUICK, sale_at).run())
            try:
                await onlooker.until(lambda: SALE_PRICE in onlooker.prices())
                visitor = await bought_by_a_visitor(client)
                await onlooker.until(lambda: SALE_ITEM.price in onlooker.prices())
                await onlooker.until(lambda: onlooker.left()[-1] == STOCK)
            finally:
                show.cancel()
                await asyncio.wait([show])
        await the_sale_was_real(client, onlooker, visitor)
        assert len(onlooker.of("card.pinned")) >= 2
        assert len(onlooker.of("card.unpinned")) >= len(onlooker.of("card.pinned")) - 1
        assert all(line["name"].startswith(words.LABEL) for line in onlooker.lines())
        assert {words.SALE_ON, words.SALE_OVER} <= {line["text"] for line in onlooker.lines()}
        await the_shop_is_found_again(client, server, products)
        await the_program_opens_it(server)


async def bought_by_a_visitor(client: Client) -> str:
    """Somebody without haste, in the first seconds of the sale."""
    token = await token_of(client, ROOM, "visitor", 99)
    body = {"lines": [{"sku": SALE_ITEM.sku, "qty": 1}]}
    order = await client.acting_as(token).post("/v1/orders", body, key="mine")
    assert order["total"]["amount"] == SALE_PRICE
    return str(order["id"])


async def the_sale_was_real(client: Client, onlooker: Onlooker, visitor: str) -> None:
    left = onlooker.left()
    assert left.index(0) > left.index(SALE_PIECES)
    orders = [order async for order in client.items("/v1/orders")]
    assert len(orders) == SALE_PIECES
    assert sum(order["id"] == visitor for order in orders) == 1
    bots = [order for order in orders if order["id"] != visitor]
    assert all(order["buyer"].startswith("bot-") for order in bots)
    assert len({order["buyer"] for order in bots}) == len(bots)
    while await paid(client) < SALE_PIECES * 2 // 3:  # the provider calls back
        await asyncio.sleep(POLL_S)
    assert await paid(client) < len(bots)
    path = f"/v1/skus/{SALE_ITEM.sku}/adjustments"
    reasons = [each["reason"] for each in (await client.get(path))["items"]]
    assert reasons == ["demo: after the flash sale", "demo: flash sale", "first stock"]


async def paid(client: Client) -> int:
    orders = [order async for order in client.items("/v1/orders")]
    return sum(order["payment"] == "paid" for order in orders)


async def the_shop_is_found_again(client: Client, server: Server, products: list[Any]) -> None:
    """With its prices and stock as they should be, and nothing of it doubled."""
    await client.set_price("demo-tote", 1, "CNY")
    await client.set_available("demo-candle", LOW - 1, "a test has bought the candles")
    again = await stock_shop(client, ROOM)
    assert [each["id"] for each in again] == [each["id"] for each in products]
    listed = [each async for each in client.items("/v1/products")]
    assert sorted(each["title"] for each in listed) == sorted(each.title for each in ARTICLES)
    skus = {sku["sku"]: sku for each in listed for sku in each["skus"]}
    assert skus["demo-tote"]["price"]["amount"] == 7900
    assert skus["demo-candle"]["available"] == STOCK
    bag = [each async for each in client.items(f"/v1/rooms/{ROOM}/bag")]
    assert [each["product_id"] for each in bag] == [each["id"] for each in products]
    assert len({each["image"] for each in listed}) == len(ARTICLES)
    for product in listed:
        async with server.http.get(f"{server.url}/v1/images/{product['image']}") as reply:
            assert (reply.status, reply.content_type) == (200, "image/jpeg")


async def the_program_opens_it(server: Server) -> None:
    process = await started(server.url)
    assert process.stderr is not None
    async with asyncio.timeout(30):
        line = (await process.stderr.readline()).decode()
    assert line == f"INFO the shop is open: {len(ARTICLES)} products in room {ROOM}\n"
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(5):
        assert (await process.wait(), await process.stderr.read()) == (0, b"")


async def test_the_program_waits_for_a_server_shows_no_secret_and_ends_with_its_stdin() -> None:
    process = await started("http://127.0.0.1:9")
    assert process.stderr is not None and process.stdin is not None
    lines = [(await process.stderr.readline()).decode() for _ in range(2)]
    assert [line.rpartition("; ")[2] for line in lines] == [
        "tries again in 0.5 s\n",
        "tries again in 1.0 s\n",
    ]
    if sys.platform == "linux":
        for name in ("cmdline", "environ"):
            assert ADMIN.encode() not in Path(f"/proc/{process.pid}/{name}").read_bytes()
        assert os.getpriority(os.PRIO_PROCESS, process.pid) > os.getpriority(os.PRIO_PROCESS, 0)
    process.stdin.close()
    async with asyncio.timeout(5):
        assert await process.wait() == 0


async def test_without_a_token_the_program_says_so() -> None:
    process = await started("http://127.0.0.1:9", token="")
    _, said = await process.communicate()
    assert process.returncode == 2
    assert b"stdin holds no admin token" in said


async def started(url: str, token: str = ADMIN) -> asyncio.subprocess.Process:
    command = [sys.executable, "-m", "overlay.demo", "--url", url, "--room", ROOM]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command, stdin=pipe, stdout=asyncio.subprocess.DEVNULL, stderr=pipe
    )
    assert process.stdin is not None
    process.stdin.write(f"{token}\n".encode())
    return process
