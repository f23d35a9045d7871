"""Who may come in: the answer that a caller's handshake gets.

libsrt asks on its receiving thread, in the middle of the handshake, and only there can a reason be given
to the caller: 2000 and the HTTP status, so 2401 for a wrong key (2000 is where an application's own
reasons begin). That thread then runs a few lines of Python: they hand the question to the event loop,
where all else happens, and wait WAIT_S for its answer, the GIL released. Nothing else is touched there.
Who gets no answer in time is let in, for the key is asked once more before anything is published, and
that decides: the caller then sees the connection closed, without the reason.

While it waits, that thread receives nothing: packets of other publishers stay in the kernel, less long
than the latency by which they are held back anyway. MAX_ASKED_PER_S keeps a flood of callers from making
it wait all the time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from ctypes import string_at

from mediaserver.access import Access, split_key
from mediaserver.errors import PeerError
from mediaserver.ingest.srt.address import SOCKADDR_BYTES, from_sockaddr
from mediaserver.ingest.srt.library import Hook
from mediaserver.ingest.srt.stream_id import stream_key
from mediaserver.rtc.address import shown

log = logging.getLogger("hawker.srt")

REASONS = 2000  # SRT_REJC_USERDEFINED
STOPPING, BUSY = REASONS + 503, REASONS + 429
WAIT_S = 0.08
MAX_ASKED_PER_S = 100  # at 2 ms each; all publishers that there can be come back within 3 s
_COME_IN, _REFUSED = 0, -1


class Gate:
    """Made on the event loop; `hook` is what libsrt calls."""

    def __init__(
        self, access: Access, refuse: Callable[[int, int], None], on_caller: Callable[[], None]
    ) -> None:
        """`refuse(socket, reason)` notes the reason; `on_caller()` hears of each who is let in."""
        self.hook = Hook(self._asked)
        self.closed = False
        self._access = access
        self._refuse = refuse
        self._on_caller = on_caller
        self._loop = asyncio.get_running_loop()
        self._second = 0
        self._asked_in_it = 0

    def _asked(
        self, opaque: int | None, socket: int, version: int, peer: int | None, stream_id: bytes
    ) -> int:
        """Runs on libsrt's thread."""
        if self.closed:
            reason = STOPPING
        elif self._too_many():
            reason = BUSY
        else:
            caller = shown(from_sockaddr(string_at(peer, SOCKADDR_BYTES))) if peer else "?"
            reason = self._answer((stream_id or b"").decode("utf-8", "replace"), caller)
        if not reason:
            return _COME_IN
        self._refuse(socket, reason)
        return _REFUSED

    def _too_many(self) -> bool:
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._asked_in_it = second, 0
        self._asked_in_it += 1
        return self._asked_in_it > MAX_ASKED_PER_S

    def _answer(self, stream_id: str, caller: str) -> int:
        asked = asyncio.run_coroutine_threadsafe(self._check(stream_id, caller), self._loop)
        try:
            return asked.result(WAIT_S)
        except TimeoutError:
            return 0

    async def _check(self, stream_id: str, caller: str) -> int:
        """The reason to refuse, 0 for none."""
        try:
            await self._access.publish(split_key(stream_key(stream_id))[0])
        except PeerError as error:
            log.warning("publish from %s refused: %s", caller, error.detail)
            return REASONS + error.status
        self._on_caller()
        return 0
