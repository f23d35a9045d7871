"""Stock aiortc behind the same door: an RTCPeerConnection answers each WHEP offer over HTTP.

What it sends is up to its tracks, which have nothing to send, as a still picture nearly has. With data
channels it says one event to each viewer, as long as the server's first.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import Any

import aioice.ice
from aiohttp import web
from aiortc import RTCConfiguration, RTCDataChannel, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamTrack

from benchmarks.loads import Commands
from overlay.events import Event, serialize

LOOPBACK = "127.0.0.1"
PATH = "/whep/show"
HELLO = Event("hello", {"words": "." * 700}, "evt_0", 0, None)


class Nothing(MediaStreamTrack):
    """A track of this kind whose next frame never comes."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    async def recv(self) -> Any:
        await asyncio.get_running_loop().create_future()


class Door:
    """Answers offers; a connection for each stays until the end."""

    def __init__(self) -> None:
        self.connections: list[RTCPeerConnection] = []

    async def answer(self, request: web.Request) -> web.Response:
        offer = RTCSessionDescription(await request.text(), "offer")
        connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.connections.append(connection)
        await connection.setRemoteDescription(offer)
        for kind in ("video", "audio"):
            connection.addTrack(Nothing(kind))
        if "m=application" in offer.sdp:
            _open_channels(connection)
        await connection.setLocalDescription(await connection.createAnswer())
        return web.Response(
            status=201,
            text=connection.localDescription.sdp,
            content_type="application/sdp",
            headers={"Location": f"{PATH}/{len(self.connections)}"},
        )


def _open_channels(connection: RTCPeerConnection) -> None:
    channel = connection.createDataChannel("hawker", negotiated=True, id=0)
    connection.createDataChannel(
        "hawker-live", negotiated=True, id=1, ordered=False, maxRetransmits=0
    )
    if channel.readyState == "open":
        _say_hello(channel)
    else:
        channel.on("open", lambda: _say_hello(channel))


def _say_hello(channel: RTCDataChannel) -> None:
    channel.send(serialize(HELLO, "msgpack"))


async def answer_offers(commands: Commands) -> None:
    """Listen until the end; whatever is asked, the answer is (process id, URL)."""
    # aioice leaves loopback out of its candidates; here it is the only one, as for all
    aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: [LOOPBACK]
    door = Door()
    app = web.Application()
    app.router.add_post(PATH, door.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, LOOPBACK, 0)
    await site.start()
    where = os.getpid(), f"http://{LOOPBACK}:{runner.addresses[0][1]}{PATH}"
    with contextlib.suppress(EOFError):
        while True:
            commands.answer(where)
            await commands.next()
    os._exit(0)  # to close each connection would take longer than the run
