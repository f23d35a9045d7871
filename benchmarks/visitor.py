"""A viewer that comes and goes: it waits for picture or events, and can leave without a word."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any

from benchmarks.webrtc_client import Refused, WebRtcClient
from mediaserver.protocol import stun
from mediaserver.protocol.rtp import RtpPacket
from overlay.events import parse

WAIT_S = 10.0
LOOPBACK = "127.0.0.1"


class Visitor(WebRtcClient):
    """A viewer that also answers connectivity checks, as an agent that is not ICE-lite wants it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._picture = asyncio.Event()
        self._events: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.on_rtp = self._on_rtp
        self.on_message = self._on_message

    async def watch(self, *args: Any, **options: Any) -> None:
        """As a viewer does; who does not get in is gone."""
        try:
            await super().watch(*args, **options)
        except (OSError, Refused):  # also a TimeoutError
            await self.vanish()
            raise

    async def seen(self) -> None:
        """Wait for the first RTP packet; raises TimeoutError, and is gone then."""
        await self._wait(self._picture, "picture")

    async def heard(self, type: str) -> None:
        """Wait for an event of this type; raises TimeoutError, and is gone then."""
        await self._wait(self._events[type], type)

    async def _wait(self, event: asyncio.Event, what: str) -> None:
        try:
            async with asyncio.timeout(WAIT_S):
                await event.wait()
        except TimeoutError:
            await self.vanish()
            raise TimeoutError(f"no {what} came") from None

    async def vanish(self) -> None:
        """Leave without goodbye: nothing more is sent, and the socket is gone."""
        self._path.close()
        if self._transport is not None:
            self._transport.abort()
        await self.close()

    def datagram_received(self, data: bytes, addr: object) -> None:
        if stun.is_stun(data) and not self.drop(data):
            message = stun.parse(data)
            if message.message_type == stun.BINDING_REQUEST:
                key = self.password.encode()
                # whoever asks is on this machine and looks at the port no further
                self._send(stun.binding_success(message.transaction_id, (LOOPBACK, 9), key))
                return
        super().datagram_received(data, addr)

    def _on_rtp(self, packet: RtpPacket, gap: bool) -> None:
        self._picture.set()

    def _on_message(self, channel: int, data: str | bytes) -> None:
        self._events[parse(data).type].set()
