"""Sales of one SKU in one room: flash sales with a quota, and prices that hold while the room sells.

A sale is kept under `sale/<id>`, and until it is over among the `price-rules` that orders go by, which
compare its times with the clock themselves: nobody has to start or end it. What has to be done in time
is telling the room: `sweep` tells each start and end once, by the index `sales-due`, and who sweeps late
tells late, but changes no price.

A start is a level one: at least `lead_ms` ahead, so that the slowest viewer's picture has caught up with
the announcement before anybody can buy. One that is asked for earlier is moved there.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgpack

from commerce.catalogue import Catalogue
from commerce.changes import SHOP, Changes, decide_and_commit
from commerce.errors import Invalid, NotFound, Refusal
from commerce.ids import new_id, utc_ms
from commerce.money import Money
from commerce.pricing.documents import check_window
from commerce.pricing.kept import newest, newest_first, save_rules, tell_room
from commerce.pricing.price import Buyer, Wanted, price
from commerce.pricing.rules import (
    KEY,
    PriceRules,
    Sale,
    count,
    left_key,
    members_of,
    read_rules,
    read_sale,
)
from commerce.products import Product
from commerce.store import Store, Versioned
from commerce.text import checked_count
from commerce.timestamps import rfc3339

DUE = "sales-due"
SALE_ID = re.compile(r"sal_[0-9a-z]{26}")
LEAD_MS = (
    8_000  # players of plain HLS are three segments of two seconds behind, and load them first
)
QUOTA_MAX = 1_000_000_000
SWEPT_AT_ONCE = 100
SCHEDULED, RUNNING, ENDED = "scheduled", "running", "ended"


class SaleOver(Refusal):
    status = 409
    code = "sale_over"
    title = "Sale is over"


@dataclass(frozen=True, slots=True)
class KeptSale:
    """A sale with what the room has been told of it; `version` is the store's."""

    sale: Sale
    told: str
    created_ms: int
    by: str
    version: int = 0

    def state(self, now_ms: int) -> str:
        """`scheduled`, `running` or `ended`, by the clock."""
        if now_ms < self.sale.starts_ms < self.sale.ends_ms:
            return SCHEDULED
        return RUNNING if now_ms < self.sale.ends_ms else ENDED


class FlashSales:
    """The sales in the store; `room_exists` is asked before one is made."""

    def __init__(
        self,
        store: Store,
        catalogue: Catalogue,
        *,
        room_exists: Callable[[str], Awaitable[bool]],
        lead_ms: int = LEAD_MS,
        now_ms: Callable[[], int] = utc_ms,
    ) -> None:
        self._store = store
        self._catalogue = catalogue
        self._room_exists = room_exists
        self._lead_ms = lead_ms
        self._now_ms = now_ms

    async def create(self, sale: Sale, *, by: str) -> dict[str, Any]:
        """The document of a new sale, with the start that it got; a start of 0 is the earliest one.

        `sale.id` and `sale.product` are filled in here. Raises NotFound, Invalid or LimitReached.
        """
        if not await self._room_exists(sale.room):
            raise NotFound("there is no such room", code="room_not_found")

        async def decide() -> tuple[Changes | None, dict[str, Any]]:
            product = (await self._catalogue.of_skus([sale.sku])).get(sale.sku)
            if product is None:
                raise NotFound(f"there is no SKU {sale.sku}", code="sku_not_found")
            rules = read_rules(await self._store.load([KEY]))
            return decide_create(rules, product, sale, self._lead_ms, by, self._now_ms())

        return await decide_and_commit(self._store, decide)

    async def get(self, room: str, id: str) -> dict[str, Any]:
        """The document of a sale; raises NotFound."""
        return (await self._shown([await self._load(room, id)]))[0]

    async def list(
        self, room: str, *, after: str | None = None, limit: int = 50
    ) -> tuple[Sequence[dict[str, Any]], str | None]:
        """A page of a room's sales, newest first, and the `after` of the next; NotFound, Invalid."""
        if not await self._room_exists(room):
            raise NotFound("there is no such room", code="room_not_found")
        items, cursor = await newest(self._store, _index(room), after, limit)
        found = (unpack(*item) for _, item in items)
        return await self._shown([kept for kept in found if kept is not None]), cursor

    async def current(self, room: str) -> Sequence[dict[str, Any]]:
        """The documents of a room's sales that are not over, the next to end first."""
        rules = read_rules(await self._store.load([KEY]))
        now_ms = self._now_ms()
        sales = [sale for sale in rules.sales if sale.room == room and now_ms < sale.ends_ms]
        if not sales:
            return []
        keys = [sale_key(sale.id) for sale in sorted(sales, key=lambda sale: sale.ends_ms)]
        loaded = await self._store.load(keys)
        found = (unpack(*loaded[key]) for key in keys)
        return await self._shown([kept for kept in found if kept is not None])

    async def end(self, room: str, id: str) -> dict[str, Any]:
        """End a sale now, or call it off; raises NotFound or SaleOver."""

        async def decide() -> tuple[Changes | None, dict[str, Any]]:
            kept = await self._load(room, id)
            products = await self._catalogue.of_skus([kept.sale.sku])
            loaded = await self._store.load([KEY, left_key(id)])
            return decide_end(kept, loaded, products[kept.sale.sku], self._now_ms())

        return await decide_and_commit(self._store, decide)

    async def sweep(self) -> int:
        """Tell the starts and ends whose time has come; how many sales."""
        now_ms = self._now_ms()
        keys = await self._store.scan(DUE, "", f"{now_ms + 1:015d}", SWEPT_AT_ONCE)
        for key in keys:
            await self._tell(key)
        return len(keys)

    async def _tell(self, key: str) -> None:
        async def decide() -> tuple[Changes | None, None]:
            kept = unpack(*(await self._store.load([key]))[key])
            if kept is None:
                return None, None
            products = await self._catalogue.of_skus([kept.sale.sku])
            loaded = await self._store.load([KEY, left_key(kept.sale.id)])
            return decide_tell(kept, loaded, products[kept.sale.sku], self._now_ms()), None

        await decide_and_commit(self._store, decide)

    async def _load(self, room: str, id: str) -> KeptSale:
        key = sale_key(id)
        known = SALE_ID.fullmatch(id) is not None
        kept = unpack(*(await self._store.load([key]))[key]) if known else None
        if kept is None or kept.sale.room != room:
            raise NotFound("the room has no such sale", code="sale_not_found")
        return kept

    async def _shown(self, sales: Sequence[KeptSale]) -> Sequence[dict[str, Any]]:
        products = await self._catalogue.of_skus({kept.sale.sku for kept in sales})
        loaded = await self._store.load([left_key(kept.sale.id) for kept in sales])
        now_ms = self._now_ms()
        return [document(kept, products[kept.sale.sku], loaded, now_ms) for kept in sales]


def decide_create(
    rules: PriceRules, product: Product, sale: Sale, lead_ms: int, by: str, now_ms: int
) -> tuple[Changes, dict[str, Any]]:
    """A new sale, told to its room; raises Invalid or LimitReached."""
    changes = Changes(now_ms)
    starts_ms = max(sale.starts_ms, now_ms + lead_ms)
    check_window(starts_ms, sale.ends_ms, now_ms)
    listed = product.sku(sale.sku).price
    if sale.price.currency != listed.currency or not 0 <= sale.price.amount < listed.amount:
        raise Invalid("price", f"lower than {listed}")
    if sale.quota is None and sale.per_buyer is not None:
        raise Invalid("per_buyer", "only where there is a quota")
    if sale.quota is not None:
        checked_count("quota", sale.quota, 1, QUOTA_MAX)
    if sale.per_buyer is not None:
        checked_count("per_buyer", sale.per_buyer, 1, QUOTA_MAX)
    id = new_id("sal", now_ms)
    sale = replace(sale, id=id, product=product.id, starts_ms=starts_ms)
    kept = KeptSale(sale, SCHEDULED, now_ms, by)
    if sale.quota is not None:
        changes.add(left_key(id), sale.quota)
    changes.index[_index(sale.room), sale_key(id)] = newest_first(changes, id)
    _save(changes, kept)
    save_rules(changes, replace(rules, sales=(*rules.sales, sale)))
    left = {left_key(id): (b"%d" % (sale.quota or 0), 0)}
    shown = document(kept, product, left, now_ms)
    _tell(changes, kept, "sale.scheduled", shown)
    return changes, shown


def decide_end(
    kept: KeptSale, loaded: Mapping[str, Versioned], product: Product, now_ms: int
) -> tuple[Changes, dict[str, Any]]:
    """The end of a sale before its time; raises SaleOver."""
    if kept.sale.ends_ms <= now_ms:
        raise SaleOver(f"{kept.sale.id} is over")
    ended = replace(kept, sale=replace(kept.sale, ends_ms=now_ms))
    changes = decide_tell(ended, loaded, product, now_ms)
    assert changes is not None
    return changes, document(ended, product, loaded, now_ms)


def decide_tell(
    kept: KeptSale, loaded: Mapping[str, Versioned], product: Product, now_ms: int
) -> Changes | None:
    """The room is told of a start and an end whose time has come; None where it knows.

    `loaded` holds the rules, from which a sale that is over goes, and the quota that is left.
    """
    state = kept.state(now_ms)
    if state == kept.told:
        return None
    changes = Changes(now_ms)
    shown = document(kept, product, loaded, now_ms)
    if kept.told == SCHEDULED and kept.sale.starts_ms < kept.sale.ends_ms:
        _tell(changes, kept, "sale.started", shown)
    if state == ENDED:
        _tell(changes, kept, "sale.ended", shown)
        rules = read_rules(loaded)
        sales = tuple(sale for sale in rules.sales if sale.id != kept.sale.id)
        save_rules(changes, replace(rules, sales=sales))
    _save(changes, replace(kept, told=state))
    return changes


def document(
    kept: KeptSale, product: Product, loaded: Mapping[str, Versioned], now_ms: int
) -> dict[str, Any]:
    """What the room is told of a sale: `left` of the quota, and the `price_version` to buy at."""
    sale = kept.sale
    sku = product.sku(sale.sku)
    alone = PriceRules((replace(sale, starts_ms=now_ms, ends_ms=now_ms + 1),))
    at_sale = price(
        [Wanted(product, sku, 1)],
        alone,
        buyer=Buyer(sale.room),
        now_ms=now_ms,
        left={sale.id: None if sale.quota is None else 1},
    )
    return {
        "id": sale.id,
        "room": sale.room,
        "sku": sale.sku,
        "product_id": sale.product,
        "price": sale.price.to_json(),
        "list_price": sku.price.to_json(),
        "price_version": at_sale.version,
        "quota": sale.quota,
        "left": None if sale.quota is None else count(loaded, left_key(sale.id)),
        "per_buyer": sale.per_buyer,
        "state": kept.state(now_ms),
        "starts_at": rfc3339(sale.starts_ms),
        "ends_at": rfc3339(sale.ends_ms),
    }


def new_sale(
    room: str,
    sku: str,
    price: Money,
    *,
    ends_ms: int,
    starts_ms: int = 0,
    quota: int | None = None,
    per_buyer: int | None = None,
) -> Sale:
    """What `create` is asked for; with a quota one piece for each buyer, unless it says otherwise."""
    if quota is not None and per_buyer is None:
        per_buyer = 1
    return Sale("", room, sku, "", price, starts_ms, ends_ms, quota, per_buyer)


def sale_key(id: str) -> str:
    return f"sale/{id}"


def unpack(value: bytes | None, version: int) -> KeptSale | None:
    if value is None:
        return None
    members = msgpack.unpackb(value)
    return KeptSale(**{**members, "sale": read_sale(members["sale"])}, version=version)


def _index(room: str) -> str:
    return f"sales/{room}"


def _save(changes: Changes, kept: KeptSale) -> None:
    key = sale_key(kept.sale.id)
    members = members_of(kept)
    del members["version"]
    changes.reads[key] = kept.version
    changes.writes[key] = msgpack.packb(members, default=members_of)
    next_ms = {SCHEDULED: kept.sale.starts_ms, RUNNING: kept.sale.ends_ms, ENDED: None}[kept.told]
    changes.index[DUE, key] = None if next_ms is None else f"{next_ms:015d}"


def _tell(changes: Changes, kept: KeptSale, type: str, shown: Mapping[str, Any]) -> None:
    tell_room(changes, kept.sale.room, type, shown)
    changes.tell(SHOP, type, sale=kept.sale.id, room=kept.sale.room)
