"""Rounds: commands that wait at the same time are decided together and committed as one.

A round loads once what all its commands touch, decides each in turn on what those before it left, and
makes one commit of all that were accepted: the hot records are read and written once for many, and
guarded adds are summed. A refused command leaves the round as it was. Nobody is answered before the
commit is durable, the refused neither: what they were refused for may be in it. Where the commit meets
a Conflict or a BelowFloor all of it is decided again on what is true by then.

`decide` is pure and sees no difference between a round and being alone. A round that cannot be
committed as a whole, because of one command's bug or because others cross it all the time, is done
again command by command, so nobody is hurt by who came along.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeAlias, TypeVar

from commerce.changes import ATTEMPTS, Changes
from commerce.errors import Busy, Refusal, StoreUnavailable
from commerce.store import ABSENT, BelowFloor, Conflict, Store, Versioned

C = TypeVar("C")
T = TypeVar("T")

ROUND_COMMANDS = 128  # in one commit: beyond this the fsync is a small part of its cost
ROUNDS_AT_ONCE = 3  # one is loaded and one decided while one is on its way to the disk
TURN_COMMANDS = 16  # decided in one turn of the event loop, some 0.5 ms
WAITING_LIMIT = 8_192  # commands; beyond it a caller is better told now
TOGETHER_ATTEMPTS = 4  # of a whole round, before its commands are done one by one

Items: TypeAlias = MutableMapping[str, Versioned]


class Loaded(Protocol):
    """What `load` gives: at least the store's items, which the round keeps up to date."""

    @property
    def items(self) -> Items: ...


L = TypeVar("L", bound=Loaded)


@dataclass(frozen=True, slots=True)
class Waiting(Generic[C, T]):
    command: C
    answer: asyncio.Future[T]


class Rounds(Generic[C, L, T]):
    """Commands of one kind; `load` gives what all of a round need, `decide` one command's part.

    `decide` gives None for changes when there is nothing to commit, or raises a Refusal.
    """

    def __init__(
        self,
        store: Store,
        load: Callable[[Sequence[C]], Awaitable[L]],
        decide: Callable[[C, L], tuple[Changes | None, T]],
    ) -> None:
        self._store = store
        self._load = load
        self._decide = decide
        self._waiting: deque[Waiting[C, T]] = deque()
        self._running: set[asyncio.Task[None]] = set()
        self._at_work = 0  # of those, who still look at what waits
        self._deciding = asyncio.Lock()

    async def do(self, command: C) -> T:
        """The command's answer, durable; raises its refusal, Busy or StoreUnavailable."""
        if len(self._waiting) >= WAITING_LIMIT:
            raise StoreUnavailable("too many commands wait for the store")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        self._waiting.append(Waiting(command, answer))
        if self._at_work < ROUNDS_AT_ONCE:
            self._at_work += 1
            # Of its own: it acts in the name of nobody who waits in it.
            task = loop.create_task(self._run(), context=contextvars.Context())
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        return await answer

    async def _run(self) -> None:
        while self._waiting:
            batch: list[Waiting[C, T]] = []
            while self._waiting and len(batch) < ROUND_COMMANDS:
                waiting = self._waiting.popleft()
                if not waiting.answer.done():  # who gave up while he waited is not served
                    batch.append(waiting)
            if batch:
                await self._round(batch)
        self._at_work -= 1  # before anybody else runs: who comes now begins another

    async def _round(self, batch: Sequence[Waiting[C, T]]) -> None:
        alone = len(batch) == 1
        try:
            for _ in range(ATTEMPTS if alone else TOGETHER_ATTEMPTS):
                if await self._attempt(batch):
                    return
            error: Exception = Busy("too many others change this at once")
        except StoreUnavailable as unavailable:
            for waiting in batch:
                _refuse(waiting, type(unavailable)(str(unavailable)))
            return
        except Exception as bug:  # noqa: BLE001  it goes to the caller whose command it is
            error = bug
        if alone:
            _refuse(batch[0], error)
        else:
            for waiting in batch:
                await self._round([waiting])

    async def _attempt(self, batch: Sequence[Waiting[C, T]]) -> bool:
        """Load, decide, commit and answer; False when others crossed it."""
        loaded = await self._load([waiting.command for waiting in batch])
        async with self._deciding:  # one after the other: then one commits while the next decides
            changes, outcomes = await self._decide_all(batch, loaded)
        try:
            if changes is not None:
                await changes.commit(self._store)
            else:
                await self._store.settle()
        except (Conflict, BelowFloor):
            return False
        for waiting, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Refusal):
                _refuse(waiting, outcome)
            elif not waiting.answer.done():
                waiting.answer.set_result(outcome)
        return True

    async def _decide_all(
        self, batch: Sequence[Waiting[C, T]], loaded: L
    ) -> tuple[Changes | None, list[T | Refusal]]:
        whole: Changes | None = None
        outcomes: list[T | Refusal] = []
        for number, waiting in enumerate(batch, 1):
            try:
                changes, answer = self._decide(waiting.command, loaded)
            except Refusal as refusal:
                outcomes.append(refusal)
                continue
            outcomes.append(answer)
            if changes is not None:
                if len(batch) > 1:
                    _bring_up_to_date(loaded.items, changes)
                whole = changes if whole is None else whole.join(changes)
            if number % TURN_COMMANDS == 0:
                await asyncio.sleep(0)
        return whole, outcomes


def _bring_up_to_date(items: Items, changes: Changes) -> None:
    """What the changes leave, at the versions that were loaded: those the commit is guarded by."""
    for key, value in changes.writes.items():
        items[key] = (value, items.get(key, ABSENT)[1])
    for key, (delta, _) in changes.adds.items():
        value, version = items.get(key, ABSENT)
        items[key] = (b"%d" % (int(value or b"0") + delta), version)


def _refuse(waiting: Waiting[C, T], error: Exception) -> None:
    if not waiting.answer.done():
        waiting.answer.set_exception(error)
