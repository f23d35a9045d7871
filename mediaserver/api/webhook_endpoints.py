"""Webhooks over HTTP: who is told of what, how that goes, and sending again.

A secret comes out once, when it is made.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Literal

from aiohttp import web
from pydantic import BaseModel, Field

from commerce.errors import Invalid
from commerce.timestamps import EPOCH
from commerce.webhooks.deliveries import Deliveries
from commerce.webhooks.endpoints import Endpoint, Endpoints
from commerce.webhooks.events import EVENTS
from mediaserver.api.auth import require
from mediaserver.api.operation import operation
from mediaserver.api.pagination import PageQuery, page, read_query
from mediaserver.api.preconditions import NO_STORE
from mediaserver.api.problem import read_json
from mediaserver.api.strict import Strict

TAG = "webhooks"
MANAGE = "webhooks.manage"
MISSING = {404: "webhook_not_found"}
NO_DELIVERY = {404: "webhook_not_found delivery_not_found"}

Url = Annotated[
    str,
    Field(
        description="`https://host/path`, to port 443 or one from 1024",
        examples=["https://erp.example.com/hawker"],
    ),
]
Events = Annotated[
    list[str],
    Field(
        description="names of `/v1/webhook-events`, `order.*` for all of a kind, `*` for all",
        examples=[["order.*", "payment.failed"]],
    ),
]

ABOUT = """Sent by Standard Webhooks 1.0.0: a POST of `{type, timestamp, data}` with the headers
`webhook-id`, `webhook-timestamp` and `webhook-signature`. `data` has the ids of the event and the
documents of the API as they are when it is sent, without contact and address.

An answer of 2xx within 20 s takes an event; others are tried ten times within some three days, with the
same `webhook-id`, and may overtake each other. 410 switches the endpoint off, as do five days of nothing
but failures. 429, 502 and 504 slow it down, and `Retry-After` in seconds is heeded up to an hour."""


class NewEndpoint(Strict):
    url: Url
    events: Events = Field(["*"])
    enabled: bool = True


class EndpointPatch(Strict):
    """What is not given stays as it is."""

    url: Url | None = None
    events: Events | None = None
    enabled: Annotated[
        bool | None, Field(description="switched on again, it is told of what it missed")
    ] = None


class ReplaySince(Strict):
    since: Annotated[
        str,
        Field(description="RFC 3339, with a time zone", examples=["2027-01-15T08:00:00.000Z"]),
    ]


class EndpointDocument(BaseModel):
    id: str
    url: str
    events: list[str]
    enabled: bool
    disabled_why: str | None = Field(description="null where it was switched off by hand")
    created_at: str


class NewEndpointDocument(EndpointDocument):
    secret: str = Field(description="`whsec_…`, told this once")


class EndpointsPage(BaseModel):
    items: list[EndpointDocument]
    next: str | None


class DeliveryDocument(BaseModel):
    id: str = Field(description="the `webhook-id`")
    type: str
    state: Literal["pending", "succeeded", "failed"]
    attempts: int
    next_attempt_at: str | None
    last_attempt_at: str | None
    status: int | None = Field(description="of the last answer")
    error: str | None = Field(description="why there was none")
    created_at: str


class DeliveriesPage(BaseModel):
    items: list[DeliveryDocument]
    next: str | None


class Replayed(BaseModel):
    replayed: int


class EventKind(BaseModel):
    name: str
    meaning: str


class EventKindsPage(BaseModel):
    items: list[EventKind]
    next: str | None


class WebhookEndpointsApi:
    """Handlers of `/v1/webhook-endpoints` and `/v1/webhook-events`."""

    def __init__(self, endpoints: Endpoints, deliveries: Deliveries) -> None:
        self._endpoints = endpoints
        self._deliveries = deliveries

    def routes(self) -> list[web.RouteDef]:
        whole = "/v1/webhook-endpoints"
        one = f"{whole}/{{webhook}}"
        return [
            web.get("/v1/webhook-events", self._events),
            web.post(whole, self._create),
            web.get(whole, self._list),
            web.get(one, self._get),
            web.patch(one, self._patch),
            web.delete(one, self._delete),
            web.post(f"{one}/rotate-secret", self._rotate),
            web.post(f"{one}/test", self._test),
            web.post(f"{one}/replay", self._replay_since),
            web.get(f"{one}/deliveries", self._list_deliveries),
            web.post(f"{one}/deliveries/{{event}}/replay", self._replay),
        ]

    @operation("List the events that webhooks tell of", TAG, reply=EventKindsPage)
    async def _events(self, request: web.Request) -> web.Response:
        items = [{"name": name, "meaning": meaning} for name, meaning in EVENTS.items()]
        return web.json_response(page(items, None), headers=NO_STORE)

    @operation(
        "Have events sent to a server",
        TAG,
        auth=MANAGE,
        body=NewEndpoint,
        reply=NewEndpointDocument,
        status=201,
        errors={409: "limit_reached", 422: "webhook_url"},
        description=ABOUT,
        reply_headers=("Location",),
    )
    async def _create(self, request: web.Request) -> web.Response:
        await require(request, MANAGE)
        wanted = await read_json(request, NewEndpoint)
        made = await self._endpoints.create(wanted.url, wanted.events, enabled=wanted.enabled)
        headers = {**NO_STORE, "Location": f"/v1/webhook-endpoints/{made.id}"}
        return web.json_response(_with_secret(made), status=201, headers=headers)

    @operation("List the endpoints", TAG, auth=MANAGE, reply=EndpointsPage)
    async def _list(self, request: web.Request) -> web.Response:
        await require(request, MANAGE)
        items = [each.to_json() for each in await self._endpoints.list()]
        return web.json_response(page(items, None), headers=NO_STORE)

    @operation("Look at one endpoint", TAG, auth=MANAGE, reply=EndpointDocument, errors=MISSING)
    async def _get(self, request: web.Request) -> web.Response:
        await require(request, MANAGE)
        found = await self._endpoints.get(request.match_info["webhook"])
        return web.json_response(found.to_json(), headers=NO_STORE)

    @operation(
        "Change an endpoint",
        TAG,
        auth=MANAGE,
        body=EndpointPatch,
        reply=EndpointDocument,
        errors={**MISSING, 422: "webhook_url"},
    )
    async def _patch(self, request: web.Request) -> web.Response:
        id = request.match_info["webhook"]
        await require(request, MANAGE, webhook=id)
        wanted = await read_json(request, EndpointPatch)
        changed = await self._endpoints.patch(
            id, url=wanted.url, events=wanted.events, enabled=wanted.enabled
        )
        return web.json_response(changed.to_json(), headers=NO_STORE)

    @operation("Delete an endpoint", TAG, auth=MANAGE, status=204, errors=MISSING)
    async def _delete(self, request: web.Request) -> web.Response:
        id = request.match_info["webhook"]
        await require(request, MANAGE, webhook=id)
        await self._endpoints.delete(id)
        await self._deliveries.forget_all(id)
        return web.Response(status=204, headers=NO_STORE)

    @operation(
        "Make a new secret; the old one signs, too, for 24 hours",
        TAG,
        auth=MANAGE,
        reply=NewEndpointDocument,
        errors=MISSING,
    )
    async def _rotate(self, request: web.Request) -> web.Response:
        id = request.match_info["webhook"]
        await require(request, MANAGE, webhook=id, changed="secret")
        rotated = await self._endpoints.rotate(id)
        return web.json_response(_with_secret(rotated), headers=NO_STORE)

    @operation(
        "Send a `webhook.test`",
        TAG,
        auth=MANAGE,
        reply=DeliveryDocument,
        status=202,
        errors=MISSING,
        description="It is sent whatever the endpoint's events are, if the endpoint is switched on.",
    )
    async def _test(self, request: web.Request) -> web.Response:
        endpoint = await self._named(request)
        made = await self._deliveries.test(endpoint.id)
        return web.json_response(made.to_json(), status=202, headers=NO_STORE)

    @operation(
        "List what was sent and what waits, newest first",
        TAG,
        auth=MANAGE,
        query=PageQuery,
        reply=DeliveriesPage,
        errors={**MISSING, 422: "invalid"},
        description="The latest 1,000 of the last seven days, and all that wait.",
    )
    async def _list_deliveries(self, request: web.Request) -> web.Response:
        endpoint = await self._named(request)
        query = read_query(request, PageQuery)
        found, cursor = await self._deliveries.list(
            endpoint.id, after=query.cursor, limit=query.limit
        )
        items = [each.to_json() for each in found]
        return web.json_response(page(items, cursor), headers=NO_STORE)

    @operation(
        "Send an event again, under the same id",
        TAG,
        auth=MANAGE,
        reply=DeliveryDocument,
        status=202,
        errors=NO_DELIVERY,
    )
    async def _replay(self, request: web.Request) -> web.Response:
        endpoint = await self._named(request)
        again = await self._deliveries.replay(endpoint.id, request.match_info["event"])
        return web.json_response(again.to_json(), status=202, headers=NO_STORE)

    @operation(
        "Send again what has failed since a time",
        TAG,
        auth=MANAGE,
        body=ReplaySince,
        reply=Replayed,
        status=202,
        errors={**MISSING, 422: "invalid"},
    )
    async def _replay_since(self, request: web.Request) -> web.Response:
        endpoint = await self._named(request)
        wanted = await read_json(request, ReplaySince)
        replayed = await self._deliveries.replay_since(endpoint.id, _utc_ms(wanted.since))
        return web.json_response({"replayed": replayed}, status=202, headers=NO_STORE)

    async def _named(self, request: web.Request) -> Endpoint:
        id = request.match_info["webhook"]
        await require(request, MANAGE, webhook=id)
        return await self._endpoints.get(id)


def _with_secret(endpoint: Endpoint) -> dict[str, object]:
    return {**endpoint.to_json(), "secret": endpoint.secret}


def _utc_ms(text: str) -> int:
    """Of a time in RFC 3339; raises Invalid."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Invalid("since", "such as 2027-01-15T08:00:00.000Z") from None
    if moment.tzinfo is None or moment < EPOCH:
        raise Invalid("since", "with a time zone, from 1970 on")
    return (moment - EPOCH) // timedelta(milliseconds=1)
