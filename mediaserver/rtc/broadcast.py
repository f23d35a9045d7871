"""One stream for all its WebRTC viewers: its sound, and its video in layers.

All viewers of a layer get the same SSRCs, sequence numbers and timestamps; layers differ in their
sequence numbers only. Which viewer has which layer is the `Ladder`'s to say.
"""

from __future__ import annotations

import secrets
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mediaserver.media import OPUS_CLOCK_RATE, VIDEO_CLOCK_RATE, Packet
from mediaserver.protocol import rtcp
from mediaserver.protocol.rtp_payload import RtpPayload
from mediaserver.rtc.ladder import Ladder
from mediaserver.rtc.layer import Layer
from mediaserver.rtc.line import Line
from mediaserver.rtc.sender import Cohort, OutPacket, Sender, lay_out

if TYPE_CHECKING:
    from mediaserver.rtc.viewer import Viewer

SOURCE = ""  # the name of the layer that is the stream itself


@dataclass(frozen=True, slots=True)
class Estimates:
    """What the viewers' links carry by their own account (REMB), in bit/s."""

    viewers: int  # who have told
    min_bps: int
    median_bps: int


class Broadcast:
    """The RTP side of one stream and its renditions."""

    def __init__(
        self,
        sender: Sender,
        request_keyframe: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
        rtp_base: int | None = None,
    ) -> None:
        """`rtp_base` is the RTP timestamp of media time 0 in the video; None picks one."""
        self.sender = sender
        self.clock = clock
        self.utc_s: Callable[[], float] = time.time
        self.cname = secrets.token_hex(8)
        line = Line(VIDEO_CLOCK_RATE)
        if rtp_base is not None:
            line.timestamp_offset = rtp_base
        self.source = Layer(SOURCE, line, sender, request_keyframe, clock)
        self.layers = {SOURCE: self.source}
        # never the SSRC of video: with one key, that would be the same nonces for other bytes;
        # nor may the two be `rtx_ssrc`
        self.audio = Line(OPUS_CLOCK_RATE, line.ssrc ^ 2)
        self.viewers: set[Viewer] = set()
        self.ladder = Ladder(self)
        self._listeners: dict[int, Cohort] = {}  # by payload type
        self._epoch_ms = 0.0  # UTC of media time 0

    @property
    def video(self) -> Line:
        """The source's."""
        return self.source.line

    @property
    def rtx_ssrc(self) -> int:
        """Of the retransmissions of video; each viewer's have a numbering of their own."""
        return self.video.ssrc ^ 4

    # -- layers ----------------------------------------------------------------------------------

    def add_layer(self, name: str, request_keyframe: Callable[[], None]) -> Layer:
        """A rendition of the video that viewers may be given from now on."""
        source = self.video
        line = Line(VIDEO_CLOCK_RATE, source.ssrc, timestamp_offset=source.timestamp_offset)
        layer = Layer(name, line, self.sender, request_keyframe, self.clock)
        self.layers[name] = layer
        return layer

    def remove_layer(self, layer: Layer) -> None:
        """The rendition has ended: its viewers go to others."""
        if self.layers.get(layer.name) is layer and layer is not self.source:
            del self.layers[layer.name]
            self.ladder.clear(layer)
            layer.close()

    # -- what comes in ---------------------------------------------------------------------------

    def feed(self, packet: Packet, layer: Layer | None = None) -> None:
        """Send one picture of a layer (default: the source) or frame of sound on its way.

        Raises ProtocolError.
        """
        self._epoch_ms = packet.wallclock_ms - packet.pts * 1000 / packet.track.clock_rate
        if packet.track.kind == "video":
            (layer or self.source).feed(packet)
        elif packet.track.codec == "opus":
            now = self.clock()
            sound = RtpPayload(bytes(packet.payload), padding=False, marker=False)
            frame = self.audio.append(packet, [sound], now)
            self.audio.last_pts = packet.pts
            self._release(frame)

    def _release(self, frame: list[OutPacket]) -> None:
        line = self.audio
        line.released = line.next_index
        for payload_type, routes in self._listeners.items():
            self.sender.submit(lay_out(frame, payload_type, line.ssrc), routes)
        line.prune(frame[0].at, line.next_index)

    # -- who watches -----------------------------------------------------------------------------

    def add(self, viewer: Viewer) -> None:
        """A connected viewer starts: audio now, video from the cached keyframe or the next one."""
        self.viewers.add(viewer)
        viewer.begin_audio(self.audio.next_index)
        if viewer.audio is not None:
            payload_type = viewer.payload_types[1]
            routes = self._listeners.get(payload_type, ())
            self._listeners[payload_type] = Cohort((*routes, viewer.audio))
        if viewer.payload_types[0] >= 0:
            viewer.layer.join(viewer)
            self.ladder.watch()

    def remove(self, viewer: Viewer) -> None:
        """A viewer leaves; batches in flight may still reach it."""
        self.viewers.discard(viewer)
        viewer.leave()
        viewer.layer.remove(viewer)
        payload_type = viewer.payload_types[1]
        routes = self._listeners.pop(payload_type, ())
        if rest := [route for route in routes if route is not viewer.audio]:
            self._listeners[payload_type] = Cohort(rest)

    def skip_to_keyframe(self, viewer: Viewer) -> None:
        """A viewer whose link can't carry the mending: no video until the next keyframe."""
        viewer.layer.skip(viewer)

    def ask_keyframe(self, viewer: Viewer) -> None:
        """A viewer needs a keyframe: asked for as soon as it may, and again until there is one."""
        if viewer in self.viewers:  # else it has left meanwhile
            viewer.layer.wishes.add(viewer)

    def waits(self, viewer: Viewer) -> bool:
        """Whether the viewer is between a skip, or its join, and the next keyframe."""
        return viewer in viewer.layer.waiting

    # -- figures ---------------------------------------------------------------------------------

    def estimates(self) -> Estimates | None:
        """The viewers' own estimates of their links; None while nobody has told one."""
        told = [viewer.remb_bps for viewer in self.viewers if viewer.remb_bps]
        if not told:
            return None
        return Estimates(len(told), min(told), statistics.median_low(told))

    @property
    def bytes_per_s(self) -> float:
        """What a viewer of the source gets."""
        return self.video.bytes_per_s + self.audio.bytes_per_s

    def sent_bytes_per_s(self, viewer: Viewer) -> float:
        """What this viewer gets."""
        return viewer.layer.line.bytes_per_s + self.audio.bytes_per_s

    def sender_reports(self, utc_s: float, viewer: Viewer | None = None) -> bytes:
        """The RTCP compound for a viewer, before encryption (RFC 3550 §6.1).

        Without `viewer` that of all who never had another layer than the source.
        """
        video, more = self.video, (0, 0)
        if viewer is not None:
            video, more = viewer.layer.line, viewer.more_sent
        reports = [(video, more), (self.audio, (0, 0))]
        return b"".join(
            rtcp.serialize_sender_report(line.report(utc_s, self._epoch_ms, *more), self.cname)
            for line, more in reports
            if line.packets
        )

    def housekeep(self, now: float) -> None:
        """About once a second: rates and rings."""
        self.audio.measure(now)
        self.audio.prune(now, self.audio.next_index)
        for layer in self.layers.values():
            layer.housekeep(now)

    def close(self) -> None:
        self.ladder.close()
        for layer in self.layers.values():
            layer.close()
