"""A whole shop on a real store, with a clock that the test moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from commerce.catalogue import Catalogue
from commerce.changes import SHOP
from commerce.contact import Contacts
from commerce.idempotency import Answer, Scope, fingerprint
from commerce.inventory import Inventory, Stock
from commerce.money import Money
from commerce.order import Order
from commerce.ordering import Orders
from commerce.orders import Limits
from commerce.payments.records import Payment
from commerce.payments.sandbox import Sandbox
from commerce.payments.service import Payments
from commerce.payments.signature import new_secret
from commerce.products import NewSku, Product
from commerce.store import SqliteStore, Store
from commerce.store.redis import RedisStore

START_MS = 1_800_000_000_000
CONTACT_KEY = b"k" * 32
APPROVED = {"card": "4242 4242 4242 4242"}
DECLINED = {"card": "4000000000000002"}
DELAYED = {"card": "4000000000000077"}
LOST = {"card": "4000000000000119"}
TWICE = {"card": "4000000000000259"}
LATE = {"card": "4000000000000341"}
OUT_OF_ORDER = {"card": "4000000000000408"}
OTHER_AMOUNT = {"card": "4000000000000580"}
NO_REFUND = {"card": "4000000000000663"}


@dataclass
class Clock:
    now: int = START_MS

    def __call__(self) -> int:
        return self.now

    def pass_s(self, seconds: float) -> None:
        self.now += round(seconds * 1000)


@dataclass
class Shop:
    """`webhooks` holds what the sandbox sent, `deaf` makes our side refuse to hear it."""

    store: Store
    clock: Clock
    catalogue: Catalogue
    inventory: Inventory
    contacts: Contacts
    orders: Orders
    sandbox: Sandbox
    payments: Payments
    secret: str
    webhooks: list[tuple[Mapping[str, str], bytes]] = field(default_factory=list)
    deaf: bool = False
    keys: int = 0

    def key(self) -> str:
        self.keys += 1
        return f"key-{self.keys}"

    async def product(self, stock: int = 5, price: int = 1990, **sku: Any) -> Product:
        new = NewSku(Money(price, sku.pop("currency", "CNY")), stock, **sku)
        return await self.catalogue.create("Cup", [new], by="host")

    async def sku(self, stock: int = 5, price: int = 1990, **sku: Any) -> str:
        return (await self.product(stock, price, **sku)).skus[0].sku

    async def buy(
        self,
        sub: str,
        *lines: tuple[str, int],
        key: str | None = None,
        room: str | None = "room",
        **more: Any,
    ) -> Answer[Order]:
        body = {"room": room, "lines": [{"sku": s, "qty": n} for s, n in lines], **more}
        return await self.orders.place(self.orders.command(sub, body), key or self.key())

    async def pay(
        self, order: Order, method: Mapping[str, str] | None = APPROVED, key: str | None = None
    ) -> Payment:
        sub, key = order.sub, key or self.key()
        return (await self.payments.pay(order.id, sub, by=sub, key=key, method=method)).value

    async def paid(self, sub: str, *lines: tuple[str, int]) -> Order:
        order = (await self.buy(sub, *lines)).value
        await self.pay(order)
        await self.sandbox.send_due()
        return await self.orders.get(order.id)

    async def cancel(self, order: Order, key: str | None = None) -> Order:
        key = key or self.key()
        return (await self.orders.cancel(order.id, order.sub, by=order.sub, key=key)).value

    async def set_on_hand(self, sku: str, on_hand: int, version: int, key: str = "") -> Stock:
        command = {"sku": sku, "on_hand": on_hand}
        scope = Scope("host", "stock", key or self.key(), fingerprint(command))
        answer = await self.inventory.set_on_hand(
            sku, on_hand, "counted", by="host", if_version=version, scope=scope
        )
        return answer.value

    async def sweep(self) -> None:
        await self.payments.sweep()
        await self.orders.sweep()

    async def stock(self, sku: str) -> tuple[int, int, int]:
        """(available, reserved, committed)."""
        stock = await self.inventory.get(sku)
        return stock.available, stock.reserved, stock.committed

    async def events(self, stream: str = SHOP) -> Sequence[tuple[int, bytes]]:
        return await self.store.events(stream, 0, 100_000)

    async def hear(self, headers: Mapping[str, str], body: bytes) -> None:
        if self.deaf:
            raise ConnectionError
        self.webhooks.append((headers, body))
        await self.payments.webhook("sandbox", headers, body)


async def any_room(room: str) -> bool:
    return True


async def open_shop(place: Path | str, clock: Clock, *, limits: Limits | None = None) -> Shop:
    """A shop in a SQLite file or at a Redis URL; two at one place are two processes' worth of it."""
    store: Store = await (
        SqliteStore.open(place) if isinstance(place, Path) else RedisStore.open(place)
    )
    catalogue = Catalogue(store, now_ms=clock)
    contacts = Contacts(store, CONTACT_KEY, now_ms=clock)
    orders = Orders(store, catalogue, contacts, room_exists=any_room, limits=limits, now_ms=clock)

    async def send(headers: Mapping[str, str], body: bytes) -> None:
        await shop.hear(headers, body)

    secret = new_secret()
    sandbox = Sandbox(store, secret, send=send, now_ms=clock)
    payments = Payments(store, orders, {"sandbox": sandbox}, now_ms=clock)
    inventory = Inventory(store, release_due=orders.release_due, now_ms=clock)
    shop = Shop(store, clock, catalogue, inventory, contacts, orders, sandbox, payments, secret)
    return shop
