"""The shop of one process: commerce and the rooms' events put together on one store.

It knows no media: what it must know of a room's picture it asks `Air`. `start` is called once HTTP
answers, for the sandbox calls back over it as any provider would.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, Protocol

import aiohttp
from aiohttp import web

from commerce import idempotency
from commerce.after_sale import AfterSale
from commerce.archive import Archive
from commerce.cases import Cases
from commerce.catalogue import Catalogue
from commerce.changes import SHOP, Changes
from commerce.contact import Contacts, load_key
from commerce.coupons import Coupons
from commerce.errors import StoreUnavailable
from commerce.flash_sales import FlashSales
from commerce.ids import utc_ms
from commerce.images import Images
from commerce.inventory import Inventory
from commerce.invoices import Invoices
from commerce.low_stock import LowStock
from commerce.ordering import Orders
from commerce.orders import Limits
from commerce.payments.disputes import Disputes
from commerce.payments.provider import Provider
from commerce.payments.reconciliation import Reconciliation
from commerce.payments.sandbox import Sandbox
from commerce.payments.service import Payments
from commerce.payments.signature import new_secret
from commerce.pick_list import index_from_before
from commerce.promotions import Promotions
from commerce.pruning import PrunableStore, Pruning, lowest
from commerce.settlement import Settlement
from commerce.shelf import Shelf
from commerce.store import Store
from commerce.webhooks.deliveries import Deliveries
from commerce.webhooks.endpoints import Endpoints
from commerce.webhooks.events import EVENTS
from commerce.webhooks.progress import progress_key
from commerce.webhooks.relay import WebhookRelay
from commerce.webhooks.sending import Sender
from config import Config
from mediaserver.api.bag import BagApi
from mediaserver.api.cards import CardsApi
from mediaserver.api.cases import CasesApi
from mediaserver.api.coupons import CouponsApi
from mediaserver.api.disputes import DisputesApi
from mediaserver.api.events import EventsApi
from mediaserver.api.flash_sales import FlashSalesApi
from mediaserver.api.fulfilment import FulfilmentApi
from mediaserver.api.images import ImagesApi
from mediaserver.api.limits import AddressLimiter
from mediaserver.api.orders import OrdersApi
from mediaserver.api.payments import PaymentsApi
from mediaserver.api.pick_list import PickListApi
from mediaserver.api.products import ProductsApi
from mediaserver.api.promotions import PromotionsApi
from mediaserver.api.quotes import QuotesApi
from mediaserver.api.reconciliation import ReconciliationApi
from mediaserver.api.refunds import RefundsApi
from mediaserver.api.returns import ReturnsApi
from mediaserver.api.sandbox import SandboxApi
from mediaserver.api.settlement import SettlementApi
from mediaserver.api.staff import StaffApi
from mediaserver.api.stock import StockApi
from mediaserver.api.webhook_endpoints import WebhookEndpointsApi
from mediaserver.egress.restream.address import is_public
from mediaserver.media import VIDEO_CLOCK_RATE
from overlay.acts import Acts
from overlay.audit import AuditedStore, AuditLog
from overlay.bag import Bag
from overlay.callers import Callers
from overlay.cards import Cards
from overlay.channel_plans import ChannelPlans
from overlay.data_channels import DataChannels
from overlay.followed_store import FollowedStore
from overlay.hello import Hello
from overlay.order_links import OrderLinks
from overlay.restream_targets import RestreamTargets
from overlay.room_feed import RoomFeed
from overlay.rooms import RoomAccess, Rooms
from overlay.secret_file import load_or_create_secret
from overlay.session import Sessions
from overlay.shop_relay import KEY as RELAYED
from overlay.shop_relay import ShopRelay
from overlay.staff import Staff
from overlay.tokens import Tokens

log = logging.getLogger("hawker.shop")

SWEEP_S = 1.0  # how late a reservation or a payment may end
SALES_SWEEP_S = 0.1  # how late a room hears of a start that its pages count down to
TIDY_S = 60.0
LOW_STOCK_S = 2.0  # how late an alert may be
TIDY_ROUNDS = 100  # of archiving, some 15,000 orders a minute at most
DAY_MS = 86_400_000
WEBHOOK_S = 5.0
EVENT_SESSIONS = 20_000  # some 30 kB each


class Air(Protocol):
    """What the shop asks about a room's picture."""

    def epoch_ms(self, room: str) -> int | None:
        """UTC ms of media time 0, None for a room that is not on the air."""

    def rtp_base(self, room: str) -> int | None:
        """The RTP timestamp of media time 0 in the video of WebRTC viewers."""

    def viewers(self, room: str) -> int:
        """Viewers over all protocols."""


class Shop:
    """Everything that sells. `demo_rooms`: whose orders are no real sales."""

    def __init__(
        self,
        config: Config,
        kept: PrunableStore,
        tokens: Tokens,
        admin_token: str,
        viewer_secret: str,
        air: Air,
        *,
        demo_rooms: frozenset[str],
    ) -> None:
        """Raises OSError or ValueError for key files in `data.dir` that are no good."""
        directory, limits = config.data.dir, config.limits
        self._air = air
        self._followed = FollowedStore(kept)
        self.store = store = AuditedStore(self._followed)
        self.rooms = Rooms(store)
        self.channel_plans = ChannelPlans(store, self.rooms)
        self.links = OrderLinks(viewer_secret)
        self.staff = Staff(store)
        self.callers = Callers(tokens, self.staff, self.links, admin_token)
        self.room_access = RoomAccess(self.rooms, tokens, self.callers.staff)
        self.catalogue = Catalogue(store)
        self.shelf, self.images = Shelf(store), Images(store)
        self.contacts = Contacts(store, load_key(directory / "contact-key"))
        self.restream_targets = RestreamTargets(
            store,
            load_key(directory / "restream-key"),
            room_exists=self.rooms.exists,
            limit=limits.restream_targets,
        )
        self.orders = Orders(
            store,
            self.catalogue,
            self.contacts,
            room_exists=self.rooms.exists,
            demo_rooms=demo_rooms,
            limits=Limits(
                reservation_s=limits.reservation_s,
                pending_max_s=config.payments.pending_max_s,
                order_lines=limits.order_lines,
                order_quantity=limits.order_quantity,
            ),
            now_ms=store.now_ms,
        )
        self.inventory = Inventory(store, release_due=self.orders.release_due, now_ms=store.now_ms)
        self.sales = FlashSales(
            store, self.catalogue, room_exists=self.rooms.exists, now_ms=store.now_ms
        )
        self.promotions = Promotions(store, now_ms=store.now_ms)
        self.coupons = Coupons(store, room_exists=self.rooms.exists, now_ms=store.now_ms)
        self.after_sale = AfterSale(
            store, self.orders, self.catalogue, window_days=config.returns.window_days
        )
        self.sandbox = Sandbox(store, _webhook_secret(directory), send=self._call_back)
        self.payments = Payments(
            store,
            self.orders,
            _providers(config, store, self.sandbox),
            default=config.payments.provider,
            now_ms=store.now_ms,
        )
        self.bag = Bag(store, self.catalogue, self.shelf, self.rooms.exists)
        self.cards = Cards(store, self.catalogue, self.shelf, self.bag, self._media_time)
        allow_private = config.webhooks.allow_private
        self.webhook_endpoints = Endpoints(
            store,
            load_key(directory / "webhook-key"),
            limit=limits.webhook_endpoints,
            allow_private=allow_private,
            is_public=is_public,
        )
        sender = Sender(allow_private=allow_private, is_public=is_public)
        self._webhooks = WebhookRelay(store, self.webhook_endpoints, sender)
        after_ms = round(config.archive.after_days * DAY_MS)
        self._archive = Archive(store, after_ms, now_ms=store.now_ms)
        kept_ms = round(config.archive.events_kept_days * DAY_MS)
        self._pruning = Pruning(kept, kept_ms, floors=self._told, now_ms=store.now_ms)
        self._archives, self._prunes = config.archive.after_days > 0, kept_ms > 0
        self._feed_rooms(config.chat.slow_mode_s)
        self._origin = ""
        self._http: aiohttp.ClientSession | None = None
        self._telling: set[asyncio.Task[None]] = set()
        self._telling_in_order = asyncio.Lock()
        self._stack = AsyncExitStack()

    def _feed_rooms(self, slow_mode_s: float) -> None:
        hello = Hello(
            self.rooms,
            self.cards,
            self.bag,
            self.orders,
            self.sales,
            self.coupons,
            live=self._is_live,
            link=self.links.path,
        )
        self.feed = RoomFeed(
            self.store,
            snapshots=hello.snapshots(),
            own_snapshots=hello.own_snapshots(),
            own_event=hello.own_event,
            clock=self._clock,
            viewers=self._air.viewers,
        )
        self.sessions = Sessions(
            self.feed,
            self.room_access,
            acts=Acts(self.orders, self.payments, self.coupons, self.links.path).table(),
            slow_mode_s=slow_mode_s,
            max_sessions=EVENT_SESSIONS,
        )
        self.channels = DataChannels(self.sessions)
        self._relay = ShopRelay(self.store, self.catalogue, self.bag)
        self._followed.followers += [
            self.feed.committed,
            self._relay.committed,
            self._webhooks.committed,
        ]

    def routes(self, connects: AddressLimiter, buys: AddressLimiter) -> list[web.RouteDef]:
        """What the shop answers over HTTP; the limiters are for what anybody may ask."""
        parts = (
            ProductsApi(self.catalogue, self.shelf),
            ImagesApi(self.images),
            StockApi(self.inventory),
            QuotesApi(self.orders, buys),
            FlashSalesApi(self.sales, self.room_access),
            PromotionsApi(self.promotions),
            CouponsApi(self.coupons, buys),
            OrdersApi(self.orders, self.contacts, buys, link=self.links.path),
            FulfilmentApi(self.orders),
            RefundsApi(self.after_sale, self.orders),
            ReturnsApi(self.after_sale, self.orders),
            SettlementApi(Settlement(self.store), self.orders),
            PickListApi(self.store),
            CasesApi(
                Cases(self.store, self.orders),
                Invoices(self.store, self.orders, self.contacts),
                self.orders,
            ),
            PaymentsApi(self.payments, self.orders, buys),
            SandboxApi(self.sandbox, buys),
            DisputesApi(Disputes(self.store), self.sandbox),
            ReconciliationApi(Reconciliation(self.store)),
            BagApi(self.bag, self.room_access),
            CardsApi(self.cards, self.room_access),
            WebhookEndpointsApi(self.webhook_endpoints, Deliveries(self.store)),
            StaffApi(self.staff, self.callers, AuditLog(self.store)),
            EventsApi(self.sessions, connects),
        )
        return [route for part in parts for route in part.routes()]

    async def start(self, origin: str) -> None:
        """Begin to relay, sweep and call back; `origin`: where this process answers HTTP.

        Raises StoreUnavailable; `stop` ends what has begun.
        """
        self._origin = origin
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=WEBHOOK_S))
        self._stack.push_async_callback(self._http.close)
        await index_from_before(self.store, utc_ms())
        await self._relay.start()
        self._stack.push_async_callback(self._relay.stop)
        self._webhooks.start()
        self._stack.push_async_callback(self._webhooks.stop)
        for every_s, work in (
            (SWEEP_S, self.orders.sweep),
            (SALES_SWEEP_S, self.sales.sweep),
            (SWEEP_S, self.payments.sweep),
            (SWEEP_S, self.sandbox.send_due),
            (LOW_STOCK_S, LowStock(self.store).sweep),
            (TIDY_S, self._tidy),
        ):
            task = asyncio.create_task(_repeat(every_s, work))
            self._stack.push_async_callback(_ended, task)

    async def stop(self) -> None:
        await self._stack.aclose()

    def went(self, event: str, room: str) -> None:
        """Tell a room that its stream is `online`, `slate` or `offline`, one after the other."""
        self._tell_later(room, f"stream.{event}", {"clock": self.feed.time(room)})

    def noticed(self, room: str, notice: Mapping[str, Any]) -> None:
        """Tell a room what was found wrong with its stream."""
        self._tell_later(room, "ingest.notice", notice)

    def _tell_later(self, room: str, type: str, data: Mapping[str, Any]) -> None:
        task = asyncio.create_task(self._tell_stream(room, type, data))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _tell_stream(self, room: str, type: str, data: Mapping[str, Any]) -> None:
        async with self._telling_in_order:
            with suppress(StoreUnavailable):  # the store has told the log, and `hello` says it too
                if await self.rooms.exists(room):
                    await self.feed.publish(room, type, data)
                    if type in EVENTS:
                        changes = Changes(utc_ms())
                        changes.tell(SHOP, type, room=room)
                        await changes.commit(self.store)

    # -- what the parts ask -----------------------------------------------------------------------

    def _is_live(self, room: str) -> bool:
        return self._air.epoch_ms(room) is not None

    def _media_time(self, room: str) -> tuple[int, int] | None:
        epoch_ms = self._air.epoch_ms(room)
        return None if epoch_ms is None else (utc_ms() - epoch_ms, epoch_ms)

    def _clock(self, room: str) -> Mapping[str, Any]:
        return {
            "epoch": self._air.epoch_ms(room),
            "rtp_base": self._air.rtp_base(room),
            "rtp_rate": VIDEO_CLOCK_RATE,
        }

    async def _tidy(self) -> None:
        while await idempotency.sweep(self.store, utc_ms()) == idempotency.SWEPT_AT_ONCE:
            pass
        await self.staff.sweep()
        for _ in range(TIDY_ROUNDS if self._archives else 0):
            if not await self._archive.sweep():
                break
        if self._prunes:
            await self._pruning.sweep()

    async def _told(self) -> Mapping[str, int]:
        """How far all have come who tell others what the shop's stream says."""
        endpoints = [each for each in await self.webhook_endpoints.list() if each.enabled]
        positions = [RELAYED, *(progress_key(each.id) for each in endpoints)]
        return {SHOP: await lowest(self.store, positions)}

    async def _call_back(self, headers: Mapping[str, str], body: bytes) -> None:
        """Deliver a webhook of the sandbox to ourselves; raises OSError if it was not taken."""
        assert self._http is not None
        url = f"{self._origin}/v1/payments/webhooks/sandbox"
        try:
            async with self._http.post(url, data=body, headers=headers, ssl=False) as reply:
                if reply.status >= 300:
                    raise ConnectionError(f"the webhook was answered with {reply.status}")
        except aiohttp.ClientError as error:
            raise ConnectionError(str(error)) from error


async def _repeat(every_s: float, work: Callable[[], Awaitable[object]]) -> None:
    while True:
        await asyncio.sleep(every_s)
        try:
            await work()
        except StoreUnavailable:  # the store has told the log
            continue
        except Exception:  # a bug of ours: orders must not be held for ever because of it
            log.exception("sweeping failed; it is tried again")


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _providers(config: Config, store: Store, sandbox: Sandbox) -> dict[str, Provider]:
    """By name; raises ValueError where the package of the one that is configured is missing."""
    payments = config.payments
    if payments.provider != "stripe":
        return {"sandbox": sandbox}
    try:
        from commerce.payments.stripe_provider import StripeProvider
    except ModuleNotFoundError:
        raise ValueError("payments.provider stripe wants: pip install 'hawker[stripe]'") from None
    provider = StripeProvider(
        store,
        payments.stripe_api_key.get_secret_value(),
        payments.stripe_webhook_secret.get_secret_value(),
        return_url=payments.return_url,
        now_ms=store.now_ms,
    )
    return {"sandbox": sandbox, "stripe": provider}


def _webhook_secret(directory: Path) -> str:
    return load_or_create_secret(directory / "sandbox-webhook-secret", new_secret)
