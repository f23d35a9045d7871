"""The acts `buy`, `pay` and `coupon.claim` of a viewer's session: the same commands as over HTTP.

`key` stands for the Idempotency-Key header, the rest for the body of POST /v1/orders and of POST
/v1/orders/{id}/payments, and the `coupon` of POST /v1/coupons/{coupon}/claims, so the same buy over any
transport is one order. A buy is in the room of the viewer's token.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from commerce.coupons import Coupons
from commerce.errors import Invalid
from commerce.idempotency import parse_key
from commerce.ordering import Orders
from commerce.payments.service import Payments
from overlay.errors import WrongRoom
from overlay.session import Act
from overlay.tokens import Claims

PAY_MEMBERS = frozenset({"key", "order", "method"})
CLAIM_MEMBERS = frozenset({"key", "coupon"})


class Acts:
    """`link` gives the path of an order's page, with the key that opens it."""

    def __init__(
        self,
        orders: Orders,
        payments: Payments,
        coupons: Coupons,
        link: Callable[[str], str],
    ) -> None:
        self._orders = orders
        self._payments = payments
        self._coupons = coupons
        self._link = link

    def table(self) -> dict[str, Act]:
        """The acts by their names, for `Sessions`."""
        return {"buy": self.buy, "pay": self.pay, "coupon.claim": self.claim}

    async def buy(self, claims: Claims, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """A reservation, durable on return: {order, replayed}; raises the refusals of `place`."""
        key = _key(data)
        body = {name: value for name, value in data.items() if name != "key"}
        if body.get("room") is None:
            body["room"] = claims.room
        command = self._orders.command(claims.sub, body, tier=claims.tier, segment=claims.segment)
        if command.room != claims.room:
            raise WrongRoom("the token is for another room")
        answer = await self._orders.place(command, key)
        order = answer.value
        return {
            "order": {**order.to_json(), "link": self._link(order.id)},
            "replayed": answer.replayed,
        }

    async def pay(self, claims: Claims, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """A pending payment: {payment, replayed}; raises the refusals of `Payments.pay`."""
        key = _key(data)
        unknown = set(data) - PAY_MEMBERS
        if unknown:
            raise Invalid(min(unknown), "there is no such member")
        order, method = data.get("order"), data.get("method")
        if not isinstance(order, str):
            raise Invalid("order", "the id of an order")
        if method is not None and not _is_method(method):
            raise Invalid("method", "an object of texts")
        answer = await self._payments.pay(order, claims.sub, by=claims.sub, key=key, method=method)
        payment = answer.value
        return {
            "payment": {
                **payment.to_json(),
                "page": self._payments.page(payment),
                "next": self._payments.next(payment).to_json(),
            },
            "replayed": answer.replayed,
        }

    async def claim(self, claims: Claims, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """One more of a coupon: {claim, replayed}; raises the refusals of `Coupons.claim`."""
        key = _key(data)
        unknown = set(data) - CLAIM_MEMBERS
        if unknown:
            raise Invalid(min(unknown), "there is no such member")
        coupon = data.get("coupon")
        if not isinstance(coupon, str):
            raise Invalid("coupon", "the id of a coupon, or its code")
        answer = await self._coupons.claim(
            coupon, claims.sub, key=key, tier=claims.tier, segment=claims.segment
        )
        return {"claim": answer.value.to_json(), "replayed": answer.replayed}


def _key(data: Mapping[str, Any]) -> str:
    key = data.get("key")
    if key is not None and not isinstance(key, str):
        raise Invalid("key", "a text is wanted")
    return parse_key(key)


def _is_method(method: object) -> bool:
    return isinstance(method, dict) and all(isinstance(value, str) for value in method.values())
