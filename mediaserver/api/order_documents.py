"""Orders as requests bring them and answers show them (`commerce.orders.Order.to_json`)."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from mediaserver.api.money import MoneyDocument
from mediaserver.api.pagination import PageQuery
from mediaserver.api.quotes import LineBody
from mediaserver.api.strict import Strict


class AnyObject(BaseModel):
    """A JSON object as it comes: the order desk checks it, alike for every transport."""

    model_config = ConfigDict(extra="allow")


class Contact(Strict):
    """Whoever is to be told; what is empty is not kept."""

    name: str = ""
    phone: str = ""
    email: str = ""


class Address(Strict):
    """Where the parcel goes; what is empty is not kept."""

    name: str = ""
    phone: str = ""
    country: str = ""
    region: str = ""
    city: str = ""
    street: str = ""
    postcode: str = ""
    note: str = ""


class NewOrder(Strict):
    """`room` may be left out by a viewer, whose token names it; `coupons`: there are none here."""

    room: str | None = None
    lines: list[LineBody]
    price_version: str | None = None
    coupons: list[str] = Field([])
    contact: Contact | None = None
    address: Address | None = None
    referral: str | None = None


class ContactPatch(Strict):
    """What is not given stays as it is."""

    contact: Contact | None = None
    address: Address | None = None


class Nothing(Strict):
    """An empty object, or no body at all."""


class Shipment(Strict):
    tracking: str | None = None


class OrdersQuery(PageQuery):
    room: str | None = None
    buyer: str | None = None
    state: str | None = None


class LineDocument(Strict):
    sku: str
    product_id: str
    title: str
    options: dict[str, str]
    qty: int
    unit: MoneyDocument
    total: MoneyDocument


class OrderDocument(Strict):
    """`link` for its buyer only; `contact` and `address` in the answer about a single order."""

    id: str
    room: str | None
    buyer: str
    lines: list[LineDocument]
    total: MoneyDocument
    price_version: str
    state: Literal["reserved", "confirmed", "completed", "cancelled", "expired"]
    payment: str
    fulfilment: str
    expires_at: str | None
    payments: list[str]
    referral: str | None
    tracking: str | None
    demo: bool
    created_at: str
    updated_at: str
    link: str | None = None
    contact: Contact | None = None
    address: Address | None = None


class OrdersPage(Strict):
    items: list[OrderDocument]
    next: str | None


class ContactDocument(Strict):
    contact: Contact | None
    address: Address | None
