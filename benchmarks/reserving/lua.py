"""Plain Lua: the script that flash sales are commonly built on, one call for each reservation.

Is the order there, is there stock; take a piece, count it for its buyer, keep the order, put it among
those that expire, and tell a stream: five keys. No price, no version, no lines, no answer kept. Each
buyer has a connection of his own, as from a pool: of the client library that shops in Python use, or
a bare one that does nothing but send and wait, which is as fast as Redis itself can be asked from here.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from redis import asyncio as client

from benchmarks.loads import Commands
from benchmarks.reserving.buyers import Stretch, reserving, serve
from benchmarks.reserving.redis import Redis

SCRIPT = """
if redis.call('exists', KEYS[2]) == 1 then return 2 end
local stock = tonumber(redis.call('get', KEYS[1]) or '0')
if stock < tonumber(ARGV[2]) then return 1 end
redis.call('decrby', KEYS[1], ARGV[2])
redis.call('hincrby', KEYS[3], ARGV[1], ARGV[2])
redis.call('set', KEYS[2], ARGV[3])
redis.call('zadd', KEYS[4], ARGV[4], KEYS[2])
redis.call('xadd', KEYS[5], '*', 'order', KEYS[2])
return 0
"""
RESERVED_S = 600


async def bare(commands: Commands, url: str, buyers: int) -> None:
    """A load whose buyers have bare connections."""
    desks = [await Redis.connect(url) for _ in range(buyers)]
    try:
        await _sell(commands, desks)
    finally:
        for desk in desks:
            desk.close()


async def library(commands: Commands, url: str, buyers: int) -> None:
    """A load whose buyers share the library's pool, of as many connections as there are buyers."""
    async with client.Redis.from_url(url, max_connections=buyers) as pool:
        await _sell(commands, [Pooled(pool)] * buyers)


class Pooled:
    """Asks as a bare connection does."""

    def __init__(self, pool: client.Redis) -> None:
        self._pool = pool

    async def ask(self, *words: str) -> bytes:
        reply = await self._pool.execute_command(*words)  # type: ignore[no-untyped-call]
        return reply if isinstance(reply, bytes) else str(reply).encode()


async def _sell(commands: Commands, desks: Sequence[Redis | Pooled]) -> None:
    """`stock PIECES` makes a SKU, `left SKU` tells its (available, sold)."""
    script = (await desks[0].ask("SCRIPT", "LOAD", SCRIPT)).decode()
    pid, runs = os.getpid(), 0

    async def stock(pieces: str) -> str:
        sku = f"sku-{pid}-{pieces}"
        await desks[0].ask("SET", f"{{{sku}}}stock", pieces)
        return sku

    async def left(sku: str) -> tuple[int, int]:
        available = int(await desks[0].ask("GET", f"{{{sku}}}stock"))
        return available, int(await desks[0].ask("XLEN", f"{{{sku}}}orders"))

    async def begin(sku: str, seconds: float, rate: float) -> Stretch:
        nonlocal runs
        runs += 1
        tag = f"{{{sku}}}"
        keys = f"{tag}stock", f"{tag}bought", f"{tag}due", f"{tag}orders"

        async def reserve(buyer: int, key: str) -> bool:
            sub = f"viewer-{pid}-{buyer}"
            due = f"{time.time() + RESERVED_S}"
            order = f"{tag}order/{key}"
            reply = await desks[buyer].ask(
                *("EVALSHA", script, "5", keys[0], order, *keys[1:], sub, "1", f"{sub} 1990", due)
            )
            if reply not in (b"0", b"1"):
                raise ValueError(reply)
            return reply == b"0"

        done = await reserving(reserve, len(desks), seconds, f"{pid}.{runs}", rate)
        done.commits = done.sold
        return done

    await serve(commands, begin, stock=stock, left=left)
