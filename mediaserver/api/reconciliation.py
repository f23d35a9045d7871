"""The reconciliation report over HTTP, as JSON or as a sheet."""

from __future__ import annotations

from typing import Literal

from aiohttp import web

from commerce.payments.reconciliation import Reconciliation, sheet
from mediaserver.api.auth import require
from mediaserver.api.money import MoneyDocument
from mediaserver.api.operation import operation
from mediaserver.api.pagination import read_query
from mediaserver.api.preconditions import NO_STORE
from mediaserver.api.settlement import SPAN, SpanQuery, sheet_of, span_of
from mediaserver.api.strict import Strict

ACT = "payments.read"
TEXT = """\
Payments stand under the UTC day on which they were begun, with what became of them by now. `lost` is
what banks gave back in disputes, `open` counts payments without an end; `fees` are 0 for a provider
that tells none.

Mismatches:

- `other_amount`: another amount came in than was asked for; it confirms nothing and goes back.
- `unexpected_money`: a further amount came in for a payment that had succeeded; it goes back.
- `second_success`: an order was paid twice; the later payment goes back.
- `paid_but_over`: the order has expired or was cancelled, and the money is not all back.
- `refund_open`: a refund is on its way for more than a day.
- `refund_failed`: the provider refuses the refund.
- `intent_open`: a payment is pending an hour after the time that it was given.

`more`: there are more mismatches than are listed; ask for a shorter time."""


class SumDocument(Strict):
    day: str
    provider: str
    currency: str
    payments: int
    open: int
    captured: MoneyDocument
    refunded: MoneyDocument
    lost: MoneyDocument
    fees: MoneyDocument


class MismatchDocument(Strict):
    kind: Literal[
        "other_amount",
        "unexpected_money",
        "second_success",
        "paid_but_over",
        "refund_open",
        "refund_failed",
        "intent_open",
    ]
    order: str
    payment: str
    refund: str | None
    amount: MoneyDocument


class ReconciliationDocument(Strict):
    items: list[SumDocument]
    mismatches: list[MismatchDocument]
    more: bool


class ReconciliationApi:
    """Handler of `/v1/payments/reconciliation`."""

    def __init__(self, reconciliation: Reconciliation) -> None:
        self._reconciliation = reconciliation

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/v1/payments/reconciliation", self._report)]

    @operation(
        "What came and went by day, provider and currency, and what does not fit",
        "payments",
        auth=ACT,
        reply=ReconciliationDocument,
        reply_also="text/csv",
        query=SpanQuery,
        errors=SPAN,
        description=TEXT,
    )
    async def _report(self, request: web.Request) -> web.Response:
        await require(request, ACT)
        query = read_query(request, SpanQuery)
        report = await self._reconciliation.report(*span_of(query.from_, query.to))
        if query.format == "csv":
            return sheet_of(sheet(report), "reconciliation.csv")
        return web.json_response(report.to_json(), headers=NO_STORE)
