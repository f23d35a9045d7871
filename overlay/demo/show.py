"""The script of the show: one card after the other, a little chat, and every few minutes a flash sale.

It runs for ever and restarts from the beginning where the server went: everything it finds is put
right first. It begins with unpinning what an earlier show has left.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import secrets
from collections.abc import Awaitable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from overlay.demo import words
from overlay.demo.bots import Viewer, buy, token_of
from overlay.demo.catalogue import ARTICLES, CURRENCY, SALE_ITEM, STOCK, stock_shop, top_up
from overlay.demo.client import Client, Json, Refused, Unavailable

log = logging.getLogger("hawker.demo")

SALE_PRICE = 1990
SALE_PIECES = 20
UNPAID_EVERY = 5  # each fifth bot walks away from the cashier
LIKES_MAX = 12
RETRY_MIN_S = 0.5
RETRY_MAX_S = 30.0
STEADY_S = 60.0  # a show that lasted so long is tried again soon


@dataclass(frozen=True, slots=True)
class Pace:
    """The times of the script, in seconds."""

    card_s: float = 20.0
    first_sale_s: float = 60.0  # from the start of the program
    sale_every_s: float = 240.0
    head_start_s: float = 3.0  # the visitor's, before the first bot buys
    rush_s: float = 15.0  # from the first bot's order to the last one's
    sold_out_s: float = 15.0  # to be seen, before all is as it was


@dataclass(slots=True)
class Tally:
    """What a sale came to."""

    orders: list[str] = field(default_factory=list)
    paid: list[str] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)


class Show:
    """One run of the script in a room; `sale_at` by the loop's clock."""

    def __init__(self, client: Client, room: str, pace: Pace, sale_at: float) -> None:
        self._client = client
        self._room = room
        self._pace = pace
        self._sale_at = sale_at
        self._now = asyncio.get_running_loop().time
        self._products: Sequence[Json] = ()
        self._chatters: list[Viewer] = []
        self._card: str | None = None
        self._to_ship: list[str] = []
        self._chance = random.Random(0)

    async def run(self) -> None:
        """Until it is cancelled; raises Unavailable or Refused, also in a group."""
        self._products = await stock_shop(self._client, self._room)
        await self._unpin_all()
        async with AsyncExitStack() as stack:
            for number, name in enumerate(words.CHATTERS):
                token = await token_of(self._client, self._room, name, number)
                viewer = Viewer(self._client, self._room, token)
                self._chatters.append(await stack.enter_async_context(viewer))
            log.info("the shop is open: %d products in room %s", len(self._products), self._room)
            await self._play()

    async def _play(self) -> None:
        await self._say(*words.GREETINGS)
        for number in itertools.count():
            left_s = self._sale_at - self._now()
            if left_s < self._pace.card_s / 4:
                await asyncio.sleep(max(0.0, left_s))
                await self.sell_out()
                self._sale_at = self._now() + self._pace.sale_every_s
                await top_up(self._client)
            else:
                soon = left_s < 1.5 * self._pace.card_s
                card_s = left_s if soon else self._pace.card_s
                await self._present(number % len(self._products), card_s, soon=soon)

    # -- one card ---------------------------------------------------------------------------------

    async def _present(self, number: int, card_s: float, *, soon: bool) -> None:
        """One product's card, with what is said about it; `soon`: a sale comes next."""
        article = ARTICLES[number]
        await self._pin(self._products[number])
        first, second = words.REMARKS[article.picture]
        for remark in (first, None, words.SALE_SOON if soon else second):
            await asyncio.sleep(card_s / 4)
            if remark is not None:
                await self._say(remark)
            await self._like()
        await asyncio.sleep(card_s / 4)

    async def _pin(self, product: Json) -> None:
        path, body = f"/v1/rooms/{self._room}/cards", {"product_id": product["id"]}
        earlier, card = self._card, await self._client.post(path, body)
        self._card = str(card["id"])
        if earlier is not None and earlier != self._card:
            await self._client.delete(f"{path}/{earlier}")

    async def _unpin_all(self) -> None:
        path = f"/v1/rooms/{self._room}/cards"
        ours = {product["id"] for product in self._products}
        for card in (await self._client.get(path))["items"]:
            if card["product_id"] in ours:
                await self._client.delete(f"{path}/{card['id']}")

    async def _say(self, *lines: str) -> None:
        """Each line by another bot: the room may have a slow mode."""
        for viewer, line in zip(
            self._chance.sample(self._chatters, len(lines)), lines, strict=True
        ):
            await _unless_slow(viewer.ask("chat.send", {"text": line}))

    async def _like(self) -> None:
        likes = self._chance.randint(1, LIKES_MAX)
        await _unless_slow(self._chance.choice(self._chatters).ask("like", {"n": likes}))

    # -- the flash sale ---------------------------------------------------------------------------

    async def sell_out(self) -> Tally:
        """One flash sale from its announcement until price and stock are as they were."""
        await self._ship(self._to_ship)
        product = next(each for each in self._products if each["skus"][0]["sku"] == SALE_ITEM.sku)
        sku = SALE_ITEM.sku
        await self._client.set_available(sku, SALE_PIECES, "demo: flash sale")
        version = await self._client.set_price(sku, SALE_PRICE, CURRENCY)
        await self._pin(product)
        await self._say(words.SALE_ON)
        log.info("flash sale: %d pieces at %s", SALE_PIECES, words.price_text(SALE_PRICE))
        began_at = self._now()
        await asyncio.sleep(self._pace.head_start_s)
        tally = await self._rush(version)
        outcome = len(tally.orders), self._now() - began_at, len(tally.paid)
        log.info("flash sale: bots bought %d within %.0f s and paid %d", *outcome)
        if tally.refused:
            log.warning("flash sale: refused with %s", ", ".join(sorted(tally.refused)))
        await self._say(words.SALE_OVER)
        await asyncio.sleep(self._pace.sold_out_s)
        await self._client.set_price(sku, SALE_ITEM.price, CURRENCY)
        await self._client.set_available(sku, STOCK, "demo: after the flash sale")
        self._to_ship = tally.paid
        return tally

    async def _rush(self, version: str) -> Tally:
        """All bots in turn, and again those who like, until nothing is left."""
        tally = Tally()
        between_s = self._pace.rush_s / len(words.BUYERS)
        async with asyncio.TaskGroup() as group:
            for number in range(len(words.BUYERS)):
                group.create_task(self._buy(number, version, tally))
                if number % 5 == 2:
                    cheer = words.SALE_CHEERS[number // 5 % len(words.SALE_CHEERS)]
                    group.create_task(self._say(cheer))
                await asyncio.sleep(between_s * self._chance.uniform(0.6, 1.4))
        for number in range(len(words.BUYERS)):
            if tally.refused or not await self._buy(number, version, tally):
                break
        return tally

    async def _buy(self, number: int, version: str, tally: Tally) -> bool:
        """One bot's order; False when there was none left."""
        pays = number % UNPAID_EVERY != UNPAID_EVERY - 1
        spoken = number % 2 == 0
        try:
            token = await token_of(self._client, self._room, words.BUYERS[number], 10 + number)
            order = await buy(
                self._client, self._room, token, SALE_ITEM.sku, version, pays=pays, spoken=spoken
            )
        except Refused as refusal:
            tally.refused.add(refusal.code)
            return False
        if order is None:
            return False
        tally.orders.append(order)
        if pays:
            tally.paid.append(order)
        return True

    async def _ship(self, orders: Sequence[str]) -> None:
        """The earlier sale's parcels leave, so that the shelf does not fill up with them."""
        for order in orders:
            try:
                await self._client.post(
                    f"/v1/orders/{order}/ship", {}, key=f"demo-{secrets.token_hex(8)}"
                )
            except Refused as refusal:
                log.debug("order %s is not shipped: %s", order, refusal.code)


async def keep_on(client: Client, room: str, pace: Pace) -> None:
    """Run the show for ever, again and again where the server does not answer."""
    loop = asyncio.get_running_loop()
    sale_at = loop.time() + pace.first_sale_s
    pause_s = RETRY_MIN_S
    while True:
        began_at = loop.time()
        sale_at = max(sale_at, began_at + pace.card_s)
        try:
            await Show(client, room, pace, sale_at).run()
        except* (Unavailable, Refused) as group:
            if loop.time() - began_at > STEADY_S:
                pause_s = RETRY_MIN_S
            log.warning("%s; tries again in %.1f s", _first(group), pause_s)
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, RETRY_MAX_S)


async def _unless_slow(asking: Awaitable[Json]) -> None:
    """What a room in slow mode does not want is not said."""
    try:
        await asking
    except Refused as refusal:
        if refusal.code != "rate_limited":
            raise


def _first(error: BaseException) -> BaseException:
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error
