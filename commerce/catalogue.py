"""The catalogue: products, their SKUs with options, and prices with versions.

A product is kept whole under `product/<id>` with its SKUs, so its version is the ETag of all of it;
`sku/<sku>` leads to the product and never changes. A SKU's code is the merchant's own or made here.

`price_version` names a price: another price has another one, and so has the same price set again
later. Each is kept under `price/<sku>/<price_version>`. A quote of several lines has a version made of
those of its lines, and that of a single SKU is the SKU's own: whoever shows a card can ask for an order
at the price on it. A change of title or picture changes no price version.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgpack

from commerce.changes import ATTEMPTS, SHOP, Changes
from commerce.errors import AlreadyExists, Busy, Invalid, MixedCurrency, NotFound, Stale
from commerce.ids import new_id, utc_ms
from commerce.inventory import ON_HAND_LIMIT, stock_in
from commerce.money import Money
from commerce.store import INDEX_END, Conflict, Store, Versioned
from commerce.text import checked_count, checked_text
from commerce.timestamps import rfc3339

TITLE_CHARS = 200
MERCHANT_CHARS = 200
CATEGORY_CHARS = 60
OPTION_CHARS = 60
OPTIONS_MAX = 10
SKUS_MAX = 100
PER_BUYER_MAX = 1_000_000
PAGE_MAX = 200
SCANNED_MAX = 2_000  # products looked at for one page of a search
REMEMBERED_MAX = 100_000  # SKUs whose product is remembered, some 20 MB
SKU_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
PRODUCT_ID = re.compile(r"prd_[0-9a-z]{26}")
IMAGE_ID = re.compile(r"img_[0-9a-f]{32}")
INDEX = "products"


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
    ) -> Product:
        """The new product with its first stock; raises Invalid, NotFound or AlreadyExists."""
        changes = Changes(self._now_ms())
        product = Product(
            new_id("prd", changes.now_ms),
            checked_text("title", title, TITLE_CHARS),
            (),
            _checked_label("merchant", merchant, MERCHANT_CHARS),
            await self._checked_image(image),
            changes.now_ms,
            changes.now_ms,
            _checked_label("category", category, CATEGORY_CHARS),
        )
        product = _with_new_skus(changes, product, skus, by)
        changes.index[INDEX, _item(product.id)] = product.id
        _save(changes, product)
        try:
            await changes.commit(self._store)
        except Conflict as conflict:
            raise _taken(conflict) from None
        return await self.get(product.id)

    async def get(self, id: str) -> Product:
        """Raises NotFound."""
        if PRODUCT_ID.fullmatch(id):
            product = unpack(*(await self._store.load([_item(id)]))[_item(id)])
            if product is not None:
                return product
        raise NotFound("there is no such product", code="product_not_found")

    async def list(
        self, *, after: str | None = None, limit: int = 50, q: str | None = None
    ) -> tuple[list[Product], str | None]:
        """A page of products, oldest first, and the `after` of the next page, if there is one.

        `q`: only those whose title has this in it, in capitals or not; such a page may be short
        before the end.
        """
        if after is not None and not PRODUCT_ID.fullmatch(after):
            raise Invalid("after", "not a cursor of this list")
        limit = max(1, min(limit, PAGE_MAX))
        words = "" if q is None else checked_text("q", q, TITLE_CHARS).casefold()
        at_once = PAGE_MAX if words else limit
        found: list[Product] = []
        for _ in range(SCANNED_MAX // PAGE_MAX):
            low = "" if after is None else f"{after}\0"
            keys = await self._store.scan(INDEX, low, INDEX_END, at_once + 1)
            loaded = await self._store.load(keys[:at_once])
            for place, (key, item) in enumerate(loaded.items(), 1):
                after = key.removeprefix(_item(""))
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
            pointers = await self._store.load([_pointer(code) for code in unknown])
            for code in unknown:
                id = pointers[_pointer(code)][0]
                if id is not None:
                    self._items[code] = _item(id.decode())
        return {code: self._items[code] for code in codes if code in self._items}

    async def of_skus(self, codes: Iterable[str]) -> dict[str, Product]:
        """{sku: its product} for those that are there."""
        items = await self.product_items(codes)
        return read_products(items, await self._store.load(set(items.values())))

    async def quote(self, lines: Mapping[str, int]) -> dict[str, Any]:
        """What {sku: pieces} costs now, as JSON; raises Invalid, NotFound or MixedCurrency."""
        if not lines:
            raise Invalid("lines", "at least one")
        products = await self.of_skus(lines)
        for code in lines:
            if code not in products:
                raise NotFound(f"there is no SKU {code}", code="sku_not_found")
        return quote({code: products[code].sku(code) for code in lines}, lines)

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
                merchant=_checked_label("merchant", merchant, MERCHANT_CHARS) or product.merchant,
                category=_checked_label("category", category, CATEGORY_CHARS) or product.category,
                image=image or product.image,
                updated_ms=changes.now_ms,
            )
            for patch in skus:
                changed = _with_patch(changes, changed, patch, by)
            changed = _with_new_skus(changes, changed, new_skus, by)
            _save(changes, changed)
            try:
                await changes.commit(self._store)
            except Conflict as conflict:
                if conflict.key != _item(id):
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
            changed = _with_patch(changes, product, SkuPatch(sku, price=price), by)
            if changed == product:
                return before
            _save(changes, replace(changed, updated_ms=changes.now_ms))
            try:
                await changes.commit(self._store)
            except Conflict:
                continue  # another member of the product may have changed, and the price not
            return changed.sku(sku)
        raise Busy("others change this product")

    async def price(self, sku: str, version: str) -> dict[str, Any]:
        """A price that was: {price, at, by}; raises NotFound."""
        key = f"price/{sku}/{version}"
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


def read_products(items: Mapping[str, str], loaded: Mapping[str, Versioned]) -> dict[str, Product]:
    """{sku: product} out of what was loaded for `product_items`."""
    products = {item: unpack(*loaded[item]) for item in set(items.values())}
    return {
        code: product for code, item in items.items() if (product := products[item]) is not None
    }


def quote(skus: Mapping[str, Sku], lines: Mapping[str, int]) -> dict[str, Any]:
    """The lines as they would be charged, with their price version; raises MixedCurrency."""
    currencies = {skus[code].price.currency for code in lines}
    if len(currencies) > 1:
        raise MixedCurrency(f"an order is in one currency, not in {', '.join(sorted(currencies))}")
    totals = {code: skus[code].price * pieces for code, pieces in lines.items()}
    whole = Money(sum(money.amount for money in totals.values()), currencies.pop())
    return {
        "lines": [
            {
                "sku": code,
                "qty": pieces,
                "unit": skus[code].price.to_json(),
                "total": totals[code].to_json(),
            }
            for code, pieces in lines.items()
        ],
        "total": whole.to_json(),
        "price_version": price_version(skus[code] for code in lines),
    }


def _with_new_skus(changes: Changes, product: Product, news: Sequence[NewSku], by: str) -> Product:
    if not 1 <= len(product.skus) + len(news) <= SKUS_MAX:
        raise Invalid("skus", f"1 to {SKUS_MAX} of them")
    for new in news:
        code = new_id("sku", changes.now_ms) if new.sku is None else new.sku
        if not isinstance(code, str) or not SKU_CODE.fullmatch(code):
            raise Invalid("sku", "1 to 64 of letters, digits, _, . and -")
        if _pointer(code) in changes.writes or any(sku.sku == code for sku in product.skus):
            raise AlreadyExists(f"the SKU {code} is there already", code="sku_exists")
        _checked_price(new.price)
        per_buyer = _checked_per_buyer(new.per_buyer)
        pieces = checked_count("stock", new.stock, 0, ON_HAND_LIMIT)
        sku = Sku(code, new.price, 1, _checked_options(new.options), per_buyer)
        changes.reads[_pointer(code)] = 0
        changes.writes[_pointer(code)] = product.id.encode()
        _keep_price(changes, sku, by)
        stock_in(changes, code, pieces, by=by)
        product = replace(product, skus=(*product.skus, sku))
    return product


def _with_patch(changes: Changes, product: Product, patch: SkuPatch, by: str) -> Product:
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
    changes.writes[f"price/{sku.sku}/{sku.price_version}"] = msgpack.packb(members)


def _checked_label(field: str, label: str | None, limit: int) -> str | None:
    return None if label is None else checked_text(field, label, limit)


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


def _taken(conflict: Conflict) -> AlreadyExists:
    code = conflict.key.partition("/")[2]
    return AlreadyExists(f"the SKU {code} is there already", code="sku_exists")


def _item(id: str) -> str:
    return f"product/{id}"


def _pointer(sku: str) -> str:
    return f"sku/{sku}"


def _save(changes: Changes, product: Product) -> None:
    members = {
        "id": product.id,
        "title": product.title,
        "merchant": product.merchant,
        "category": product.category,
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
    changes.reads[_item(product.id)] = product.version
    changes.writes[_item(product.id)] = msgpack.packb(members)


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
