"""Rooms over HTTP: make, read, change, rotate the key, look at the ingest, get viewers' tokens.

Rooms and tokens are the overlay's; what is asked of them here are the protocols below. Everybody may
read a room's public face; making, changing and looking inside are acts of the permission table.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from aiohttp import web

from commerce.timestamps import rfc3339
from mediaserver.api.audit import AuditLog
from mediaserver.api.auth import WRONG_TOKEN, Caller, caller_of, require
from mediaserver.api.ingest import describe
from mediaserver.api.limits import AddressLimiter
from mediaserver.api.operation import operation
from mediaserver.api.pagination import PAGE, PageQuery, page, read_query
from mediaserver.api.preconditions import NO_STORE, NO_VERSION, etag, if_match
from mediaserver.api.problem import read_json
from mediaserver.api.room_documents import (
    VIEWER_TTL_S,
    IngestDocument,
    NewGuestToken,
    NewRoom,
    NewRoomDocument,
    NewViewerToken,
    RoomAccess,
    RoomDocument,
    RoomPatch,
    RoomsPage,
    StreamKeyDocument,
    TokenDocument,
)
from mediaserver.api.signalling import bearer
from mediaserver.hub import Hub
from mediaserver.ingest.doctor import Doctor

TAG = "rooms"
INSPECT = "rooms.inspect"


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
    async def delete(self, id: str, *, if_version: int | None = None) -> None: ...
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


class RoomsApi:
    """Handlers of `/v1/rooms` and `/v1/viewer-tokens`; `viewers(room)` counts over all protocols.

    `stop_channel(room)` ends its scheduled channel, `restream(room)` looks anew at where it may go.
    """

    def __init__(
        self,
        rooms: Rooms,
        tokens: Tokens,
        *,
        hub: Hub,
        doctor: Doctor,
        stop_channel: Callable[[str], Awaitable[None]],
        restream: Callable[[str], Awaitable[None]],
        viewers: Callable[[str], int],
        guest_limiter: AddressLimiter,
        audit: AuditLog,
    ) -> None:
        self._rooms = rooms
        self._tokens = tokens
        self._hub = hub
        self._doctor = doctor
        self._stop_channel = stop_channel
        self._restream = restream
        self._viewers = viewers
        self._guest_limiter = guest_limiter
        self._audit = audit

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/rooms", self._create),
            web.get("/v1/rooms", self._list),
            web.get("/v1/rooms/{room}", self._get),
            web.patch("/v1/rooms/{room}", self._patch),
            web.delete("/v1/rooms/{room}", self._delete),
            web.post("/v1/rooms/{room}/stream-key", self._rotate_key),
            web.get("/v1/rooms/{room}/ingest", self._ingest),
            web.post("/v1/rooms/{room}/guest-token", self._guest_token),
            web.post("/v1/viewer-tokens", self._viewer_token),
        ]

    @operation(
        "Make a room",
        TAG,
        auth="rooms.write",
        body=NewRoom,
        reply=NewRoomDocument,
        status=201,
        errors={409: "room_exists"},
        reply_headers=("ETag", "Location"),
    )
    async def _create(self, request: web.Request) -> web.Response:
        await require(request, "rooms.write")
        wanted = await read_json(request, NewRoom)
        await require(request, "rooms.write", room=wanted.id, title=wanted.title)
        room, key = await self._rooms.create(wanted.title, id=wanted.id, access=wanted.access)
        headers = {**etag(room.version), "Location": f"/v1/rooms/{room.id}"}
        body = {**self._inside(room), "stream_key": key}
        return web.json_response(body, status=201, headers=headers)

    @operation("List the rooms", TAG, query=PageQuery, reply=RoomsPage, errors=WRONG_TOKEN)
    async def _list(self, request: web.Request) -> web.Response:
        caller = await caller_of(request)
        query = read_query(request, PageQuery)
        rooms, cursor = await self._rooms.list(after=query.cursor, limit=query.limit)
        body = page([self._face(room, caller) for room in rooms], cursor)
        return web.json_response(body, headers=NO_STORE)

    @operation(
        "Read a room",
        TAG,
        reply=RoomDocument,
        errors={**WRONG_TOKEN, 404: "room_not_found"},
        reply_headers=("ETag",),
    )
    async def _get(self, request: web.Request) -> web.Response:
        caller = await caller_of(request)
        room = await self._rooms.get(request.match_info["room"])
        return web.json_response(self._face(room, caller), headers=etag(room.version))

    @operation(
        "Change a room, any version of it or the one that If-Match names",
        TAG,
        auth="rooms.write",
        body=RoomPatch,
        reply=RoomDocument,
        errors={404: "room_not_found", 412: "stale"},
        reply_headers=("ETag",),
    )
    async def _patch(self, request: web.Request) -> web.Response:
        id = request.match_info["room"]
        await require(request, "rooms.write", room=id)
        changes = await read_json(request, RoomPatch)
        room = await self._rooms.patch(
            id,
            title=changes.title,
            access=changes.access,
            if_version=await self._if_version(request, id),
        )
        await self._restream(id)  # a rehearsal goes nowhere
        return web.json_response(self._inside(room), headers=etag(room.version))

    @operation(
        "Delete a room, any version of it or the one that If-Match names",
        TAG,
        auth="rooms.write",
        status=204,
        errors={404: "room_not_found", 412: "stale"},
        description="Its stream ends at once and its key publishes no more; its bag and cards go with "
        "it. Its orders stay.",
    )
    async def _delete(self, request: web.Request) -> web.Response:
        id = request.match_info["room"]
        await require(request, "rooms.write", room=id)
        await self._rooms.delete(id, if_version=await self._if_version(request, id))
        await self._stop_channel(id)
        self._hub.end(id, "the room was deleted")
        return web.Response(status=204)

    @operation(
        "Make a new stream key; the old one publishes no more",
        TAG,
        auth="stream_key.rotate",
        reply=StreamKeyDocument,
        errors={404: "room_not_found"},
    )
    async def _rotate_key(self, request: web.Request) -> web.Response:
        id = request.match_info["room"]
        await require(request, "stream_key.rotate", room=id)
        key = await self._rooms.rotate_key(id)
        return web.json_response({"room": id, "stream_key": key}, headers=NO_STORE)

    @operation(
        "Look at what is published, and what could be better",
        TAG,
        auth=INSPECT,
        reply=IngestDocument,
        errors={404: "room_not_found"},
    )
    async def _ingest(self, request: web.Request) -> web.Response:
        id = request.match_info["room"]
        await require(request, INSPECT, room=id)
        room = await self._rooms.get(id)
        body = describe(room.id, self._hub, self._doctor)
        return web.json_response(body, headers=NO_STORE)

    @operation(
        "Get a guest's token for a public room",
        TAG,
        body=NewGuestToken,
        reply=TokenDocument,
        errors={403: "room_restricted room_rehearsing", 404: "room_not_found", 429: "too_many"},
    )
    async def _guest_token(self, request: web.Request) -> web.Response:
        """The old token comes in the body or as the bearer token."""
        self._guest_limiter.check(request.remote)
        old = (await read_json(request, NewGuestToken)).token or bearer(request)
        return _issued(await self._tokens.guest_token(request.match_info["room"], old))

    @operation(
        "Issue a viewer token",
        TAG,
        auth="viewer_tokens.issue",
        body=NewViewerToken,
        reply=TokenDocument,
        status=201,
        errors={404: "room_not_found"},
    )
    async def _viewer_token(self, request: web.Request) -> web.Response:
        act = "viewer_tokens.issue"
        await require(request, act, room=(await caller_of(request)).room)
        wanted = await read_json(request, NewViewerToken)
        caller = await require(request, act, room=wanted.room)
        issued = await self._tokens.viewer_token(
            wanted.room,
            wanted.sub,
            role=wanted.role,
            name=wanted.name,
            tier=wanted.tier,
            segment=wanted.segment,
            ttl_s=wanted.ttl_s,
        )
        target = {"room": wanted.room, "sub": issued.sub, "role": wanted.role}
        await self._audit.record(caller.name, caller.role, act, target)
        return _issued(issued, status=201)

    async def _if_version(self, request: web.Request, id: str) -> int | None:
        """The version that If-Match asks for, None where any will do."""
        if request.headers.get("If-Match", "*") == "*":
            return None
        version = (await self._rooms.get(id)).version
        return version if if_match(request, version) else NO_VERSION

    def _face(self, room: Room, caller: Caller) -> dict[str, object]:
        return self._inside(room) if caller.may(INSPECT, room.id) else self._public(room)

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


def _issued(issued: IssuedToken, status: int = 200) -> web.Response:
    body = {"token": issued.token, "sub": issued.sub, "expires_at": rfc3339(issued.expires_ms)}
    return web.json_response(body, status=status, headers=NO_STORE)
