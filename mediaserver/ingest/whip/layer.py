"""One picture of a publisher: its packets in order, its frames, and what is asked of its encoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from mediaserver.errors import ProtocolError
from mediaserver.hub import Stream
from mediaserver.ingest.whip.keyframe_requests import KeyframeRequests
from mediaserver.media import VIDEO_CLOCK_RATE, Codec, Track
from mediaserver.protocol.rtp import RtpPacket
from mediaserver.protocol.rtp_video import CodedFrame, VideoDepacketizer, depacketizer
from mediaserver.rtc.receiver import RtpReceiver


class Feedback(Protocol):
    """What a layer has sent to the publisher about one SSRC."""

    def nack(self, ssrc: int, sequences: list[int]) -> None: ...
    def pli(self, ssrc: int, now: float) -> None: ...


class VideoLayer:
    """Whole frames go to `take(layer, frame)` from a keyframe on; what is lost is asked for.

    `name` is "" for the one layer of a publisher without simulcast. The depacketizer is that of the
    packets' payload type: a change begins a new one at a keyframe.
    """

    def __init__(
        self,
        name: str,
        codecs: Mapping[int, Codec],
        take: Callable[[VideoLayer, CodedFrame, Track], None],
        feedback: Feedback,
        clock: Callable[[], float],
    ) -> None:
        self.name = name
        self.line = f"video/{name}" if name else "video"  # its clock on the stream's timeline
        self.receiver = RtpReceiver(VIDEO_CLOCK_RATE, self._deliver, feedback.nack)
        self.track: Track | None = None
        self.rendition: Stream | None = None  # while it is not the stream itself
        self.arrived_at = float("-inf")  # the last packet with a payload
        self.arrived_bytes = 0
        self.bytes_per_s = 0.0
        self.malformed = 0  # payloads that are not what their payload type says
        self._codecs = codecs
        self._take = take
        self._feedback = feedback
        self._clock = clock
        self._payload_type = -1
        self._depacketizer: VideoDepacketizer | None = None
        self._need_keyframe = True
        self._keyframes = KeyframeRequests()

    @property
    def pixels(self) -> int:
        return self.track.width * self.track.height if self.track is not None else 0

    def request_keyframe(self) -> None:
        """Somebody downstream wants one."""
        self.ask_keyframe(own_loss=False)

    def ask_keyframe(self, *, own_loss: bool) -> None:
        ssrc, now = self.receiver.ssrc, self._clock()
        if ssrc and self._keyframes.ask(now, own_loss=own_loss):
            self._feedback.pli(ssrc, now)

    def every_second(self) -> None:
        """Ask again for a keyframe that has not come, and see what came in this second."""
        self.bytes_per_s = float(self.arrived_bytes)
        self.arrived_bytes = 0
        if self._need_keyframe:
            self.ask_keyframe(own_loss=True)

    def _deliver(self, packet: RtpPacket, gap: bool) -> None:
        if gap:  # whole pictures may be missing, which those that follow refer to
            self._need_keyframe = True
        if packet.payload_type != self._payload_type or self._depacketizer is None:
            self._begin(packet.payload_type)
        assert self._depacketizer is not None
        try:
            frames = self._depacketizer.feed(
                packet.payload, packet.marker, packet.timestamp, gap=gap
            )
        except ProtocolError:
            self.malformed += 1
            self._need_keyframe = True
            return
        for frame in frames:
            self._on_frame(frame)

    def _begin(self, payload_type: int) -> None:
        self._depacketizer = depacketizer(self._codecs[payload_type])
        self._payload_type = payload_type
        self._need_keyframe = True

    def _on_frame(self, frame: CodedFrame) -> None:
        usable = frame.track is not None if frame.keyframe else not self._need_keyframe
        if frame.damaged or not usable:
            self._need_keyframe = True
            self.ask_keyframe(own_loss=True)
            return
        if frame.keyframe:
            self.track = frame.track
            self._need_keyframe = False
            self._keyframes.came()
        if frame.payload and self.track is not None:
            self._take(self, frame, self.track)
