"""WHIP over HTTP (RFC 9725): POST an offer with the stream key, DELETE the session."""

from __future__ import annotations

from aiohttp import web

from mediaserver.api.limits import AddressLimiter
from mediaserver.api.operation import STREAM_KEY, operation
from mediaserver.api.signalling import CORS, created, options, read_offer, required_bearer
from mediaserver.ingest.whip import WhipIngest


class WhipApi:
    """Handlers of `/whip`."""

    def __init__(self, ingest: WhipIngest, limiter: AddressLimiter) -> None:
        self._ingest = ingest
        self._limiter = limiter

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/whip", self._post),
            web.options("/whip", options),
            web.delete("/whip/{resource}", self._delete),
            web.options("/whip/{resource}", options),
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
            408: "too_slow",
            413: "too_large",
            415: "unsupported_media_type",
            429: "too_many",
            503: "unavailable",
        },
        description="RFC 9725: an SDP offer comes in, the answer goes out. "
        "`Location` is the session, which DELETE ends.",
        reply_headers=("Location", "ETag"),
    )
    async def _post(self, request: web.Request) -> web.Response:
        self._limiter.check(request.remote)
        key = required_bearer(request)
        offer = await read_offer(request)
        resource, answer = await self._ingest.publish(key, offer, request.remote or "")
        return created(answer, f"/whip/{resource}", resource)

    @operation(
        "Stop publishing",
        "media",
        errors={404: "not_found"},
        description="The path is the `Location` that POST gave; who knows it may end the session.",
    )
    async def _delete(self, request: web.Request) -> web.Response:
        self._ingest.delete(request.match_info["resource"])
        return web.Response(headers=CORS)
