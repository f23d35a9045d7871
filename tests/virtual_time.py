"""An event loop whose clock jumps to the next timer instead of waiting for it.

Sockets are real: whatever has arrived on one is handled first, and only when nothing has does the
clock move. On loopback a datagram has arrived when `sendto` returns, so a test in one process sees the
same order of events each time, and thirty seconds of silence pass in a millisecond.
"""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, ParamSpec

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

P = ParamSpec("P")

DEADLOCK_S = 10.0  # real seconds in which neither a timer nor a socket did anything


class VirtualLoop(asyncio.SelectorEventLoop):
    """`loop.time()` begins at 1,000 s, and so does `now`, a clock to hand to the code under test."""

    def __init__(self) -> None:
        self._seconds = 1000.0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        return self._seconds

    def jump(self, seconds: float) -> None:
        self._seconds += seconds


class _JumpingSelector(selectors.BaseSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._real = selectors.DefaultSelector()

    def register(
        self, fileobj: FileDescriptorLike, events: int, data: Any = None
    ) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: FileDescriptorLike) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(
        self, fileobj: FileDescriptorLike, events: int, data: Any = None
    ) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._real.select(0)
        if ready or timeout == 0:
            return ready
        if timeout is not None:
            self._loop.jump(timeout)
            return []
        ready = self._real.select(DEADLOCK_S)
        if not ready:
            raise RuntimeError("no timer and no datagram: the test waits for what never comes")
        return ready

    def close(self) -> None:
        self._real.close()

    def get_map(self) -> Mapping[FileDescriptorLike, selectors.SelectorKey]:
        return self._real.get_map()


def virtual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a coroutine test on a VirtualLoop."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(test(*args, **kwargs))

    return run


async def until(condition: Callable[[], bool], turns: int = 10_000) -> int:
    """Give the loop turns until the condition holds; returns how many. Not a wait: nothing sleeps."""
    for turn in range(turns):
        if condition():
            return turn
        await asyncio.sleep(0)
    raise AssertionError(f"not so after {turns} turns of the loop")


def now() -> float:
    """Seconds of the running loop's clock."""
    return asyncio.get_running_loop().time()
