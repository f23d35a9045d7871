"""A shop with rooms that offer its products, on a real store that counts what it is asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from commerce.catalogue import Catalogue
from commerce.contact import Contacts
from commerce.coupons import Coupons
from commerce.flash_sales import FlashSales
from commerce.inventory import Inventory
from commerce.money import Money
from commerce.ordering import Orders
from commerce.payments.sandbox import Sandbox
from commerce.payments.service import Payments
from commerce.payments.signature import new_secret
from commerce.products import NewSku, Product, SkuPatch
from commerce.shelf import Shelf
from commerce.store import SqliteStore
from overlay.audit import AuditedStore
from overlay.bag import Bag
from overlay.cards import Cards
from overlay.events import Event, unpack
from overlay.followed_store import FollowedStore
from overlay.hello import Hello
from overlay.rooms import Rooms
from overlay.shop_relay import ShopRelay
from tests.commerce.shop import CONTACT_KEY, Clock, Shop

ROOM = "show"
EPOCH_MS = 1_799_999_000_000


class CountingStore(FollowedStore):
    """`reads` counts loads, scans and looks into logs."""

    def __init__(self, store: SqliteStore | AuditedStore) -> None:
        super().__init__(store)
        self.reads = 0

    async def load(self, keys: Iterable[str]) -> dict[str, Any]:
        self.reads += 1
        return await super().load(keys)

    async def scan(self, index: str, low: str, high: str, limit: int) -> list[str]:
        self.reads += 1
        return await super().scan(index, low, high, limit)


class House:
    def __init__(self, disk: SqliteStore, clock: Clock) -> None:
        self.disk = disk
        self.clock = clock
        self.store = store = CountingStore(AuditedStore(disk, clock))
        self.rooms = Rooms(store, now_ms=clock)
        self.catalogue = Catalogue(store, now_ms=clock)
        self.inventory = Inventory(store, now_ms=clock)
        self.contacts = Contacts(store, CONTACT_KEY, now_ms=clock)
        self.shelf = Shelf(store)
        self.orders = Orders(
            store, self.catalogue, self.contacts, room_exists=self.rooms.exists, now_ms=clock
        )
        self.sales = FlashSales(store, self.catalogue, room_exists=self.rooms.exists, now_ms=clock)
        self.coupons = Coupons(store, room_exists=self.rooms.exists, now_ms=clock)
        secret = new_secret()
        self.sandbox = Sandbox(store, secret, send=self._hear, now_ms=clock)
        self.payments = Payments(store, self.orders, {"sandbox": self.sandbox}, now_ms=clock)
        self.bag = Bag(store, self.catalogue, self.shelf, self.rooms.exists, clock)
        self.media: dict[str, tuple[int, int]] = {}
        self.cards = Cards(store, self.catalogue, self.shelf, self.bag, self.media.get, clock)
        self.hello = Hello(
            self.rooms,
            self.cards,
            self.bag,
            self.orders,
            self.sales,
            self.coupons,
            live=lambda room: room in self.media,
            link=lambda id: f"/orders/{id}#key=k",
        )
        self.relay = ShopRelay(store, self.catalogue, self.bag, clock)
        self._committed = asyncio.Event()
        store.followers += [self.relay.committed, self.on_commit]
        self.shop = Shop(
            disk,
            clock,
            self.catalogue,
            self.inventory,
            self.contacts,
            self.orders,
            self.sandbox,
            self.payments,
            secret,
        )

    def on_commit(self, seqs: Mapping[str, int]) -> None:
        self._committed.set()

    async def until(self, met: Callable[[], Awaitable[bool]]) -> None:
        """Look after each commit with events made here."""
        async with asyncio.timeout(10):
            while not await met():
                await self._committed.wait()
                self._committed.clear()

    async def _hear(self, headers: Any, body: bytes) -> None:
        await self.payments.webhook("sandbox", headers, body)

    async def product(
        self, title: str = "Cup", *, skus: int = 1, stock: int = 5, category: str | None = None
    ) -> Product:
        new = [NewSku(Money(1990, "CNY"), stock) for _ in range(skus)]
        return await self.catalogue.create(title, new, by="host", category=category)

    async def in_bag(self, room: str = ROOM, **product: Any) -> Product:
        product = await self.product(**product)
        await self.bag.add(room, product.id)
        return product

    async def set_price(self, product: Product, amount: int) -> Product:
        product = await self.catalogue.get(product.id)
        patch = SkuPatch(product.skus[0].sku, Money(amount, "CNY"))
        return await self.catalogue.patch(
            product.id, if_version=product.version, by="host", skus=[patch]
        )

    async def buy(self, product: Product, sub: str = "ana", room: str = ROOM) -> Any:
        return (await self.shop.buy(sub, (product.skus[0].sku, 1), room=room)).value

    async def told(self, room: str = ROOM, after: int = 0) -> list[Event]:
        """The durable events of a room."""
        kept = await self.disk.events(f"room/{room}", after, 100_000)
        return [unpack(body, seq=seq) for seq, body in kept]

    async def told_types(self, room: str = ROOM, after: int = 0) -> list[str]:
        return [event.type for event in await self.told(room, after)]

    async def titles(self, room: str = ROOM) -> list[str]:
        items, _ = await self.bag.page(room, limit=200)
        return [item["product"]["title"] for item in items]


@asynccontextmanager
async def open_offer_house(path: Path, clock: Clock | None = None) -> AsyncIterator[House]:
    """A house; a second one on the same path is another process of the same shop."""
    disk = await SqliteStore.open(path / "hawker.db")
    house = House(disk, clock or Clock())
    for room in (ROOM, "other"):
        if not await house.rooms.exists(room):
            await house.rooms.create("A show", id=room)
    house.store.reads = 0
    try:
        yield house
    finally:
        await house.relay.stop()
        await disk.close()
