"""HLS over HTTP (RFC 8216bis §6.2): playlists and segments of `/hls/{room}/`.

The viewer token comes in `Authorization` or, from players that can do nothing else, as `?token=`; then
every URI in the playlists carries it on.
"""

from __future__ import annotations

from urllib.parse import quote

from aiohttp import web
from pydantic import BaseModel, Field

from mediaserver.access import Access
from mediaserver.api.operation import WATCHER, operation
from mediaserver.api.signalling import bearer
from mediaserver.egress.hls import HlsEgress
from mediaserver.egress.hls_viewers import HlsViewers
from mediaserver.errors import NotFound

PLAYLIST_TYPE = "application/vnd.apple.mpegurl"
CORS = {"Access-Control-Allow-Origin": "*"}
# A playlist changes with every segment; the name of a segment is never used again. Without `public` a
# shared cache keeps nothing that was asked for with Authorization (RFC 9111 §3.5).
PLAYLIST_HEADERS = {**CORS, "Cache-Control": "no-cache"}
SEGMENT_HEADERS = {**CORS, "Cache-Control": "max-age=31536000, immutable"}
PREFLIGHT_HEADERS = {
    **CORS,
    "Access-Control-Allow-Methods": "GET, HEAD, OPTIONS",
    "Access-Control-Allow-Headers": "Authorization",
    "Access-Control-Max-Age": "86400",
}


class HlsQuery(BaseModel):
    token: str | None = Field(
        None, description="a viewer token, from players that can send no `Authorization`"
    )


class HlsApi:
    """Handlers of `/hls/{room}/…`."""

    def __init__(self, egress: HlsEgress, access: Access, viewers: HlsViewers) -> None:
        self._egress = egress
        self._access = access
        self._viewers = viewers

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/hls/{room}/{name}", self._get),
            web.options("/hls/{room}/{name}", self._options),
            web.get("/hls/{room}/{rendition}/{name}", self._get_rendition),
            web.options("/hls/{room}/{rendition}/{name}", self._options),
        ]

    @operation(
        "A playlist or a segment of HLS",
        "media",
        auth=WATCHER,
        reply=f"{PLAYLIST_TYPE}, video/mp4, audio/mp4",
        query=HlsQuery,
        errors={404: "not_found"},
        description="RFC 8216. Players begin at `index.m3u8`; it names the rest.",
    )
    async def _get(self, request: web.Request) -> web.Response:
        room, name = request.match_info["room"], request.match_info["name"]
        token, query = await self._admit(request, room)
        if name.endswith(".m3u8"):
            playlist = _playlist(self._egress.playlist(room, name, query))
            self._viewers.seen(room, token or _machine(request))
            return playlist
        return self._segment(name, self._egress.segment(room, name))

    @operation(
        "A playlist or a segment of a rendition of HLS",
        "media",
        auth=WATCHER,
        reply=f"{PLAYLIST_TYPE}, video/mp4",
        query=HlsQuery,
        errors={404: "not_found"},
        description="A rendition is made while somebody asks for its playlist; the first answer comes "
        "with the first segment.",
    )
    async def _get_rendition(self, request: web.Request) -> web.Response:
        room, name = request.match_info["room"], request.match_info["name"]
        rendition = request.match_info["rendition"]
        token, query = await self._admit(request, room)
        if name.endswith(".m3u8"):
            self._viewers.seen(room, token or _machine(request))
            return _playlist(await self._egress.rendition_playlist(room, rendition, name, query))
        return self._segment(name, self._egress.rendition_segment(room, rendition, name))

    async def _admit(self, request: web.Request, room: str) -> tuple[str | None, str]:
        """The viewer's token, if there is one, and the query that carries it on."""
        given = request.query.get("token")
        token = given or bearer(request)
        await self._access.watch(room, token)
        return token, f"?token={quote(given, safe='')}" if given else ""

    def _segment(self, name: str, body: bytes | None) -> web.Response:
        if body is None:
            raise NotFound("no such segment, or no longer")
        content_type = "audio/mp4" if name.startswith("a") else "video/mp4"
        return web.Response(body=body, content_type=content_type, headers=SEGMENT_HEADERS)

    async def _options(self, request: web.Request) -> web.Response:
        return web.Response(status=204, headers=PREFLIGHT_HEADERS)


def _playlist(body: bytes | None) -> web.Response:
    if body is None:
        raise NotFound("the room is not live over HLS now, or has no such playlist")
    return web.Response(body=body, content_type=PLAYLIST_TYPE, headers=PLAYLIST_HEADERS)


def _machine(request: web.Request) -> str:
    """Who asks without a token, as well as can be told."""
    return f"{request.remote} {request.headers.get('User-Agent', '')}"
