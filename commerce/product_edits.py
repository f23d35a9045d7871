"""Edits of a product: SKUs that come to it, options, limits and prices that change.

They are decisions as `commerce.changes` has them: pure, what must be kept beside the product is put
into the Changes. Each price is kept under `price/<sku>/<price_version>`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import msgpack

from commerce.changes import SHOP, Changes
from commerce.errors import AlreadyExists, Invalid
from commerce.ids import new_id
from commerce.inventory import ON_HAND_LIMIT, stock_in
from commerce.money import Money
from commerce.products import SKU_CODE, NewSku, Product, Sku, SkuPatch, sku_key
from commerce.text import checked_count, checked_text

OPTION_CHARS = 60
OPTIONS_MAX = 10
SKUS_MAX = 100
PER_BUYER_MAX = 1_000_000


def price_key(sku: str, version: str) -> str:
    """Where the store keeps a price that is or was."""
    return f"price/{sku}/{version}"


def checked_label(field: str, label: str | None, limit: int) -> str | None:
    """The words in their normal form, None where there are none; raises Invalid."""
    return None if label is None else checked_text(field, label, limit)


def with_new_skus(changes: Changes, product: Product, news: Sequence[NewSku], by: str) -> Product:
    """The product with more SKUs, and their first stock; raises Invalid or AlreadyExists."""
    if not 1 <= len(product.skus) + len(news) <= SKUS_MAX:
        raise Invalid("skus", f"1 to {SKUS_MAX} of them")
    for new in news:
        code = new_id("sku", changes.now_ms) if new.sku is None else new.sku
        if not isinstance(code, str) or not SKU_CODE.fullmatch(code):
            raise Invalid("sku", "1 to 64 of letters, digits, _, . and -")
        if sku_key(code) in changes.writes or any(sku.sku == code for sku in product.skus):
            raise AlreadyExists(f"the SKU {code} is there already", code="sku_exists")
        _checked_price(new.price)
        per_buyer = _checked_per_buyer(new.per_buyer)
        pieces = checked_count("stock", new.stock, 0, ON_HAND_LIMIT)
        sku = Sku(code, new.price, 1, _checked_options(new.options), per_buyer)
        changes.reads[sku_key(code)] = 0
        changes.writes[sku_key(code)] = product.id.encode()
        _keep_price(changes, sku, by)
        stock_in(changes, code, pieces, by=by)
        product = replace(product, skus=(*product.skus, sku))
    return product


def with_patch(changes: Changes, product: Product, patch: SkuPatch, by: str) -> Product:
    """The product with one SKU changed; another price is told. Raises NotFound or Invalid."""
    before = after = product.sku(patch.sku)
    if patch.options is not None:
        after = replace(after, options=_checked_options(patch.options))
    if patch.per_buyer is not None:
        after = replace(after, per_buyer=_checked_per_buyer(patch.per_buyer))
    if patch.price is not None and patch.price != before.price:
        _checked_price(patch.price)
        after = replace(after, price=patch.price, price_changes=before.price_changes + 1)
        _keep_price(changes, after, by)
        changes.tell(SHOP, "price.changed", sku=after.sku, product=product.id)
    return replace(product, skus=tuple(after if sku is before else sku for sku in product.skus))


def _keep_price(changes: Changes, sku: Sku, by: str) -> None:
    members = [sku.price.amount, sku.price.currency, changes.now_ms, by]
    changes.writes[price_key(sku.sku, sku.price_version)] = msgpack.packb(members)


def _checked_price(price: Money) -> None:
    if price.amount < 0:
        raise Invalid("price", "not negative")


def _checked_per_buyer(limit: int | None) -> int | None:
    return None if limit is None else checked_count("per_buyer", limit, 1, PER_BUYER_MAX)


def _checked_options(options: Mapping[str, str]) -> dict[str, str]:
    if len(options) > OPTIONS_MAX:
        raise Invalid("options", f"at most {OPTIONS_MAX}")
    return {
        checked_text("options", name, OPTION_CHARS): checked_text("options", value, OPTION_CHARS)
        for name, value in options.items()
    }
