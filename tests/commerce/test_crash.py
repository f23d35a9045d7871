"""kill -9 between buy and pay: what was acknowledged is there, and everything adds up."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from commerce.order import Order
from tests.commerce.shop import Clock, Shop, open_shop

ROOT = Path(__file__).resolve().parents[2]
STOCK = 100_000


async def all_orders(shop: Shop) -> list[Order]:
    found: list[Order] = []
    after: str | None = None
    while True:
        page, after = await shop.orders.list(after=after, limit=200)
        found += page
        if after is None:
            return found


@pytest.mark.parametrize("lines_seen", [1, 25, 60])
async def test_a_kill_between_buy_and_pay_loses_nothing(
    shop_place: Path | str, lines_seen: int
) -> None:
    shop = await open_shop(shop_place, Clock())
    sku = await shop.sku(stock=STOCK)
    await shop.store.close()

    command = [sys.executable, "-m", "tests.commerce.buyer", str(shop_place), sku, "buyer"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        lines = [program.stdout.readline() for _ in range(lines_seen)]
        os.kill(program.pid, 9)
        lines += program.stdout.readlines()
    told = [line.decode().split() for line in lines if line.endswith(b"\n")]
    assert len(told) >= lines_seen

    clock = Clock()
    shop = await open_shop(shop_place, clock)
    for what, one, two in told:
        if what == "bought":
            assert (await shop.orders.by_key(one.partition(".")[0], one)).id == two
        else:
            assert (await shop.payments.get(two)).order == one
    orders = await all_orders(shop)
    held = await shop.stock(sku)
    assert held == (STOCK - len(orders), len(orders), 0)
    # The sandbox knows what it was told before the kill: the rest is asked about, not sent again.
    while await shop.sandbox.send_due():
        pass
    clock.pass_s(15)
    while await shop.payments.sweep():
        pass
    after = await all_orders(shop)
    confirmed = sum(order.state == "confirmed" for order in after)
    assert {order.payment for order in after} <= {"none", "paid", "failed"}
    assert {one for what, one, _ in told if what == "paying"} <= {
        order.id for order in after if order.payment == "paid"
    }
    assert await shop.stock(sku) == (STOCK - len(orders), len(orders) - confirmed, confirmed)
    clock.pass_s(600)
    while await shop.orders.sweep():
        pass
    assert await shop.stock(sku) == (STOCK - confirmed, 0, confirmed)
    await shop.store.close()
