"""What WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep) share over HTTP: offers, the 201, a session's
resource with trickle and ICE restart, preflight, bearer tokens.

An entity-tag names an ICE session (§4.3.1): it is our username fragment. Every PATCH wants If-Match,
with that tag to trickle and `*` to restart ICE; DELETE ignores it. Candidates of peers are read and
then left alone: an ICE-lite agent learns addresses from checks.
"""

from __future__ import annotations

from aiohttp import web

from mediaserver.api.body import read_body
from mediaserver.api.preconditions import NO_STORE, etag, if_match
from mediaserver.errors import PeerError, Unauthorized
from mediaserver.protocol import sdp_fragment
from mediaserver.protocol.sdp_fragment import MAX_FRAGMENT_BYTES
from mediaserver.rtc.resources import Resources

OFFER_BYTES = 64 << 10  # Chromium's offers are 7 kB
OFFER_TYPE = "application/sdp"
CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "Location, ETag, Link, Retry-After, Allow, Accept-Post, "
    "Accept-Patch",
}
ACCEPT_POST = {"Accept-Post": OFFER_TYPE}
ACCEPT_PATCH = {"Accept-Patch": sdp_fragment.MEDIA_TYPE}  # RFC 5789 §3.1
PATCH_REFUSALS = {
    400: "malformed",
    404: "not_found",
    408: "too_slow",
    413: "too_large",
    415: "unsupported_media_type unsupported_coding",
    429: "too_many",
}


class UnsupportedMediaType(PeerError):
    status = 415
    code = "unsupported_media_type"
    title = "Unsupported media type"


class OtherIceSession(PeerError):
    status = 412
    code = "stale"
    title = "Precondition failed"


class Sessions:
    """The session resources of one protocol over HTTP."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources

    async def get(self, request: web.Request) -> web.Response:
        """A session has no representation: 204 while it is there (RFC 9725 §4.1)."""
        await self._resources.find(request.match_info["resource"])
        return web.Response(status=204, headers={**CORS, **NO_STORE})

    async def patch(self, request: web.Request) -> web.Response:
        """204 to a trickle, 200 with our new credentials to an ICE restart (RFC 9725 §4.3).

        Raises NotFound, UnsupportedMediaType, TooLarge, TooSlow, IfMatchMissing, OtherIceSession,
        ProtocolError.
        """
        resource = request.match_info["resource"]
        await self._resources.find(resource)
        body = await _read(request, sdp_fragment.MEDIA_TYPE, MAX_FRAGMENT_BYTES, ACCEPT_PATCH)
        session = await self._resources.find(resource)  # it may have ended meanwhile
        if not if_match(request, session.ufrag):
            raise OtherIceSession("If-Match names an ICE session that is not the newest")
        peer = sdp_fragment.parse(body).credentials
        if peer is None or peer == session.peer:
            return web.Response(status=204, headers=CORS)
        restarted = await self._resources.restart_ice(resource, peer)
        headers = {**CORS, **etag(restarted.ufrag)}
        return web.Response(
            body=restarted.fragment, content_type=sdp_fragment.MEDIA_TYPE, headers=headers
        )


def created(answer: str, path: str, ufrag: str, links: str | None = None) -> web.Response:
    """201 with the answer; `path` is that of the new session's resource, `ufrag` is ours."""
    headers = {**CORS, **etag(ufrag), "Location": path}
    if links is not None:
        headers["Link"] = links
    body = answer.encode()  # bytes: with text, aiohttp would put a charset behind the type
    return web.Response(status=201, body=body, content_type=OFFER_TYPE, headers=headers)


async def read_offer(request: web.Request) -> bytes:
    """The SDP offer; raises UnsupportedMediaType, TooLarge or TooSlow."""
    return await _read(request, OFFER_TYPE, OFFER_BYTES, ACCEPT_POST)


async def _read(
    request: web.Request, media_type: str, most_bytes: int, accepted: dict[str, str]
) -> bytes:
    if request.content_type != media_type:
        raise UnsupportedMediaType(f"send it as {media_type}", headers=accepted)
    return await read_body(request, most_bytes)


def bearer(request: web.Request) -> str | None:
    """The bearer token of the request, if it has one (RFC 6750 §2.1)."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def required_bearer(request: web.Request) -> str:
    token = bearer(request)
    if token is None:
        raise Unauthorized("a bearer token is missing", headers={"WWW-Authenticate": "Bearer"})
    return token


async def endpoint_options(request: web.Request) -> web.Response:
    """CORS preflight, and what may be posted (RFC 9725 §4.2)."""
    return _options("GET, HEAD, OPTIONS, POST", ACCEPT_POST)


async def session_options(request: web.Request) -> web.Response:
    return _options("DELETE, GET, HEAD, OPTIONS, PATCH", ACCEPT_PATCH)


def _options(methods: str, accepted: dict[str, str]) -> web.Response:
    headers = {
        **CORS,
        **accepted,
        "Allow": methods,
        "Access-Control-Allow-Methods": methods,
        "Access-Control-Allow-Headers": "Authorization, Content-Type, If-Match",
        "Access-Control-Max-Age": "86400",
    }
    return web.Response(headers=headers)
