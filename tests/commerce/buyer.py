"""A program that buys and begins to pay until it is killed, naming what was acknowledged.

`python buyer.py PLACE SKU ROUND`, the place a file or a Redis URL: lines `bought KEY ORDER` and
`paying ORDER PAYMENT`.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from commerce.errors import OutOfStock
from tests.commerce.shop import APPROVED, Clock, Shop, open_shop

TASKS = 6


async def buy_for_ever(shop: Shop, sku: str, name: str) -> None:
    number = 0
    while True:
        number += 1
        key = f"{name}.{number}"
        try:
            order = (await shop.buy(name, (sku, 1), key=key)).value
        except OutOfStock:
            return
        os.write(1, f"bought {key} {order.id}\n".encode())
        if number % 2:
            payment = await shop.pay(order, APPROVED, key=f"pay.{key}")
            os.write(1, f"paying {order.id} {payment.id}\n".encode())


def place(text: str) -> Path | str:
    return text if text.startswith("redis:") else Path(text)


async def main() -> None:
    shop = await open_shop(place(sys.argv[1]), Clock())
    tasks = (buy_for_ever(shop, sys.argv[2], f"{sys.argv[3]}-{n}") for n in range(TASKS))
    await asyncio.gather(*tasks)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
