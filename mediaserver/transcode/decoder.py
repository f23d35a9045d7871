"""One video track to pictures: damage is counted, and the decoder starts clean at the next keyframe.

One thread, or slices: threads that each take a frame would hold as many frames back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, cast

import av
from av.codec.context import Flags
from av.video.codeccontext import VideoCodecContext

from mediaserver.media import Codec, Packet, Track

DECODERS: Mapping[Codec, str] = {
    "h264": "h264",
    "h265": "hevc",
    "vp8": "vp8",
    "vp9": "vp9",
    "av1": "libdav1d",
}
MAX_WAITING = 64  # frames in a decoder: four times what reordering can hold back


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded frame with what its packet said of it; `keyframe`: decoding can begin here."""

    frame: av.VideoFrame
    pts: int
    wallclock_ms: int
    keyframe: bool


class PictureDecoder:
    """Raises ValueError for a codec that is not decoded, av.FFmpegError for a bad configuration."""

    def __init__(self, track: Track, threads: int = 1) -> None:
        if track.codec not in DECODERS:
            raise ValueError(f"{track.codec} is not decoded")
        self.corrupt = 0  # packets that were refused or damaged
        self._time_base = Fraction(1, track.clock_rate)
        self._context = _context(track, threads)
        self._began = False
        self._damaged = False
        self._wallclocks: dict[int, int] = {}  # by pts, of what is in the decoder

    @property
    def frame_rate(self) -> Fraction | None:
        """Frames per second as the bitstream says, or None; known after the first frame."""
        return self._context.framerate or None

    @property
    def pixel(self) -> Fraction:
        """Width to height of one pixel; known after the first frame."""
        return self._context.sample_aspect_ratio or Fraction(1)

    def decode(self, packet: Packet) -> list[Picture]:
        """The pictures that are complete with this packet, in the order in which they are shown."""
        if packet.keyframe:
            self._begin()
        if not self._began:
            return []
        if not packet.payload:  # libavcodec would take it for the end
            self.corrupt += 1
            return []
        coded: av.Packet[Any] = av.Packet(packet.payload)
        coded.pts, coded.dts, coded.time_base = packet.pts, packet.dts, self._time_base
        if len(self._wallclocks) >= MAX_WAITING:
            self._wallclocks.clear()
        self._wallclocks[packet.pts] = packet.wallclock_ms
        return self._pictures(coded, packet)

    def drain(self, packet: Packet) -> list[Picture]:
        """What the decoder still holds after `packet`, its last."""
        return self._pictures(None, packet)

    def _begin(self) -> None:
        if self._damaged:
            self._context.flush_buffers()
            self._wallclocks.clear()
        self._began, self._damaged = True, False

    def _pictures(self, coded: av.Packet[Any] | None, packet: Packet) -> list[Picture]:
        try:
            frames = self._context.decode(coded)
        except av.FFmpegError:
            self.corrupt += 1
            self._damaged = True
            return []
        if any(frame.is_corrupt for frame in frames):
            self.corrupt += 1
            self._damaged = True
        return [self._picture(frame, packet) for frame in frames]

    def _picture(self, frame: av.VideoFrame, packet: Packet) -> Picture:
        pts = packet.pts if frame.pts is None else frame.pts
        wallclock_ms = self._wallclocks.pop(pts, None)
        if wallclock_ms is None:
            wallclock_ms = packet.wallclock_ms + round((pts - packet.pts) * 1000 * self._time_base)
        return Picture(frame, pts, wallclock_ms, frame.key_frame)


def _context(track: Track, threads: int) -> VideoCodecContext:
    context = cast(VideoCodecContext, av.CodecContext.create(DECODERS[track.codec], "r"))
    if track.codec in ("h264", "h265", "av1"):
        context.extradata = track.config
    context.thread_type = "SLICE"
    context.thread_count = threads
    if track.codec == "av1":
        context.flags |= Flags.low_delay  # dav1d would hold frames back
    context.open()
    return context
