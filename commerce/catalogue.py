"""The catalogue: the products in the store, made, found, priced and changed.

What a product is and how it is kept is said in `commerce.products`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import msgpack

from commerce.changes import ATTEMPTS, Changes
from commerce.errors import AlreadyExists, Busy, Invalid, NotFound, Stale
from commerce.ids import new_id, utc_ms
from commerce.money import Money
from commerce.product_edits import checked_label, price_key, with_new_skus, with_patch
from commerce.products import (
    IMAGE_ID,
    PRODUCT_ID,
    SKU_CODE,
    NewSku,
    Product,
    Sku,
    SkuPatch,
    product_key,
    read_products,
    save,
    sku_key,
    unpack,
)
from commerce.store import INDEX_END, Conflict, Store
from commerce.text import checked_text
from commerce.timestamps import rfc3339

TITLE_CHARS = 200
MERCHANT_CHARS = 200
CATEGORY_CHARS = 60
PAGE_MAX = 200
SCANNED_MAX = 2_000  # products looked at for one page of a search
REMEMBERED_MAX = 100_000  # SKUs whose product is remembered, some 20 MB
INDEX = "products"


class Catalogue:
    """The products in the store."""

    def __init__(self, store: Store, *, now_ms: Callable[[], int] = utc_ms) -> None:
        self._store = store
        self._now_ms = now_ms
        self._items: dict[str, str] = {}

    async def create(
        self,
        title: str,
        skus: Sequence[NewSku],
        *,
        by: str,
        merchant: str | None = None,
        category: str | None = None,
        image: str | None = None,
        returnable: bool = True,
    ) -> Product:
        """The new product with its first stock; raises Invalid, NotFound or AlreadyExists."""
        changes = Changes(self._now_ms())
        product = Product(
            new_id("prd", changes.now_ms),
            checked_text("title", title, TITLE_CHARS),
            (),
            checked_label("merchant", merchant, MERCHANT_CHARS),
            await self._checked_image(image),
            changes.now_ms,
            changes.now_ms,
            checked_label("category", category, CATEGORY_CHARS),
            returnable,
        )
        product = with_new_skus(changes, product, skus, by)
        changes.index[INDEX, product_key(product.id)] = product.id
        save(changes, product)
        try:
            await changes.commit(self._store)
        except Conflict as conflict:
            raise _taken(conflict) from None
        return await self.get(product.id)

    async def get(self, id: str) -> Product:
        """Raises NotFound."""
        if PRODUCT_ID.fullmatch(id):
            product = unpack(*(await self._store.load([product_key(id)]))[product_key(id)])
            if product is not None:
                return product
        raise NotFound("there is no such product", code="product_not_found")

    async def list(
        self, *, after: str | None = None, limit: int = 50, search: str | None = None
    ) -> tuple[list[Product], str | None]:
        """A page of products, oldest first, and the `after` of the next page, if there is one.

        `search`: only those whose title has this in it, in capitals or not; such a page may be short
        before the end.
        """
        if after is not None and not PRODUCT_ID.fullmatch(after):
            raise Invalid("after", "not a cursor of this list")
        limit = max(1, min(limit, PAGE_MAX))
        words = "" if search is None else checked_text("search", search, TITLE_CHARS).casefold()
        at_once = PAGE_MAX if words else limit
        found: list[Product] = []
        for _ in range(SCANNED_MAX // PAGE_MAX):
            low = "" if after is None else f"{after}\0"
            keys = await self._store.scan(INDEX, low, INDEX_END, at_once + 1)
            loaded = await self._store.load(keys[:at_once])
            for place, (key, item) in enumerate(loaded.items(), 1):
                after = key.removeprefix(product_key(""))
                product = unpack(*item)
                if product is not None and words in product.title.casefold():
                    found.append(product)
                if len(found) == limit:
                    return found, after if place < len(keys) else None
            if len(keys) <= at_once:
                return found, None
        return found, after

    async def product_items(self, codes: Iterable[str]) -> dict[str, str]:
        """{sku: where the store keeps its product} for those that are there.

        A SKU never changes its product, so what was found once is remembered.
        """
        if len(self._items) > REMEMBERED_MAX:
            self._items.clear()
        codes = [code for code in codes if SKU_CODE.fullmatch(code)]
        unknown = [code for code in codes if code not in self._items]
        if unknown:
            pointers = await self._store.load([sku_key(code) for code in unknown])
            for code in unknown:
                id = pointers[sku_key(code)][0]
                if id is not None:
                    self._items[code] = product_key(id.decode())
        return {code: self._items[code] for code in codes if code in self._items}

    async def of_skus(self, codes: Iterable[str]) -> dict[str, Product]:
        """{sku: its product} for those that are there."""
        items = await self.product_items(codes)
        return read_products(items, await self._store.load(set(items.values())))

    async def patch(
        self,
        id: str,
        *,
        if_version: int,
        by: str,
        title: str | None = None,
        merchant: str | None = None,
        category: str | None = None,
        image: str | None = None,
        returnable: bool | None = None,
        skus: Sequence[SkuPatch] = (),
        new_skus: Sequence[NewSku] = (),
    ) -> Product:
        """Change what is given; raises NotFound, Invalid, AlreadyExists, or Stale for `if_version`."""
        image = await self._checked_image(image)
        for _ in range(ATTEMPTS):
            product = await self.get(id)
            if product.version != if_version:
                raise Stale(f"{id} has been changed since")
            changes = Changes(self._now_ms())
            changed = replace(
                product,
                title=product.title if title is None else checked_text("title", title, TITLE_CHARS),
                merchant=checked_label("merchant", merchant, MERCHANT_CHARS) or product.merchant,
                category=checked_label("category", category, CATEGORY_CHARS) or product.category,
                image=image or product.image,
                returnable=product.returnable if returnable is None else returnable,
                updated_ms=changes.now_ms,
            )
            for patch in skus:
                changed = with_patch(changes, changed, patch, by)
            changed = with_new_skus(changes, changed, new_skus, by)
            save(changes, changed)
            try:
                await changes.commit(self._store)
            except Conflict as conflict:
                if conflict.key != product_key(id):
                    raise _taken(conflict) from None
                continue  # changed meanwhile: the next round says that it is stale
            return await self.get(id)
        raise Busy("others change this product")

    async def set_price(self, sku: str, price: Money, *, if_price_version: str, by: str) -> Sku:
        """The SKU at its new price; raises NotFound, Invalid, or Stale for `if_price_version`."""
        for _ in range(ATTEMPTS):
            product = (await self.of_skus([sku])).get(sku)
            if product is None:
                raise NotFound(f"there is no SKU {sku}", code="sku_not_found")
            before = product.sku(sku)
            if before.price_version != if_price_version:
                raise Stale(f"the price of {sku} has been changed since")
            changes = Changes(self._now_ms())
            changed = with_patch(changes, product, SkuPatch(sku, price=price), by)
            if changed == product:
                return before
            save(changes, replace(changed, updated_ms=changes.now_ms))
            try:
                await changes.commit(self._store)
            except Conflict:
                continue  # another member of the product may have changed, and the price not
            return changed.sku(sku)
        raise Busy("others change this product")

    async def price(self, sku: str, version: str) -> dict[str, Any]:
        """A price that was: {price, at, by}; raises NotFound."""
        key = price_key(sku, version)
        value = (await self._store.load([key]))[key][0]
        if value is None:
            raise NotFound("there was no such price", code="price_not_found")
        amount, currency, at_ms, *by = msgpack.unpackb(value)
        price = Money(amount, currency).to_json()
        return {"price": price, "at": rfc3339(at_ms), "by": by[0] if by else None}

    async def _checked_image(self, image: str | None) -> str | None:
        if image is None:
            return None
        found = IMAGE_ID.fullmatch(image) and (await self._store.load([f"image/{image}"]))
        if not found or found[f"image/{image}"][0] is None:
            raise Invalid("image", "there is no such picture")
        return image


def _taken(conflict: Conflict) -> AlreadyExists:
    code = conflict.key.partition("/")[2]
    return AlreadyExists(f"the SKU {code} is there already", code="sku_exists")
