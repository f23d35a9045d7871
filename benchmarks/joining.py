"""Viewers in processes of their own join at a bounded pace, and the progress shows how far they are."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.progress import Progress

from benchmarks.company import Seen
from benchmarks.loads import Load

JOINS_PER_S = 50.0
STUCK_S = 60.0  # without anybody new
LOOK_S = 0.5


def ask_all(loads: Sequence[Load], command: str) -> Seen:
    """One command to all processes; what their viewers have seen together."""
    seen = Seen()
    for load in loads:
        seen.add(load.ask(command))
    return seen


def all_joined(loads: Sequence[Load], viewers: int, progress: Progress) -> None:
    """Have them join until there are `viewers`; returns too when nobody else gets in."""
    task = progress.add_task(f"{viewers:,} join", total=viewers)
    for number, load in enumerate(loads):
        load.ask(f"join {len(range(number, viewers, len(loads)))}")
    done, changed_at = -1, time.monotonic()
    while time.monotonic() - changed_at < STUCK_S:
        seen = ask_all(loads, "seen")
        words = f"{viewers:,} join: {seen.lost:,} lost, {seen.failed.total()} failed"
        progress.update(task, completed=seen.joined, description=words)
        now_done = seen.joined + seen.failed.total()
        if now_done >= viewers:
            return
        if now_done != done:
            done, changed_at = now_done, time.monotonic()
        time.sleep(LOOK_S)
