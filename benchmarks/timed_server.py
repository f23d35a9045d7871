"""`hawker` on a loop that times its callbacks: `python -m benchmarks.timed_server FILE serve …`.

At each SIGUSR1 it writes to FILE what held the loop since the last one, as JSON (`Hold`'s fields, the
longest first), and begins anew. Timing costs about a microsecond a callback.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import FrameType

import uvloop

from benchmarks.meter import Hold, TimedLoop
from mediaserver.__main__ import main as hawker
from mediaserver.rtc.sender import PASS_S

WRITE_S = 5.0
POLL_S = 0.01


def program(file: Path) -> tuple[str, ...]:
    """What Python is to run, `benchmarks.server.serving` wants it."""
    return "-m", "benchmarks.timed_server", str(file)


def holds(pid: int, file: Path) -> list[Hold]:
    """Ask a timed server; raises TimeoutError, or OSError when it has ended."""
    file.unlink(missing_ok=True)
    os.kill(pid, signal.SIGUSR1)
    until = time.monotonic() + WRITE_S
    while not file.exists():
        if time.monotonic() > until:
            raise TimeoutError("the server does not tell what held its loop")
        time.sleep(POLL_S)
    return [Hold(**each) for each in json.loads(file.read_text("utf-8"))]


def serve() -> int:
    file = Path(sys.argv.pop(1))
    loops: list[TimedLoop] = []

    def new_loop() -> TimedLoop:
        loops.append(TimedLoop(PASS_S))
        return loops[-1]

    def write(number: int, frame: FrameType | None) -> None:
        text = json.dumps([asdict(each) for each in loops[-1].holds()])
        partial_file = file.with_suffix(".part")
        partial_file.write_text(text, "utf-8")
        partial_file.rename(file)

    signal.signal(signal.SIGUSR1, write)
    uvloop.run = partial(uvloop.run, loop_factory=new_loop)  # what the command runs its service by
    return hawker()


if __name__ == "__main__":
    sys.exit(serve())
