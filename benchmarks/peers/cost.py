"""What another process has cost: its CPU time and what it waited for a core, from Linux's schedstat.

The kernel counts both in nanoseconds for each thread, user and system time together.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of all threads of a process and of its children."""

    cpu_s: float
    waited_s: float

    @classmethod
    def of(cls, pid: int) -> Cost:
        """Since they started; a thread that has ended is gone. Raises OSError when it has."""
        on_cpu_ns = waited_ns = 0
        for task in (PROC / str(pid) / "task").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # ended meanwhile
                on_cpu, waited, _ = (task / "schedstat").read_text("ascii").split()
                on_cpu_ns, waited_ns = on_cpu_ns + int(on_cpu), waited_ns + int(waited)
        cost = cls(on_cpu_ns / 1e9, waited_ns / 1e9)
        for child in _children(pid):
            with contextlib.suppress(FileNotFoundError):
                cost += cls.of(child)
        return cost

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.cpu_s + other.cpu_s, self.waited_s + other.waited_s)

    def __sub__(self, earlier: Cost) -> Cost:
        return Cost(self.cpu_s - earlier.cpu_s, self.waited_s - earlier.waited_s)


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in (PROC / str(pid) / "task").iterdir():
        with contextlib.suppress(OSError):  # ended, or a kernel that does not tell
            found += map(int, (task / "children").read_text("ascii").split())
    return found
