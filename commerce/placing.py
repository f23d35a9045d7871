"""Placing orders, many in one round: what a round loads, and what one command makes of it.

The products are read once for a round; stock, limits and bound keys are as the commands before left
them, see `commerce.rounds`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from commerce.catalogue import Catalogue
from commerce.changes import Changes
from commerce.contact import Contacts
from commerce.errors import NotFound
from commerce.idempotency import Answer, Scope, bind_to, read_bound
from commerce.inventory import stock_keys
from commerce.order import Order
from commerce.order_record import as_placed, unpack
from commerce.orders import Limits, PlaceOrder, bought_key, order_key, save
from commerce.pricing.claims import coupon_key, unspent_key
from commerce.pricing.coupon import Coupon, unpack_coupon
from commerce.pricing.price import Charges, Price
from commerce.pricing.rules import KEY, NO_RULES, PriceRules, read_rules, sale_keys
from commerce.products import Product, read_products
from commerce.reserving import Known, decide_place, priced, sales_of
from commerce.store import Store, Versioned


@dataclass(frozen=True, slots=True)
class Asked:
    """A command, and the scope its key is bound in."""

    command: PlaceOrder
    scope: Scope


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a round knows: the store's items, {sku: product}, which of its rooms there are, and what
    the price goes by: the rules, and {id: coupon}. It is decided at one moment, and so the prices
    that it has found are `known` to it."""

    items: dict[str, Versioned]
    products: Mapping[str, Product]
    rooms: Collection[str]
    rules: PriceRules
    coupons: Mapping[str, Coupon]
    now_ms: int
    known: Known = field(default_factory=Known)


class Placing:
    """Loads and decides for `commerce.rounds`; `demo_rooms`: whose orders are marked as demo."""

    def __init__(
        self,
        store: Store,
        catalogue: Catalogue,
        contacts: Contacts,
        *,
        room_exists: Callable[[str], Awaitable[bool]],
        limits: Limits,
        demo_rooms: Collection[str],
        charges: Charges | None = None,
        now_ms: Callable[[], int],
    ) -> None:
        self._store = store
        self._catalogue = catalogue
        self._contacts = contacts
        self._room_exists = room_exists
        self._limits = limits
        self._demo_rooms = demo_rooms
        self._charges = charges
        self._now_ms = now_ms
        self._rules = NO_RULES  # as they were read last: the version tells whether they still are
        self._limited: frozenset[str] = frozenset()  # SKUs that had a limit in the round before

    async def load(self, round: Sequence[Asked]) -> Loaded:
        """Everything that the commands touch, in one load; in two where a key is bound already, and
        when price rules or limits are others than in the round before."""
        codes = {code for asked in round for code in asked.command.lines}
        products = await self._catalogue.product_items(codes)
        keys = set(products.values())
        keys.update(key for sku in products for key in stock_keys(sku))
        for asked in round:
            keys.add(asked.scope.item)
            for coupon in asked.command.coupons:
                keys.update((coupon_key(coupon), unspent_key(coupon, asked.command.sub)))
        keys.add(KEY)
        rules = self._rules  # another round may put later ones there, while this one waits
        keys |= _sale_keys(round, rules) | _bought_keys(round, self._limited)
        rooms = {asked.command.room for asked in round} - {None}
        there = [room for room in rooms if room is not None and await self._room_exists(room)]
        items = await self._store.load(keys)
        if items[KEY][1] != rules.version:
            rules = self._rules = read_rules(items)
        shown = read_products(products, items)
        limited = self._limited = _limited_skus(shown)
        more = _sale_keys(round, rules) | _bought_keys(round, limited) | _placed_items(round, items)
        if not more <= keys:
            items.update(await self._store.load(more - keys))
        ids = {id for asked in round for id in asked.command.coupons}
        found = {id: unpack_coupon(*items[coupon_key(id)]) for id in ids}
        coupons = {id: coupon for id, coupon in found.items() if coupon is not None}
        return Loaded(items, shown, there, rules, coupons, self._now_ms())

    def price(self, command: PlaceOrder, loaded: Loaded) -> Price:
        """What the command costs now; raises what `commerce.reserving.priced` does."""
        return priced(
            command,
            loaded.products,
            loaded.items,
            loaded.rules,
            loaded.coupons,
            self._charges,
            loaded.now_ms,
        )

    def decide(self, asked: Asked, loaded: Loaded) -> tuple[Changes | None, Answer[Order]]:
        """One command's reservation, or the answer it had before; raises what `place` raises."""
        command, items = asked.command, loaded.items
        earlier = replay(asked.scope, items)
        if earlier is not None:
            return None, earlier
        changes, order = decide_place(
            command,
            loaded.products,
            items,
            self._limits,
            loaded.now_ms,
            rules=loaded.rules,
            coupons=loaded.coupons,
            charges=self._charges,
            known=loaded.known,
        )
        if command.room is not None and command.room not in loaded.rooms:
            raise NotFound("there is no such room", code="room_not_found")
        if command.room in self._demo_rooms:
            order = replace(order, demo=True)
        if command.given is not None:
            contact = self._contacts.put(changes, command.sub, command.given)
            order = replace(order, contact=contact)
        order = save(changes, None, order)
        bind_to(changes, asked.scope, order_key(order.id))
        return changes, Answer(order)


def replay(scope: Scope, loaded: Mapping[str, Versioned]) -> Answer[Order] | None:
    """The order that stands under the scope's key, as it was answered; raises KeyReused."""
    item, answer = read_bound(loaded[scope.item][0], scope)
    kept = unpack(answer, 0) if item is None else unpack(*loaded[item])
    if kept is None:
        return None
    return Answer(kept if item is None else as_placed(kept), True)


def _limited_skus(products: Mapping[str, Product]) -> frozenset[str]:
    """Those of {sku: product} with a limit per buyer."""
    return frozenset(c for c, each in products.items() if each.sku(c).per_buyer is not None)


def _bought_keys(round: Sequence[Asked], limited: Collection[str]) -> set[str]:
    if not limited:
        return set()
    commands = [asked.command for asked in round]
    return {bought_key(sku, each.sub) for each in commands for sku in each.lines if sku in limited}


def _placed_items(round: Sequence[Asked], items: Mapping[str, Versioned]) -> set[str]:
    """The orders that stand under the commands' keys already."""
    values = (items[asked.scope.item][0] for asked in round)
    return {item for value in values if (item := read_bound(value)[0]) is not None}


def _sale_keys(round: Sequence[Asked], rules: PriceRules) -> set[str]:
    if not rules.sales:
        return set()
    return {
        key
        for asked in round
        for sale in sales_of(asked.command, rules)
        for key in sale_keys(sale, asked.command.sub)
    }
