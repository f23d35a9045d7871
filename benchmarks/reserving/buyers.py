"""Buyers who each reserve one piece after the other, and what a stretch of that came to.

At a rate they come by chance, on average so many a second in all: then an answer's time counts from
when its buyer came, also when he had to wait for the one before.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from benchmarks.loads import Commands
from benchmarks.meter import Cpu

WARM_UP_S = 0.3

Reserve: TypeAlias = Callable[[int, str], Awaitable[bool]]  # (buyer, key) -> whether he got one


@dataclass(slots=True)
class Stretch:
    """What one process did; `answers_ms` of those who got a piece, CPU of the process's all threads.

    `commits` were asked of the store and `folded` pieces were in them, where that can be seen.
    """

    seconds: float = 0.0
    answers_ms: list[float] = field(default_factory=list)
    refused: int = 0
    user_s: float = 0.0
    system_s: float = 0.0
    commits: int = 0
    transactions: int = 0

    @property
    def sold(self) -> int:
        return len(self.answers_ms)


def together(stretches: Sequence[Stretch]) -> Stretch:
    """Several processes at the same time as one."""
    return Stretch(
        max(each.seconds for each in stretches),
        [answer for each in stretches for answer in each.answers_ms],
        *(
            sum(getattr(each, name) for each in stretches)
            for name in ("refused", "user_s", "system_s", "commits", "transactions")
        ),
    )


async def reserving(
    reserve: Reserve, buyers: int, seconds: float, run: str, rate: float = 0.0
) -> Stretch:
    """Let each buyer reserve again and again, for so long or until he is refused.

    As soon as he is answered, or with `rate` orders a second of all buyers together.
    """
    done = Stretch()
    began, cpu = time.perf_counter(), Cpu.now()
    until = began + seconds

    async def comes(before: float) -> float:
        if not rate:
            return time.perf_counter()
        came = before + random.expovariate(rate / buyers)
        await asyncio.sleep(max(0.0, min(came, until) - time.perf_counter()))
        return came

    async def buy(buyer: int) -> None:
        asked = began
        for number in itertools.count():
            asked = await comes(asked)
            if asked >= until:
                return
            if not await reserve(buyer, f"{run}-{buyer}-{number}"):
                done.refused += 1
                return
            done.answers_ms.append((time.perf_counter() - asked) * 1000)

    await asyncio.gather(*(buy(buyer) for buyer in range(buyers)))
    done.seconds = time.perf_counter() - began
    spent = Cpu.now().since(cpu)
    done.user_s, done.system_s = spent.user_s, spent.system_s
    return done


async def serve(
    commands: Commands,
    begin: Callable[[str, float, float], Coroutine[Any, Any, Stretch]],
    **more: Any,
) -> None:
    """Answer a load's commands: `go SECONDS SKU RATE`, `done`, and `more`, each with one word."""
    running: asyncio.Task[Stretch] | None = None
    gc.collect()
    gc.freeze()  # as the server does once it has started
    commands.answer("ready")
    while True:
        name, *words = (await commands.next()).split()
        if name == "go":
            running = asyncio.create_task(begin(words[1], float(words[0]), float(words[2])))
            commands.answer("went")
        elif name == "done":
            assert running is not None
            commands.answer(await running)
        else:
            commands.answer(await more[name](*words))
