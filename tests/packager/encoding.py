"""Packets of a real encode (x264 and FFmpeg's AAC), as the hub would hand them on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.video.codeccontext import VideoCodecContext

from mediaserver.media import AAC_FRAME_SAMPLES, VIDEO_CLOCK_RATE, Packet, Track
from mediaserver.protocol.aac import audio_track
from mediaserver.protocol.h264 import (
    NAL_AUD,
    NAL_PPS,
    NAL_SPS,
    join_length_prefixed,
    nal_type,
    split_annex_b,
    video_track,
)

EPOCH_MS = 1_790_000_000_000  # UTC of media time 0
SIZE = (160, 96)


@dataclass(frozen=True)
class Encode:
    """What to encode; media time 0 is the first frame's decode time.

    A keyframe every `gop` frames, and at the frames that `keyframes` numbers; `start_s` shifts all.
    """

    seconds: float
    fps: int = 30
    gop: int = 30
    keyframes: frozenset[int] = frozenset()
    b_frames: int = 0
    size: tuple[int, int] = SIZE
    video: bool = True
    audio: bool = True
    sample_rate: int = 48_000
    layout: str = "stereo"
    start_s: float = 0.0


def encode(what: Encode) -> list[Packet]:
    """Packets of both tracks in order of decode time."""
    video = list(_video(what)) if what.video else []
    audio = list(_audio(what)) if what.audio else []
    return sorted(video + audio, key=lambda packet: packet.dts / packet.track.clock_rate)


def at(track: Track, dts: int, pts: int, payload: bytes, *, keyframe: bool) -> Packet:
    wallclock_ms = int(EPOCH_MS + pts * 1000 / track.clock_rate)
    return Packet(track, pts, dts, wallclock_ms, keyframe, payload)


def _video(what: Encode) -> Iterator[Packet]:
    context = av.CodecContext.create("libx264", "w")
    assert isinstance(context, VideoCodecContext)
    context.width, context.height = what.size
    context.pix_fmt, context.framerate = "yuv420p", what.fps
    context.options = {
        "preset": "ultrafast",
        "bf": str(what.b_frames),
        "g": str(what.gop),
        "sc_threshold": "0",
        "forced-idr": "1",
    }
    context.flags |= av.codec.context.Flags.global_header
    context.open()
    sets = split_annex_b(context.extradata or b"")
    track = video_track(
        tuple(nal for nal in sets if nal_type(nal) == NAL_SPS),
        tuple(nal for nal in sets if nal_type(nal) == NAL_PPS),
    )
    first_dts: int | None = None
    ticks = VIDEO_CLOCK_RATE // what.fps
    frames = (_picture(what, number) for number in range(round(what.seconds * what.fps)))
    for source in (*frames, None):
        for packet in context.encode(source):
            assert packet.pts is not None and packet.dts is not None
            first_dts = packet.dts if first_dts is None else first_dts
            dts = (packet.dts - first_dts) * ticks + round(what.start_s * VIDEO_CLOCK_RATE)
            nals = split_annex_b(bytes(packet))
            kept = [nal for nal in nals if nal_type(nal) not in (NAL_SPS, NAL_PPS, NAL_AUD)]
            pts = dts + (packet.pts - packet.dts) * ticks
            yield at(track, dts, pts, join_length_prefixed(kept), keyframe=packet.is_keyframe)


def _picture(what: Encode, number: int) -> av.VideoFrame:
    """A frame that shows its number by its brightness and by a moving bar."""
    width, height = what.size
    picture = np.full((height * 3 // 2, width), 128, np.uint8)
    picture[:height] = 16 + number % 200
    picture[:height, number % width] = 235
    frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
    frame.pts = number
    if number in what.keyframes:
        frame.pict_type = av.video.frame.PictureType.I
    return frame


def _audio(what: Encode) -> Iterator[Packet]:
    context = av.CodecContext.create("aac", "w")
    assert isinstance(context, AudioCodecContext)
    context.sample_rate, context.layout, context.format = what.sample_rate, what.layout, "fltp"
    context.flags |= av.codec.context.Flags.global_header
    context.open()
    assert context.extradata is not None
    track = audio_track(bytes(context.extradata))
    shift = round(what.start_s * what.sample_rate)
    for number in range(math.ceil(what.seconds * what.sample_rate / AAC_FRAME_SAMPLES)):
        first = number * AAC_FRAME_SAMPLES
        now_s = np.arange(first, first + AAC_FRAME_SAMPLES) / what.sample_rate
        tone = 0.2 * np.sin(2 * np.pi * (440 + 10 * now_s) * now_s)  # rising: no two frames alike
        samples = np.tile(tone.astype(np.float32), (track.channels, 1))
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=what.layout)
        frame.sample_rate, frame.pts = what.sample_rate, first
        for packet in context.encode(frame):
            assert packet.pts is not None
            yield at(track, packet.pts + shift, packet.pts + shift, bytes(packet), keyframe=True)
