"""The order desk: loads, lets `commerce.orders` decide, commits, and tries again what others crossed.

Everybody may sweep: expiry is an ordinary command that one wins. Who finds too little stock first
releases the holds on it whose time has passed, so a sweeper that is late sells nothing short.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from commerce.catalogue import Catalogue
from commerce.changes import Changes, decide_and_commit
from commerce.contact import Contacts, normal_form
from commerce.errors import (
    IllegalTransition,
    Invalid,
    LimitReached,
    NotFound,
    OutOfStock,
    PriceChanged,
)
from commerce.fulfilment import decide_deliver, decide_ship
from commerce.holds import unhindered
from commerce.idempotency import (
    KEPT_MS,
    Answer,
    InFlight,
    Scope,
    bind,
    decide_once,
    fingerprint,
    read_bound,
    scope_item,
)
from commerce.ids import utc_ms
from commerce.inventory import Stock, read_stock, stock_keys
from commerce.order import Order
from commerce.order_record import pack, unpack
from commerce.orders import DUE, Limits, PlaceOrder, decide_cancel, decide_expire, order_key, save
from commerce.placing import Asked, Placing, replay
from commerce.pricing.coupon import CouponRefused
from commerce.pricing.price import Charges, Price
from commerce.refunds import parts_of_all, promise
from commerce.rounds import Rounds
from commerce.store import INDEX_END, Store
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
COUPONS_MAX = 10  # of one order
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
        charges: Charges | None = None,
        now_ms: Callable[[], int] = utc_ms,
    ) -> None:
        """`room_exists` is asked of an order's room; orders of `demo_rooms` are marked as demo.

        `charges` puts shipping and tax on top of the goods.
        """
        self._store = store
        self._contacts = contacts
        self._now_ms = now_ms
        self._in_flight = InFlight()
        self.limits = limits or Limits()
        self._placing = placing = Placing(
            store,
            catalogue,
            contacts,
            room_exists=room_exists,
            limits=self.limits,
            demo_rooms=demo_rooms,
            charges=charges,
            now_ms=now_ms,
        )
        self._rounds = Rounds(store, placing.load, placing.decide)

    def command(
        self,
        sub: str,
        body: Mapping[str, Any],
        *,
        tier: str | None = None,
        segment: str | None = None,
    ) -> PlaceOrder:
        """The body of POST /v1/orders in its normal form: checked, one line per SKU, by name.

        The same body means the same command over every transport. `tier` and `segment` are those of
        the buyer's token. Raises Invalid.
        """
        unknown = set(body) - MEMBERS
        if unknown:
            raise Invalid(min(unknown), "there is no such member")
        room, version, referral = (body.get(n) for n in ("room", "price_version", "referral"))
        return PlaceOrder(
            checked_text("sub", sub, SUB_CHARS),
            None if room is None else checked_text("room", room, ROOM_CHARS),
            self._lines(body.get("lines")),
            None if version is None else checked_text("price_version", version, 64),
            normal_form(_object("contact", body), _object("address", body)),
            None if referral is None else checked_text("referral", referral, REFERRAL_CHARS),
            _coupons(body.get("coupons")),
            tier,
            segment,
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
        normal: dict[str, Any] = {
            "room": command.room,
            "lines": dict(command.lines),
            "price_version": command.price_version,
            "given": self._contacts.mark(command.given),
            "referral": command.referral,
        }
        if command.coupons:  # without any it is what it was before there were coupons
            normal["coupons"] = list(command.coupons)
        return Scope(command.sub, PLACE, key, fingerprint(normal))

    async def quote(self, command: PlaceOrder) -> Price:
        """What the command would cost now; `place` at its version costs the same, or refuses.

        Raises Invalid, NotFound, MixedCurrency or CouponRefused.
        """
        asked = Asked(command, self.scope(command, ""))

        async def price() -> Price:
            loaded = await self._placing.load([asked])
            for code in command.lines:
                if code not in loaded.products:
                    raise NotFound(f"there is no SKU {code}", code="sku_not_found")
            return self._placing.price(command, loaded)

        return await unhindered(price, (CouponRefused,), self.release_due)

    async def place(self, command: PlaceOrder, key: str) -> Answer[Order]:
        """A reservation, durable on return; `key` is parsed.

        Raises KeyReused, Invalid, NotFound for the room, MixedCurrency, PriceChanged, LimitReached,
        OutOfStock, CouponRefused or Busy.
        """
        scope = self.scope(command, key)
        async with self._in_flight.alone(scope):
            # Of PriceChanged, too: holds that have ended still count in a sale's quota.
            refusals = OutOfStock, LimitReached, PriceChanged, CouponRefused
            attempt = partial(self._rounds.do, Asked(command, scope))
            return await unhindered(attempt, refusals, self.release_due)

    async def get(self, id: str, sub: str | None = None) -> Order:
        """The order, for its buyer or staff; to others it is NotFound."""
        return (await self.load(id, sub)).at(self._now_ms())

    async def by_key(self, sub: str, key: str) -> Order:
        """The order that the buyer placed under an Idempotency-Key; raises NotFound."""
        item = scope_item(sub, PLACE, key)
        placed, answer = read_bound((await self._store.load([item]))[item][0])
        order = unpack(answer, 0)
        if order is not None:  # kept as a copy
            placed = order_key(order.id)
        if placed is None:
            raise NotFound("there is no order under this key", code="order_not_found")
        return await self.get(placed.removeprefix(order_key("")), sub)

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
            promised = Changes(now_ms)
            if order.paid_by is not None and order.state == "confirmed":
                parts = parts_of_all(order)
                order, _ = promise(promised, order, parts, "the order was cancelled", by=by)
            changes, after = decide_cancel(order, now_ms)
            return promised.join(changes), after

        return await self._act(id, sub, Scope(by, CANCEL, key, fingerprint({"order": id})), decide)

    async def ship(
        self,
        id: str,
        *,
        by: str,
        key: str,
        pieces: Mapping[str, int] | None = None,
        carrier: str | None = None,
        tracking: str | None = None,
    ) -> Answer[Order]:
        """Send pieces {sku: count} of a confirmed order, None for all that are left.

        Raises NotFound, KeyReused, Invalid or IllegalTransition.
        """
        tracking = None if tracking is None else checked_text("tracking", tracking, TRACKING_CHARS)
        carrier = None if carrier is None else checked_text("carrier", carrier, TRACKING_CHARS)

        async def decide(order: Order, now_ms: int) -> Decided:
            stocks = await self.stocks(order)
            return decide_ship(order, stocks, pieces, now_ms, carrier=carrier, tracking=tracking)

        command: dict[str, Any] = {"order": id, "tracking": tracking}
        if carrier is not None or pieces is not None:
            command |= {"carrier": carrier, "lines": None if pieces is None else dict(pieces)}
        return await self._act(id, None, Scope(by, SHIP, key, fingerprint(command)), decide)

    async def deliver(
        self, id: str, *, by: str, key: str, shipment: str | None = None
    ) -> Answer[Order]:
        """A shipment, None for all of them, has arrived.

        Raises NotFound, KeyReused or IllegalTransition.
        """

        async def decide(order: Order, now_ms: int) -> Decided:
            return decide_deliver(order, shipment, now_ms)

        command = {"order": id} if shipment is None else {"order": id, "shipment": shipment}
        return await self._act(id, None, Scope(by, DELIVER, key, fingerprint(command)), decide)

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
            order = await self.load(id, sub)
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
        order = await self.load(id, sub)
        return None if order.contact is None else await self._contacts.get(order.contact)

    async def sweep(self) -> int:
        """End reservations whose time has passed; how many, at most SWEPT_AT_ONCE at a time."""
        return sum(await self._expire_due())

    async def release_due(self) -> int:
        """End the holds whose time has passed; how many there were, at most SWEPT_AT_ONCE.

        They have ended on return, whoever ended them.
        """
        return len(await self._expire_due())

    async def _expire_due(self) -> Sequence[bool]:
        """For each that was due, whether it was ended here."""
        now_ms = self._now_ms()
        keys = await self._store.scan(DUE, "", f"{now_ms + 1:015d}", SWEPT_AT_ONCE)
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
            changes, after = await decide(await self.load(id, sub), self._now_ms())
            bind(changes, scope, pack(after), kept_ms=KEPT_MS)
            return changes, Answer(after)

        async with self._in_flight.alone(scope):
            return await decide_once(self._store, scope, load_and_decide)

    async def _earlier(self, scope: Scope) -> Answer[Order] | None:
        return replay(scope, await self._store.load([scope.item]))

    async def stocks(self, order: Order) -> dict[str, Stock]:
        """The stock of each SKU of an order, at one moment."""
        keys = [key for line in order.lines for key in stock_keys(line.sku)]
        loaded = await self._store.load(keys)
        return {line.sku: read_stock(line.sku, loaded) for line in order.lines}

    async def load(self, id: str, sub: str | None) -> Order:
        """The order as it is kept; raises NotFound, also where it is another buyer's."""
        key = order_key(id)
        known = ORDER_ID.fullmatch(id) is not None
        order = unpack(*(await self._store.load([key]))[key]) if known else None
        if order is None or sub not in (None, order.sub):
            raise NotFound("there is no such order", code="order_not_found")
        return order


def _narrowest(room: str | None, buyer: str | None, state: str | None) -> str:
    if buyer is not None:
        return f"orders/buyer/{buyer}"
    if room is not None:
        return f"orders/room/{room}"
    # One whose time has passed may not have been swept yet, so "expired" is found among all, and what
    # is reserved is the newest of all.
    return "orders" if state in (None, "reserved", "expired") else f"orders/state/{state}"


def _coupons(value: object) -> tuple[str, ...]:
    """Ids of coupons, each once, in order."""
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > COUPONS_MAX:
        raise Invalid("coupons", f"at most {COUPONS_MAX} ids")
    return tuple(sorted({checked_text("coupons", id, 64) for id in value}))


def _object(name: str, body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    value = body.get(name)
    if value is not None and not isinstance(value, Mapping):
        raise Invalid(name, "an object is wanted")
    return value
