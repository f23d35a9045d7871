"""What is made of a room's stream, over HTTP: its renditions, and their bit rate while they run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

from aiohttp import web
from pydantic import BaseModel, Field

from mediaserver.api.auth import require
from mediaserver.api.operation import operation
from mediaserver.api.preconditions import NO_STORE
from mediaserver.api.problem import read_json
from mediaserver.api.strict import Strict
from mediaserver.errors import Conflict, NotFound
from mediaserver.hub import Hub, Stream

TAG = "rooms"
PATH = "/v1/rooms/{room}/renditions"


class RenditionDocument(BaseModel):
    """`read`: somebody watches it, or it is being handed on; else, on demand, it costs nothing."""

    name: str
    codec: str
    width: int
    height: int
    read: bool


class RenditionsPage(BaseModel):
    items: list[RenditionDocument]
    next: None = None


class RenditionPatch(Strict):
    bitrate_kbps: Annotated[int, Field(ge=50, le=100_000)]


class RenditionsApi:
    """Handlers of `/v1/rooms/{room}/renditions`."""

    def __init__(self, hub: Hub, room_exists: Callable[[str], Awaitable[bool]]) -> None:
        self._hub = hub
        self._room_exists = room_exists

    def routes(self) -> list[web.RouteDef]:
        return [web.get(PATH, self._list), web.patch(f"{PATH}/{{rendition}}", self._patch)]

    @operation(
        "List the renditions of a room's picture",
        TAG,
        auth="rooms.inspect",
        reply=RenditionsPage,
        errors={404: "room_not_found"},
    )
    async def _list(self, request: web.Request) -> web.Response:
        room = request.match_info["room"]
        await require(request, "rooms.inspect", room=room)
        await self._check(room)
        found = [_document(stream) for stream in self._streams(room)]
        return web.json_response({"items": found, "next": None}, headers=NO_STORE)

    @operation(
        "Change the bit rate of a rendition while it is watched",
        TAG,
        auth="rooms.write",
        body=RenditionPatch,
        reply=RenditionDocument,
        errors={404: "room_not_found rendition_not_found", 409: "not_encoded_here"},
        description="It holds until the stream ends; what is configured is in `transcode.ladder`. A "
        "publisher's own layers can't be changed.",
    )
    async def _patch(self, request: web.Request) -> web.Response:
        room, name = request.match_info["room"], request.match_info["rendition"]
        await require(request, "rooms.write", room=room, rendition=name)
        wanted = await read_json(request, RenditionPatch)
        await self._check(room)
        for stream in self._streams(room):
            if stream.name == f"{room}/{name}":
                if not stream.request_bitrate(wanted.bitrate_kbps * 1000):
                    raise Conflict("nobody here encodes this rendition", code="not_encoded_here")
                return web.json_response(_document(stream), headers=NO_STORE)
        raise NotFound("the room has no such rendition now", code="rendition_not_found")

    async def _check(self, room: str) -> None:
        if not await self._room_exists(room):
            raise NotFound("there is no such room", code="room_not_found")

    def _streams(self, room: str) -> list[Stream]:
        """Those with a picture, the largest first."""
        found = [
            stream
            for name, stream in self._hub.streams.items()
            if name.startswith(f"{room}/") and "video" in stream.tracks
        ]
        return sorted(found, key=lambda each: -each.tracks["video"].height)


def _document(stream: Stream) -> dict[str, object]:
    video = stream.tracks["video"]
    return {
        "name": stream.name.partition("/")[2],
        "codec": video.codec,
        "width": video.width,
        "height": video.height,
        "read": stream.readers > 0,
    }
