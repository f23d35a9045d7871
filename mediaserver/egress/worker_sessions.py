"""The sessions that a worker has, connected or not yet, as limits count them."""

from __future__ import annotations

from collections import Counter

from mediaserver.egress import control
from mediaserver.rtc.admission import Admission


class WorkerSessions:
    """By the worker's numbers; `admission` counts them by address, those of other processes too."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._all: dict[int, tuple[str, str]] = {}  # resource as named to the outside, and room
        self._rooms: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._all)

    def in_room(self, room: str) -> int:
        return self._rooms[room]

    def add(self, number: int, resource: str, request: control.Watch | None) -> None:
        """A session has begun; `request` is None where nobody waits for the answer any more."""
        room = request.room if request else ""
        self._all[number] = resource, room
        self._rooms[room] += 1
        self._admission.count(request.remote if request else None, resource)

    def discard(self, number: int) -> None:
        """It has ended; calling it again does nothing."""
        resource, room = self._all.pop(number, ("", ""))
        if not resource:
            return
        self._admission.forget(resource)
        self._rooms[room] -= 1
        if not self._rooms[room]:
            del self._rooms[room]

    def clear(self) -> None:
        for number in list(self._all):
            self.discard(number)
