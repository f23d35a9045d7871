"""What there is to know of a source before anything is made of it: one keyframe is decoded."""

from __future__ import annotations

from fractions import Fraction

import av

from mediaserver.errors import ProtocolError
from mediaserver.media import Packet
from mediaserver.protocol import h264
from mediaserver.transcode.decoder import PictureDecoder
from mediaserver.transcode.ladder import Colour, Source

USUAL_FRAME_RATE = Fraction(30)
MAX_FRAME_RATE = 120  # beyond it the bitstream speaks of something else, such as fields or ticks
WEBRTC_CODECS = frozenset({"h264", "vp8", "vp9", "av1"})  # that every common browser takes
WEBRTC_PIXELS = frozenset({"yuv420p", "yuvj420p"})
LONG_GOP_S = 4.0  # longer than a viewer should wait for the first picture


def look(keyframe: Packet) -> Source | None:
    """The source whose keyframe this is; None where no decoder makes a picture of it."""
    try:
        decoder = PictureDecoder(keyframe.track)
        pictures = decoder.decode(keyframe) or decoder.drain(keyframe)
        if not pictures:
            return None
        return _source(pictures[0].frame, _frame_rate(decoder, keyframe), decoder.pixel)
    except (av.FFmpegError, ProtocolError, ValueError):
        return None


class MendingJudge:
    """Whether WebRTC viewers need the source encoded anew, from its packets in decode order."""

    def __init__(self) -> None:
        self._last_pts: int | None = None
        self._first_keyframe_s: float | None = None
        self._last_keyframe_s = 0.0
        self.needed = False
        self.settled = False  # nothing speaks for it after a group of pictures, or long enough

    def began(self, source: Source, codec: str) -> None:
        """A track begins."""
        self._first_keyframe_s = self._last_pts = None
        self.settled = False
        self.needed = codec not in WEBRTC_CODECS or source.pixel_format not in WEBRTC_PIXELS

    def saw(self, packet: Packet) -> None:
        now_s = packet.dts / packet.track.clock_rate
        if self._last_pts is not None and packet.pts < self._last_pts:
            self.needed = True
        self._last_pts = packet.pts
        if self._first_keyframe_s is None:
            self._first_keyframe_s = self._last_keyframe_s = now_s
        elif packet.keyframe:
            self.settled = True
            self._last_keyframe_s = now_s
        elif now_s - self._last_keyframe_s > LONG_GOP_S:
            self.needed = self.settled = True


def _source(frame: av.VideoFrame, frame_rate: Fraction, pixel: Fraction) -> Source:
    rotation = round(frame.rotation) % 360
    rotation = rotation if rotation in (90, 180, 270) else 0
    width, height = frame.width, frame.height
    if rotation in (90, 270):
        width, height, pixel = height, width, 1 / pixel
    full_range = frame.color_range == 2
    colour = Colour(frame.color_primaries, frame.color_trc, frame.colorspace, full_range)
    name = frame.format.name
    return Source(width, height, frame_rate, pixel, rotation, colour, name)


def _frame_rate(decoder: PictureDecoder, keyframe: Packet) -> Fraction:
    found = decoder.frame_rate
    if keyframe.track.codec == "h264":
        sps = h264.AvcConfig.parse(keyframe.track.config).sps[0]
        told = h264.parse_sps(sps).frame_rate
        found = Fraction(told).limit_denominator(1001) if told else None
    return found if found and 1 <= found <= MAX_FRAME_RATE else USUAL_FRAME_RATE
