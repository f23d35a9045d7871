"""What is asked for, what the node has been given for it, and which part of it a process plays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CARRIERS = 3  # of buyers: HTTP, a WebSocket and a data channel take turns


@dataclass(frozen=True, slots=True)
class Plan:
    """The command line; `loss` is a share, `room` None where rooms are made."""

    url: str
    room: str | None
    publishers: int
    viewers: int
    hls_viewers: int
    buyers: int
    chatters: int
    seconds: float
    spread_s: float  # in which all have joined
    loss: float
    seed: int
    processes: int
    rtmp: str | None = None
    admin_token: str | None = None
    json: Path | None = None
    plot: Path | None = None

    @property
    def sessions(self) -> int:
        """Of all who come; a buyer by HTTP has none."""
        by_http = -(-self.buyers // CARRIERS)
        return self.viewers + self.hls_viewers + self.buyers - by_http + self.chatters


@dataclass(frozen=True, slots=True)
class Scene:
    """The rooms to be in, where their pictures go (`publish`: RTMP URLs with keys), and the SKU."""

    rooms: tuple[str, ...]
    publish: tuple[str, ...] = ()
    sku: str | None = None


@dataclass(frozen=True, slots=True)
class Share:
    """One process's part: of each kind of people every `processes`-th, from `number` on.

    `relay_port` is where a loss is to be had (see relay.py); None without one.
    """

    plan: Plan
    scene: Scene
    number: int
    relay_port: int | None = None

    def mine(self, people: int) -> Iterator[int]:
        """The numbers of those who are in this process."""
        return iter(range(self.number, people, self.plan.processes))

    def room(self, number: int) -> str:
        rooms = self.scene.rooms
        return rooms[number % len(rooms)]

    def joins_after_s(self, number: int, people: int) -> float:
        return self.plan.spread_s * number / people
