"""Products and prices as requests bring them and answers show them (`commerce.shelf.Shelf.show`)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from commerce.inventory import ON_HAND_LIMIT
from commerce.product_edits import SKUS_MAX
from commerce.products import NewSku, SkuPatch
from mediaserver.api.money import MoneyDocument, Price
from mediaserver.api.pagination import PageQuery
from mediaserver.api.strict import Strict


class SkuBody(Strict):
    price: Price
    stock: Annotated[int, Field(ge=0, le=ON_HAND_LIMIT)] = 0
    sku: str | None = None
    options: dict[str, str] = Field({})
    per_buyer: int | None = None

    def new(self) -> NewSku:
        return NewSku(self.price.money(), self.stock, self.sku, self.options, self.per_buyer)


class SkuChange(Strict):
    """What is not given stays as it is."""

    sku: str
    price: Price | None = None
    options: dict[str, str] | None = None
    per_buyer: int | None = None

    def patch(self) -> SkuPatch:
        price = None if self.price is None else self.price.money()
        return SkuPatch(self.sku, price, self.options, self.per_buyer)


class NewProduct(Strict):
    title: str
    skus: Annotated[list[SkuBody], Field(min_length=1, max_length=SKUS_MAX)]
    merchant: str | None = None
    category: str | None = None
    image: str | None = None
    returnable: bool = True


class ProductPatch(Strict):
    """What is not given stays as it is."""

    title: str | None = None
    merchant: str | None = None
    category: str | None = None
    image: str | None = None
    returnable: bool | None = None
    skus: list[SkuChange] = Field([], max_length=SKUS_MAX)
    new_skus: list[SkuBody] = Field([], max_length=SKUS_MAX)


class NewPrice(Strict):
    price: Price


class ProductsQuery(PageQuery):
    """`search`: a part of the title."""

    search: str | None = None


class SkuDocument(Strict):
    sku: str
    price: MoneyDocument
    price_version: str
    options: dict[str, str]
    per_buyer: int | None
    available: int
    held: bool


class ProductDocument(Strict):
    id: str
    title: str
    merchant: str | None
    category: str | None
    returnable: bool
    image: str | None
    skus: list[SkuDocument]
    created_at: str
    updated_at: str
    version: int


class ProductsPage(Strict):
    items: list[ProductDocument]
    next: str | None


class PriceDocument(Strict):
    sku: str
    price: MoneyDocument
    price_version: str
