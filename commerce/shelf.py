"""What a buyer is shown of a product: the catalogue's document with what there is of each SKU."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from commerce.inventory import read_stock, stock_keys
from commerce.products import Product
from commerce.store import Store


class Shelf:
    """Products with their stock, as one document; the same over every transport."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def show(self, products: Iterable[Product]) -> list[dict[str, Any]]:
        """`Product.to_json()` of each; its SKUs also have `available` in pieces and `held`.

        `held`: there are orders under way whose pieces may come back.
        """
        products = list(products)
        codes = [sku.sku for product in products for sku in product.skus]
        loaded = await self._store.load([key for code in codes for key in stock_keys(code)])
        documents = [product.to_json() for product in products]
        for document in documents:
            for sku in document["skus"]:
                stock = read_stock(sku["sku"], loaded)
                sku["available"], sku["held"] = stock.available, stock.reserved > 0
        return documents
