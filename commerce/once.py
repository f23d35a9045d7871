"""One command, done once under its Idempotency-Key, whatever its answer is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from commerce.changes import Changes
from commerce.idempotency import KEPT_MS, Answer, InFlight, Scope, bind, bound_answer, decide_once
from commerce.store import Store

T = TypeVar("T")


class Once:
    """Does commands on the store; a second copy gets the first one's answer."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._in_flight = InFlight()

    async def do(
        self,
        scope: Scope,
        decide: Callable[[], Awaitable[tuple[Changes, T]]],
        *,
        pack: Callable[[T], bytes],
        unpack: Callable[[bytes | None, int], T | None],
    ) -> Answer[T]:
        """The answer of `decide` once it is durable; raises what it refuses with, KeyReused or Busy."""

        async def load_and_decide() -> tuple[Changes | None, Answer[T]]:
            value = (await self._store.load([scope.item]))[scope.item][0]
            earlier = unpack(bound_answer(scope, value), 0)
            if earlier is not None:
                return None, Answer(earlier, True)
            changes, answer = await decide()
            bind(changes, scope, pack(answer), kept_ms=KEPT_MS)
            return changes, Answer(answer)

        async with self._in_flight.alone(scope):
            return await decide_once(self._store, scope, load_and_decide)
