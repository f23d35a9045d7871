"""`python -m mediaserver.ingest.channel`: plays files in real time to its parent.

A plan comes on stdin as one JSON object, `files` and `loop`. Frames of the relay's form go to stdout,
each a msgpack array: `["item", index]` when a file begins, `["track", *fields of Track]`,
`["unit", kind, timestamp, composition, keyframe, payload]` when it is due, `["failed", index, words]`
for a file that can't be played. It ends with the last file, or with its parent.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import astuple
from pathlib import Path
from typing import Any

import msgpack

from mediaserver import child
from mediaserver.hub.relay.frames import frame
from mediaserver.ingest.channel.files import RATE, Unit, Unplayable, units
from mediaserver.media import Kind, Track

NICENESS = 5
FAILED_PAUSE_S = 1.0  # a plan of nothing but bad files must not spin
LATE_S = 2.0  # behind by more, as after a sleep of the machine, the clock begins anew


class Player:
    """Sends each unit when it is due."""

    def __init__(self) -> None:
        self._began_at = time.monotonic()
        self._base = 0  # the timestamp of that moment
        self._end = 0
        self._tracks: dict[Kind, Track] = {}

    def play(self, path: Path) -> None:
        """One file, after what was played before; raises Unplayable."""
        for unit in units(path, max(self._end, self._due())):
            self._wait(unit.dts)
            self._send(unit)

    def _due(self) -> int:
        return self._base + round((time.monotonic() - self._began_at) * RATE)

    def _wait(self, dts: int) -> None:
        ahead_s = (dts - self._due()) / RATE
        if ahead_s < -LATE_S:
            self._began_at, self._base = time.monotonic(), dts
        elif ahead_s > 0:
            time.sleep(ahead_s)

    def _send(self, unit: Unit) -> None:
        kind = unit.track.kind
        if self._tracks.get(kind) != unit.track:
            self._tracks[kind] = unit.track
            send(["track", *astuple(unit.track)])
        self._end = max(self._end, unit.dts + unit.duration)
        send(["unit", kind, unit.dts, unit.composition, unit.keyframe, unit.payload])


def send(message: list[Any]) -> None:
    sys.stdout.buffer.write(frame(msgpack.packb(message)))
    sys.stdout.buffer.flush()


def main() -> int:
    child.begin(NICENESS)
    plan = json.loads(sys.stdin.readline())
    player = Player()
    try:
        while True:
            for index, file in enumerate(plan["files"]):
                send(["item", index])
                try:
                    player.play(Path(file))
                except Unplayable as why:
                    send(["failed", index, str(why)])
                    time.sleep(FAILED_PAUSE_S)
            if not plan["loop"]:
                break
    except BrokenPipeError:  # the parent is gone
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
