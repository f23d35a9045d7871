"""The server's half of the data channels of workers' viewers.

A room's event is said to hundreds of viewers within one turn of the loop: as the same bytes over the
channel that needs no order, it crosses the socket once, with a list of viewers. The reliable channel
keeps its order and is counted: no more than WINDOW_BYTES are under way to a viewer, so that who doesn't
read fills its own queue in the server, as with one process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from mediaserver.egress import control

RELIABLE = 0
WINDOW_BYTES = 64 << 10  # under way to one viewer; a longer message goes alone


class Said:
    """Messages on their way to one worker, gathered until the end of the loop's turn."""

    def __init__(self, tell: Callable[[Any], None]) -> None:
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._shared: dict[tuple[int, bytes | str], list[int]] = {}

    def say(self, channel: int, data: bytes | str, viewer: int) -> None:
        if channel == RELIABLE:
            self._tell(control.Say(channel, data, [viewer]))
            return
        if not self._shared:
            self._loop.call_soon(self._flush)
        self._shared.setdefault((channel, data), []).append(viewer)

    def _flush(self) -> None:
        shared, self._shared = self._shared, {}
        for (channel, data), viewers in shared.items():
            self._tell(control.Say(channel, data, viewers))


class WorkerViewer:
    """One viewer's data channels; nothing is taken once `closed`.

    Until the first message has been taken over there, the channels may not be open: nothing follows it.
    """

    def __init__(self, number: int, said: Said, tell: Callable[[Any], None]) -> None:
        self._number = number
        self._said = said
        self._tell = tell
        self._open = False
        self._under_way = 0
        self.closed = False

    def send(self, channel: int, data: bytes | str) -> bool:
        """Send over data channel 0 or 1; False when it isn't open or too much is under way."""
        if self.closed:
            return False
        if channel == RELIABLE:
            if self._under_way and (not self._open or self._under_way + len(data) > WINDOW_BYTES):
                return False
            self._under_way += len(data)
        elif not self._open:
            return False
        self._said.say(channel, data, self._number)
        return True

    def taken(self, length: int) -> None:
        """The reliable channel has taken so much."""
        self._open = True
        self._under_way -= length

    def hang_up(self) -> None:
        """Close the channels, behind the last words."""
        if not self.closed:
            self.closed = True
            self._tell(control.HangUp(self._number))
