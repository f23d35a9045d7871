"""Restreaming over HTTP: a room's targets on other platforms, how each is, starting and stopping them.

A key goes in and does not come out again: what is told of it is its end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Protocol

from aiohttp import web
from pydantic import BaseModel, Field

from commerce.timestamps import rfc3339
from mediaserver.api.auth import require
from mediaserver.api.operation import operation
from mediaserver.api.pagination import page
from mediaserver.api.preconditions import NO_STORE
from mediaserver.api.problem import read_json
from mediaserver.api.strict import Strict
from mediaserver.egress.restream import Address, Restreams

TAG = "restreams"
INSPECT = "rooms.inspect"
WRITE = "restreams.write"
NOT_FOUND = "room_not_found restream_not_found"
RENDITION = r"|[a-z0-9]{1,32}"

Name = Annotated[str, Field(description="what you call it", examples=["My channel"])]
Url = Annotated[
    str,
    Field(
        description="of the server, without the key: `rtmp://host/app` or `rtmps://host/app`",
        examples=["rtmps://live.example.com/app"],
    ),
]
Key = Annotated[str, Field(description="the stream key there", examples=["live_0123456789"])]
Rendition = Annotated[
    str,
    Field(
        pattern=f"^({RENDITION})$",
        description="such as `720p`; empty: the stream as it comes",
        examples=["720p"],
    ),
]
Enhanced = Annotated[
    bool,
    Field(description="the server takes Enhanced RTMP (HEVC, AV1, VP9, Opus) without saying so"),
]


class Target(Protocol):
    """`overlay.restream_targets.RestreamTarget`."""

    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def key_hint(self) -> str: ...
    @property
    def rendition(self) -> str: ...
    @property
    def enhanced(self) -> bool: ...
    @property
    def enabled(self) -> bool: ...
    @property
    def created_ms(self) -> int: ...


class Targets(Protocol):
    """`overlay.restream_targets.RestreamTargets`."""

    async def create(
        self,
        room: str,
        name: str,
        url: str,
        key: str,
        *,
        rendition: str = "",
        enhanced: bool = False,
        enabled: bool = True,
    ) -> Target: ...
    async def list(self, room: str) -> Sequence[Target]: ...
    async def get(self, room: str, id: str) -> Target: ...
    async def patch(
        self,
        room: str,
        id: str,
        *,
        name: str | None = None,
        url: str | None = None,
        key: str | None = None,
        rendition: str | None = None,
        enhanced: bool | None = None,
        enabled: bool | None = None,
    ) -> Target: ...
    async def delete(self, room: str, id: str) -> None: ...


class NewRestream(Strict):
    name: Name
    url: Url
    key: Key
    rendition: Rendition = ""
    enhanced: Enhanced = False
    enabled: Annotated[bool, Field(description="begin with the stream, or wait for a start")] = True


class RestreamPatch(Strict):
    name: Name | None = None
    url: Url | None = None
    key: Key | None = None
    rendition: Rendition | None = None
    enhanced: Enhanced | None = None


class RestreamHealth(BaseModel):
    state: Literal["idle", "connecting", "live", "retrying", "failed", "stopped"]
    since: str | None = Field(description="of the state; null: since before the stream")
    bytes: int = Field(description="sent since the stream began")
    bitrate_bps: int
    frames_skipped: int = Field(description="pictures left out because the target was too slow")
    reconnects: int
    error_code: str = Field(description="of the last error; empty: there was none")
    last_error: str = Field(description="in words")


class RestreamDocument(BaseModel):
    id: str
    room: str
    name: str
    url: str
    key_hint: str = Field(description="the last characters of the key")
    rendition: str
    enhanced: bool
    enabled: bool
    created_at: str
    health: RestreamHealth


class RestreamsPage(BaseModel):
    items: list[RestreamDocument]
    next: str | None


class RestreamsApi:
    """Handlers of `/v1/rooms/{room}/restreams`."""

    def __init__(self, targets: Targets, restreams: Restreams) -> None:
        self._targets = targets
        self._restreams = restreams

    def routes(self) -> list[web.RouteDef]:
        whole = "/v1/rooms/{room}/restreams"
        one = f"{whole}/{{restream}}"
        return [
            web.post(whole, self._create),
            web.get(whole, self._list),
            web.get(one, self._get),
            web.patch(one, self._patch),
            web.delete(one, self._delete),
            web.post(f"{one}/start", self._start),
            web.post(f"{one}/stop", self._stop),
        ]

    @operation(
        "Restream a room to another platform",
        TAG,
        auth=WRITE,
        body=NewRestream,
        reply=RestreamDocument,
        status=201,
        errors={404: "room_not_found", 409: "limit_reached", 422: "restream_url"},
        reply_headers=("Location",),
    )
    async def _create(self, request: web.Request) -> web.Response:
        room = request.match_info["room"]
        await require(request, WRITE, room=room)
        wanted = await read_json(request, NewRestream)
        target = await self._targets.create(
            room,
            wanted.name,
            self._checked(wanted.url),
            wanted.key,
            rendition=wanted.rendition,
            enhanced=wanted.enhanced,
            enabled=wanted.enabled,
        )
        await self._restreams.refresh(room)
        headers = {**NO_STORE, "Location": f"/v1/rooms/{room}/restreams/{target.id}"}
        return web.json_response(self._shown(room, target), status=201, headers=headers)

    @operation(
        "List where a room is restreamed to, and how that goes",
        TAG,
        auth=INSPECT,
        reply=RestreamsPage,
        errors={404: "room_not_found"},
    )
    async def _list(self, request: web.Request) -> web.Response:
        room = request.match_info["room"]
        await require(request, INSPECT, room=room)
        items = [self._shown(room, each) for each in await self._targets.list(room)]
        return web.json_response(page(items, None), headers=NO_STORE)

    @operation(
        "Look at one restream", TAG, auth=INSPECT, reply=RestreamDocument, errors={404: NOT_FOUND}
    )
    async def _get(self, request: web.Request) -> web.Response:
        room, id = _names(request)
        await require(request, INSPECT, room=room)
        return self._answer(room, await self._targets.get(room, id))

    @operation(
        "Change a restream; it connects anew",
        TAG,
        auth=WRITE,
        body=RestreamPatch,
        reply=RestreamDocument,
        errors={404: NOT_FOUND, 422: "restream_url"},
    )
    async def _patch(self, request: web.Request) -> web.Response:
        room, id = _names(request)
        await require(request, WRITE, room=room, restream=id)
        wanted = await read_json(request, RestreamPatch)
        target = await self._targets.patch(
            room,
            id,
            name=wanted.name,
            url=None if wanted.url is None else self._checked(wanted.url),
            key=wanted.key,
            rendition=wanted.rendition,
            enhanced=wanted.enhanced,
        )
        await self._restreams.refresh(room)
        return self._answer(room, target)

    @operation("Delete a restream; it ends", TAG, auth=WRITE, status=204, errors={404: NOT_FOUND})
    async def _delete(self, request: web.Request) -> web.Response:
        room, id = _names(request)
        await require(request, WRITE, room=room, restream=id)
        await self._targets.delete(room, id)
        await self._restreams.refresh(room)
        return web.Response(status=204, headers=NO_STORE)

    @operation(
        "Start a restream: now, and with the stream from now on",
        TAG,
        auth=WRITE,
        reply=RestreamDocument,
        errors={404: NOT_FOUND},
    )
    async def _start(self, request: web.Request) -> web.Response:
        return await self._enable(request, True)

    @operation(
        "Stop a restream until it is started",
        TAG,
        auth=WRITE,
        reply=RestreamDocument,
        errors={404: NOT_FOUND},
    )
    async def _stop(self, request: web.Request) -> web.Response:
        return await self._enable(request, False)

    async def _enable(self, request: web.Request, enabled: bool) -> web.Response:
        room, id = _names(request)
        await require(request, WRITE, room=room, restream=id)
        target = await self._targets.patch(room, id, enabled=enabled)
        await self._restreams.refresh(room)
        return self._answer(room, target)

    def _checked(self, url: str) -> str:
        address = Address.parse(url)
        address.check(allow_private=self._restreams.allow_private)
        return address.url

    def _answer(self, room: str, target: Target) -> web.Response:
        return web.json_response(self._shown(room, target), headers=NO_STORE)

    def _shown(self, room: str, target: Target) -> dict[str, object]:
        return {
            "id": target.id,
            "room": room,
            "name": target.name,
            "url": target.url,
            "key_hint": target.key_hint,
            "rendition": target.rendition,
            "enhanced": target.enhanced,
            "enabled": target.enabled,
            "created_at": rfc3339(target.created_ms),
            "health": self._health(room, target),
        }

    def _health(self, room: str, target: Target) -> dict[str, object]:
        found = self._restreams.figures(room, target.id)
        return {
            "state": found.state if found else "idle" if target.enabled else "stopped",
            "since": rfc3339(found.since_ms) if found else None,
            "bytes": found.bytes if found else 0,
            "bitrate_bps": found.bitrate_bps if found else 0,
            "frames_skipped": found.frames_skipped if found else 0,
            "reconnects": found.reconnects if found else 0,
            "error_code": found.error_code if found else "",
            "last_error": found.last_error if found else "",
        }


def _names(request: web.Request) -> tuple[str, str]:
    return request.match_info["room"], request.match_info["restream"]
