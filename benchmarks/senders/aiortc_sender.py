"""aiortc's own sender as it is: an RTCPeerConnection per viewer, its track giving encoded packets.

The other ends are real RTCPeerConnections in a process of their own. Once connected their loop stops
and the sockets are read (or left unread) like every other variant's, so that no decoding is in play;
consent to send, which they then no longer give, lasts 30 s (RFC 7675). aioice leaves loopback out of its
candidates; here it is the only one, as for all variants.
"""

from __future__ import annotations

import asyncio
import os
import selectors
import socket
from fractions import Fraction
from multiprocessing.connection import Connection
from typing import Any

import aioice.ice
import av
from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpSender, RTCSessionDescription
from aiortc.mediastreams import MediaStreamTrack
from aiortc.stats import RTCOutboundRtpStreamStats

from benchmarks.senders import Job
from benchmarks.sinks import PROCESSES, READ_RCVBUF_BYTES, UNREAD_RCVBUF_BYTES, drain
from mediaserver.media import VIDEO_CLOCK_RATE

CONNECT_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0
LOCAL_ONLY = RTCConfiguration(iceServers=[])
_START_CODE = b"\0\0\0\1"


def _stay_on_loopback() -> None:
    aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]


class Frames(MediaStreamTrack):
    """A track whose frames the rig hands in; `idle` is set while its sender waits for the next."""

    kind = "video"

    def __init__(self) -> None:
        super().__init__()
        self._queue: asyncio.Queue[av.Packet[Any]] = asyncio.Queue()
        self.idle = asyncio.Event()

    def give(self, packet: av.Packet[Any]) -> None:
        self.idle.clear()
        self._queue.put_nowait(packet)

    async def recv(self) -> av.Packet[Any]:
        if self._queue.empty():
            self.idle.set()
        return await self._queue.get()


class AiortcRig:
    def __init__(self, job: Job) -> None:
        self._picture = job.picture
        self._tracks = [Frames() for _ in job.viewers]
        self._connections = [RTCPeerConnection(LOCAL_ONLY) for _ in job.viewers]
        self._senders: list[RTCRtpSender] = []
        self._control, theirs = PROCESSES.Pipe()
        self._viewers = PROCESSES.Process(target=_view, args=(theirs, job.reading))
        self._viewers.start()
        theirs.close()

    async def connect(self) -> None:
        offers = []
        for connection, track in zip(self._connections, self._tracks, strict=True):
            transceiver = connection.addTransceiver(track, direction="sendonly")
            capabilities = RTCRtpSender.getCapabilities("video").codecs
            transceiver.setCodecPreferences([c for c in capabilities if c.mimeType == "video/H264"])
            self._senders.append(transceiver.sender)
            await connection.setLocalDescription(await connection.createOffer())
            offers.append(connection.localDescription.sdp)
        self._control.send(offers)
        answers = await asyncio.to_thread(self._control.recv)
        for connection, answer in zip(self._connections, answers, strict=True):
            await connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        await asyncio.gather(*map(_connected, self._connections))
        await asyncio.to_thread(self._control.recv)  # they have stopped their loop
        await self.drained()

    async def sent(self) -> int:
        reports = await asyncio.gather(*(sender.getStats() for sender in self._senders))
        return sum(
            stats.packetsSent
            for report in reports
            for stats in report.values()
            if isinstance(stats, RTCOutboundRtpStreamStats)
        )

    def publish(self, frame: int) -> None:
        packet = av.Packet(_START_CODE + self._picture.nal(frame))
        packet.pts = packet.dts = self._picture.timestamp(frame)
        packet.time_base = Fraction(1, VIDEO_CLOCK_RATE)
        for track in self._tracks:
            track.give(packet)

    async def drained(self) -> None:
        for track in self._tracks:
            await track.idle.wait()

    async def close(self) -> int | None:
        self._control.send("stop")
        received: int = self._control.recv()
        self._viewers.join(STOP_TIMEOUT_S)
        await asyncio.gather(*(connection.close() for connection in self._connections))
        return received


async def start(job: Job) -> AiortcRig:
    _stay_on_loopback()
    rig = AiortcRig(job)
    await asyncio.wait_for(rig.connect(), CONNECT_TIMEOUT_S)
    return rig


async def _connected(connection: RTCPeerConnection) -> None:
    done = asyncio.Event()

    def look() -> None:
        if connection.connectionState == "connected":
            done.set()

    connection.on("connectionstatechange", look)
    look()
    await done.wait()


class _ViewersLoop(asyncio.SelectorEventLoop):
    """Keeps hold of the UDP sockets that its peers open."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        super().__init__(selector)
        self.sockets: list[socket.socket] = []

    async def create_datagram_endpoint(self, *args: Any, **options: Any) -> Any:
        transport, protocol = await super().create_datagram_endpoint(*args, **options)
        descriptor = transport.get_extra_info("socket").fileno()
        self.sockets.append(socket.socket(fileno=os.dup(descriptor)))
        return transport, protocol


def _view(control: Connection, reading: bool) -> None:
    """The viewers' process: answer, connect, stop the loop, then read or leave unread."""
    _stay_on_loopback()
    selector = selectors.DefaultSelector()
    loop = _ViewersLoop(selector)
    asyncio.set_event_loop(loop)
    connections = loop.run_until_complete(_answer(control))
    selector.close()  # the loop never runs again, and the kernel no longer wakes it
    size = READ_RCVBUF_BYTES if reading else UNREAD_RCVBUF_BYTES
    for each in loop.sockets:
        each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
    control.send("connected")
    received = drain(loop.sockets if reading else [], control)
    control.send(received)
    control.close()
    del connections
    os._exit(0)  # what is left of the peers would only complain of their loop


async def _answer(control: Connection) -> list[RTCPeerConnection]:
    connections, answers = [], []
    for offer in control.recv():
        connection = RTCPeerConnection(LOCAL_ONLY)
        await connection.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        await connection.setLocalDescription(await connection.createAnswer())
        connections.append(connection)
        answers.append(connection.localDescription.sdp)
    control.send(answers)
    await asyncio.gather(*map(_connected, connections))
    return connections
