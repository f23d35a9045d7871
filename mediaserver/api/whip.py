"""WHIP over HTTP (RFC 9725): POST an offer with the stream key, DELETE the session."""

from __future__ import annotations

from aiohttp import web

from mediaserver.api.limits import AddressLimiter
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

    async def _post(self, request: web.Request) -> web.Response:
        self._limiter.check(request.remote)
        key = required_bearer(request)
        offer = await read_offer(request)
        resource, answer = await self._ingest.publish(key, offer, request.remote or "")
        return created(answer, f"/whip/{resource}", resource)

    async def _delete(self, request: web.Request) -> web.Response:
        self._ingest.delete(request.match_info["resource"])
        return web.Response(headers=CORS)
