"""WHEP egress: offers answered, viewers put on their stream's broadcast (draft-ietf-wish-whep)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import statistics
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol

from mediaserver.errors import Conflict, NotFound, NotLive, ProtocolError
from mediaserver.hub import Hub, Reader, Stream, StreamEnded
from mediaserver.protocol import rtcp, sdp
from mediaserver.rtc.broadcast import Broadcast
from mediaserver.rtc.session import Address, Session
from mediaserver.rtc.transport import FEEDBACK, Transport
from mediaserver.rtc.viewer import Viewer

log = logging.getLogger("hawker.whep")

RETRY_AFTER_S = 2
MAX_MESSAGE_BYTES = 16 << 10
REPORTS_PER_PASS = 64  # about 0.5 ms


class Messages(Protocol):
    """Who speaks with viewers over their data channels; a viewer's `name` is its session."""

    def opened(
        self,
        name: Hashable,
        room: str,
        token: str | None,
        send: Callable[[int, bytes | str], bool],
        hang_up: Callable[[], None],
    ) -> None:
        """A viewer is there, and its channels will soon be open; `hang_up` closes them."""

    def received(self, name: Hashable, data: bytes | str) -> None:
        """A message, from either channel."""

    def closed(self, name: Hashable) -> None:
        """The session has ended; may be called for one that was never opened."""


@dataclass(slots=True)
class Accepted:
    """What was agreed upon with a viewer: payload types, -1 where there is none.

    `sctp` is the viewer's SCTP port and its largest message in bytes.
    """

    video: int = -1
    audio: int = -1
    rtx: int = -1
    sctp: tuple[int, int] | None = None


class WhepSession:
    """One viewer's session; a `Viewer` of the broadcast once it is connected."""

    def __init__(self, channel: Channel, accepted: Accepted, token: str | None) -> None:
        self.channel = channel
        self.session: Session | None = None
        self.viewer: Viewer | None = None
        self._accepted = accepted
        self._token = token

    def send(self, channel: int, data: str | bytes) -> bool:
        """Send over data channel 0 or 1; False when it isn't open or its queue is full."""
        channels = self.session.channels if self.session else None
        return channels is not None and channels.send(channel, data)

    def on_connected(self, session: Session) -> None:
        assert session.srtp is not None and session.address is not None
        broadcast = self.channel.broadcast
        self.viewer = Viewer(
            broadcast,
            session.srtp,
            session.address,
            (self._accepted.video, self._accepted.audio),
            session.send,
            self._accepted.rtx,
        )
        self.viewer.report(broadcast.sender_reports(time.time()))
        broadcast.add(self.viewer)
        if session.channels is not None:
            room = self.channel.stream.name
            self.channel.egress.messages.opened(
                self, room, self._token, self.send, session.channels.close
            )
        log.info("stream %s: viewer %s connected", self.channel.stream.name, session.label)

    def on_rtp(self, data: bytes, now: float) -> None:
        """Viewers send no media: dropped."""

    def on_rtcp(self, packets: Sequence[rtcp.RtcpPacket], now: float) -> None:
        if self.viewer is not None:
            self.viewer.on_rtcp(packets, now)

    def on_message(self, channel: int, data: str | bytes) -> None:
        if len(data) <= MAX_MESSAGE_BYTES:
            self.channel.egress.messages.received(self, data)

    def on_moved(self, address: Address) -> None:
        if self.viewer is not None:
            self.viewer.move(address)

    def on_closed(self, reason: str) -> None:
        if self.viewer is not None:
            self.channel.broadcast.remove(self.viewer)
        self.channel.egress.messages.closed(self)
        self.channel.leave(self)


class Channel:
    """A stream's broadcast with its readers: the source and, for audio, its Opus rendition."""

    def __init__(self, egress: WhepEgress, stream: Stream, opus: Stream) -> None:
        self.egress = egress
        self.stream = stream
        self.sessions: set[WhepSession] = set()
        transport = egress.transport
        self.broadcast = Broadcast(
            transport.sender, self._request_keyframe, transport.clock, stream.timeline.rtp_base
        )
        self.malformed = 0  # packets that are not what their track says
        self._source = stream.subscribe()
        self._opus = opus.subscribe()
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._read_source()), loop.create_task(self._read_opus())]

    def leave(self, session: WhepSession) -> None:
        self.sessions.discard(session)
        self.close_unless_watched()

    def close_unless_watched(self) -> None:
        if not self.sessions:
            self.close()

    def close(self) -> None:
        """Stop reading; the last viewer has left."""
        for task in self._tasks:
            task.cancel()
        self._source.close()
        self._opus.close()
        self.broadcast.close()
        self.egress._forget(self)

    async def end(self, reason: str) -> None:
        """Close every session of this stream, one by one: a goodbye costs 0.1 ms of everybody's loop."""
        for each in list(self.sessions):
            if each.session is not None:
                self.egress.transport.close(each.session, reason)
                await asyncio.sleep(0)

    async def _read_source(self) -> None:
        try:
            await self._pump(self._source)
            await self.end("source has B-frames")
        except StreamEnded:
            await self.end("stream ended")

    async def _read_opus(self) -> None:
        """The rendition may end and come again while the source goes on."""
        while not self.stream.removed:
            with contextlib.suppress(StreamEnded):
                await self._pump(self._opus)
                return
            self._opus = self.egress.opus(self.stream).subscribe()

    async def _pump(self, reader: Reader) -> None:
        """Feed the broadcast until the source turns out to have B-frames; raises StreamEnded."""
        while True:
            for packet in await reader.read():
                if self.stream.reordered:
                    return
                try:
                    self.broadcast.feed(packet)
                except ProtocolError:
                    self.malformed += 1

    def _request_keyframe(self) -> None:
        self.stream.request_keyframe(self.egress.transport.clock())


class WhepEgress:
    """WHEP resources of one process."""

    def __init__(self, hub: Hub, transport: Transport, messages: Messages) -> None:
        self.transport = transport
        self.messages = messages
        self._hub = hub
        self._channels: dict[str, Channel] = {}
        self._reports: deque[tuple[Broadcast, list[Viewer]]] = deque()  # a second's, at most
        self._stop_sweep = transport.every_second(self._every_second)

    @property
    def channels(self) -> Sequence[Channel]:
        return list(self._channels.values())

    def viewers(self, name: str) -> int:
        """Connected viewers of a stream."""
        channel = self._channels.get(name)
        return len(channel.broadcast.viewers) if channel else 0

    def estimates(self) -> dict[str, float]:
        """The least and the median of what viewers' links carry by their own account, in bit/s.

        Over all streams: `min` and the lower `median`; empty while nobody has told.
        """
        channels = self._channels.values()
        told = [each for channel in channels if (each := channel.broadcast.estimates())]
        if not told:
            return {}
        viewers = (viewer for channel in channels for viewer in channel.broadcast.viewers)
        median_bps = statistics.median_low(each.remb_bps for each in viewers if each.remb_bps)
        return {"min": min(each.min_bps for each in told), "median": median_bps}

    def watch(self, name: str, offer_sdp: bytes, token: str | None = None) -> tuple[str, str]:
        """Accept an offer; (resource id, answer). `token` is for whoever speaks over data channels.

        Raises NotLive, Conflict `has_b_frames`, ProtocolError, Unavailable.
        """
        stream = self._hub.get(name)
        if stream is None or not stream.live or not stream.tracks:
            raise NotLive(f"{name} is not live", headers={"Retry-After": str(RETRY_AFTER_S)})
        if stream.reordered:
            raise Conflict(
                "the source has B-frames, which WebRTC players can't show: watch by HLS",
                code="has_b_frames",
                headers={"Link": f'</hls/{name}/index.m3u8>; rel="alternate"'},
            )
        offer = sdp.parse(offer_sdp)
        channel = self._channel(stream)
        try:
            return self._open(channel, offer, token)
        finally:
            channel.close_unless_watched()

    def _open(self, channel: Channel, offer: sdp.Offer, token: str | None) -> tuple[str, str]:
        medias, accepted = _accept(offer, channel.broadcast)
        whep = WhepSession(channel, accepted, token)
        session, answer = self.transport.accept(
            whep,
            offer,
            medias,
            sctp=accepted.sctp,
            cname=channel.broadcast.cname,
            stream_id=f"hawker-{channel.stream.name}",
        )
        whep.session = session
        channel.sessions.add(whep)
        return session.id, answer

    def delete(self, resource: str) -> None:
        """End a viewer's session; raises NotFound."""
        session = self.transport.sessions.get(resource)
        if session is None or not isinstance(session.handler, WhepSession):
            raise NotFound("no such WHEP session")
        self.transport.close(session, "viewer ended the session")

    def close(self) -> None:
        self._stop_sweep()
        self._reports.clear()
        for channel in self.channels:
            channel.close()

    def opus(self, stream: Stream) -> Stream:
        """The stream's audio as WebRTC wants it, where the source sends another codec."""
        return self._hub.rendition(stream, "opus")

    def _channel(self, stream: Stream) -> Channel:
        channel = self._channels.get(stream.name)
        if channel is None or channel.stream is not stream:  # one of that name has just ended
            channel = Channel(self, stream, self.opus(stream))
            self._channels[stream.name] = channel
        return channel

    def _forget(self, channel: Channel) -> None:
        if self._channels.get(channel.stream.name) is channel:
            del self._channels[channel.stream.name]

    def _every_second(self, now: float) -> None:
        reporting = bool(self._reports)
        for channel in self.channels:
            channel.broadcast.housekeep(now)
            viewers = list(channel.broadcast.viewers)
            for first in range(0, len(viewers), REPORTS_PER_PASS):
                part = viewers[first : first + REPORTS_PER_PASS]
                self._reports.append((channel.broadcast, part))
        if not reporting:
            self._report()

    def _report(self) -> None:
        if not self._reports:
            return
        broadcast, viewers = self._reports.popleft()
        compound = broadcast.sender_reports(time.time())
        for viewer in viewers:
            viewer.report(compound)
        asyncio.get_running_loop().call_soon(self._report)


def _accept(
    offer: sdp.Offer, broadcast: Broadcast
) -> tuple[list[sdp.AnswerMedia | None], Accepted]:
    accepted = Accepted()
    return [_accept_media(media, accepted, broadcast) for media in offer.medias], accepted


def _accept_media(
    media: sdp.OfferMedia, accepted: Accepted, broadcast: Broadcast
) -> sdp.AnswerMedia | None:
    if media.usable and media.kind == "application" and accepted.sctp is None:
        accepted.sctp = (media.sctp_port or 5000, media.max_message_size)
        return sdp.AnswerMedia(max_message_size=MAX_MESSAGE_BYTES)
    if media.usable and media.direction in ("recvonly", "sendrecv"):
        if media.kind == "video" and accepted.video < 0:
            return _accept_video(media, accepted, broadcast)
        if media.kind == "audio" and accepted.audio < 0:
            return _accept_audio(media, accepted, broadcast)
    return None


def _accept_video(
    media: sdp.OfferMedia, accepted: Accepted, broadcast: Broadcast
) -> sdp.AnswerMedia | None:
    payload_type = sdp.choose_h264(media)
    if payload_type is None:
        return None
    accepted.video = payload_type
    codecs = {payload_type: sdp.with_feedback(media.payloads[payload_type], FEEDBACK)}
    rtx = sdp.choose_rtx(media, payload_type)
    if rtx is None:
        return sdp.AnswerMedia("sendonly", codecs, ssrc=broadcast.video.ssrc)
    accepted.rtx = rtx
    codecs[rtx] = sdp.with_feedback(media.payloads[rtx], frozenset())
    return sdp.AnswerMedia(
        "sendonly", codecs, ssrc=broadcast.video.ssrc, rtx_ssrc=broadcast.rtx_ssrc
    )


def _accept_audio(
    media: sdp.OfferMedia, accepted: Accepted, broadcast: Broadcast
) -> sdp.AnswerMedia | None:
    payload_type = sdp.choose_opus(media)
    if payload_type is None:
        return None
    accepted.audio = payload_type
    codec = sdp.with_feedback(media.payloads[payload_type], FEEDBACK)
    return sdp.AnswerMedia("sendonly", {payload_type: codec}, ssrc=broadcast.audio.ssrc)
