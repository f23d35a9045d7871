"""Coupons over HTTP: the shop makes and drops them, viewers claim them, orders spend them."""

from __future__ import annotations

from typing import Annotated

from aiohttp import web
from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from commerce.coupons import PER_BUYER_MAX, QUOTA_MAX, Coupons
from mediaserver.api.auth import caller_of, require, require_buyer
from mediaserver.api.limits import AddressLimiter
from mediaserver.api.operation import VIEWER, operation
from mediaserver.api.order_documents import Nothing
from mediaserver.api.pagination import PageQuery, page, read_query
from mediaserver.api.preconditions import NO_STORE, idempotency_key, replay
from mediaserver.api.problem import read_json
from mediaserver.api.rule_documents import RuleBody, RuleDocument
from mediaserver.api.strict import Strict

TAG = "prices"
ACT = "coupons.write"
EXAMPLE: JsonDict = {
    "examples": [{"title": "Thank you", "off": {"amount": 500, "currency": "CNY"}, "quota": 100}]
}


class NewCoupon(RuleBody):
    """`quota` claims in all, `per_buyer` for each. With a `code` it is claimed by that word."""

    quota: Annotated[int, Field(ge=1, le=QUOTA_MAX)]
    per_buyer: Annotated[int, Field(ge=1, le=PER_BUYER_MAX)] = 1
    code: Annotated[str, Field(pattern="^[A-Z0-9][A-Z0-9_-]{2,39}$")] | None = None

    model_config = ConfigDict(json_schema_extra=EXAMPLE)


class CouponDrop(Strict):
    """The coupon that a room is told of."""

    coupon: Annotated[str, Field(examples=["cpn_01h455vb4pex5vsknk084sn02q"])]


class CouponDocument(RuleDocument):
    """`left`: claims that may still be made."""

    quota: int
    per_buyer: int
    left: int


class CouponBrief(RuleDocument):
    quota: int
    per_buyer: int


class StaffCoupon(CouponDocument):
    """As the staff see it."""

    code: str | None


class CouponsPage(Strict):
    items: list[StaffCoupon]
    next: str | None


class ClaimDocument(Strict):
    """The buyer's claims of one coupon after this one."""

    coupon: str
    claimed: int
    unspent: int


class ClaimedCoupon(Strict):
    coupon: CouponBrief
    claimed: int
    unspent: int


class ClaimsPage(Strict):
    items: list[ClaimedCoupon]
    next: None


class CouponsApi:
    """Handlers of `/v1/coupons`, of a room's drops and of a viewer's claims; `limiter` by address."""

    def __init__(self, coupons: Coupons, limiter: AddressLimiter) -> None:
        self._coupons = coupons
        self._limiter = limiter

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/coupons", self._create),
            web.get("/v1/coupons", self._list),
            web.get("/v1/coupons/{coupon}", self._get),
            web.post("/v1/coupons/{coupon}/end", self._end),
            web.post("/v1/coupons/{coupon}/claims", self._claim),
            web.post("/v1/rooms/{room}/coupon-drops", self._drop),
            web.get("/v1/coupon-claims", self._claims),
        ]

    @operation(
        "Make a coupon",
        TAG,
        auth=ACT,
        body=NewCoupon,
        reply=StaffCoupon,
        status=201,
        errors={409: "coupon_exists"},
    )
    async def _create(self, request: web.Request) -> web.Response:
        await require(request, ACT, room=(await caller_of(request)).room)
        wanted = await read_json(request, NewCoupon)
        caller = await require(request, ACT, room=wanted.room)
        coupon = await self._coupons.create(
            wanted.rule("coupon"),
            quota=wanted.quota,
            per_buyer=wanted.per_buyer,
            code=wanted.code,
            by=caller.name,
        )
        document = {**await self._coupons.show(coupon), "code": coupon.code}
        return web.json_response(document, status=201, headers=NO_STORE)

    @operation(
        "List coupons, newest first",
        TAG,
        auth=ACT,
        reply=CouponsPage,
        query=PageQuery,
        errors={422: "invalid"},
    )
    async def _list(self, request: web.Request) -> web.Response:
        await require(request, ACT, room=(await caller_of(request)).room)
        query = read_query(request, PageQuery)
        found, cursor = await self._coupons.list(after=query.cursor, limit=query.limit)
        items = [{**await self._coupons.show(each), "code": each.code} for each in found]
        return web.json_response(page(items, cursor), headers=NO_STORE)

    @operation(
        "Read a coupon, by its id or its code",
        TAG,
        auth=VIEWER,
        reply=CouponDocument,
        errors={404: "coupon_not_found", 429: "too_many"},
    )
    async def _get(self, request: web.Request) -> web.Response:
        self._limiter.check(request.remote)  # codes must not be found by trying
        await require_buyer(request)
        coupon = await self._coupons.get(request.match_info["coupon"])
        return web.json_response(await self._coupons.show(coupon), headers=NO_STORE)

    @operation(
        "End a coupon now: it is neither claimed nor spent any more",
        TAG,
        auth=ACT,
        reply=CouponDocument,
        errors={404: "coupon_not_found"},
    )
    async def _end(self, request: web.Request) -> web.Response:
        id = request.match_info["coupon"]
        await require(request, ACT, room=(await caller_of(request)).room)
        found = await self._coupons.get(id)
        await require(request, ACT, room=found.rule.room, coupon=found.id)
        coupon = await self._coupons.end(found.id)
        return web.json_response(await self._coupons.show(coupon), headers=NO_STORE)

    @operation(
        "Claim a coupon",
        TAG,
        auth=VIEWER,
        body=Nothing,
        reply=ClaimDocument,
        status=201,
        headers=("Idempotency-Key",),
        errors={
            404: "coupon_not_found",
            409: "limit_reached coupon_over coupon_gone coupon_not_yours",
            429: "too_many",
        },
        reply_headers=("Idempotent-Replayed",),
    )
    async def _claim(self, request: web.Request) -> web.Response:
        self._limiter.check(request.remote)
        caller = await require_buyer(request)
        key = idempotency_key(request)
        await read_json(request, Nothing)
        assert caller.sub is not None
        answer = await self._coupons.claim(
            request.match_info["coupon"],
            caller.sub,
            key=key,
            tier=caller.tier,
            segment=caller.segment,
        )
        return web.json_response(answer.value.to_json(), status=201, headers=replay(answer))

    @operation(
        "Drop a coupon into a room",
        TAG,
        auth=ACT,
        body=CouponDrop,
        reply=CouponDocument,
        status=201,
        errors={404: "room_not_found coupon_not_found", 409: "coupon_over"},
    )
    async def _drop(self, request: web.Request) -> web.Response:
        room = request.match_info["room"]
        await require(request, ACT, room=room)
        wanted = await read_json(request, CouponDrop)
        await require(request, ACT, room=room, coupon=wanted.coupon)
        document = await self._coupons.drop(room, wanted.coupon)
        return web.json_response(document, status=201, headers=NO_STORE)

    @operation(
        "List the coupons that the caller has claimed and not spent",
        TAG,
        auth=VIEWER,
        reply=ClaimsPage,
    )
    async def _claims(self, request: web.Request) -> web.Response:
        caller = await require_buyer(request)
        assert caller.sub is not None
        claims = await self._coupons.claims(caller.sub)
        return web.json_response(page(list(claims), None), headers=NO_STORE)
