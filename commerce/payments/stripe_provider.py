"""Stripe, through its own package (the extra `hawker[stripe]`): Checkout Sessions, refunds, disputes.

Our ids are its idempotency keys. What it calls a payment or a refund is kept under `stripe/…` before the
buyer is sent to it: a session that is not kept is one that nobody was sent to, so nobody pays it.

Amounts (docs.stripe.com/currencies): most currencies in hundredths; some without decimals; ISK and UGX
in hundredths though they have none; those of three decimals end in 0.

Calls block, so they are made in threads, CALLS_AT_ONCE at a time.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar, cast

import stripe
from stripe import StripeClient

from commerce.errors import Invalid, SignatureInvalid
from commerce.ids import ALPHABET, new_id, utc_ms
from commerce.money import DIGITS, Money
from commerce.payments.provider import (
    Next,
    ProviderEvent,
    ProviderFailed,
    RefundRefused,
    Standing,
)
from commerce.store import Store

T = TypeVar("T")
Document = Mapping[str, Any]

CALLS_AT_ONCE = 8
TIMEOUT_S = (5.0, 20.0)  # to connect, to be answered
SESSION_S = 31 * 60  # Stripe wants half an hour at least
NO_DECIMALS = "BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF VND VUV XAF XOF XPF"
THREE_DECIMALS = "BHD JOD KWD OMR TND"
NOT_TAKEN = "IQD LYD UYI"
NEVER = (
    "charge_already_refunded",
    "charge_disputed",
    "charge_expired_for_capture",
    "refund_disputed_payment",
)
PAYMENT = "hawker_payment"
REFUND = "hawker_refund"
DISPUTES: Mapping[str, str] = {
    "won": "dispute.won",
    "warning_closed": "dispute.won",
    "lost": "dispute.lost",
}
SESSIONS: Mapping[str, str] = {
    "checkout.session.async_payment_succeeded": "payment.succeeded",
    "checkout.session.async_payment_failed": "payment.failed",
    "checkout.session.expired": "payment.failed",
}


class StripeProvider:
    """A `Provider`; the buyer comes back to `return_url`. `api` is another base address, for tests."""

    def __init__(
        self,
        store: Store,
        api_key: str,
        webhook_secret: str,
        *,
        return_url: str,
        api: str | None = None,
        now_ms: Callable[[], int] = utc_ms,
    ) -> None:
        self._store = store
        self._secret = webhook_secret
        self._return_url = return_url
        self._now_ms = now_ms
        self._client = StripeClient(
            api_key,
            base_addresses=None if api is None else {"api": api},
            http_client=stripe.RequestsClient(timeout=TIMEOUT_S),
            max_network_retries=0,
        )
        self._calls = asyncio.Semaphore(CALLS_AT_ONCE)

    def page(self, payment: str) -> str:
        """Where the buyer comes back to; Stripe's own page is `next` of the payment."""
        return self._return_url

    def check(self, method: Mapping[str, str] | None, amount: Money) -> None:
        """Raises Invalid for a method: Stripe's page asks for it; and for what Stripe cannot take."""
        to_stripe(amount)
        if method is not None:
            raise Invalid("method", "none: Stripe's page asks for it")

    async def start(
        self, payment: str, amount: Money, method: Mapping[str, str] | None
    ) -> Next | None:
        """Open a Checkout Session; raises ProviderFailed."""
        units = to_stripe(amount)
        metadata = {PAYMENT: payment}
        price = {
            "currency": amount.currency.lower(),
            "unit_amount": units,
            "product_data": {"name": "Order"},
        }
        params: Any = {
            "mode": "payment",
            "client_reference_id": payment,
            "metadata": metadata,
            "payment_intent_data": {"metadata": metadata},
            "line_items": [{"quantity": 1, "price_data": price}],
            "success_url": self._return_url,
            "cancel_url": self._return_url,
            "expires_at": _made_ms(payment) // 1000 + SESSION_S,
        }
        sessions, key = self._client.v1.checkout.sessions, payment
        made = await self._call(lambda: sessions.create(params, {"idempotency_key": key}))
        await self._keep(_session_key(payment), made["id"])
        return Next("redirect", made["url"])

    async def ask(self, payment: str) -> Standing | None:
        """How its session stands; None: the buyer was never sent to one. Raises ProviderFailed."""
        session = await self._session(payment)
        if session is None:
            return None
        intent = session.get("payment_intent") or {}
        if session["payment_status"] == "paid":
            captured = from_stripe(session["amount_total"], session["currency"])
            return Standing("succeeded", captured, intent.get("id"))
        given_up = session["status"] == "complete" and intent.get("status") in (
            "canceled",
            "requires_payment_method",
        )
        return Standing("failed" if given_up or session["status"] == "expired" else "pending")

    async def refund(self, refund: str, payment: str, amount: Money) -> bool:
        """Whether Stripe has given it back; raises ProviderFailed, or RefundRefused."""
        known = await self._kept(_refund_key(refund))
        if known is not None:
            return _given_back(await self._call(lambda: self._client.v1.refunds.retrieve(known)))
        session = await self._session(payment)
        intent = None if session is None else session.get("payment_intent")
        if intent is None:
            raise ProviderFailed("there is no such payment")
        params: Any = {
            "payment_intent": intent["id"],
            "amount": _refundable(amount),
            "metadata": {PAYMENT: payment, REFUND: refund},
        }
        refunds = self._client.v1.refunds
        made = await self._call(lambda: refunds.create(params, {"idempotency_key": refund}))
        await self._keep(_refund_key(refund), made["id"])
        return _given_back(made)

    def receive(self, headers: Mapping[str, str], body: bytes, now_ms: int) -> ProviderEvent:
        """A webhook, checked by Stripe's package; raises SignatureInvalid or Invalid."""
        given = {name.lower(): value for name, value in headers.items()}
        try:
            stripe.Webhook.construct_event(body, given.get("stripe-signature", ""), self._secret)
            event = json.loads(body)
            return _meaning(event["id"], event["type"], event["data"]["object"])
        except stripe.SignatureVerificationError as error:
            raise SignatureInvalid("the signature is not Stripe's") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Invalid("body", "an event of Stripe is wanted") from error

    async def _session(self, payment: str) -> Document | None:
        known = await self._kept(_session_key(payment))
        if known is None:
            return None
        sessions, params = (
            self._client.v1.checkout.sessions,
            cast(Any, {"expand": ["payment_intent"]}),
        )
        return await self._call(lambda: sessions.retrieve(known, params))

    async def _call(self, call: Callable[[], stripe.StripeObject]) -> Document:
        async with self._calls:
            try:
                return (await asyncio.to_thread(call)).to_dict()
            except stripe.InvalidRequestError as error:
                if error.code in NEVER:
                    raise RefundRefused(error.user_message or error.code) from error
                raise ProviderFailed(error.user_message or "Stripe refuses the call") from error
            except stripe.StripeError as error:
                raise ProviderFailed(type(error).__name__) from error

    async def _kept(self, key: str) -> str | None:
        value = (await self._store.load([key]))[key][0]
        return None if value is None else value.decode()

    async def _keep(self, key: str, id: str) -> None:
        await self._store.commit(new_id("cmt", self._now_ms()), writes={key: id.encode()})


def _meaning(id: str, type: str, about: Document) -> ProviderEvent:
    if type.startswith("checkout.session."):
        said = SESSIONS.get(type, "payment.processing")
        if type == "checkout.session.completed" and about["payment_status"] == "paid":
            said = "payment.succeeded"
        payment = about.get("client_reference_id") or ""
        ref = about.get("payment_intent")
        return ProviderEvent(id, said, payment, _money(about, "amount_total"), ref=ref)
    if type in ("charge.dispute.created", "charge.dispute.closed"):
        closed = type.endswith("closed")
        said = DISPUTES.get(about["status"], "") if closed else "dispute.opened"
        reason, ref = about.get("reason") or "", about["payment_intent"]
        return ProviderEvent(id, said, "", _money(about), about["id"], reason, ref)
    if type in ("refund.updated", "refund.failed"):
        ours = about.get("metadata") or {}
        payment, refund = ours.get(PAYMENT, ""), ours.get(REFUND)
        return ProviderEvent(id, "refund.updated", payment, _money(about), refund=refund)
    return ProviderEvent(id, type, "", Money(0, "USD"))


def _money(about: Document, name: str = "amount") -> Money:
    return from_stripe(about[name], about["currency"])


def _given_back(refund: Document) -> bool:
    if refund["status"] in ("failed", "canceled"):
        raise RefundRefused(refund.get("failure_reason") or refund["status"])
    return bool(refund["status"] == "succeeded")


def _refundable(amount: Money) -> int:
    try:
        return to_stripe(amount)
    except Invalid as error:
        raise RefundRefused(error.detail) from error


def to_stripe(amount: Money) -> int:
    """Its units of an amount; raises Invalid for one that Stripe cannot take."""
    currency, places = amount.currency, _places(amount.currency) - amount.digits
    if currency in NOT_TAKEN:
        raise Invalid("currency", f"Stripe takes no {currency}")
    units: int
    units, rest = divmod(amount.amount * 10 ** max(places, 0), 10 ** max(-places, 0))
    if rest or (currency in THREE_DECIMALS and units % 10):
        raise Invalid("amount", f"Stripe takes {currency} in coarser steps than {amount}")
    return units


def from_stripe(units: int, currency: str) -> Money:
    """The amount of its units; raises Invalid."""
    currency = currency.upper()
    places = _places(currency) - DIGITS.get(currency, 2)
    return Money(units * 10 ** max(-places, 0) // 10 ** max(places, 0), currency)


def _places(currency: str) -> Literal[0, 2, 3]:
    if currency in NO_DECIMALS:
        return 0
    return 3 if currency in THREE_DECIMALS else 2


def _made_ms(id: str) -> int:
    """When an id of ours was made: its first 48 bits."""
    made_ms = 0
    for letter in id.partition("_")[2][:10]:
        made_ms = made_ms << 5 | ALPHABET.index(letter)
    return made_ms


def _session_key(payment: str) -> str:
    return f"stripe/payment/{payment}"


def _refund_key(refund: str) -> str:
    return f"stripe/refund/{refund}"
