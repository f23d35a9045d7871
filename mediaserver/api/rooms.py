"""Rooms over HTTP: make, read, change, rotate the key, look at the ingest, get viewers' tokens.

Rooms and tokens are the overlay's; what is asked of them here are the two protocols below. Everybody
may read a room's public face; making, changing and looking inside want the admin token.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Literal, Protocol

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from commerce.timestamps import rfc3339
from mediaserver.api.auth import is_admin, require_admin
from mediaserver.api.ingest import IngestMeter, describe
from mediaserver.api.limits import AddressLimiter
from mediaserver.api.problem import read_json
from mediaserver.api.signalling import bearer
from mediaserver.errors import PeerError
from mediaserver.hub import Hub

NO_STORE = {"Cache-Control": "no-store"}
PAGE = 50
PAGE_MAX = 200
NO_VERSION = -1  # the version of no room: an If-Match that can't be met
TTL_MAX_S = 30 * 24 * 3600
VIEWER_TTL_S = 12 * 3600

RoomAccess = Literal["public", "restricted"]
Role = Literal["viewer", "host", "operator", "moderator", "finance", "engineer"]


class Room(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def access(self) -> RoomAccess: ...
    @property
    def created_ms(self) -> int: ...
    @property
    def updated_ms(self) -> int: ...
    @property
    def version(self) -> int: ...


class Rooms(Protocol):
    async def create(
        self, title: str, *, id: str | None = None, access: RoomAccess = "public"
    ) -> tuple[Room, str]: ...
    async def get(self, id: str) -> Room: ...
    async def list(
        self, *, after: str | None = None, limit: int = PAGE
    ) -> tuple[Sequence[Room], str | None]: ...
    async def patch(
        self,
        id: str,
        *,
        title: str | None = None,
        access: RoomAccess | None = None,
        if_version: int | None = None,
    ) -> Room: ...
    async def rotate_key(self, id: str) -> str: ...


class IssuedToken(Protocol):
    @property
    def token(self) -> str: ...
    @property
    def sub(self) -> str: ...
    @property
    def expires_ms(self) -> int: ...


class Tokens(Protocol):
    async def guest_token(self, room: str, old: str | None = None) -> IssuedToken: ...
    async def viewer_token(
        self,
        room: str,
        sub: str | None = None,
        *,
        role: str = "viewer",
        name: str | None = None,
        tier: str | None = None,
        segment: str | None = None,
        ttl_s: int = VIEWER_TTL_S,
    ) -> IssuedToken: ...


class Body(BaseModel):
    """Unknown members are refused: a misspelt `access` must not make a public room."""

    model_config = ConfigDict(extra="forbid", strict=True)


class NewRoom(Body):
    id: str | None = None
    title: str
    access: RoomAccess = "public"


class RoomPatch(Body):
    title: str | None = None
    access: RoomAccess | None = None


class NewViewerToken(Body):
    room: str
    sub: str | None = None
    role: Role = "viewer"
    name: str | None = None
    tier: str | None = None
    segment: str | None = None
    ttl_s: Annotated[int, Field(ge=1, le=TTL_MAX_S)] = VIEWER_TTL_S


class NewGuestToken(Body):
    token: str | None = None


class PageQuery(BaseModel):
    cursor: str | None = None
    limit: Annotated[int, Field(ge=1, le=PAGE_MAX)] = PAGE


class BadQuery(PeerError):
    code = "bad_query"
    title = "Query not allowed"


class RoomsApi:
    """Handlers of `/v1/rooms` and `/v1/viewer-tokens`; `viewers(room)` counts over all protocols."""

    def __init__(
        self,
        rooms: Rooms,
        tokens: Tokens,
        *,
        hub: Hub,
        meter: IngestMeter,
        viewers: Callable[[str], int],
        guest_limiter: AddressLimiter,
    ) -> None:
        self._rooms = rooms
        self._tokens = tokens
        self._hub = hub
        self._meter = meter
        self._viewers = viewers
        self._guest_limiter = guest_limiter

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/rooms", self._create),
            web.get("/v1/rooms", self._list),
            web.get("/v1/rooms/{room}", self._get),
            web.patch("/v1/rooms/{room}", self._patch),
            web.post("/v1/rooms/{room}/stream-key", self._rotate_key),
            web.get("/v1/rooms/{room}/ingest", self._ingest),
            web.post("/v1/rooms/{room}/guest-token", self._guest_token),
            web.post("/v1/viewer-tokens", self._viewer_token),
        ]

    async def _create(self, request: web.Request) -> web.Response:
        require_admin(request)
        wanted = await read_json(request, NewRoom)
        room, key = await self._rooms.create(wanted.title, id=wanted.id, access=wanted.access)
        headers = {**NO_STORE, "ETag": _etag(room), "Location": f"/v1/rooms/{room.id}"}
        body = {**self._inside(room), "stream_key": key}
        return web.json_response(body, status=201, headers=headers)

    async def _list(self, request: web.Request) -> web.Response:
        query = _page_query(request)
        rooms, cursor = await self._rooms.list(after=query.cursor, limit=query.limit)
        face = self._inside if is_admin(request) else self._public
        body = {"items": [face(room) for room in rooms], "next": cursor}
        return web.json_response(body, headers=NO_STORE)

    async def _get(self, request: web.Request) -> web.Response:
        room = await self._rooms.get(request.match_info["room"])
        face = self._inside if is_admin(request) else self._public
        return self._reply(room, face(room))

    async def _patch(self, request: web.Request) -> web.Response:
        require_admin(request)
        id = request.match_info["room"]
        changes = await read_json(request, RoomPatch)
        room = await self._rooms.patch(
            id,
            title=changes.title,
            access=changes.access,
            if_version=await self._if_version(request, id),
        )
        return self._reply(room, self._inside(room))

    async def _rotate_key(self, request: web.Request) -> web.Response:
        require_admin(request)
        id = request.match_info["room"]
        key = await self._rooms.rotate_key(id)
        return web.json_response({"room": id, "stream_key": key}, headers=NO_STORE)

    async def _ingest(self, request: web.Request) -> web.Response:
        require_admin(request)
        room = await self._rooms.get(request.match_info["room"])
        body = describe(room.id, self._hub.get(room.id), self._meter)
        return web.json_response(body, headers=NO_STORE)

    async def _guest_token(self, request: web.Request) -> web.Response:
        """The old token comes in the body or as the bearer token."""
        self._guest_limiter.check(request.remote)
        old = (await read_json(request, NewGuestToken)).token or bearer(request)
        return _issued(await self._tokens.guest_token(request.match_info["room"], old))

    async def _viewer_token(self, request: web.Request) -> web.Response:
        require_admin(request)
        wanted = await read_json(request, NewViewerToken)
        issued = await self._tokens.viewer_token(
            wanted.room,
            wanted.sub,
            role=wanted.role,
            name=wanted.name,
            tier=wanted.tier,
            segment=wanted.segment,
            ttl_s=wanted.ttl_s,
        )
        return _issued(issued, status=201)

    async def _if_version(self, request: web.Request, id: str) -> int | None:
        """The version that If-Match (RFC 9110 §13.1.1) asks for, None where any will do."""
        if "If-Match" not in request.headers:
            return None
        tags = request.if_match or ()
        if any(tag.value == "*" for tag in tags):
            return None
        room = await self._rooms.get(id)
        matches = any(not tag.is_weak and tag.value == str(room.version) for tag in tags)
        return room.version if matches else NO_VERSION

    def _reply(self, room: Room, body: dict[str, object]) -> web.Response:
        return web.json_response(body, headers={**NO_STORE, "ETag": _etag(room)})

    def _public(self, room: Room) -> dict[str, object]:
        stream = self._hub.get(room.id)
        return {
            "id": room.id,
            "title": room.title,
            "access": room.access,
            "live": stream is not None and stream.live,
            "viewers": self._viewers(room.id),
        }

    def _inside(self, room: Room) -> dict[str, object]:
        return {
            **self._public(room),
            "created_at": rfc3339(room.created_ms),
            "updated_at": rfc3339(room.updated_ms),
        }


def _page_query(request: web.Request) -> PageQuery:
    try:
        return PageQuery.model_validate(dict(request.query))
    except ValidationError:
        raise BadQuery(f"limit: 1 to {PAGE_MAX}") from None


def _etag(room: Room) -> str:
    return f'"{room.version}"'


def _issued(issued: IssuedToken, status: int = 200) -> web.Response:
    body = {"token": issued.token, "sub": issued.sub, "expires_at": rfc3339(issued.expires_ms)}
    return web.json_response(body, status=status, headers=NO_STORE)
