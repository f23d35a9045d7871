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
from commerce.catalogue import Catalogue
from commerce.contact import Contacts, load_key
from commerce.errors import StoreUnavailable
from commerce.ids import utc_ms
from commerce.images import Images
from commerce.inventory import Inventory
from commerce.ordering import Orders
from commerce.orders import Limits
from commerce.payments.sandbox import Sandbox
from commerce.payments.service import Payments
from commerce.payments.signature import new_secret
from commerce.shelf import Shelf
from commerce.store import Store
from config import Config
from mediaserver.api.bag import BagApi
from mediaserver.api.cards import CardsApi
from mediaserver.api.events import EventsApi
from mediaserver.api.images import ImagesApi
from mediaserver.api.limits import AddressLimiter
from mediaserver.api.orders import OrdersApi
from mediaserver.api.payments import PaymentsApi
from mediaserver.api.products import ProductsApi
from mediaserver.api.quotes import QuotesApi
from mediaserver.api.sandbox import SandboxApi
from mediaserver.api.staff import StaffApi
from mediaserver.api.stock import StockApi
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
from overlay.shop_relay import ShopRelay
from overlay.staff import Staff
from overlay.tokens import Tokens

log = logging.getLogger("hawker.shop")

SWEEP_S = 1.0  # how late a reservation or a payment may end
TIDY_S = 60.0
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
        kept: Store,
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
        self.catalogue, self.inventory = Catalogue(store), Inventory(store)
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
        )
        self.sandbox = Sandbox(store, _webhook_secret(directory), send=self._call_back)
        self.payments = Payments(
            store, self.orders, {"sandbox": self.sandbox}, default=config.payments.provider
        )
        self.bag = Bag(store, self.catalogue, self.shelf, self.rooms.exists)
        self.cards = Cards(store, self.catalogue, self.shelf, self.bag, self._media_time)
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
            acts=Acts(self.orders, self.payments, self.links.path).table(),
            slow_mode_s=slow_mode_s,
            max_sessions=EVENT_SESSIONS,
        )
        self.channels = DataChannels(self.sessions)
        self._relay = ShopRelay(self.store, self.catalogue, self.bag)
        self._followed.followers += [self.feed.committed, self._relay.committed]

    def routes(self, connects: AddressLimiter, buys: AddressLimiter) -> list[web.RouteDef]:
        """What the shop answers over HTTP; the limiters are for what anybody may ask."""
        parts = (
            ProductsApi(self.catalogue, self.shelf),
            ImagesApi(self.images),
            StockApi(self.inventory),
            QuotesApi(self.catalogue, self.orders, buys),
            OrdersApi(self.orders, self.contacts, buys, link=self.links.path),
            PaymentsApi(self.payments, self.orders, buys),
            SandboxApi(self.sandbox, buys),
            BagApi(self.bag, self.room_access),
            CardsApi(self.cards, self.room_access),
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
        await self._relay.start()
        self._stack.push_async_callback(self._relay.stop)
        for every_s, work in (
            (SWEEP_S, self.orders.sweep),
            (SWEEP_S, self.payments.sweep),
            (SWEEP_S, self.sandbox.send_due),
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


def _webhook_secret(directory: Path) -> str:
    return load_or_create_secret(directory / "sandbox-webhook-secret", new_secret)
