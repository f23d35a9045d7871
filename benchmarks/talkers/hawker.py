"""Hawker's own path: one UDP port, sessions, DTLS and data channels as a viewer has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mediaserver.protocol import sdp
from mediaserver.protocol.rtp import RtpPacket
from mediaserver.rtc import compiled
from mediaserver.rtc.address import Address
from mediaserver.rtc.session import Session
from mediaserver.rtc.transport import Transport


class Silence:
    """A handler with nothing to do: messages go one way here."""

    def on_connected(self, session: Session) -> None: ...
    def on_rtp(self, packet: RtpPacket, now: float) -> None: ...
    def on_rtcp(self, packets: Sequence[Any], now: float) -> None: ...
    def on_message(self, channel: int, data: str | bytes) -> None: ...
    def on_moved(self, address: Address) -> None: ...
    def on_closed(self, reason: str) -> None: ...


class HawkerTalker:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._sessions: list[Session] = []

    def accept(self, text: str) -> str:
        """Open a session for an offer of data channels alone; returns the answer."""
        offer = sdp.parse(text)
        media = offer.medias[0]
        sctp = media.sctp_port or 5000, media.max_message_size
        session, answer = self._transport.accept(
            Silence(), offer, [sdp.AnswerMedia() for _ in offer.medias], sctp=sctp
        )
        self._sessions.append(session)
        return answer

    def say(self, channel: int, text: str) -> int:
        taken = 0
        for session in self._sessions:
            if session.channels is not None:
                taken += session.channels.send(channel, text)
        return taken

    def waiting(self) -> int:
        return sum(each.channels.queued_bytes for each in self._sessions if each.channels)

    async def close(self) -> None:
        await self._transport.stop()


async def start(offers: Sequence[str]) -> tuple[HawkerTalker, list[str]]:
    transport = Transport("127.0.0.1", 0, carrier=compiled.chosen())
    await transport.start()
    talker = HawkerTalker(transport)
    return talker, [talker.accept(each) for each in offers]
