"""Frames of real encoders as Packets: 30 pictures of noise, a keyframe every ten."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext

from mediaserver.media import Codec, Packet, Track
from mediaserver.protocol import av1, h264, h265, vp8, vp9

SIZE = (320, 178)  # of which no codec's blocks are a divisor
GOP = 10
TICKS = 3000
EPOCH_MS = 1_790_000_000_000  # UTC of media time 0
ENCODERS: dict[Codec, tuple[str, dict[str, str]]] = {
    "h264": ("libx264", {"preset": "ultrafast", "tune": "zerolatency", "threads": "1"}),
    "h265": (
        "libx265",
        {"preset": "ultrafast", "tune": "zerolatency", "x265-params": "log-level=none:pools=1"},
    ),
    "vp8": ("libvpx", {"deadline": "realtime", "cpu-used": "8"}),
    "vp9": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}),
    "av1": ("libsvtav1", {"preset": "12", "svtav1-params": "pred-struct=1:rc=2:lp=1"}),
}


@cache
def raw(codec: Codec, frames: int = 30, size: tuple[int, int] = SIZE) -> list[tuple[bytes, bool]]:
    """What the encoder puts out, with whether it is a keyframe."""
    name, options = ENCODERS[codec]
    context = av.CodecContext.create(name, "w")
    assert isinstance(context, VideoCodecContext)
    context.width, context.height, context.pix_fmt = *size, "yuv420p"
    context.time_base, context.framerate = Fraction(1, 30), Fraction(30)
    context.bit_rate, context.gop_size, context.options = 400_000, GOP, options
    chance = np.random.default_rng(7)
    found = []
    for number in range(frames):
        noise = chance.integers(0, 255, (size[1] * 3 // 2, size[0]), dtype=np.uint8)
        frame = av.VideoFrame.from_ndarray(noise, format="yuv420p")
        frame.pts = number
        found += [(bytes(each), each.is_keyframe) for each in context.encode(frame)]
    found += [(bytes(each), each.is_keyframe) for each in context.encode(None)]
    del context
    _leave_real_time()
    return found


def _leave_real_time() -> None:
    """SVT-AV1 gives its caller, where that is root, real-time priority: nothing else would run."""
    if sys.platform == "linux":
        for thread in Path("/proc/self/task").iterdir():
            with suppress(ProcessLookupError):
                os.sched_setscheduler(int(thread.name), os.SCHED_OTHER, os.sched_param(0))


@cache
def packets(codec: Codec, frames: int = 30, size: tuple[int, int] = SIZE) -> list[Packet]:
    """The same as Packets of one Track."""
    coded = raw(codec, frames, size)
    track = _track(codec, coded[0][0])
    return [
        Packet(
            track, n * TICKS, n * TICKS, EPOCH_MS + n * 1000 // 30, keyframe, _payload(codec, data)
        )
        for n, (data, keyframe) in enumerate(coded)
    ]


def with_config(track: Track, config: bytes) -> Track:
    return replace(track, config=config)


def _track(codec: Codec, first: bytes) -> Track:
    if codec == "vp8":
        return vp8.video_track(first)
    if codec == "vp9":
        keyframe = vp9.parse_keyframe(first)
        assert keyframe is not None
        return vp9.video_track(keyframe)
    if codec == "av1":
        obus = av1.split_temporal_unit(first)
        return av1.video_track(next(o for o in obus if av1.obu_type(o) == av1.OBU_SEQUENCE_HEADER))
    nals = h264.split_annex_b(first)
    if codec == "h265":
        kinds = (h265.NAL_VPS, h265.NAL_SPS, h265.NAL_PPS)
        return h265.video_track(*([n for n in nals if h265.nal_type(n) == k] for k in kinds))
    avc_kinds = (h264.NAL_SPS, h264.NAL_PPS)
    return h264.video_track(*(tuple(n for n in nals if h264.nal_type(n) == k) for k in avc_kinds))


def _payload(codec: Codec, data: bytes) -> bytes:
    if codec == "av1":
        obus = av1.split_temporal_unit(data)
        return b"".join(o for o in obus if av1.obu_type(o) != av1.OBU_TEMPORAL_DELIMITER)
    if codec in ("vp8", "vp9"):
        return data
    nals = h264.split_annex_b(data)
    if codec == "h265":
        apart = (h265.NAL_VPS, h265.NAL_SPS, h265.NAL_PPS, h265.NAL_AUD)
        return h264.join_length_prefixed(n for n in nals if h265.nal_type(n) not in apart)
    avc_apart = (h264.NAL_SPS, h264.NAL_PPS, h264.NAL_AUD)
    return h264.join_length_prefixed(n for n in nals if h264.nal_type(n) not in avc_apart)
