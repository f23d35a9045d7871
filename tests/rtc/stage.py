"""A broadcast on its own, on a clock the test moves: pictures and sound in, players at the other end."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from aiortc.rtcdtlstransport import SRTPProtectionProfile

from mediaserver.media import VIDEO_CLOCK_RATE
from mediaserver.protocol.rtp import RtpPacket
from mediaserver.protocol.rtp_h264 import AccessUnit, Depacketizer
from mediaserver.rtc.broadcast import Broadcast, Line
from mediaserver.rtc.sender import Sender
from mediaserver.rtc.viewer import Viewer
from tests.rtc.players import GCM, Player, udp_socket
from tests.rtc.streams import Pictures, Sound
from tests.virtual_time import now

SOUND_S = 0.02


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
        self.broadcast.video = Line(
            VIDEO_CLOCK_RATE, self.broadcast.video.ssrc, next_index=next_index
        )
        self._played_s = 0.0

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
        player = Player(profile, lose)
        self.players.append(player)
        return player, player.join(self.broadcast, self.socket)

    async def play(self, seconds: float, *, sound: bool = True) -> None:
        """Feed what is due in the next seconds, each at its time, and let players read."""
        until = self._played_s + seconds
        began = now() - self._played_s
        next_sound = self.sound.number * SOUND_S
        while True:
            next_picture = self.pictures.number / self.pictures.fps
            due = min(next_picture, next_sound) if sound else next_picture
            if due > until - 1e-9:
                break
            await self._pass(began + due - now())
            if due == next_picture:
                self.broadcast.feed(self.pictures.next())
            else:
                self.broadcast.feed(self.sound.next())
                next_sound = self.sound.number * SOUND_S
        self.sound.number = max(self.sound.number, round(until / SOUND_S))
        await self._pass(began + until - now())
        self._played_s = until

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
