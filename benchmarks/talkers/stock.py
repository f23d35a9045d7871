"""aiortc as it is: an RTCPeerConnection per listener with two negotiated channels."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import aioice.ice
from aiortc import RTCConfiguration, RTCDataChannel, RTCPeerConnection, RTCSessionDescription

LOCAL_ONLY = RTCConfiguration(iceServers=[])


def stay_on_loopback() -> None:
    """aioice leaves loopback out of its candidates; here it is the only one, as for Hawker."""
    aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]


def open_channels(connection: RTCPeerConnection) -> tuple[RTCDataChannel, RTCDataChannel]:
    """Both channels, as Hawker's pages open them."""
    reliable = connection.createDataChannel("hawker", negotiated=True, id=0)
    live = connection.createDataChannel(
        "hawker-live", negotiated=True, id=1, ordered=False, maxRetransmits=0
    )
    return reliable, live


class StockTalker:
    def __init__(self) -> None:
        self._connections: list[RTCPeerConnection] = []
        self._channels: list[tuple[RTCDataChannel, RTCDataChannel]] = []

    async def accept(self, text: str) -> str:
        connection = RTCPeerConnection(LOCAL_ONLY)
        await connection.setRemoteDescription(RTCSessionDescription(text, "offer"))
        self._connections.append(connection)
        self._channels.append(open_channels(connection))
        await connection.setLocalDescription(await connection.createAnswer())
        return connection.localDescription.sdp

    def say(self, channel: int, text: str) -> int:
        taken = 0
        for channels in self._channels:
            if channels[channel].readyState == "open":
                channels[channel].send(text)
                taken += 1
        return taken

    def waiting(self) -> int:
        return sum(channel.bufferedAmount for pair in self._channels for channel in pair)

    async def close(self) -> None:
        await asyncio.gather(*(connection.close() for connection in self._connections))


async def start(offers: Sequence[str]) -> tuple[StockTalker, list[str]]:
    stay_on_loopback()
    talker = StockTalker()
    return talker, [await talker.accept(each) for each in offers]
