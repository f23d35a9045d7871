"""A broadcast on its own, on a clock the test moves: pictures and sound in, players at the other end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Self

from aiortc.rtcdtlstransport import SRTPProtectionProfile

from mediaserver.media import VIDEO_CLOCK_RATE
from mediaserver.protocol.rtp import RtpPacket
from mediaserver.protocol.rtp_h264 import AccessUnit, Depacketizer
from mediaserver.rtc.broadcast import Broadcast
from mediaserver.rtc.layer import Layer
from mediaserver.rtc.line import Line
from mediaserver.rtc.sender import Sender
from mediaserver.rtc.viewer import Viewer
from tests.rtc.players import GCM, Player, udp_socket
from tests.rtc.streams import Pictures, Sound
from tests.virtual_time import now

SOUND_S = 0.02


@dataclass
class Rendition:
    """Another layer: its pictures have the source's media time and come `behind_s` later."""

    layer: Layer
    pictures: Pictures
    behind_s: float = 0.0
    silent: bool = False

    @property
    def due_s(self) -> float:
        return self.pictures.number / self.pictures.fps + self.behind_s


class Stage:
    """Plays `pictures` and `sound` into `broadcast` in virtual time; use it as a context manager.

    `asked` counts keyframe requests; with `obedient` the next picture is then a keyframe.
    """

    def __init__(
        self, pictures: Pictures | None = None, *, next_index: int = 1000, obedient: bool = False
    ) -> None:
        self.pictures = pictures or Pictures()
        self.sound = Sound()
        self.obedient = obedient
        self.asked = 0
        self.players: list[Player] = []
        self.socket = udp_socket()
        self.sender = Sender(self.socket, now)
        self.broadcast = Broadcast(self.sender, self._ask, now)
        self.broadcast.source.line = Line(
            VIDEO_CLOCK_RATE, self.broadcast.video.ssrc, next_index=next_index
        )
        self.broadcast.source.begin()
        self.renditions: dict[str, Rendition] = {}
        self.silent = False  # the source
        self._played_s = 0.0

    def add_layer(
        self, name: str, pictures: Pictures, *, behind_s: float = 0.0, obedient: bool = True
    ) -> Layer:
        """Play `pictures` as a rendition from now on."""
        layer = self.broadcast.add_layer(name, lambda: setattr(pictures, "want", obedient))
        pictures.number = self.pictures.number
        layer.track = pictures.track
        layer.on_wanted = layer.begin
        self.renditions[name] = Rendition(layer, pictures, behind_s)
        return layer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.broadcast.close()
        self.sender.close()
        self.socket.close()
        for player in self.players:
            player.close()

    def join(self, profile: SRTPProtectionProfile = GCM, *, lose: int = 0) -> tuple[Player, Viewer]:
        """A player and its viewer, who has joined."""
        player = Player(profile, lose)
        self.players.append(player)
        return player, player.join(self.broadcast, self.socket)

    async def play(self, seconds: float, *, sound: bool = True) -> None:
        """Feed what is due in the next seconds, each at its time, and let players read."""
        until = self._played_s + seconds
        began = now() - self._played_s
        while True:
            dues: list[tuple[float, Callable[[], None]]] = [
                (each.due_s, partial(self._show, each)) for each in self.renditions.values()
            ]
            dues.append((self.pictures.number / self.pictures.fps, self._show_source))
            if sound:
                dues.append((self.sound.number * SOUND_S, self._sing))
            due, feed = min(dues, key=lambda each: each[0])
            if due > until - 1e-9:
                break
            await self._pass(began + due - now())
            feed()
        self.sound.number = max(self.sound.number, round(until / SOUND_S))
        await self._pass(began + until - now())
        self._played_s = until

    def _show(self, rendition: Rendition) -> None:
        packet = rendition.pictures.next()
        if rendition.layer.running and not rendition.silent:
            self.broadcast.feed(packet, rendition.layer)

    def _show_source(self) -> None:
        packet = self.pictures.next()
        if not self.silent:
            self.broadcast.feed(packet)

    def _sing(self) -> None:
        self.broadcast.feed(self.sound.next())

    def feed(self, *, keyframe: bool | None = None, size: int | None = None) -> None:
        """One picture now, whatever the clock says; `play` goes on after it."""
        self.broadcast.feed(self.pictures.next(keyframe=keyframe, size=size))
        self._played_s = self.pictures.number / self.pictures.fps

    async def rest(self, seconds: float) -> None:
        """Time passes and nothing is fed."""
        await self._pass(seconds)

    async def _pass(self, seconds: float) -> None:
        if seconds > 0:
            await asyncio.sleep(seconds)
        for player in self.players:
            player.take()

    def _ask(self) -> None:
        self.asked += 1
        if self.obedient:
            self.pictures.want = True


def access_units(packets: list[RtpPacket]) -> list[AccessUnit]:
    """What a player's depacketizer makes of packets in the order of their numbers."""
    depacketizer = Depacketizer()
    units: list[AccessUnit] = []
    previous: RtpPacket | None = None
    for packet in packets:
        gap = previous is not None and (packet.sequence - previous.sequence) & 0xFFFF != 1
        units += depacketizer.feed(packet.payload, packet.marker, packet.timestamp, gap=gap)
        previous = packet
    return units


def slices(units: list[AccessUnit]) -> list[bytes]:
    """The slice of each access unit."""
    return [unit.nals[-1] for unit in units]
