"""Cores for a server alone: what is started in between inherits the choice (Linux)."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

if sys.platform == "linux":

    def split() -> tuple[int | None, set[int]]:
        """A core for the server and those for everybody else; no core where there is but one."""
        server, *others = sorted(os.sched_getaffinity(0))
        return (server, set(others)) if others else (None, {server})

    def stay_on(cores: set[int]) -> None:
        """Of this thread, and of what it starts."""
        os.sched_setaffinity(0, cores)

    @contextlib.contextmanager
    def only(core: int | None) -> Iterator[None]:
        """What is started meanwhile runs on that core; None changes nothing."""
        if core is None:
            yield
            return
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {core})
        try:
            yield
        finally:
            os.sched_setaffinity(0, before)

else:

    def split() -> tuple[int | None, set[int]]:
        return None, set()

    def stay_on(cores: set[int]) -> None:
        """Cores cannot be chosen here."""

    @contextlib.contextmanager
    def only(core: int | None) -> Iterator[None]:
        yield
