"""Disputes of payments over HTTP: the staff reads them and notes its evidence; the sandbox's bank."""

from __future__ import annotations

from typing import Annotated, Literal

from aiohttp import web
from pydantic import Field

from commerce.payments.disputes import REASON_CHARS, TEXT_CHARS, Dispute, Disputes, no_dispute
from commerce.payments.sandbox import Sandbox
from mediaserver.api.auth import Caller, require
from mediaserver.api.money import MoneyDocument
from mediaserver.api.operation import operation
from mediaserver.api.order_access import require_in_own_room, staff_name
from mediaserver.api.pagination import PageQuery, page, read_query
from mediaserver.api.preconditions import NO_STORE, idempotency_key, replay
from mediaserver.api.problem import read_json
from mediaserver.api.strict import Strict

TAG = "payments"
READ = "payments.read"
ACT = "payments.disputes"


class NewEvidence(Strict):
    text: Annotated[str, Field(min_length=1, max_length=TEXT_CHARS)]


class EvidenceDocument(Strict):
    text: str
    by: str
    at: str


class DisputeDocument(Strict):
    """`reference` is the provider's id of it."""

    id: str
    provider: str
    reference: str
    payment: str
    order: str
    amount: MoneyDocument
    reason: str
    state: Literal["open", "won", "lost"]
    evidence: list[EvidenceDocument]
    created_at: str
    updated_at: str


class DisputesPage(Strict):
    items: list[DisputeDocument]
    next: str | None


class BankWord(Strict):
    """`opened`; or, for one that is open, `won` or `lost` by the shop."""

    said: Annotated[Literal["opened", "won", "lost"], Field(examples=["opened"])]
    reason: Annotated[str, Field(max_length=REASON_CHARS)] = ""


class DisputesApi:
    """Handlers of `/v1/payments/disputes` and of the sandbox's bank."""

    def __init__(self, disputes: Disputes, sandbox: Sandbox) -> None:
        self._disputes = disputes
        self._sandbox = sandbox

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/v1/payments/disputes", self._list),
            web.get("/v1/payments/disputes/{dispute}", self._get),
            web.post("/v1/payments/disputes/{dispute}/evidence", self._add_evidence),
            web.post("/v1/sandbox/payments/{payment}/dispute", self._say),
        ]

    @operation(
        "List disputes, newest first",
        TAG,
        auth=READ,
        reply=DisputesPage,
        query=PageQuery,
        errors={404: "dispute_not_found", 422: "invalid"},
    )
    async def _list(self, request: web.Request) -> web.Response:
        caller = await require_in_own_room(request, READ)
        query = read_query(request, PageQuery)
        found, cursor = await self._disputes.list(
            room=caller.room, after=query.cursor, limit=query.limit
        )
        items = [each.to_json() for each in found]
        return web.json_response(page(items, cursor), headers=NO_STORE)

    @operation(
        "Read a dispute", TAG, auth=READ, reply=DisputeDocument, errors={404: "dispute_not_found"}
    )
    async def _get(self, request: web.Request) -> web.Response:
        caller = await require_in_own_room(request, READ)
        dispute = await self._visible(request, caller, READ)
        return web.json_response(dispute.to_json(), headers=NO_STORE)

    @operation(
        "Note evidence in a dispute",
        TAG,
        auth=ACT,
        body=NewEvidence,
        reply=DisputeDocument,
        status=201,
        headers=("Idempotency-Key",),
        errors={404: "dispute_not_found", 409: "too_many_records"},
        reply_headers=("Idempotent-Replayed",),
        description="The note is the shop's own: what the bank is to see is handed in on the "
        "provider's pages.",
    )
    async def _add_evidence(self, request: web.Request) -> web.Response:
        caller = await require_in_own_room(request, ACT)
        found = await self._visible(request, caller, ACT)
        await require(request, ACT, room=found.room, dispute=found.id)
        key = idempotency_key(request)
        text = (await read_json(request, NewEvidence)).text
        by = staff_name(caller)
        answer = await self._disputes.add_evidence(found.id, text, by=by, key=key)
        return web.json_response(answer.value.to_json(), status=201, headers=replay(answer))

    async def _visible(self, request: web.Request, caller: Caller, act: str) -> Dispute:
        dispute = await self._disputes.get(request.match_info["dispute"])
        if not caller.may(act, dispute.room):
            raise no_dispute()
        return dispute

    @operation(
        "Have the sandbox's bank open or end a dispute of a payment",
        TAG,
        auth=ACT,
        body=BankWord,
        status=204,
        errors={404: "payment_not_found"},
        description="The sandbox then calls the webhook, as a provider would. No money moves.",
    )
    async def _say(self, request: web.Request) -> web.Response:
        payment = request.match_info["payment"]
        await require(request, ACT, payment=payment)
        word = await read_json(request, BankWord)
        await self._sandbox.dispute(payment, word.said, word.reason)
        return web.Response(status=204, headers=NO_STORE)
