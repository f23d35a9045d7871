"""What another process of this machine holds and what CPU it has had, as Linux tells (proc(5))."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

CPUCLOCK_SCHED = 2  # the kernel's clock of a process: what all its threads have run, in ns


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a process holds; `descriptors` counts its sockets too."""

    rss_bytes: int
    threads: int
    sockets: int
    descriptors: int


def footprint(pid: int) -> Footprint:
    """Raises OSError when the process has ended, or is another user's."""
    status = _status(pid)
    targets = _targets(pid)
    return Footprint(
        rss_bytes=int(status["VmRSS"].split()[0]) * 1024,
        threads=int(status["Threads"]),
        sockets=sum(each.startswith("socket:") for each in targets),
        descriptors=len(targets),
    )


def cpu_s(pid: int) -> float:
    """User and system time of all threads, ended ones included; raises OSError."""
    return time.clock_gettime(~pid << 3 | CPUCLOCK_SCHED)


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
    return {name: value.strip() for name, _, value in (each.partition(":") for each in lines)}


def _targets(pid: int) -> list[str]:
    targets = []
    for each in Path(f"/proc/{pid}/fd").iterdir():
        try:
            targets.append(os.readlink(each))
        except FileNotFoundError:  # closed meanwhile
            continue
    return targets
