"""The order desk: loads, lets `commerce.orders` decide, commits, and tries again what others crossed.

Everybody may sweep: expiry is an ordinary command that one wins. Who finds too little stock first
releases the holds on it whose time has passed, so a sweeper that is late sells nothing short.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from commerce.catalogue import Catalogue
from commerce.changes import ATTEMPTS, Changes, decide_and_commit
from commerce.contact import Contacts, normal_form
from commerce.errors import (
    Busy,
    IllegalTransition,
    Invalid,
    LimitReached,
    NotFound,
    OutOfStock,
)
from commerce.idempotency import (
    KEPT_MS,
    Answer,
    InFlight,
    Scope,
    any_answer,
    bind,
    bound_answer,
    fingerprint,
    scope_item,
)
from commerce.ids import utc_ms
from commerce.inventory import Stock, read_stock, stock_keys
from commerce.orders import (
    DUE,
    Limits,
    Order,
    PlaceOrder,
    bought_key,
    decide_cancel,
    decide_deliver,
    decide_expire,
    decide_place,
    decide_ship,
    order_key,
    pack,
    save,
    unpack,
)
from commerce.payments.records import open_refund, payment_key, save_payment, unpack_payment
from commerce.products import read_products
from commerce.store import INDEX_END, Store, Versioned
from commerce.text import checked_text
from commerce.transitions import STATE

PLACE = "order.place"
CANCEL = "order.cancel"
SHIP = "order.ship"
DELIVER = "order.deliver"
SWEPT_AT_ONCE = 200
PAGE_MAX = 200
SCANNED_AT_ONCE = 50  # a page of five in another room must not cost hundreds of small reads
SCANNED_MAX = 2_000  # orders looked at for one page of a list with two filters
SUB_CHARS = 200
ROOM_CHARS = 64
REFERRAL_CHARS = 200
TRACKING_CHARS = 200
ORDER_ID = re.compile(r"ord_[0-9a-z]{26}")
CURSOR = re.compile(r"[0-9]{15}ord_[0-9a-z]{26}")

MEMBERS = {"room", "lines", "price_version", "coupons", "contact", "address", "referral"}

Decided = tuple[Changes, Order]


class Orders:
    """The orders in the store. A `sub` of None is staff, who may see and do all."""

    def __init__(
        self,
        store: Store,
        catalogue: Catalogue,
        contacts: Contacts,
        *,
        room_exists: Callable[[str], Awaitable[bool]],
        limits: Limits | None = None,
        demo_rooms: Collection[str] = (),
        now_ms: Callable[[], int] = utc_ms,
    ) -> None:
        """`room_exists` is asked of an order's room; orders of `demo_rooms` are marked as demo."""
        self._store = store
        self._room_exists = room_exists
        self._demo_rooms = demo_rooms
        self._catalogue = catalogue
        self._contacts = contacts
        self._now_ms = now_ms
        self._in_flight = InFlight()
        self.limits = limits or Limits()

    def command(self, sub: str, body: Mapping[str, Any]) -> PlaceOrder:
        """The body of POST /v1/orders in its normal form: checked, one line per SKU, by name.

        The same body means the same command over every transport. Raises Invalid.
        """
        unknown = set(body) - MEMBERS
        if unknown:
            raise Invalid(min(unknown), "there is no such member")
        if body.get("coupons"):
            raise Invalid("coupons", "there are none here")
        room, version, referral = (body.get(n) for n in ("room", "price_version", "referral"))
        return PlaceOrder(
            checked_text("sub", sub, SUB_CHARS),
            None if room is None else checked_text("room", room, ROOM_CHARS),
            self._lines(body.get("lines")),
            None if version is None else checked_text("price_version", version, 64),
            normal_form(_object("contact", body), _object("address", body)),
            None if referral is None else checked_text("referral", referral, REFERRAL_CHARS),
        )

    def _lines(self, value: object) -> dict[str, int]:
        if not isinstance(value, list) or not 1 <= len(value) <= self.limits.order_lines:
            raise Invalid("lines", f"1 to {self.limits.order_lines} of {{sku, qty}}")
        lines: dict[str, int] = {}
        for line in value:
            if not isinstance(line, Mapping) or set(line) != {"sku", "qty"}:
                raise Invalid("lines", "each is {sku, qty}")
            sku, pieces = checked_text("sku", line["sku"], 64), line["qty"]
            if not isinstance(pieces, int) or isinstance(pieces, bool) or pieces < 1:
                raise Invalid("qty", "a whole number from 1")
            lines[sku] = lines.get(sku, 0) + pieces
            if lines[sku] > self.limits.order_quantity:
                most = self.limits.order_quantity
                detail = f"at most {most} of one SKU in an order"
                raise LimitReached(detail, extra={"skus": [sku], "limit": most})
        return dict(sorted(lines.items()))

    def scope(self, command: PlaceOrder, key: str) -> Scope:
        """The scope of `place`; contact and address are in it as a keyed hash only."""
        normal = {
            "room": command.room,
            "lines": dict(command.lines),
            "price_version": command.price_version,
            "given": self._contacts.mark(command.given),
            "referral": command.referral,
        }
        return Scope(command.sub, PLACE, key, fingerprint(normal))

    async def place(self, command: PlaceOrder, key: str) -> Answer[Order]:
        """A reservation, durable on return; `key` is parsed.

        Raises KeyReused, Invalid, NotFound for the room, MixedCurrency, PriceChanged, LimitReached,
        OutOfStock or Busy.
        """
        scope = self.scope(command, key)

        async def decide() -> tuple[Changes | None, Answer[Order]]:
            return await self._decide_place(command, scope)

        async with self._in_flight.alone(scope):
            return await decide_and_commit(self._store, decide)

    async def _decide_place(
        self, command: PlaceOrder, scope: Scope
    ) -> tuple[Changes | None, Answer[Order]]:
        nothing_due = False  # just before the load, of what is short or has met its limit
        for _ in range(ATTEMPTS):
            items = await self._catalogue.product_items(command.lines)
            bought = [bought_key(sku, command.sub) for sku in items]
            keys = [key for sku in items for key in stock_keys(sku)]
            loaded = await self._store.load([scope.item, *set(items.values()), *keys, *bought])
            earlier = _replay(scope, loaded)
            if earlier is not None:
                return None, earlier
            products = read_products(items, loaded)
            stocks = {sku: read_stock(sku, loaded) for sku in products}
            now_ms = self._now_ms()
            try:
                changes, order = decide_place(
                    command, products, stocks, loaded, self.limits, now_ms
                )
            except (OutOfStock, LimitReached) as refusal:
                if nothing_due or not refusal.extra.get("held", True):
                    raise
                # Others may have released them since the load: only one after counts.
                nothing_due = await self.release_due(refusal.extra["skus"]) == 0
                continue
            if command.room is not None and not await self._room_exists(command.room):
                raise NotFound("there is no such room", code="room_not_found")
            order = replace(order, demo=command.room in self._demo_rooms)
            if command.given is not None:
                contact = self._contacts.put(changes, command.sub, command.given)
                order = replace(order, contact=contact)
            order = save(changes, None, order)
            bind(changes, scope, pack(order))
            return changes, Answer(order)
        raise Busy("the stock changes too fast")

    async def get(self, id: str, sub: str | None = None) -> Order:
        """The order, for its buyer or staff; to others it is NotFound."""
        return (await self._load(id, sub)).at(self._now_ms())

    async def by_key(self, sub: str, key: str) -> Order:
        """The order that the buyer placed under an Idempotency-Key; raises NotFound."""
        item = scope_item(sub, PLACE, key)
        answer = any_answer((await self._store.load([item]))[item][0])
        order = unpack(answer, 0)
        if order is None:
            raise NotFound("there is no order under this key", code="order_not_found")
        return await self.get(order.id, sub)

    async def list(
        self,
        *,
        room: str | None = None,
        buyer: str | None = None,
        state: str | None = None,
        after: str | None = None,
        limit: int = 50,
    ) -> tuple[list[Order], str | None]:
        """A page, newest first, and the `after` of the next one; a page may be short before the end."""
        if state is not None and state not in STATE:
            raise Invalid("state", f"one of {', '.join(STATE)}")
        if after is not None and not CURSOR.fullmatch(after):
            raise Invalid("after", "not a cursor of this list")
        room = None if room is None else checked_text("room", room, ROOM_CHARS)
        buyer = None if buyer is None else checked_text("buyer", buyer, SUB_CHARS)
        index = _narrowest(room, buyer, state)
        limit = max(1, min(limit, PAGE_MAX))
        at_once = max(limit, SCANNED_AT_ONCE)
        now_ms = self._now_ms()
        found: list[Order] = []
        scanned = 0
        while scanned < SCANNED_MAX:
            low = "" if after is None else f"{after}\0"
            keys = await self._store.scan(index, low, INDEX_END, at_once)
            scanned += len(keys)
            loaded = await self._store.load(keys)
            for key in keys:
                kept = unpack(*loaded[key])
                if kept is None:
                    continue
                after = f"{10**15 - kept.created_ms:015d}{kept.id}"
                order = kept.at(now_ms)
                if (
                    room in (None, order.room)
                    and buyer in (None, order.sub)
                    and state in (None, order.state)
                ):
                    found.append(order)
                if len(found) == limit:
                    return found, after
            if len(keys) < at_once:
                return found, None
        return found, after

    async def cancel(self, id: str, sub: str | None, *, by: str, key: str) -> Answer[Order]:
        """End an order that was not sent; what was paid for it is given back by the next sweep.

        Raises NotFound, KeyReused or IllegalTransition.
        """

        async def decide(order: Order, now_ms: int) -> Decided:
            changes, after = decide_cancel(order, now_ms)
            if order.paid_by is not None:
                item = payment_key(order.paid_by)
                payment = unpack_payment(*(await self._store.load([item]))[item])
                assert payment is not None
                save_payment(changes, open_refund(changes, payment, "the order was cancelled"))
            return changes, after

        return await self._act(id, sub, Scope(by, CANCEL, key, fingerprint({"order": id})), decide)

    async def ship(
        self, id: str, *, by: str, key: str, tracking: str | None = None
    ) -> Answer[Order]:
        """Send all of a confirmed order; raises NotFound, KeyReused or IllegalTransition."""
        if tracking is not None:
            tracking = checked_text("tracking", tracking, TRACKING_CHARS)

        async def decide(order: Order, now_ms: int) -> Decided:
            stocks = await self._stocks(order)
            return decide_ship(order, stocks, tracking, now_ms)

        scope = Scope(by, SHIP, key, fingerprint({"order": id, "tracking": tracking}))
        return await self._act(id, None, scope, decide)

    async def deliver(self, id: str, *, by: str, key: str) -> Answer[Order]:
        """A shipped order has arrived; raises NotFound, KeyReused or IllegalTransition."""

        async def decide(order: Order, now_ms: int) -> Decided:
            return decide_deliver(order, now_ms)

        return await self._act(
            id, None, Scope(by, DELIVER, key, fingerprint({"order": id})), decide
        )

    async def set_contact(
        self,
        id: str,
        sub: str | None,
        contact: Mapping[str, Any] | None,
        address: Mapping[str, Any] | None,
    ) -> Order:
        """Another contact and address before shipping; what is None stays as it was.

        Raises NotFound, Invalid or IllegalTransition.
        """
        given = normal_form(contact, address)
        if given is None:
            raise Invalid("contact", "a contact or an address is wanted")

        async def decide() -> tuple[Changes | None, Order]:
            order = await self._load(id, sub)
            now_ms = self._now_ms()
            if order.at(now_ms).state not in ("reserved", "confirmed"):
                raise IllegalTransition("state", order.at(now_ms).state, "reserved")
            if order.fulfilment != "none":
                raise IllegalTransition("fulfilment", order.fulfilment, "none")
            before = None if order.contact is None else await self._contacts.get(order.contact)
            changes = Changes(now_ms)
            new = self._contacts.put(changes, order.sub, {**(before or {}), **given})
            return changes, save(changes, order, replace(order, contact=new))

        return await decide_and_commit(self._store, decide)

    async def contact(self, id: str, sub: str | None) -> dict[str, Any] | None:
        """The contact and address of an order, None when there are none or they were erased."""
        order = await self._load(id, sub)
        return None if order.contact is None else await self._contacts.get(order.contact)

    async def sweep(self) -> int:
        """End reservations whose time has passed; how many, at most SWEPT_AT_ONCE at a time."""
        return sum(await self._expire_in(DUE))

    async def release_due(self, skus: Iterable[str]) -> int:
        """End the holds on these SKUs whose time has passed; how many there were.

        They have ended on return, whoever ended them; at most SWEPT_AT_ONCE of each SKU.
        """
        return sum([len(await self._expire_in(f"{DUE}/{sku}")) for sku in skus])

    async def _expire_in(self, index: str) -> Sequence[bool]:
        """For each that was due, whether it was ended here."""
        now_ms = self._now_ms()
        keys = await self._store.scan(index, "", f"{now_ms + 1:015d}", SWEPT_AT_ONCE)
        return await asyncio.gather(*(self._expire(key) for key in keys))

    async def _expire(self, key: str) -> bool:
        async def decide() -> tuple[Changes | None, bool]:
            order = unpack(*(await self._store.load([key]))[key])
            decided = None if order is None else decide_expire(order, self._now_ms())
            return (None, False) if decided is None else (decided[0], True)

        return await decide_and_commit(self._store, decide)

    async def _act(
        self,
        id: str,
        sub: str | None,
        scope: Scope,
        decide: Callable[[Order, int], Awaitable[Decided]],
    ) -> Answer[Order]:
        async def load_and_decide() -> tuple[Changes | None, Answer[Order]]:
            earlier = await self._earlier(scope)
            if earlier is not None:
                return None, earlier
            changes, after = await decide(await self._load(id, sub), self._now_ms())
            bind(changes, scope, pack(after), kept_ms=KEPT_MS)
            return changes, Answer(after)

        async with self._in_flight.alone(scope):
            return await decide_and_commit(self._store, load_and_decide)

    async def _earlier(self, scope: Scope) -> Answer[Order] | None:
        return _replay(scope, await self._store.load([scope.item]))

    async def _stocks(self, order: Order) -> dict[str, Stock]:
        keys = [key for line in order.lines for key in stock_keys(line.sku)]
        loaded = await self._store.load(keys)
        return {line.sku: read_stock(line.sku, loaded) for line in order.lines}

    async def _load(self, id: str, sub: str | None) -> Order:
        key = order_key(id)
        known = ORDER_ID.fullmatch(id) is not None
        order = unpack(*(await self._store.load([key]))[key]) if known else None
        if order is None or sub not in (None, order.sub):
            raise NotFound("there is no such order", code="order_not_found")
        return order


def _replay(scope: Scope, loaded: Mapping[str, Versioned]) -> Answer[Order] | None:
    order = unpack(bound_answer(scope, loaded[scope.item][0]), 0)
    return None if order is None else Answer(order, True)


def _narrowest(room: str | None, buyer: str | None, state: str | None) -> str:
    if buyer is not None:
        return f"orders/buyer/{buyer}"
    if room is not None:
        return f"orders/room/{room}"
    # One whose time has passed may not have been swept yet, so "expired" is found among all.
    return "orders" if state in (None, "expired") else f"orders/state/{state}"


def _object(name: str, body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    value = body.get(name)
    if value is not None and not isinstance(value, Mapping):
        raise Invalid(name, "an object is wanted")
    return value
