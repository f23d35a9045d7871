"""Sales, promotions and coupons of a shop under test."""

from __future__ import annotations

from typing import Any

from commerce.coupons import Coupons
from commerce.flash_sales import FlashSales, new_sale
from commerce.idempotency import Answer
from commerce.money import Money
from commerce.order import Order
from commerce.pricing.coupon import Coupon
from commerce.pricing.rules import Rule
from commerce.promotions import Promotions
from tests.commerce.shop import Shop, any_room

LEAD_MS = 8_000
LATER_MS = 10**9


def cny(amount: int) -> Money:
    return Money(amount, "CNY")


def rule(kind: str = "fixed", id: str = "", **members: Any) -> Rule:
    return Rule(id, kind, members.pop("title", "Spring"), members.pop("starts_ms", 0), **members)


class Prices:
    """What the shop's prices go by; `room` is where all of it sells."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        store, clock = shop.store, shop.clock
        self.sales = FlashSales(store, shop.catalogue, room_exists=any_room, now_ms=clock)
        self.promotions = Promotions(store, now_ms=clock)
        self.coupons = Coupons(store, room_exists=any_room, now_ms=clock)

    async def sale(self, sku: str, price: int, *, lasts_s: float = 60, **more: Any) -> str:
        """A sale that runs from now on."""
        ends_ms = self.shop.clock.now + LEAD_MS + round(lasts_s * 1000)
        room = more.pop("room", "room")
        sale = new_sale(room, sku, cny(price), ends_ms=ends_ms, **more)
        document = await self.sales.create(sale, by="host")
        self.shop.clock.now += LEAD_MS
        id: str = document["id"]
        return id

    async def coupon(self, off: int = 500, quota: int = 10, **more: Any) -> Coupon:
        per_buyer, code = more.pop("per_buyer", 1), more.pop("code", None)
        given = rule("coupon", off=cny(off), **more)
        return await self.coupons.create(
            given, quota=quota, per_buyer=per_buyer, code=code, by="host"
        )

    async def claim(self, coupon: Coupon, sub: str, key: str | None = None) -> Any:
        return await self.coupons.claim(coupon.id, sub, key=key or self.shop.key())

    async def unspent(self, sub: str) -> int:
        return sum(claim["unspent"] for claim in await self.coupons.claims(sub))

    async def left(self, sale: str, room: str = "room") -> int:
        left: int = (await self.sales.get(room, sale))["left"]
        return left

    async def quote(self, sub: str, *lines: tuple[str, int], **more: Any) -> dict[str, Any]:
        orders = self.shop.orders
        who = {name: more.pop(name, None) for name in ("tier", "segment")}
        body = {"room": "room", "lines": [{"sku": s, "qty": n} for s, n in lines], **more}
        return (await orders.quote(orders.command(sub, body, **who))).to_json()

    async def buy(self, sub: str, *lines: tuple[str, int], **more: Any) -> Answer[Order]:
        return await self.shop.buy(sub, *lines, **more)
