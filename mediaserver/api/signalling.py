"""What WHIP (RFC 9725) and WHEP share over HTTP: the offer's body, the 201, CORS, bearer tokens."""

from __future__ import annotations

from aiohttp import web

from mediaserver.api.body import read_body
from mediaserver.errors import PeerError, Unauthorized

OFFER_BYTES = 64 << 10  # Chromium's offers are 7 kB
CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "Location, ETag, Link, Retry-After",
}


class UnsupportedMediaType(PeerError):
    status = 415
    code = "unsupported_media_type"
    title = "Unsupported media type"


async def read_offer(request: web.Request) -> bytes:
    """The SDP offer; raises UnsupportedMediaType, TooLarge or TooSlow."""
    if request.content_type != "application/sdp":
        raise UnsupportedMediaType("send the offer as application/sdp")
    return await read_body(request, OFFER_BYTES)


def bearer(request: web.Request) -> str | None:
    """The bearer token of the request, if it has one (RFC 6750 §2.1)."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def required_bearer(request: web.Request) -> str:
    token = bearer(request)
    if token is None:
        raise Unauthorized("a bearer token is missing", headers={"WWW-Authenticate": "Bearer"})
    return token


def created(answer: str, resource: str, resource_id: str, links: str | None = None) -> web.Response:
    """201 with the answer; `resource` is the path that DELETE takes."""
    headers = {**CORS, "Location": resource, "ETag": f'"{resource_id}"'}
    if links is not None:
        headers["Link"] = links
    body = answer.encode()  # bytes: with text, aiohttp would put a charset behind the type
    return web.Response(status=201, body=body, content_type="application/sdp", headers=headers)


async def options(request: web.Request) -> web.Response:
    """CORS preflight, and what may be posted (RFC 9725 §4.2)."""
    headers = {
        **CORS,
        "Access-Control-Allow-Methods": "OPTIONS, POST, DELETE",
        "Access-Control-Allow-Headers": "Authorization, Content-Type, If-Match",
        "Access-Control-Max-Age": "86400",
        "Accept-Post": "application/sdp",
    }
    return web.Response(status=204, headers=headers)
