"""WHIP over HTTP (RFC 9725): POST an offer with the stream key; PATCH and DELETE the session."""

from __future__ import annotations

from aiohttp import web

from mediaserver.api.limits import AddressLimiter
from mediaserver.api.operation import STREAM_KEY, operation
from mediaserver.api.preconditions import NO_STORE
from mediaserver.api.signalling import (
    CORS,
    PATCH_REFUSALS,
    Sessions,
    created,
    endpoint_options,
    read_offer,
    required_bearer,
    session_options,
)
from mediaserver.ingest.whip import WhipIngest, WhipPublisher
from mediaserver.protocol import sdp_fragment
from mediaserver.rtc.resources import TransportResources


class WhipApi:
    """Handlers of `/whip`."""

    def __init__(self, ingest: WhipIngest, limiter: AddressLimiter) -> None:
        self._ingest = ingest
        self._limiter = limiter
        self._publishers = TransportResources(ingest.transport, WhipPublisher)
        self._sessions = Sessions(self._publishers)

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/whip", self._post),
            web.get("/whip", self._get),
            web.options("/whip", endpoint_options),
            web.patch("/whip/{resource}", self._patch),
            web.delete("/whip/{resource}", self._delete),
            web.get("/whip/{resource}", self._get_session),
            web.options("/whip/{resource}", session_options),
        ]

    @operation(
        "Publish by WHIP",
        "media",
        auth=STREAM_KEY,
        body="application/sdp",
        reply="application/sdp",
        status=201,
        errors={
            400: "malformed",
            406: "not_acceptable",
            408: "too_slow",
            413: "too_large",
            415: "unsupported_media_type",
            429: "too_many",
            503: "unavailable",
        },
        description="RFC 9725: an SDP offer comes in, the answer goes out. `Location` is the session: "
        "PATCH trickles candidates and restarts ICE, DELETE ends it. `ETag` names its ICE session.",
        reply_headers=("Location", "ETag"),
    )
    async def _post(self, request: web.Request) -> web.Response:
        self._limiter.check(request.remote)
        self._ingest.transport.admission.check(request.remote)
        key = required_bearer(request)
        offer = await read_offer(request)
        resource, answer = await self._ingest.publish(key, offer, request.remote or "")
        ufrag = self._publishers.session(resource).ufrag
        return created(answer, f"/whip/{resource}", ufrag)

    @operation(
        "See whether WHIP is spoken here",
        "media",
        status=204,
        description="There is no representation (RFC 9725 §4.1): the answer is empty.",
    )
    async def _get(self, request: web.Request) -> web.Response:
        return web.Response(status=204, headers={**CORS, **NO_STORE})

    @operation(
        "Trickle candidates or restart ICE",
        "media",
        body=sdp_fragment.MEDIA_TYPE,
        reply=sdp_fragment.MEDIA_TYPE,
        headers=("If-Match",),
        errors=PATCH_REFUSALS,
        description="RFC 9725 §4.3. A fragment with the credentials of the offer trickles candidates: "
        "`If-Match` is the `ETag`, and the answer an empty 204. With other credentials it restarts ICE: "
        "`If-Match` is `*`, and the answer 200 with the server's new credentials, its candidates and "
        "the new `ETag`. Media goes on, and the old credentials do until a check with the new ones.",
        reply_headers=("ETag",),
    )
    async def _patch(self, request: web.Request) -> web.Response:
        self._limiter.check(request.remote)
        return await self._sessions.patch(request)

    @operation(
        "See whether a publication is there",
        "media",
        status=204,
        errors={404: "not_found"},
        description="There is no representation (RFC 9725 §4.1): the answer is empty.",
    )
    async def _get_session(self, request: web.Request) -> web.Response:
        return await self._sessions.get(request)

    @operation(
        "Stop publishing",
        "media",
        errors={404: "not_found"},
        description="The path is the `Location` that POST gave; who knows it may end the session.",
    )
    async def _delete(self, request: web.Request) -> web.Response:
        self._ingest.delete(request.match_info["resource"])
        return web.Response(headers=CORS)
