"""Orders as requests bring them and answers show them (`commerce.orders.Order.to_json`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from commerce.errors import Invalid
from mediaserver.api.money import MoneyDocument
from mediaserver.api.pagination import PageQuery
from mediaserver.api.quotes import DiscountDocument, LineBody
from mediaserver.api.strict import Strict

LINES_MAX = 200  # more than an order may have


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
    """`room` may be left out by a viewer, whose token names it; `coupons` are ids of those to spend."""

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
    """`lines` None: all that is not sent yet."""

    tracking: str | None = None
    carrier: str | None = None
    lines: Annotated[
        list[LineBody] | None, Field(min_length=1, max_length=LINES_MAX, examples=[None])
    ] = None


class Delivery(Strict):
    """`shipment` None: all that was sent."""

    shipment: Annotated[str | None, Field(examples=[None])] = None


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
    list_unit: MoneyDocument
    subtotal: MoneyDocument
    discount: MoneyDocument | None
    total: MoneyDocument
    merchant: str | None
    sale: str | None
    sent: int
    dropped: int
    returned: int
    refunded: int


class PiecesDocument(Strict):
    sku: str
    qty: int


class ShipmentDocument(Strict):
    id: str
    lines: list[PiecesDocument]
    carrier: str | None
    tracking: str | None
    sent_at: str
    delivered_at: str | None


class OrderDocument(Strict):
    """`link` for its buyer only; `contact` and `address` in the answer about a single order."""

    id: str
    room: str | None
    buyer: str
    lines: list[LineDocument]
    discounts: list[DiscountDocument]
    shipping: MoneyDocument | None
    tax: MoneyDocument | None
    coupons: list[str]
    total: MoneyDocument
    price_version: str
    state: Literal["reserved", "confirmed", "completed", "cancelled", "expired"]
    payment: str
    fulfilment: str
    expires_at: str | None
    payments: list[str]
    referral: str | None
    tracking: str | None
    shipments: list[ShipmentDocument]
    refunded: MoneyDocument
    refunds: list[str]
    returns: list[str]
    cases: list[str]
    delivered_at: str | None
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


def pieces_of(lines: Iterable[LineBody]) -> dict[str, int]:
    """{sku: how many} of lines, where a SKU may stand twice; raises Invalid."""
    pieces: dict[str, int] = {}
    for line in lines:
        if line.qty < 1:
            raise Invalid("qty", "a whole number from 1")
        pieces[line.sku] = pieces.get(line.sku, 0) + line.qty
    return pieces
