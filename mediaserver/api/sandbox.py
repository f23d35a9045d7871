"""What the sandbox provider's hosted page asks: what there is to pay, and which test card pays it.

As with a real provider's page no token of ours is wanted: who knows the payment's id may pay it.
"""

from __future__ import annotations

from typing import Annotated, Literal

from aiohttp import web
from pydantic import Field

from commerce.errors import NotFound
from commerce.payments.sandbox import Sandbox
from commerce.payments.sweeping import PAYMENT_ID
from mediaserver.api.limits import AddressLimiter
from mediaserver.api.money import MoneyDocument
from mediaserver.api.operation import operation
from mediaserver.api.preconditions import NO_STORE
from mediaserver.api.problem import read_json
from mediaserver.api.strict import Strict

TAG = "payments"
CARD_CHARS = 64


class ChosenCard(Strict):
    card: Annotated[str, Field(max_length=CARD_CHARS)]


class SandboxCard(Strict):
    number: str
    label: str


class SandboxPage(Strict):
    payment: str
    amount: MoneyDocument
    cards: list[SandboxCard]
    state: Literal["pending", "succeeded", "failed"]


class SandboxApi:
    """Handlers of `/v1/sandbox/payments/{payment}`; `limiter` is for each address."""

    def __init__(self, sandbox: Sandbox, limiter: AddressLimiter) -> None:
        self._sandbox = sandbox
        self._limiter = limiter

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/v1/sandbox/payments/{payment}", self._get),
            web.post("/v1/sandbox/payments/{payment}", self._choose),
        ]

    @operation(
        "What the sandbox's page shows",
        TAG,
        reply=SandboxPage,
        errors={404: "payment_not_found"},
    )
    async def _get(self, request: web.Request) -> web.Response:
        return await self._page(_payment(request))

    @operation(
        "Choose the test card; the first one counts",
        TAG,
        body=ChosenCard,
        reply=SandboxPage,
        errors={404: "payment_not_found", 429: "too_many"},
    )
    async def _choose(self, request: web.Request) -> web.Response:
        self._limiter.check(request.remote)
        payment = _payment(request)
        card = (await read_json(request, ChosenCard)).card
        await self._sandbox.choose(payment, card)
        return await self._page(payment)

    async def _page(self, payment: str) -> web.Response:
        return web.json_response(await self._sandbox.page_data(payment), headers=NO_STORE)


def _payment(request: web.Request) -> str:
    payment = request.match_info["payment"]
    if not PAYMENT_ID.fullmatch(payment):
        raise NotFound("there is no such payment", code="payment_not_found")
    return payment
