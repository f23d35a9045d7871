"""What a run costs its process: CPU time per packet, and how long one callback held the loop."""

from __future__ import annotations

import asyncio
import gc
import resource
import time
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass
from typing import Any, TypeVarTuple

import uvloop

COLLECTION = "garbage collection"  # runs inside the other callbacks and counts in both
Arguments = TypeVarTuple("Arguments")


@dataclass(frozen=True, slots=True)
class Cpu:
    """CPU seconds of this process, all threads; the kernel splits user from system by sampling."""

    user_s: float
    system_s: float

    @classmethod
    def now(cls) -> Cpu:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return cls(usage.ru_utime, usage.ru_stime)

    def since(self, earlier: Cpu) -> Cpu:
        return Cpu(self.user_s - earlier.user_s, self.system_s - earlier.system_s)


@dataclass(slots=True)
class Hold:
    """The callbacks of one name: how many, the longest by CPU time and by the wall clock, and all."""

    name: str
    calls: int = 0
    over: int = 0  # longer than the loop may be held, by CPU time
    cpu_ms: float = 0.0
    wall_ms: float = 0.0
    spent_ms: float = 0.0  # CPU time of all


class TimedLoop(uvloop.Loop):
    """Times every callback it runs, by name. CPU time is immune to other programs on the machine.

    Timing costs about a microsecond a callback, so that CPU per packet is measured elsewhere.
    """

    def __init__(self, limit_s: float) -> None:
        super().__init__()
        self._limit_s = limit_s
        self._holds: dict[str, Hold] = {}
        self._collecting = (0.0, 0.0)
        gc.callbacks.append(self._on_collection)

    def close(self) -> None:
        gc.callbacks.remove(self._on_collection)
        super().close()

    def holds(self) -> list[Hold]:
        """What was seen since the last call, the longest first."""
        holds, self._holds = self._holds, {}
        return sorted(holds.values(), key=lambda hold: -hold.cpu_ms)

    def call_soon(
        self,
        callback: Callable[[*Arguments], object],
        *args: *Arguments,
        context: Context | None = None,
    ) -> asyncio.Handle:
        return super().call_soon(self._timed(callback), *args, context=context)

    def call_later(
        self,
        delay: float,
        callback: Callable[[*Arguments], object],
        *args: *Arguments,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        return super().call_later(delay, self._timed(callback), *args, context=context)

    def add_writer(self, fd: Any, callback: Callable[[*Arguments], Any], *args: *Arguments) -> None:
        super().add_writer(fd, self._timed(callback), *args)

    def add_reader(self, fd: Any, callback: Callable[[*Arguments], Any], *args: *Arguments) -> None:
        super().add_reader(fd, self._timed(callback), *args)

    def _timed(self, callback: Callable[[*Arguments], object]) -> Callable[[*Arguments], object]:
        def run(*args: *Arguments) -> None:
            began = _clocks()
            try:
                callback(*args)
            finally:
                self._note(_name(callback), began)

        return run

    def _on_collection(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._collecting = _clocks()
        else:
            self._note(f"{COLLECTION}, generation {info['generation']}", self._collecting)

    def _note(self, name: str, began: tuple[float, float]) -> None:
        cpu_s, wall_s = (now - then for now, then in zip(_clocks(), began, strict=True))
        hold = self._holds.get(name)
        if hold is None:
            hold = self._holds[name] = Hold(name)
        hold.calls += 1
        hold.over += cpu_s > self._limit_s
        hold.spent_ms += cpu_s * 1000
        hold.cpu_ms = max(hold.cpu_ms, cpu_s * 1000)
        hold.wall_ms = max(hold.wall_ms, wall_s * 1000)


def _clocks() -> tuple[float, float]:
    return time.thread_time(), time.perf_counter()


def _name(callback: Callable[..., Any]) -> str:
    owner = getattr(callback, "__self__", None)
    if isinstance(owner, asyncio.Task):
        return str(getattr(owner.get_coro(), "__qualname__", "task"))
    return str(getattr(callback, "__qualname__", type(callback).__name__))
