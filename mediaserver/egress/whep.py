"""WHEP egress: offers answered, viewers put on their stream's broadcast (draft-ietf-wish-whep)."""

from __future__ import annotations

import asyncio
import logging
import statistics
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from typing import Protocol

from mediaserver.egress.whep_answer import MAX_MESSAGE_BYTES, Accepted, accept
from mediaserver.egress.whep_channel import Channel
from mediaserver.errors import Conflict, NotFound, NotLive, Unavailable
from mediaserver.hub import MENDED, Hub, Stream
from mediaserver.hub.hub import Change
from mediaserver.protocol import rtcp, rtp, sdp
from mediaserver.rtc.address import Address
from mediaserver.rtc.broadcast import Broadcast
from mediaserver.rtc.session import Session
from mediaserver.rtc.transport import Transport
from mediaserver.rtc.viewer import Viewer

log = logging.getLogger("hawker.whep")

RETRY_AFTER_S = 2
FULL_RETRY_AFTER_S = 5
ROOM_VIEWERS = 5000
MENDED_PACKETS = 500  # some 6 s, in which that one has to come
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


class WhepSession:
    """One viewer's session; a `Viewer` of the broadcast once it is connected."""

    def __init__(
        self, channel: Channel, accepted: Accepted, messages: Messages, token: str | None
    ) -> None:
        self.channel = channel
        self.accepted = accepted
        self.messages = messages
        self.session: Session | None = None
        self.viewer: Viewer | None = None
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
            (self.accepted.video, self.accepted.audio),
            session.send,
            self.accepted.rtx,
        )
        self.viewer.report(broadcast.sender_reports(broadcast.utc_s()))
        broadcast.add(self.viewer)
        if session.channels is not None:
            room = self.channel.stream.name
            self.messages.opened(self, room, self._token, self.send, session.channels.close)
        log.info("stream %s: viewer %s connected", self.channel.stream.name, session.label)

    def on_rtp(self, packet: rtp.RtpPacket, now: float) -> None:
        """Viewers send no media: dropped."""

    def on_rtcp(self, packets: Sequence[rtcp.RtcpPacket], now: float) -> None:
        if self.viewer is not None:
            self.viewer.on_rtcp(packets, now)

    def on_message(self, channel: int, data: str | bytes) -> None:
        if len(data) <= MAX_MESSAGE_BYTES:
            self.messages.received(self, data)

    def on_moved(self, address: Address) -> None:
        if self.viewer is not None:
            self.viewer.move(address)

    def on_closed(self, reason: str) -> None:
        if self.viewer is not None:
            self.channel.broadcast.remove(self.viewer)
        self.messages.closed(self)
        self.channel.leave(self)


class WhepEgress:
    """WHEP resources of one process."""

    def __init__(
        self,
        hub: Hub,
        transport: Transport,
        messages: Messages,
        room_viewers: int = ROOM_VIEWERS,
    ) -> None:
        """`room_viewers` sessions of one stream at one time, connected or not yet."""
        self.transport = transport
        self._room_viewers = room_viewers
        self.messages = messages
        self._hub = hub
        self._channels: dict[str, Channel] = {}
        self._reports: deque[tuple[Broadcast, list[Viewer]]] = deque()  # a second's, at most
        self._stop_sweep = transport.every_second(self._every_second)
        self._unlisten = hub.listen(self._on_change)

    @property
    def channels(self) -> Sequence[Channel]:
        return list(self._channels.values())

    def viewers(self, name: str) -> int:
        """Connected viewers of a stream."""
        return sum(len(channel.broadcast.viewers) for channel in self._channels_of(name))

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
        offer = sdp.parse(offer_sdp)
        channel = self._channel(stream, self._picture(stream, offer))
        if sum(len(each.sessions) for each in self._channels_of(name)) >= self._room_viewers:
            raise Unavailable("the room is full", headers={"Retry-After": f"{FULL_RETRY_AFTER_S}"})
        try:
            return self._open(channel, offer, token)
        finally:
            channel.close_unless_watched()

    def _open(self, channel: Channel, offer: sdp.Offer, token: str | None) -> tuple[str, str]:
        medias, accepted = accept(offer, channel.broadcast, channel.video, channel.sound_alone)
        whep = WhepSession(channel, accepted, self.messages, token)
        session, answer = self.transport.accept(
            whep,
            offer,
            medias,
            sctp=accepted.sctp,
            cname=channel.broadcast.cname,
            stream_id=f"hawker-{channel.stream.name}",
        )
        whep.session = session
        channel.enter(whep)
        return session.id, answer

    def delete(self, resource: str) -> None:
        """End a viewer's session; raises NotFound."""
        session = self.transport.sessions.get(resource)
        if session is None or not isinstance(session.handler, WhepSession):
            raise NotFound("no such WHEP session")
        self.transport.close(session, "viewer ended the session")

    def close(self) -> None:
        self._stop_sweep()
        self._unlisten()
        self._reports.clear()
        for channel in self.channels:
            channel.close()

    def _picture(self, stream: Stream, offer: sdp.Offer) -> Stream:
        """Where this viewer's video comes from: the stream, or what was made of it for WebRTC.

        There is a mended rendition where the stream itself has B-frames, keyframes too far apart, or a
        codec that not every browser takes: who takes it gets it as it is.
        """
        mended = self._hub.get(f"{stream.name}/{MENDED}")
        if mended is not None and "video" in mended.tracks and not _fits(stream, mended, offer):
            return mended
        if not stream.reordered:
            return stream
        if stream.counters.packets < MENDED_PACKETS:
            raise NotLive(f"{stream.name} begins", headers={"Retry-After": f"{RETRY_AFTER_S}"})
        raise Conflict(
            "the source has B-frames, which WebRTC players can't show: watch by HLS",
            code="has_b_frames",
            headers={"Link": f'</hls/{stream.name}/index.m3u8>; rel="alternate"'},
        )

    def _channel(self, stream: Stream, picture: Stream) -> Channel:
        channel = self._channels.get(picture.name)
        # one of that name may just have ended
        if channel is None or channel.stream is not stream or channel.picture is not picture:
            channel = Channel(self._hub, stream, picture, self.transport, self._forget)
            self._channels[picture.name] = channel
        return channel

    def _channels_of(self, name: str) -> list[Channel]:
        """Those of a stream: of its own picture, and of the mended one."""
        both = (self._channels.get(each) for each in (name, f"{name}/{MENDED}"))
        return [channel for channel in both if channel is not None]

    def _forget(self, channel: Channel) -> None:
        if self._channels.get(channel.picture.name) is channel:
            del self._channels[channel.picture.name]

    def _on_change(self, change: Change, stream: Stream) -> None:
        parent, _, suffix = stream.name.rpartition("/")
        for channel in self._channels_of(parent):
            channel.on_rendition(suffix, stream if change == "online" else None)

    def _every_second(self, now: float) -> None:
        reporting = bool(self._reports)
        for channel in self.channels:
            channel.sweep(now)
            if reporting:  # a busy loop is still at the last second's
                continue
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
        utc_s = broadcast.utc_s()
        shared = broadcast.sender_reports(utc_s)
        for viewer in viewers:
            own = viewer.layer is not broadcast.source or viewer.more_sent != (0, 0)
            viewer.report(broadcast.sender_reports(utc_s, viewer) if own else shared)
        asyncio.get_running_loop().call_soon(self._report)


def _fits(stream: Stream, mended: Stream, offer: sdp.Offer) -> bool:
    """Whether this viewer can be given the stream as it is, although it was mended for others."""
    video = stream.tracks.get("video")
    if video is None or stream.reordered or video.codec == mended.tracks["video"].codec:
        return False
    medias = [media for media in offer.medias if media.usable and media.kind == "video"]
    return any(sdp.choose_video(media, video) is not None for media in medias)
