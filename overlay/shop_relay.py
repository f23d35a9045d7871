"""What changes in the shop, told to the rooms it concerns: `shop` followed, `room/<id>` written.

An order, a payment or an edit says in its own commit only that a SKU's stock or price has changed. Here
that is turned into `stock.changed` and `price.changed` for every room whose bag holds the product. A
burst is collapsed: what is told is what is true when it is told, once for each SKU.

The position in `shop` is kept under `shop-relay` and moves in the commit that tells the rooms, guarded
by its version: a crash loses nothing and repeats nothing, and of two relays on one store each change
is told by one. A relay that starts for the first time begins at the end.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import msgpack

from commerce.catalogue import Catalogue
from commerce.changes import SHOP, Changes
from commerce.errors import StoreUnavailable
from commerce.ids import new_id, utc_ms
from commerce.inventory import Stock, read_stock, stock_keys
from commerce.products import Product, read_products
from commerce.store import Conflict, Store
from overlay.bag import Bag
from overlay.event_log import last_seq
from overlay.events import Event, pack, unpack

log = logging.getLogger("hawker.events")

KEY = "shop-relay"
FORMAT = 1
TICK_S = 0.25  # the first change goes at once; in a rush nobody reads a number that changes faster
PAGE = 2048  # events of one delivery: eight thousand a second
TOLD_MAX = 4096  # events of one commit, some 1 MB, unless a single change concerns more rooms
RETRY_S = 1.0  # the store says so too (Retry-After)
KINDS = ("stock.changed", "price.changed")

Change = tuple[str, str]  # kind, sku


@dataclass(frozen=True, slots=True)
class Position:
    """`seq` of the last event of `shop` that was relayed; `version` is the store's."""

    seq: int
    version: int


@dataclass(frozen=True, slots=True)
class Concerned:
    """What the SKUs of some changes are, and the rooms of their products, by id."""

    products: Mapping[str, Product]
    stocks: Mapping[str, Stock]
    rooms: Mapping[str, Sequence[str]]


class ShopRelay:
    """Relays from `start` to `stop`; give `committed` to the followers of the same store."""

    def __init__(
        self, store: Store, catalogue: Catalogue, bag: Bag, now_ms: Callable[[], int] = utc_ms
    ) -> None:
        self._store = store
        self._catalogue = catalogue
        self._bag = bag
        self._now_ms = now_ms
        self._heard = 0
        self._seq = 0
        self._read_at = float("-inf")
        # A relay's commits are its own doing, not that of whoever's commit woke it.
        self._context: contextvars.Context | None = None
        self._following: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Tell what was not told yet, then follow; raises StoreUnavailable.

        What is sold meanwhile is for following: a shop may be so busy that it has no end.
        """
        await self._begin()
        position = await self._position() or Position(0, 0)
        behind = await self._store.events(SHOP, position.seq, 1)
        end = await last_seq(self._store, SHOP, behind[0][0]) if behind else position.seq
        self._seq = position.seq
        while self._seq < end and await self._relay():
            pass
        self._context = contextvars.copy_context()
        self._follow_on()

    async def stop(self) -> None:
        """Tell no more; what is not told yet is told after the next start."""
        self._context = None
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait([self._following])

    def committed(self, seqs: Mapping[str, int]) -> None:
        """A commit has answered with these."""
        seq = seqs.get(SHOP)
        if seq is not None and seq > self._heard:
            self._heard = seq
            self._follow_on()

    def _follow_on(self) -> None:
        if self._context is None or self._following is not None or self._heard <= self._seq:
            return
        loop = asyncio.get_running_loop()
        self._following = loop.create_task(self._follow(), context=self._context)
        self._following.add_done_callback(self._followed)

    async def _follow(self) -> None:
        loop = asyncio.get_running_loop()
        while self._heard > self._seq:
            await asyncio.sleep(max(0.0, self._read_at + TICK_S - loop.time()))
            self._read_at = loop.time()
            try:
                if not await self._relay():
                    self._heard = self._seq
            except StoreUnavailable:  # the store itself has told the log
                await asyncio.sleep(RETRY_S)

    def _followed(self, task: asyncio.Task[None]) -> None:
        self._following = None
        if not task.cancelled() and (bug := task.exception()) is not None:
            log.error("the shop is relayed no further until its next event", exc_info=bug)
        elif not task.cancelled():
            self._follow_on()

    async def _begin(self) -> None:
        if (await self._position()) is not None:
            return
        first = await self._store.events(SHOP, 0, 1)
        end = await last_seq(self._store, SHOP, 1) if first else 0
        with suppress(Conflict):  # another relay has begun
            await self._commit(Position(0, 0), end, [])

    async def _relay(self) -> bool:
        """One delivery; False where there was nothing new."""
        position = await self._position() or Position(0, 0)
        events = await self._store.events(SHOP, position.seq, PAGE)
        self._seq = position.seq
        if not events:
            return False
        changes = _changes(events)
        concerned = await self._concerned(changes)
        told = self._told(changes, concerned)
        while len(told) > TOLD_MAX and len(events) > 1:
            events = events[: len(events) // 2]
            told = self._told(_changes(events), concerned)
        with suppress(Conflict):  # another relay has told them
            await self._commit(position, events[-1][0], told)
            self._seq = events[-1][0]
        return True

    async def _position(self) -> Position | None:
        value, version = (await self._store.load([KEY]))[KEY]
        return None if value is None else Position(msgpack.unpackb(value)["seq"], version)

    async def _commit(self, before: Position, seq: int, told: list[tuple[str, bytes]]) -> None:
        changes = Changes(self._now_ms(), reads={KEY: before.version}, events=told)
        changes.writes[KEY] = msgpack.packb({"v": FORMAT, "seq": seq})
        await changes.commit(self._store)

    async def _concerned(self, changes: Iterable[Change]) -> Concerned:
        items = await self._catalogue.product_items({sku for _, sku in changes})
        keys = [key for sku in items for key in stock_keys(sku)]
        loaded = await self._store.load([*set(items.values()), *keys])
        products = read_products(items, loaded)
        ids = list({product.id for product in products.values()})
        rooms = await asyncio.gather(*(self._bag.rooms_of(id) for id in ids))
        return Concerned(
            products,
            {sku: read_stock(sku, loaded) for sku in products},
            dict(zip(ids, rooms, strict=True)),
        )

    def _told(self, changes: Iterable[Change], concerned: Concerned) -> list[tuple[str, bytes]]:
        told = []
        now_ms = self._now_ms()
        for kind, sku in changes:
            product = concerned.products.get(sku)
            rooms = () if product is None else concerned.rooms[product.id]
            if product is None or not rooms:
                continue
            data = _data(kind, product, concerned.stocks[sku])
            body = pack(Event(kind, data, new_id("evt", now_ms), now_ms))
            told += [(f"room/{room}", body) for room in rooms]
        return told


def _changes(events: Sequence[tuple[int, bytes]]) -> list[Change]:
    """What has changed, each once."""
    read = (unpack(body, seq=seq) for seq, body in events)
    return list(
        dict.fromkeys((event.type, event.data["sku"]) for event in read if event.type in KINDS)
    )


def _data(kind: str, product: Product, stock: Stock) -> dict[str, Any]:
    data: dict[str, Any] = {"product_id": product.id, "sku": stock.sku}
    if kind == "stock.changed":
        return {**data, "available": stock.available, "held": stock.reserved > 0}
    sku = product.sku(stock.sku)
    return {**data, "price": sku.price.to_json(), "price_version": sku.price_version}
