"""A server's WebRTC side without HTTP: hub, transport, WHIP and WHEP, and light clients to them.

On a VirtualLoop everything runs on its clock; on any other loop it runs in real time.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from benchmarks.webrtc_client import WebRtcClient
from mediaserver.egress.whep import WhepEgress
from mediaserver.errors import Unauthorized
from mediaserver.hub import Hub, Publication
from mediaserver.ingest.whip import WhipIngest
from mediaserver.protocol import rtp, sdp
from mediaserver.rtc.dtls import Certificate
from mediaserver.rtc.transport import Transport
from tests.rtc.streams import Pictures, Sound
from tests.virtual_time import now

KEY = "a stream key"
ROOM = "show"


class Keys:
    """Whoever has KEY publishes ROOM; everybody may watch."""

    async def publish(self, key: str) -> str:
        if key != KEY:
            raise Unauthorized("no such stream key")
        return ROOM

    async def watch(self, stream: str, token: str | None) -> None:
        """Open to all."""


class Echo:
    """What a viewer sends comes back to it, over channel 0."""

    def __init__(self) -> None:
        self._sends: dict[Hashable, Callable[[int, bytes | str], bool]] = {}

    def opened(
        self,
        name: Hashable,
        room: str,
        token: str | None,
        send: Callable[[int, bytes | str], bool],
        hang_up: Callable[[], None],
    ) -> None:
        self._sends[name] = send

    def received(self, name: Hashable, data: bytes | str) -> None:
        self._sends[name](0, data)

    def closed(self, name: Hashable) -> None:
        self._sends.pop(name, None)


@dataclass
class Received:
    """What a client was given, in order."""

    packets: list[rtp.RtpPacket] = field(default_factory=list)
    gaps: int = 0
    messages: list[tuple[int, str | bytes]] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def on_rtp(self, packet: rtp.RtpPacket, gap: bool) -> None:
        self.packets.append(packet)
        self.gaps += gap
        self.arrived.set()

    def on_message(self, channel: int, data: str | bytes) -> None:
        self.messages.append((channel, data))
        self.arrived.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return once the condition holds; it is looked at whenever something has arrived."""
        while not condition():
            self.arrived.clear()
            await self.arrived.wait()

    def of(self, ssrc: int) -> list[rtp.RtpPacket]:
        return [packet for packet in self.packets if packet.ssrc == ssrc]


class House:
    """`clients` are closed at the end by whoever opened the house (see `open_house`)."""

    def __init__(
        self, *, max_sessions: int = 4096, grace_s: float = 30.0, host: str = "127.0.0.1"
    ) -> None:
        self.hub = Hub(grace_s)
        self.transport = Transport(host, 0, max_sessions=max_sessions, clock=now)
        self.certificate = Certificate.generateCertificate()
        self.clients: list[WebRtcClient] = []
        self.pictures = Pictures()
        self.sound = Sound()
        self.publication: Publication | None = None
        self.first_timestamp = 0  # the publisher's clock begins anywhere

    async def start(self) -> None:
        await self.transport.start()
        self.whep = WhepEgress(self.hub, self.transport, Echo())
        self.whip = WhipIngest(self.hub, self.transport, Keys())

    async def stop(self) -> None:
        for client in self.clients:
            await client.close()
        self.whip.close()
        self.whep.close()
        await self.transport.stop()
        self.hub.drain()

    def publish(self, name: str = ROOM) -> Publication:
        """Go on the air, as an ingest does when its publisher has connected."""
        self.publication = self.hub.publish(name, protocol="test", on_close=lambda reason: None)
        self.publication.stream.on_keyframe_request = self._want_keyframe
        self.show()
        return self.publication

    def show(self, *, keyframe: bool | None = None) -> None:
        """Publish one picture now."""
        assert self.publication is not None
        packet = self.pictures.next(keyframe=keyframe)
        timestamp = (packet.dts + self.first_timestamp) & 0xFFFFFFFF
        self.publication.write(
            packet.track, timestamp, packet.payload, keyframe=packet.keyframe, arrival=now()
        )

    def sing(self) -> None:
        """Publish one frame of sound now."""
        assert self.publication is not None
        packet = self.sound.next()
        self.publication.write(
            packet.track, packet.dts, packet.payload, keyframe=True, arrival=now()
        )

    async def play(self, seconds: float) -> None:
        """Publish pictures at their rate; sound comes along with them."""
        for _ in range(round(seconds * self.pictures.fps)):
            self.show()
            while self.sound.number / 50 < self.pictures.number / self.pictures.fps:
                self.sing()
            await asyncio.sleep(1 / self.pictures.fps)

    def client(self, received: Received | None = None, **options: object) -> WebRtcClient:
        """A client that has not called yet."""
        client = WebRtcClient(self.certificate, clock=now, **options)  # type: ignore[arg-type]
        if received is not None:
            client.on_rtp, client.on_message = received.on_rtp, received.on_message
        self.clients.append(client)
        return client

    async def watch(
        self,
        received: Received | None = None,
        *,
        name: str = ROOM,
        port: int | None = None,
        data: bool = False,
        **options: object,
    ) -> WebRtcClient:
        """A connected viewer; `port` is that of a relay."""
        client = self.client(received, **options)
        client.resource, answer = self.whep.watch(name, client.offer(data).encode())
        await client.connect(sdp.parse(answer), port=port, data=data)
        return client

    def _want_keyframe(self) -> None:
        self.pictures.want = True


@asynccontextmanager
async def open_house(**options: int | float | str) -> AsyncIterator[House]:
    house = House(**options)  # type: ignore[arg-type]
    await house.start()
    try:
        yield house
    finally:
        await house.stop()


def answer_for(
    offer: str, transport: Transport, *, ufrag: str, password: str, fingerprint: str
) -> sdp.Offer:
    """The answer to a light client's offer, accepting all of it, as the client reads it."""
    parsed = sdp.parse(offer)
    written = sdp.write_answer(
        parsed,
        [
            sdp.AnswerMedia("sendonly", media.payloads) if not media.is_data else sdp.AnswerMedia()
            for media in parsed.medias
        ],
        session_id=secrets.randbits(62),
        ice_ufrag=ufrag,
        ice_pwd=password,
        fingerprint=fingerprint,
        setup="passive",
        candidates=transport.candidates(),
    )
    return sdp.parse(written)
