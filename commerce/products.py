"""A product, its SKUs and their prices, and how the store keeps them.

A product is kept whole under `product/<id>` with its SKUs, so its version is the ETag of all of it;
`sku/<sku>` leads to the product and never changes.

`price_version` names a price: another price has another one, and so has the same price set again
later. A quote of several lines has a version made of those of its lines, and that of a single SKU is the
SKU's own: whoever shows a card can ask for an order at the price on it. A change of title or picture
changes no price version.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgpack

from commerce.changes import Changes
from commerce.errors import NotFound
from commerce.money import Money
from commerce.store import Versioned
from commerce.timestamps import rfc3339

SKU_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
PRODUCT_ID = re.compile(r"prd_[0-9a-z]{26}")
IMAGE_ID = re.compile(r"img_[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Sku:
    """One thing to buy: a product in one size and colour. `options` {name: value}."""

    sku: str
    price: Money
    price_changes: int
    options: Mapping[str, str] = field(default_factory=dict)
    per_buyer: int | None = None

    @property
    def price_version(self) -> str:
        return price_version([self])

    def to_json(self) -> dict[str, Any]:
        return {
            "sku": self.sku,
            "price": self.price.to_json(),
            "price_version": self.price_version,
            "options": dict(self.options),
            "per_buyer": self.per_buyer,
        }


@dataclass(frozen=True, slots=True)
class NewSku:
    """A SKU to make; `sku` None: a code is made. `stock` in pieces."""

    price: Money
    stock: int = 0
    sku: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    per_buyer: int | None = None


@dataclass(frozen=True, slots=True)
class SkuPatch:
    """What to change of one SKU; None stays as it is."""

    sku: str
    price: Money | None = None
    options: Mapping[str, str] | None = None
    per_buyer: int | None = None


@dataclass(frozen=True, slots=True)
class Product:
    """`version` is the store's, and the product's ETag; times are UTC milliseconds."""

    id: str
    title: str
    skus: tuple[Sku, ...]
    merchant: str | None
    image: str | None
    created_ms: int
    updated_ms: int
    category: str | None = None
    returnable: bool = True
    version: int = 0

    def sku(self, code: str) -> Sku:
        """Raises NotFound."""
        for sku in self.skus:
            if sku.sku == code:
                return sku
        raise NotFound(f"{self.id} has no SKU {code}", code="sku_not_found")

    def to_json(self) -> dict[str, Any]:
        """As the API shows it."""
        return {
            "id": self.id,
            "title": self.title,
            "merchant": self.merchant,
            "category": self.category,
            "returnable": self.returnable,
            "image": self.image,
            "skus": [sku.to_json() for sku in self.skus],
            "created_at": rfc3339(self.created_ms),
            "updated_at": rfc3339(self.updated_ms),
            "version": self.version,
        }


def price_version(skus: Iterable[Sku]) -> str:
    """The version of the prices of these SKUs, whatever their order: `pv_` and 16 characters."""
    parts = sorted(
        [sku.sku, sku.price_changes, sku.price.amount, sku.price.currency] for sku in skus
    )
    return f"pv_{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]}"


def product_key(id: str) -> str:
    """Where the store keeps a product."""
    return f"product/{id}"


def sku_key(code: str) -> str:
    """Where the store keeps which product a SKU is of."""
    return f"sku/{code}"


def save(changes: Changes, product: Product) -> None:
    """Keep the product, which must be as it was read."""
    members = {
        "id": product.id,
        "title": product.title,
        "merchant": product.merchant,
        "category": product.category,
        "returnable": product.returnable,
        "image": product.image,
        "created_ms": product.created_ms,
        "updated_ms": product.updated_ms,
        "skus": [
            [
                sku.sku,
                sku.price.amount,
                sku.price.currency,
                sku.price_changes,
                dict(sku.options),
                sku.per_buyer,
            ]
            for sku in product.skus
        ],
    }
    changes.reads[product_key(product.id)] = product.version
    changes.writes[product_key(product.id)] = msgpack.packb(members)


def unpack(value: bytes | None, version: int) -> Product | None:
    """A product as the store keeps it."""
    if value is None:
        return None
    members = msgpack.unpackb(value)
    skus = tuple(
        Sku(sku, Money(amount, currency), price_changes, options, per_buyer)
        for sku, amount, currency, price_changes, options, per_buyer in members.pop("skus")
    )
    return Product(**members, skus=skus, version=version)


def read_products(items: Mapping[str, str], loaded: Mapping[str, Versioned]) -> dict[str, Product]:
    """{sku: product} out of what was loaded for `Catalogue.product_items`."""
    products = {item: unpack(*loaded[item]) for item in set(items.values())}
    return {
        code: product for code, item in items.items() if (product := products[item]) is not None
    }
