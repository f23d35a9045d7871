"""One rung's encoder: pictures in, packets out one for one, keyframes where they are asked for.

Whatever encodes, the stream is the same in kind: H.264 without B-frames, every keyframe an IDR picture
with closed group, none but those that were asked for, parameter sets in the Track alone.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, cast

import av
from av.codec.context import Flags
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType

from mediaserver.errors import ProtocolError
from mediaserver.media import VIDEO_CLOCK_RATE, Track
from mediaserver.protocol import h264
from mediaserver.transcode.ladder import Form

NEVER = 1 << 20  # frames: ten hours, between keyframes of the encoder's own
BUFFER_S = 1.0  # of the bitrate, by which a moment may exceed it
_THREAD_PIXELS = 1280 * 720  # what one thread encodes in time, with room, on any machine of today
_APART = frozenset({h264.NAL_SPS, h264.NAL_PPS, h264.NAL_AUD, h264.NAL_FILLER})


@dataclass(frozen=True, slots=True)
class Kind:
    """One of libavcodec's encoders and what it has to be told."""

    name: str
    pixel_format: str
    options: Mapping[str, str]


X264 = Kind(
    "libx264",
    "yuv420p",
    {"tune": "zerolatency", "profile": "main", "sc_threshold": "0", "forced-idr": "1"},
)
NVENC = Kind(
    "h264_nvenc",
    "yuv420p",
    {
        "preset": "p4",
        "tune": "ull",
        "profile": "main",
        "rc": "cbr",
        "delay": "0",
        "zerolatency": "1",
        "no-scenecut": "1",
        "forced-idr": "1",
    },
)
QSV = Kind(
    "h264_qsv",
    "nv12",
    {
        "preset": "veryfast",
        "profile": "main",
        "async_depth": "1",
        "look_ahead": "0",
        "adaptive_i": "0",
        "forced_idr": "1",
    },
)


@dataclass(frozen=True, slots=True)
class Encoded:
    """One access unit as `media.Packet` has it."""

    pts: int
    keyframe: bool
    payload: bytes


class PictureEncoder:
    """Raises av.FFmpegError or ProtocolError where this kind of encoder does not make this form."""

    def __init__(self, kind: Kind, form: Form, threads: int = 0) -> None:
        """`threads` 0: as many as the size wants."""
        self.kind = kind
        self.form = form
        self._threads = threads or _threads(form)
        self._bits_per_s = form.bits_per_s
        self._open()

    def encode(self, frame: av.VideoFrame, *, keyframe: bool) -> list[Encoded]:
        """What is complete with this frame, as a rule its own packet; its `pts` counts at 90 kHz."""
        frame.pict_type = PictureType.I if keyframe else PictureType.NONE
        frame.time_base = Fraction(1, VIDEO_CLOCK_RATE)
        return [_encoded(packet) for packet in self._context.encode(frame)]

    def set_bitrate(self, bits_per_s: int) -> None:
        """From the next frame on; beyond what the encoder was opened with, with a keyframe."""
        self._bits_per_s = bits_per_s
        if bits_per_s <= self._opened_with and self.kind is X264:
            self._context.bit_rate = bits_per_s
        else:
            self._open()

    def _open(self) -> None:
        self._opened_with = self._bits_per_s
        self._context = _context(self.kind, self.form, self._bits_per_s, self._threads)
        self.track = _track(self._context.extradata or b"")


def _context(kind: Kind, form: Form, bits_per_s: int, threads: int) -> VideoCodecContext:
    context = cast(VideoCodecContext, av.CodecContext.create(kind.name, "w"))
    context.width, context.height, context.pix_fmt = form.width, form.height, kind.pixel_format
    context.time_base = Fraction(1, VIDEO_CLOCK_RATE)
    context.framerate, context.sample_aspect_ratio = form.frame_rate, form.pixel
    context.bit_rate, context.gop_size, context.max_b_frames = bits_per_s, NEVER, 0
    context.color_primaries = form.colour.primaries
    context.color_trc = form.colour.transfer
    context.colorspace = form.colour.matrix
    context.color_range = 2 if form.colour.full_range else 1
    context.flags |= Flags.global_header | Flags.closed_gop
    context.thread_count = threads
    options = {"maxrate": str(bits_per_s), "bufsize": str(round(bits_per_s * BUFFER_S))}
    if kind is X264:
        options["preset"] = form.preset
    context.options = {**options, **kind.options}
    context.open()
    return context


def _track(extradata: bytes) -> Track:
    return h264.track_from_nals(h264.split_annex_b(extradata))


def _encoded(packet: av.Packet[Any]) -> Encoded:
    if packet.pts is None:
        raise ProtocolError("an encoder's packet without a timestamp")
    nals = h264.split_annex_b(bytes(packet))
    payload = h264.join_length_prefixed(nal for nal in nals if nal[0] & 0x1F not in _APART)
    return Encoded(packet.pts, packet.is_keyframe, payload)


def _threads(form: Form) -> int:
    pixels_per_s = form.width * form.height * float(form.frame_rate)
    return max(1, min(round(pixels_per_s / (_THREAD_PIXELS * 30)), os.cpu_count() or 1))
