"""Who needs a keyframe of one rendition: the publisher is asked until there is one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

ASK_AGAIN_S = 0.5  # between two looks at who still waits for a keyframe


class Asking(Protocol):
    """A viewer that needs a keyframe."""

    def may_ask(self, now: float) -> bool:
        """Whether to ask on its account; then not again for a while."""


class Wishes:
    """Open wishes for a keyframe, one per viewer; merged, and repeated while they are open."""

    def __init__(self, request: Callable[[], None], clock: Callable[[], float]) -> None:
        self.request = request
        self.clock = clock
        self.open: set[Asking] = set()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, viewer: Asking) -> None:
        """Ask as soon as the viewer may, and again until its wish is no longer open."""
        self.open.add(viewer)
        if viewer.may_ask(self.clock()):
            self.request()
        if self._timer is None:
            self._arm()

    def discard(self, viewer: Asking) -> None:
        self.open.discard(viewer)

    def close(self) -> None:
        self.open.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(ASK_AGAIN_S, self._ask_again)

    def _ask_again(self) -> None:
        """The first request may have been lost on its way, or a viewer had to be patient."""
        self._timer = None
        if not self.open:
            return
        now = self.clock()
        if [viewer for viewer in self.open if viewer.may_ask(now)]:
            self.request()
        self._arm()
