"""The web pages: files read once at start, served from memory with validators (RFC 9110 §8.8).

They are small, so no request touches the disk and no path given by a client is ever opened. Each
answer carries a Content-Security-Policy (CSP level 3) under which user text can't become script:
nothing inline, nothing from elsewhere.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from aiohttp import ETag, web
from pydantic import BaseModel, Field

from mediaserver.api.operation import operation
from mediaserver.api.preconditions import NO_STORE
from mediaserver.errors import ProtocolError

CONTENT_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
HLS_JS = "vendor/hls.min.js"
HLS_JS_MISSING = (
    "hls.js is not installed: browsers without WebRTC can't play.\n"
    "Set-up fetches it: run `make run` once, or `npm ci` in overlay/web. Then start again.\n"
)
GZIP_MIN_BYTES = 1024  # below this the header of a packet outweighs the gain

# hls.js demuxes in a worker and feeds MediaSource, both through blob: URLs.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'self'",
        "img-src 'self' data:",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'self'",
    )
)
SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
NO_CAPTURE = {"Permissions-Policy": "camera=(), microphone=(), display-capture=(), geolocation=()"}
CAPTURE = {"Permissions-Policy": "camera=(self), microphone=(self), geolocation=()"}

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::\d{1,5})?")


@dataclass(frozen=True, slots=True)
class Asset:
    """One file as it is sent: `plain`, and `zipped` where that is smaller."""

    content_type: str
    plain: bytes
    zipped: bytes | None
    tag: str


def read_asset(path: Path) -> Asset:
    """Read a file; its suffix must be one of CONTENT_TYPES."""
    plain = path.read_bytes()
    zipped = gzip.compress(plain, mtime=0) if len(plain) >= GZIP_MIN_BYTES else None
    tag = hashlib.sha256(plain).hexdigest()[:16]
    return Asset(CONTENT_TYPES[path.suffix], plain, zipped, tag)


def read_folder(folder: Path) -> dict[str, Asset]:
    """All files below `folder` that pages are made of, by their path in it with forward slashes."""
    return {
        path.relative_to(folder).as_posix(): read_asset(path)
        for path in sorted(folder.rglob("*"))
        if path.suffix in CONTENT_TYPES
    }


def host_name(host: str) -> str:
    """The name in a Host header, without its port; raises ProtocolError for anything else."""
    found = _HOST.fullmatch(host)
    if found is None:
        raise ProtocolError("the Host header is not a host name")
    return found[1]


class PublishInfo(BaseModel):
    rtmp_server: str | None = Field(description='what OBS calls "Server"; null: no RTMP here')
    srt_server: str | None = Field(description="without the stream id; null: no SRT here")
    whip_url: str
    https_studio_url: str | None = Field(description="the studio where a browser allows cameras")


class Pages:
    """The lobby, the watch page, the studio, the shop's pages, and the files they load."""

    def __init__(
        self,
        folder: Path,
        hls_js: Path,
        *,
        room_exists: Callable[[str], Awaitable[bool]],
        rtmp_server: Callable[[str], str | None],
        srt_server: Callable[[str], str | None],
        https_origin: Callable[[str], str | None],
    ) -> None:
        """`folder`: the pages. `hls_js`: where set-up puts hls.min.js; it may be missing.

        `rtmp_server`, `srt_server` and `https_origin` are given the host name that the browser used (no
        port; IPv6 in brackets) and return `rtmp://host:1935/live`, `srt://host:8890` and
        `https://host:8443`, or None where that is not served.
        """
        self._assets = read_folder(folder)
        if hls_js.is_file():
            self._assets[HLS_JS] = read_asset(hls_js)
        self._room_exists = room_exists
        self._rtmp_server = rtmp_server
        self._srt_server = srt_server
        self._https_origin = https_origin

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/", self.lobby),
            web.get("/docs", self.docs),
            web.get("/doctor", self.doctor),
            web.get("/watch/{room}", self.watch),
            web.get("/studio/{room}", self.studio),
            web.get("/shop", self.shop),
            web.get("/orders/{id}", self.order),
            web.get("/pay/sandbox/{payment}", self.pay),
            web.get("/login", self.login),
            web.get("/static/{path:.+}", self.static),
            web.get("/v1/rooms/{room}/publish-info", self.publish_info),
        ]

    async def lobby(self, request: web.Request) -> web.Response:
        return _respond(request, self._assets["lobby.html"], NO_CAPTURE)

    async def docs(self, request: web.Request) -> web.Response:
        """The document at /v1/openapi.json, for people."""
        return _respond(request, self._assets["docs.html"], NO_CAPTURE)

    async def doctor(self, request: web.Request) -> web.Response:
        """Which ways to this server work from the browser."""
        return _respond(request, self._assets["doctor.html"], NO_CAPTURE)

    async def watch(self, request: web.Request) -> web.Response:
        """The page also says in words that a room doesn't exist; its status says it to programs."""
        status = 200 if await self._room_exists(request.match_info["room"]) else 404
        return _respond(request, self._assets["watch.html"], NO_CAPTURE, status)

    async def studio(self, request: web.Request) -> web.Response:
        status = 200 if await self._room_exists(request.match_info["room"]) else 404
        return _respond(request, self._assets["studio.html"], CAPTURE, status)

    async def shop(self, request: web.Request) -> web.Response:
        return _respond(request, self._assets["shop.html"], NO_CAPTURE)

    async def order(self, request: web.Request) -> web.Response:
        """The same for every id: only who may see the order learns whether it exists."""
        return _respond(request, self._assets["order.html"], NO_CAPTURE)

    async def pay(self, request: web.Request) -> web.Response:
        return _respond(request, self._assets["pay.html"], NO_CAPTURE)

    async def login(self, request: web.Request) -> web.Response:
        return _respond(request, self._assets["login.html"], NO_CAPTURE)

    async def static(self, request: web.Request) -> web.Response:
        path = request.match_info["path"]
        asset = self._assets.get(path)
        if asset is None:
            text = HLS_JS_MISSING if path == HLS_JS else "No such file.\n"
            return web.Response(status=404, text=text, headers=SECURITY_HEADERS)
        return _respond(request, asset)

    @operation("Where to publish to", "rooms", reply=PublishInfo, errors={400: "malformed"})
    async def publish_info(self, request: web.Request) -> web.Response:
        """Where to publish to, as seen from this browser; no key."""
        host = host_name(request.host)
        room = request.match_info["room"]
        https = self._https_origin(host)
        return web.json_response(
            {
                "rtmp_server": self._rtmp_server(host),
                "srt_server": self._srt_server(host),
                "whip_url": f"{request.scheme}://{request.host}/whip",
                "https_studio_url": https and f"{https}/studio/{room}",
            },
            headers=NO_STORE,
        )


def _respond(
    request: web.Request, asset: Asset, extra: Mapping[str, str] | None = None, status: int = 200
) -> web.Response:
    zipped = asset.zipped if "gzip" in request.headers.get("Accept-Encoding", "") else None
    tag = asset.tag if zipped is None else f"{asset.tag}-gzip"
    headers = {
        **SECURITY_HEADERS,
        **(extra or {}),
        "Cache-Control": "no-cache",
        "ETag": f'"{tag}"',
        "Vary": "Accept-Encoding",
    }
    if status == 200 and _holds(request.if_none_match, tag):
        return web.Response(status=304, headers=headers)
    if zipped is not None:
        headers["Content-Encoding"] = "gzip"
    return web.Response(
        status=status,
        body=asset.plain if zipped is None else zipped,
        content_type=asset.content_type,
        charset="utf-8",
        headers=headers,
    )


def _holds(tags: tuple[ETag, ...] | None, tag: str) -> bool:
    return any(held.value in ("*", tag) for held in tags or ())
