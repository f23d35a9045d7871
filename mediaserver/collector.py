"""Python's cyclic garbage collector, kept from walking through what lives long.

A full collection looks at every object there is: with 1,000 viewers it held the loop for 0.1 s. Sessions
need none, for they are freed by reference counts when they end. So what is young is collected four
times a second (less often where there is so much of it, in a sale, that this would take its share), and
what has outlived that is set aside (`gc.freeze`), where no collection looks.

What becomes garbage in a cycle after it was set aside (a closed HTTP connection, say) is found when
everything is looked through again: while the service is quiet and little is made, or at the latest when
what is set aside has doubled.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable

YOUNG_S = 0.25  # with 1,000 viewers what is young then takes 1 ms
SHARE = 0.01  # of the time, at most
LATEST_S = 5.0
IDLE_OBJECTS = 5_000  # that are made and kept between two steps; 500 buyers at once are 50,000
WORTH_OBJECTS = 100_000  # set aside since the last look through everything, or gone since
MOST_OBJECTS = 300_000  # beyond twice what there was then
COUNT_S = 600.0  # counting walks through all, too: with 1,000 viewers for 30 ms


class Collector:
    """Collects while a loop runs, from `start` to `stop`; `quiet` says when a hold disturbs nobody."""

    def __init__(self, quiet: Callable[[], bool]) -> None:
        self._quiet = quiet
        self._kept = 0  # objects that stayed at the last look through everything
        self._new = 0  # set aside since, with those that are gone by now
        self._count_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Set aside what there is, and go on."""
        self._count_at = asyncio.get_running_loop().time() + COUNT_S
        self._look_through()
        self._arm()

    def stop(self) -> None:
        """Leave it to Python again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        gc.unfreeze()

    def _arm(self, took_s: float = 0.0) -> None:
        wait_s = min(max(YOUNG_S, took_s / SHARE), LATEST_S)
        self._timer = asyncio.get_running_loop().call_later(wait_s, self._step)

    def _step(self) -> None:
        began_s = time.thread_time()
        gc.collect()
        young = len(gc.get_objects())
        self._new += young
        gc.freeze()
        took_s = time.thread_time() - began_s
        if self._is_worth_a_look(young):
            self._look_through()
        self._arm(took_s)

    def _is_worth_a_look(self, young: int) -> bool:
        if self._quiet():
            return self._new > WORTH_OBJECTS and young < IDLE_OBJECTS
        now = asyncio.get_running_loop().time()
        if now < self._count_at or self._new <= MOST_OBJECTS:
            return False
        self._count_at = now + COUNT_S
        return gc.get_freeze_count() > 2 * self._kept + MOST_OBJECTS

    def _look_through(self) -> None:
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        self._kept = gc.get_freeze_count()
        self._new = 0
