"""WHEP over HTTP (draft-ietf-wish-whep): POST an offer for a room, DELETE the session."""

from __future__ import annotations

from aiohttp import web

from mediaserver.access import Access
from mediaserver.api.limits import AddressLimiter
from mediaserver.api.operation import WATCHER, operation
from mediaserver.api.signalling import CORS, bearer, created, options, read_offer
from mediaserver.egress.whep import WhepEgress


class WhepApi:
    """Handlers of `/whep/{room}`."""

    def __init__(self, egress: WhepEgress, access: Access, limiter: AddressLimiter) -> None:
        self._egress = egress
        self._access = access
        self._limiter = limiter

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/whep/{room}", self._post),
            web.options("/whep/{room}", options),
            web.delete("/whep/{room}/{resource}", self._delete),
            web.options("/whep/{room}/{resource}", options),
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
            408: "too_slow",
            409: "not_live has_b_frames",
            413: "too_large",
            415: "unsupported_media_type",
            429: "too_many",
            503: "unavailable",
        },
        description="draft-ietf-wish-whep: an SDP offer comes in, the answer goes out. `Location` is "
        "the session, which DELETE ends. The room's events travel in two negotiated data channels: "
        "id 0 `hawker` (ordered, reliable) and id 1 `hawker-live` (unordered, without retransmission).",
        reply_headers=("Location", "ETag", "Link"),
    )
    async def _post(self, request: web.Request) -> web.Response:
        self._limiter.check(request.remote)
        room = request.match_info["room"]
        token = bearer(request)
        await self._access.watch(room, token)
        offer = await read_offer(request)
        resource, answer = self._egress.watch(room, offer, token)
        events = f'</v1/rooms/{room}/events>; rel="urn:hawker:events"'
        return created(answer, f"/whep/{room}/{resource}", resource, events)

    @operation(
        "Stop watching",
        "media",
        errors={404: "not_found"},
        description="The path is the `Location` that POST gave; who knows it may end the session.",
    )
    async def _delete(self, request: web.Request) -> web.Response:
        self._egress.delete(request.match_info["resource"])
        return web.Response(headers=CORS)
