"""WHEP over HTTP (draft-ietf-wish-whep): POST an offer for a room; PATCH and DELETE the session."""

from __future__ import annotations

from aiohttp import web

from mediaserver.access import Access
from mediaserver.api.limits import AddressLimiter
from mediaserver.api.operation import WATCHER, operation
from mediaserver.api.preconditions import NO_STORE
from mediaserver.api.signalling import (
    CORS,
    OFFER_TYPE,
    PATCH_REFUSALS,
    Sessions,
    bearer,
    created,
    endpoint_options,
    read_offer,
    session_options,
)
from mediaserver.egress.watching import Offered, Watching
from mediaserver.protocol import sdp_fragment


class WhepApi:
    """Handlers of `/whep/{room}`."""

    def __init__(self, watching: Watching, access: Access, limiter: AddressLimiter) -> None:
        self._watching = watching
        self._access = access
        self._limiter = limiter
        self._sessions = Sessions(watching)

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/whep/{room}", self._post),
            web.get("/whep/{room}", self._get),
            web.options("/whep/{room}", endpoint_options),
            web.patch("/whep/{room}/{resource}", self._patch),
            web.delete("/whep/{room}/{resource}", self._delete),
            web.get("/whep/{room}/{resource}", self._get_session),
            web.options("/whep/{room}/{resource}", session_options),
        ]

    @operation(
        "Watch by WHEP",
        "media",
        auth=WATCHER,
        body="application/sdp",
        reply="application/sdp",
        status=201,
        errors={
            400: "malformed",
            406: "not_acceptable",
            408: "too_slow",
            409: "not_live has_b_frames",
            413: "too_large",
            415: "unsupported_media_type",
            429: "too_many",
            503: "unavailable",
        },
        description="draft-ietf-wish-whep: an SDP offer comes in, the answer goes out. `Location` is "
        "the session: PATCH trickles candidates and restarts ICE, DELETE ends it. `ETag` names its ICE "
        "session. The room's events travel in two negotiated data channels: "
        "id 0 `hawker` (ordered, reliable) and id 1 `hawker-live` (unordered, without retransmission).",
        reply_headers=("Location", "ETag", "Link"),
    )
    async def _post(self, request: web.Request) -> web.Response:
        self._limiter.check(request.remote)
        self._watching.admission.check(request.remote)
        room = request.match_info["room"]
        token = bearer(request)
        await self._access.watch(room, token)
        offer = await read_offer(request)
        answered = await self._watching.watch(Offered(room, offer, token, request.remote or ""))
        events = f'</v1/rooms/{room}/events>; rel="urn:hawker:events"'
        path = f"/whep/{room}/{answered.resource}"
        return created(answered.answer, path, answered.ufrag, events)

    @operation(
        "See whether WHEP is spoken here",
        "media",
        auth=WATCHER,
        reply=OFFER_TYPE,
        description="There is no representation: the answer is empty, and its `Content-Type` says to "
        "players that offers may be posted here. HEAD does as well.",
    )
    async def _get(self, request: web.Request) -> web.Response:
        await self._access.watch(request.match_info["room"], bearer(request))
        return web.Response(body=b"", content_type=OFFER_TYPE, headers={**CORS, **NO_STORE})

    @operation(
        "Trickle candidates or restart ICE",
        "media",
        body=sdp_fragment.MEDIA_TYPE,
        reply=sdp_fragment.MEDIA_TYPE,
        headers=("If-Match",),
        errors=PATCH_REFUSALS,
        description="As `PATCH /whip/{resource}`: candidates with `If-Match` the `ETag` (204), new "
        "credentials with `*` (200, with the server's new ones and the new `ETag`). The picture, the "
        "sound and the data channels go on.",
        reply_headers=("ETag",),
    )
    async def _patch(self, request: web.Request) -> web.Response:
        self._limiter.check(request.remote)
        return await self._sessions.patch(request)

    @operation(
        "See whether a viewer's session is there",
        "media",
        status=204,
        errors={404: "not_found"},
        description="There is no representation: the answer is empty.",
    )
    async def _get_session(self, request: web.Request) -> web.Response:
        return await self._sessions.get(request)

    @operation(
        "Stop watching",
        "media",
        errors={404: "not_found"},
        description="The path is the `Location` that POST gave; who knows it may end the session.",
    )
    async def _delete(self, request: web.Request) -> web.Response:
        await self._watching.delete(request.match_info["resource"])
        return web.Response(headers=CORS)
