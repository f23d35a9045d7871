"""A server with rooms, staff and the audit log on a real store, and everybody who may knock at it."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import ClientResponse, DummyCookieJar, web
from aiohttp.test_utils import TestClient, TestServer

from commerce.store import SqliteStore
from mediaserver.api.access_log import AccessLogger
from mediaserver.api.auth import CALLERS
from mediaserver.api.limits import AddressLimiter
from mediaserver.api.problem import install
from mediaserver.api.rooms import RoomsApi
from mediaserver.api.staff import StaffApi
from mediaserver.hub import Hub
from mediaserver.ingest.channel import Channels
from mediaserver.ingest.doctor import Doctor
from overlay.audit import AuditedStore, AuditLog, Entry
from overlay.callers import Callers
from overlay.order_links import OrderLinks
from overlay.rooms import RoomAccess, Rooms
from overlay.staff import Staff
from overlay.tokens import Tokens

SECRET = "a secret of more than thirty-two bytes, for these tests"
ADMIN_TOKEN = "the tökén of the admin"
ADMIN = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
PASSWORD = "correct horse battery"
GUEST_BURST = 20
START_MS = 1_800_000_000_000


@dataclass
class Clock:
    """Moved by the test."""

    ms: int = START_MS

    def now_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.ms / 1000


@dataclass
class SignedIn:
    """A page's session: its cookie, and the CSRF token that it sends beside it."""

    cookie: str
    csrf: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Cookie": f"hawker_session={self.cookie}", "X-CSRF-Token": self.csrf}


@dataclass
class MediaClock:
    """Monotonic seconds that a test moves."""

    now: float = 100.0


@dataclass
class House:
    client: TestClient[web.Request, web.Application]
    store: AuditedStore
    path: Path
    rooms: Rooms
    tokens: Tokens
    access: RoomAccess
    staff: Staff
    links: OrderLinks
    audit: AuditLog
    hub: Hub
    doctor: Doctor
    media_clock: MediaClock
    clock: Clock
    viewers: dict[str, int] = field(default_factory=dict)

    async def create(self, **body: object) -> dict[str, str]:
        response = await self.client.post("/v1/rooms", json=body, headers=ADMIN)
        assert response.status == 201
        made: dict[str, str] = await response.json()
        return made

    async def log_in(self, **body: str) -> SignedIn:
        response = await self.client.post("/v1/login", json=body)
        assert response.status == 200
        csrf = (await response.json())["csrf"]
        return SignedIn(response.cookies["hawker_session"].value, csrf)

    async def with_role(self, role: str) -> dict[str, str]:
        """The headers of an API key with this role, of the admin, or of nobody."""
        if role in ("admin", "nobody"):
            return ADMIN if role == "admin" else {}
        _, key = await self.staff.api_keys.create(f"a {role}", role)
        return bearer(key)

    async def me(self, headers: Mapping[str, str]) -> dict[str, object]:
        response = await self.client.get("/v1/me", headers=headers)
        assert response.status == 200
        body: dict[str, object] = await response.json()
        return body

    async def entries(self) -> list[Entry]:
        return (await self.audit.page(limit=200))[0]

    async def acts(self) -> list[tuple[str, str, dict[str, str]]]:
        """(by, act, target) of each entry, oldest first."""
        return [(each.by, each.act, dict(each.target)) for each in reversed(await self.entries())]

    def stored(self) -> bytes:
        """Every byte of the store's files."""
        files = sorted(self.path.parent.glob(f"{self.path.name}*"))
        return b"".join(file.read_bytes() for file in files)


@asynccontextmanager
async def open_house(
    directory: Path, clock: Clock | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[House]:
    clock = clock or Clock()
    path = directory / "hawker.db"
    kept = await SqliteStore.open(path)
    store = AuditedStore(kept, clock.now_ms)
    rooms = Rooms(store)
    tokens = Tokens(SECRET, now=clock.monotonic)
    access = RoomAccess(rooms, tokens)
    staff, links = Staff(store, clock.now_ms), OrderLinks(SECRET)
    audit = AuditLog(store, clock.now_ms)
    callers = Callers(tokens, staff, links, ADMIN_TOKEN)
    hub = Hub()
    media_clock = MediaClock()
    doctor = Doctor(hub, clock=lambda: media_clock.now)
    viewers: dict[str, int] = {}
    rooms_api = RoomsApi(
        rooms,
        access,
        hub=hub,
        doctor=doctor,
        stop_channel=Channels(hub, directory).stop,
        restream=_nowhere,
        viewers=lambda room: viewers.get(room, 0),
        guest_limiter=AddressLimiter(per_s=0.01, burst=GUEST_BURST),
        audit=audit,
    )
    app = web.Application()
    app[CALLERS] = callers
    install(app)
    app.add_routes(rooms_api.routes())
    app.add_routes(StaffApi(staff, callers, audit, monotonic=clock.monotonic).routes())
    server = TestServer(app, scheme="https" if tls else "http")
    await server.start_server(access_log_class=AccessLogger, ssl=tls)
    async with TestClient(server, cookie_jar=DummyCookieJar()) as client:
        yield House(
            client,
            store,
            path,
            rooms,
            tokens,
            access,
            staff,
            links,
            audit,
            hub,
            doctor,
            media_clock,
            clock,
            viewers,
        )
    hub.drain()
    await store.close()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def code(response: ClientResponse) -> tuple[int, str]:
    """(status, code) of a problem."""
    assert response.content_type == "application/problem+json"
    return response.status, (await response.json())["code"]


def routes(house: House) -> Iterable[tuple[str, str]]:
    """(method, path) of everything the house serves, with its rooms and names filled in."""
    assert house.client.app is not None
    for route in house.client.app.router.routes():
        assert route.resource is not None
        if route.method != "HEAD":
            path = route.resource.canonical.format(room="shop", name="alice", id="apk_x")
            yield route.method, path


async def _nowhere(room: str) -> None:
    """There are no restreams in this house."""
