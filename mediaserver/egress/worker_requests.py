"""Questions to a worker that wait for its answer."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mediaserver.egress import control
from mediaserver.errors import PeerError, Unavailable

ANSWER_S = 5.0  # an answer costs 2 ms; a stream that has just begun is waited for up to 3 s
REQUESTS = 512  # without an answer: more would not be answered in time
RETRY_AFTER = {"Retry-After": "2"}


@dataclass(frozen=True, slots=True)
class _Request:
    message: Any
    answer: asyncio.Future[list[Any]]


class Requests:
    """Those to one worker, each with a number of its own."""

    def __init__(self) -> None:
        self._waiting: dict[int, _Request] = {}
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return len(self._waiting)

    async def ask(self, tell: Callable[[Any], None], request: Callable[[int], Any]) -> list[Any]:
        """The values of the answer to `request(number)`; raises the worker's PeerError, Unavailable."""
        if len(self._waiting) >= REQUESTS:
            raise Unavailable("too many wait for an answer", headers=RETRY_AFTER)
        number = next(self._numbers)
        asked = _Request(request(number), asyncio.get_running_loop().create_future())
        self._waiting[number] = asked
        tell(asked.message)
        try:
            async with asyncio.timeout(ANSWER_S):
                return await asked.answer
        except TimeoutError:
            raise Unavailable("no answer in time", headers=RETRY_AFTER) from None
        finally:
            del self._waiting[number]

    def message(self, number: int) -> Any | None:
        """The request of this number, while somebody waits for its answer."""
        asked = self._waiting.get(number)
        return asked.message if asked else None

    def done(self, message: control.Done) -> None:
        asked = self._waiting.get(message.request)
        if asked is not None and not asked.answer.done():
            asked.answer.set_result(message.values)

    def refused(self, message: control.Refused) -> None:
        error = PeerError(
            message.detail, code=message.code, headers=message.headers, extra=message.extra
        )
        error.status, error.title = message.status, message.title
        asked = self._waiting.get(message.request)
        if asked is not None and not asked.answer.done():
            asked.answer.set_exception(error)

    def fail(self) -> None:
        """The worker has ended: whoever waits is told."""
        for asked in self._waiting.values():
            if not asked.answer.done():
                asked.answer.set_exception(gone())


def gone() -> Unavailable:
    return Unavailable("the viewer's process has ended", headers=RETRY_AFTER)
