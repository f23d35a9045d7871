"""Hawker's own path: hub, reader, broadcast with ring and pacer, batch sender, one UDP port, reports."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Hashable
from functools import partial
from pathlib import Path

from aiortc.rtcdtlstransport import SRTP_AEAD_AES_128_GCM

from benchmarks import senders
from benchmarks.senders import Job
from mediaserver.egress.whep import WhepEgress
from mediaserver.hub import Hub
from mediaserver.rtc import compiled
from mediaserver.rtc.compiled_carrier import Compiled
from mediaserver.rtc.dtls import SrtpKeys
from mediaserver.rtc.srtp import Srtp
from mediaserver.rtc.transport import Transport
from mediaserver.rtc.viewer import Viewer

PAYLOAD_TYPES = 102, -1
DRAIN_TIMEOUT_S = 5.0

Send = Callable[[int, bytes | str], bool]


class Silence:
    """Nobody speaks over data channels here."""

    def opened(
        self,
        name: Hashable,
        room: str,
        token: str | None,
        send: Send,
        hang_up: Callable[[], None],
    ) -> None: ...
    def received(self, name: Hashable, data: bytes | str) -> None: ...
    def closed(self, name: Hashable) -> None: ...


class HawkerRig:
    """The server's media path without its signalling: keys come from the job, not from DTLS."""

    def __init__(self, job: Job, transport: Transport) -> None:
        self._picture = job.picture
        self._transport = transport
        hub = Hub()
        self._publication = hub.publish("show", protocol="bench", on_close=lambda reason: None)
        self._egress = WhepEgress(hub, transport, Silence())
        # what `watch` does once it has read an offer
        stream = self._publication.stream
        self._broadcast = self._egress._channel(stream, stream).broadcast
        self._published = 0  # ticks; the stream begins at 0, as the picture does
        self._viewers = [self._join(each) for each in job.viewers]

    async def sent(self) -> int:
        return self._transport.sender.packets

    def publish(self, frame: int) -> None:
        picture = self._picture
        self._published = picture.timestamp(frame)
        self._publication.write(
            picture.track,
            self._published,
            picture.payload(frame),
            keyframe=picture.keyframe(frame),
            arrival=time.monotonic(),
        )

    async def drained(self) -> None:
        """Whoever joins or leaves meanwhile spoils the count: for a constant audience."""
        line, sender = self._broadcast.video, self._transport.sender
        deadline = time.monotonic() + DRAIN_TIMEOUT_S
        while (
            not line.packets
            or line.last_pts < self._published
            or sender.packets < line.packets * len(self._viewers)
        ):
            await asyncio.sleep(0)
            if time.monotonic() > deadline:
                raise TimeoutError(f"{sender.packets} packets left, {sender.late_batches} late")

    def rejoin(self, place: int, each: senders.Viewer) -> None:
        """A viewer leaves, another takes its place."""
        self._broadcast.remove(self._viewers[place])
        self._viewers[place] = self._join(each)

    async def close(self) -> int | None:
        sender = self._transport.sender
        if sender.errors or sender.gso_fallbacks:
            raise OSError(f"{sender.errors} errors, {sender.gso_fallbacks} routes without GSO")
        self._egress.close()
        await self._transport.stop()
        return None

    def _join(self, each: senders.Viewer) -> Viewer:
        """As when a handshake has just ended."""
        keys = SrtpKeys(SRTP_AEAD_AES_128_GCM, each.key, each.salt, bytes(16), bytes(12))
        send = partial(self._transport.send, address=each.address)
        viewer = Viewer(self._broadcast, Srtp(keys), each.address, PAYLOAD_TYPES, send)
        viewer.report(self._broadcast.sender_reports(time.time()))
        self._broadcast.add(viewer)
        return viewer


async def start(job: Job) -> HawkerRig:
    """With the sender in Python."""
    return await _start(job, None)


async def start_compiled(job: Job) -> HawkerRig:
    """With the compiled sender, built for this run; raises Unavailable."""
    with tempfile.TemporaryDirectory(prefix="hawker-bench-") as made:
        compiled.build(Path(made))
        return await _start(job, compiled.load(Path(made)))


async def _start(job: Job, carrier: Compiled | None) -> HawkerRig:
    transport = Transport("127.0.0.1", 0, carrier=carrier)
    await transport.start()
    return HawkerRig(job, transport)
