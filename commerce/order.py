"""An order and its lines: what was asked for, what it costs, and how far it has come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from commerce.money import Money
from commerce.pricing.discounts import Discount
from commerce.shipments import Shipment
from commerce.timestamps import rfc3339


@dataclass(frozen=True, slots=True)
class Line:
    """One SKU as it was when it was ordered; `limited`: it counts towards a limit per buyer.

    `unit` is what a piece costs before the order's discounts, `list_unit` what it costs on any other
    day; `sale` is the flash sale that `sale_pieces` of them count in.

    Pieces after placing: `sent`; `dropped` before they were sent; `coming`, in returns that are under
    way; `back`, received from returns; `owed`, in returns and to be paid back; `refunded` in all, for
    `refunded_minor` minor units.
    """

    sku: str
    product: str
    title: str
    options: Mapping[str, str]
    qty: int
    unit: Money
    limited: bool = False
    discount: Money | None = None
    merchant: str | None = None
    list_unit: Money | None = None
    sale: str | None = None
    sale_pieces: int = 0
    sale_limit: int | None = None
    limit: int | None = None  # per buyer, as it was then
    sent: int = 0
    dropped: int = 0
    coming: int = 0
    back: int = 0
    owed: int = 0
    refunded: int = 0
    refunded_minor: int = 0

    @property
    def left(self) -> int:
        """Pieces that are still to be sent."""
        return self.qty - self.sent - self.dropped

    @property
    def refundable(self) -> int:
        """Pieces whose price may be given back without a return."""
        return self.qty - self.refunded - self.owed

    @property
    def returnable(self) -> int:
        """Pieces that were sent, and are neither given back for nor coming back."""
        return self.sent + self.dropped - self.refunded - self.owed

    @property
    def subtotal(self) -> Money:
        """Before the order's discounts."""
        return self.unit * self.qty

    @property
    def total(self) -> Money:
        """What is paid for the line: its subtotal less its share of the discounts."""
        return self.subtotal if self.discount is None else self.subtotal - self.discount

    def to_json(self) -> dict[str, Any]:
        return {
            "sku": self.sku,
            "product_id": self.product,
            "title": self.title,
            "options": dict(self.options),
            "qty": self.qty,
            "unit": self.unit.to_json(),
            "list_unit": (self.list_unit or self.unit).to_json(),
            "subtotal": self.subtotal.to_json(),
            "discount": None if self.discount is None else self.discount.to_json(),
            "total": self.total.to_json(),
            "merchant": self.merchant,
            "sale": self.sale,
            "sent": self.sent,
            "dropped": self.dropped,
            "returned": self.back,
            "refunded": self.refunded,
        }


@dataclass(frozen=True, slots=True)
class Order:
    """`expires_ms` counts while reserved; `reserved_until_ms` is what it goes back to after a failed
    payment. `payments` are ids, the latest last; `demo`: no real sale, left out of reports. `total` is
    that of all lines with `shipping` and `tax`; `coupons` are those that it redeemed, of which each
    spent one claim. `delivered_ms`: when the last shipment arrived; `given_back_minor`: of what refunds
    promise, what the provider has given back; `invoice` is the id of what stands on it.
    `version` is the store's."""

    id: str
    sub: str
    room: str | None
    lines: tuple[Line, ...]
    total: Money
    price_version: str
    state: str
    payment: str
    fulfilment: str
    reserved_until_ms: int
    expires_ms: int
    created_ms: int
    updated_ms: int
    contact: str | None = None
    referral: str | None = None
    payments: tuple[str, ...] = ()
    paid_by: str | None = None
    tracking: str | None = None
    demo: bool = False
    discounts: tuple[Discount, ...] = ()
    shipping: Money | None = None
    tax: Money | None = None
    coupons: tuple[str, ...] = ()
    shipments: tuple[Shipment, ...] = ()
    delivered_ms: int | None = None
    refunds: tuple[str, ...] = ()
    returns: tuple[str, ...] = ()
    cases: tuple[str, ...] = ()
    shipping_refunded_minor: int = 0
    tax_refunded_minor: int = 0
    given_back_minor: int = 0
    invoice: str | None = None
    version: int = 0

    @property
    def refunded_minor(self) -> int:
        """What was promised back, in minor units of the order's currency."""
        lines = sum(line.refunded_minor for line in self.lines)
        return lines + self.shipping_refunded_minor + self.tax_refunded_minor

    def at(self, now_ms: int) -> Order:
        """The order as it counts at `now_ms`: a reservation whose time has passed is expired."""
        if self.state == "reserved" and self.expires_ms <= now_ms:
            return replace(self, state="expired")
        return self

    def to_json(self) -> dict[str, Any]:
        """As its buyer and the shop see it, without contact and address."""
        return {
            "id": self.id,
            "room": self.room,
            "buyer": self.sub,
            "lines": [line.to_json() for line in self.lines],
            "discounts": [discount.to_json() for discount in self.discounts],
            "shipping": None if self.shipping is None else self.shipping.to_json(),
            "tax": None if self.tax is None else self.tax.to_json(),
            "coupons": list(self.coupons),
            "total": self.total.to_json(),
            "price_version": self.price_version,
            "state": self.state,
            "payment": self.payment,
            "fulfilment": self.fulfilment,
            "expires_at": rfc3339(self.expires_ms) if self.state == "reserved" else None,
            "payments": list(self.payments),
            "referral": self.referral,
            "tracking": self.tracking,
            "shipments": [shipment.to_json() for shipment in self.shipments],
            "refunded": Money(self.refunded_minor, self.total.currency).to_json(),
            "refunds": list(self.refunds),
            "returns": list(self.returns),
            "cases": list(self.cases),
            "delivered_at": None if self.delivered_ms is None else rfc3339(self.delivered_ms),
            "demo": self.demo,
            "created_at": rfc3339(self.created_ms),
            "updated_at": rfc3339(self.updated_ms),
        }
