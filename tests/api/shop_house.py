"""The shop over HTTP, whole: the real handlers on the real store, with every kind of caller.

What a handler sends is held against the reply that its operation describes, on every answer.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from json import loads
from pathlib import Path
from typing import Any

from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.typedefs import Handler
from pydantic import BaseModel

from commerce.after_sale import AfterSale
from commerce.cases import Cases
from commerce.catalogue import Catalogue
from commerce.contact import Contacts
from commerce.coupons import Coupons
from commerce.errors import NotFound, Refusal
from commerce.flash_sales import FlashSales
from commerce.images import Images
from commerce.inventory import Inventory
from commerce.invoices import Invoices
from commerce.ordering import Orders
from commerce.orders import Limits
from commerce.payments.disputes import Disputes
from commerce.payments.reconciliation import Reconciliation
from commerce.payments.sandbox import Sandbox
from commerce.payments.service import Payments
from commerce.payments.signature import new_secret
from commerce.promotions import Promotions
from commerce.settlement import Settlement
from commerce.shelf import Shelf
from commerce.store import SqliteStore
from mediaserver.api.auth import CALLERS
from mediaserver.api.cases import CasesApi
from mediaserver.api.coupons import CouponsApi
from mediaserver.api.disputes import DisputesApi
from mediaserver.api.flash_sales import FlashSalesApi
from mediaserver.api.fulfilment import FulfilmentApi
from mediaserver.api.images import ImagesApi
from mediaserver.api.limits import AddressLimiter
from mediaserver.api.operation import operation_of
from mediaserver.api.orders import OrdersApi
from mediaserver.api.payments import PaymentsApi
from mediaserver.api.pick_list import PickListApi
from mediaserver.api.problem import install
from mediaserver.api.products import ProductsApi
from mediaserver.api.promotions import PromotionsApi
from mediaserver.api.quotes import QuotesApi
from mediaserver.api.reconciliation import ReconciliationApi
from mediaserver.api.refunds import RefundsApi
from mediaserver.api.returns import ReturnsApi
from mediaserver.api.sandbox import SandboxApi
from mediaserver.api.settlement import SettlementApi
from mediaserver.api.stock import StockApi
from mediaserver.errors import PeerError
from overlay.audit import AuditedStore, AuditLog
from overlay.callers import Callers
from overlay.order_links import OrderLinks
from overlay.rooms import RoomAccess, Rooms
from overlay.staff import Staff
from overlay.tokens import Tokens
from tests.commerce.shop import Clock

ADMIN_TOKEN = "the admin token"
SECRET = "a secret of more than thirty-two bytes, for these tests"
ROLES = ("host", "operator", "moderator", "finance", "engineer")
ROOMS = ("shop", "other")
CNY = {"amount": 1990, "currency": "CNY"}
APPROVED = {"method": {"card": "4242 4242 4242 4242"}}

Headers = dict[str, str]


def bearer(token: str) -> Headers:
    return {"Authorization": f"Bearer {token}"}


@dataclass
class House:
    """`staff` are headers by role, in any room; `stream_key` is that of the room `shop`."""

    client: TestClient[web.Request, web.Application]
    clock: Clock
    tokens: Tokens
    links: OrderLinks
    audit: AuditLog
    store: AuditedStore
    callers: Callers
    orders: Orders
    sandbox: Sandbox
    secret: str
    stream_key: str
    staff: dict[str, Headers]
    called: list[tuple[Mapping[str, str], bytes]] = field(default_factory=list)
    keys: itertools.count[int] = field(default_factory=itertools.count)

    @property
    def admin(self) -> Headers:
        return bearer(ADMIN_TOKEN)

    def viewer(self, sub: str = "ann", room: str = "shop", role: str = "viewer") -> Headers:
        return bearer(self.tokens.issue(room, sub, role=role).token)

    def order_key(self, order: str) -> Headers:
        return bearer(self.links.key(order))

    def key(self, key: str | None = None) -> Headers:
        return {"Idempotency-Key": key or f"key-{next(self.keys)}"}

    async def ask(
        self, method: str, path: str, headers: Headers | None = None, json: object = None
    ) -> tuple[int, Any]:
        """The status, and the JSON of the body or None."""
        response = await self.client.request(method, path, headers=headers, json=json)
        body = await response.read()
        return response.status, loads(body) if body else None

    async def product(self, stock: int = 5, amount: int = 1990, **sku: Any) -> dict[str, Any]:
        currency = sku.pop("currency", "CNY")
        price = {"amount": amount, "currency": currency}
        body = {"title": "Cup", "skus": [{"price": price, "stock": stock, **sku}]}
        return await self.made("/v1/products", body, self.admin)

    async def sku(self, stock: int = 5, amount: int = 1990, **sku: Any) -> str:
        code: str = (await self.product(stock, amount, **sku))["skus"][0]["sku"]
        return code

    async def made(self, path: str, body: object, headers: Headers) -> dict[str, Any]:
        response = await self.client.post(path, json=body, headers=headers)
        assert response.status == 201, await response.text()
        document: dict[str, Any] = await response.json()
        return document

    async def buy(self, sku: str, qty: int = 1, sub: str = "ann", **more: Any) -> dict[str, Any]:
        body = {"lines": [{"sku": sku, "qty": qty}], **more}
        return await self.made("/v1/orders", body, self.viewer(sub) | self.key())

    async def paid(self, sku: str, sub: str = "ann") -> dict[str, Any]:
        """An order that is confirmed, through the webhook."""
        order = await self.buy(sku, sub=sub)
        path = f"/v1/orders/{order['id']}/payments"
        await self.made(path, APPROVED, self.viewer(sub) | self.key())
        assert await self.sandbox.send_due() == 1
        return order

    async def call(self, headers: Mapping[str, str], body: bytes) -> None:
        """What the sandbox does: it calls our webhook, and wants to hear 2xx."""
        path = "/v1/payments/webhooks/sandbox"
        response = await self.client.post(path, data=body, headers=headers)
        if response.status >= 300:
            raise ConnectionError(f"{response.status}")
        self.called.append((headers, body))


async def problem(response: ClientResponse) -> tuple[int, str]:
    """The status and the code of a problem."""
    assert response.content_type == "application/problem+json", await response.text()
    return response.status, (await response.json())["code"]


@web.middleware
async def as_described(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answers and refusals are what the handler's operation says."""
    if request.match_info.http_exception is not None:
        return await handler(request)  # there is no such route
    described = operation_of(request.match_info.route)
    assert described is not None, "each handler says what it does"
    try:
        response = await handler(request)
    except (PeerError, Refusal) as refusal:
        said = described.refusals(request.method).get(refusal.status, [])
        assert refusal.code in said, f"{described.summary}: {refusal.status} {refusal.code}"
        raise
    assert isinstance(response, web.Response)
    assert response.status in (described.status, 304)
    if response.content_type == "text/csv":
        return response
    if isinstance(described.reply, type) and issubclass(described.reply, BaseModel):
        assert isinstance(response.body, bytes)
        described.reply.model_validate_json(response.body)
    if not isinstance(described.reply, str):
        assert response.headers["Cache-Control"] == "no-store"
    return response


@asynccontextmanager
async def open_house(path: Path, *, limits: Limits | None = None) -> AsyncIterator[House]:
    """A shop with the rooms `shop` and `other`, its own clock, and no limit that a test would meet."""
    clock = Clock()
    file = await SqliteStore.open(path / "hawker.db")
    store = AuditedStore(file, now_ms=clock)
    rooms, staff = Rooms(store), Staff(store)
    keys = {room: (await rooms.create(room, id=room))[1] for room in ROOMS}
    roles = {role: bearer((await staff.api_keys.create(role, role))[1]) for role in ROLES}
    tokens, links = Tokens(SECRET), OrderLinks(SECRET)
    catalogue = Catalogue(store, now_ms=clock)
    contacts = Contacts(store, b"k" * 32, now_ms=clock)

    async def room_exists(room: str) -> bool:
        try:
            return (await rooms.get(room)).id == room
        except NotFound:
            return False

    async def send(headers: Mapping[str, str], body: bytes) -> None:
        await house.call(headers, body)

    orders = Orders(
        store, catalogue, contacts, room_exists=room_exists, limits=limits, now_ms=clock
    )
    secret = new_secret()
    sandbox = Sandbox(store, secret, send=send, now_ms=clock)
    payments = Payments(store, orders, {"sandbox": sandbox}, now_ms=clock)
    after_sale = AfterSale(store, orders, catalogue, now_ms=clock)
    sales = FlashSales(store, catalogue, room_exists=room_exists, now_ms=clock)
    limiter = AddressLimiter(per_s=1000, burst=10_000)
    apis = (
        ProductsApi(catalogue, Shelf(store)),
        ImagesApi(Images(store, now_ms=clock)),
        StockApi(Inventory(store, release_due=orders.release_due, now_ms=clock)),
        QuotesApi(orders, limiter),
        FlashSalesApi(sales, RoomAccess(rooms, tokens)),
        PromotionsApi(Promotions(store, now_ms=clock)),
        CouponsApi(Coupons(store, room_exists=room_exists, now_ms=clock), limiter),
        OrdersApi(orders, contacts, limiter, link=links.path),
        FulfilmentApi(orders),
        RefundsApi(after_sale, orders),
        ReturnsApi(after_sale, orders),
        SettlementApi(Settlement(store), orders),
        PickListApi(store),
        CasesApi(
            Cases(store, orders, now_ms=clock),
            Invoices(store, orders, contacts, now_ms=clock),
            orders,
        ),
        PaymentsApi(payments, orders, limiter),
        SandboxApi(sandbox, limiter),
        DisputesApi(Disputes(store, now_ms=clock), sandbox),
        ReconciliationApi(Reconciliation(store, now_ms=clock)),
    )
    app = web.Application()
    install(app)
    app.middlewares.append(as_described)
    callers = app[CALLERS] = Callers(tokens, staff, links, ADMIN_TOKEN)
    for api in apis:
        app.add_routes(api.routes())
    async with TestClient(TestServer(app)) as client:
        house = House(
            client,
            clock,
            tokens,
            links,
            AuditLog(store, now_ms=clock),
            store,
            callers,
            orders,
            sandbox,
            secret,
            keys["shop"],
            roles | {"admin": bearer(ADMIN_TOKEN)},
        )
        yield house
    await file.close()
