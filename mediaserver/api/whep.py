"""WHEP over HTTP (draft-ietf-wish-whep): POST an offer for a room, DELETE the session."""

from __future__ import annotations

from aiohttp import web

from mediaserver.access import Access
from mediaserver.api.limits import AddressLimiter
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

    async def _post(self, request: web.Request) -> web.Response:
        self._limiter.check(request.remote)
        room = request.match_info["room"]
        await self._access.watch(room, bearer(request))
        offer = await read_offer(request)
        resource, answer = self._egress.watch(room, offer)
        return created(answer, f"/whep/{room}/{resource}", resource)

    async def _delete(self, request: web.Request) -> web.Response:
        self._egress.delete(request.match_info["resource"])
        return web.Response(headers=CORS)
