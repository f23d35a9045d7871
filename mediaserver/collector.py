"""Python's cyclic garbage collector, kept from walking through what lives long.

A full collection looks at every object there is: with 1,000 viewers it held the loop for 0.1 s. Sessions
need none, for they are freed by reference counts when they end. So each second what is young is
collected, and what has outlived that is set aside (`gc.freeze`), where no collection looks any more.

What becomes garbage in a cycle after it was set aside (a closed HTTP connection, say) is found when
everything is looked through again: while the service is quiet, or at the latest when what is set aside
has doubled.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable

YOUNG_S = 1.0
WORTH_OBJECTS = 20_000  # set aside since the last look through everything: 5 MB, at least
MOST_OBJECTS = 300_000  # beyond twice what there was then


class Collector:
    """Collects while a loop runs, from `start` to `stop`; `quiet` says when a hold disturbs nobody."""

    def __init__(self, quiet: Callable[[], bool]) -> None:
        self._quiet = quiet
        self._kept = 0  # objects that stayed at the last look through everything
        self._new = 0  # set aside since, with some that are gone by now: counting walks through all
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Set aside what there is, and go on."""
        self._look_through()
        self._arm()

    def stop(self) -> None:
        """Leave it to Python again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        gc.unfreeze()

    def _arm(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(YOUNG_S, self._step)

    def _step(self) -> None:
        self._arm()
        if self._is_worth_a_look():
            self._new = gc.get_freeze_count() - self._kept
            if self._is_worth_a_look():
                self._look_through()
                return
        gc.collect()
        self._new += len(gc.get_objects())
        gc.freeze()

    def _is_worth_a_look(self) -> bool:
        most = self._kept + MOST_OBJECTS
        return self._new > most or (self._new > WORTH_OBJECTS and self._quiet())

    def _look_through(self) -> None:
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        self._kept = gc.get_freeze_count()
        self._new = 0
