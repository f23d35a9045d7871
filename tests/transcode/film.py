"""A film whose frames can be told apart: each has one brightness, which its number gives."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import av
import numpy as np

from mediaserver.media import Packet, Track
from mediaserver.protocol import h264

SIZE = (320, 180)
TICKS = 3000  # of a frame: 30 a second
EPOCH_MS = 1_790_000_000_000
_APART = (h264.NAL_SPS, h264.NAL_PPS, h264.NAL_AUD)


def brightness(number: int) -> int:
    """Of a frame, 60 to 200; neighbours are 20 apart."""
    return 60 + number * 20 % 140


def film(
    frames: int,
    *,
    size: tuple[int, int] = SIZE,
    gop: int = 30,
    b_frames: int = 0,
    pixel: Fraction = Fraction(1),
    first: int = 0,
) -> list[Packet]:
    """H.264 Packets of so many frames from number `first` on, in decode order, the first at 0."""
    context = av.CodecContext.create("libx264", "w")
    context.width, context.height, context.pix_fmt = *size, "yuv420p"
    context.time_base, context.framerate = Fraction(1, 90_000), Fraction(30)
    context.sample_aspect_ratio = pixel
    context.bit_rate, context.gop_size, context.max_b_frames = 500_000, gop, b_frames
    context.options = {"preset": "ultrafast", "sc_threshold": "0", "b_strategy": "0"}
    context.options |= {"tune": "zerolatency"} if not b_frames else {}
    coded = [each for n in range(frames) for each in context.encode(_frame(first + n, size))]
    coded += context.encode(None)
    sets = h264.split_annex_b(bytes(coded[0]))
    kinds = (h264.NAL_SPS, h264.NAL_PPS)
    track = h264.video_track(*(tuple(n for n in sets if h264.nal_type(n) == k) for k in kinds))
    assert coded[0].dts is not None
    return [_packet(track, each, -coded[0].dts) for each in coded]


def show(packets: Iterable[Packet], track: Track | None = None) -> list[tuple[int, int]]:
    """What a player that gets these packets shows: pts and number of each frame, in order."""
    packets = list(packets)
    decoder = av.CodecContext.create("h264", "r")
    decoder.extradata = (track or packets[0].track).config
    shown: list[tuple[int, int]] = []
    for packet in packets:
        coded: av.Packet[Any] = av.Packet(packet.payload)
        coded.pts, coded.dts = packet.pts, packet.dts
        shown += [_seen(frame) for frame in decoder.decode(coded)]
    return shown + [_seen(frame) for frame in decoder.decode(None)]


def _frame(number: int, size: tuple[int, int]) -> av.VideoFrame:
    planes = np.full((size[1] * 3 // 2, size[0]), 128, np.uint8)
    planes[: size[1]] = brightness(number)
    frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
    frame.pts = number * TICKS
    return frame


def _packet(track: Track, coded: av.Packet[Any], later: int) -> Packet:
    assert coded.pts is not None and coded.dts is not None
    pts, dts = coded.pts + later, coded.dts + later
    nals = [n for n in h264.split_annex_b(bytes(coded)) if h264.nal_type(n) not in _APART]
    payload = h264.join_length_prefixed(nals)
    wallclock_ms = EPOCH_MS + pts // 90
    return Packet(track, pts, dts, wallclock_ms, coded.is_keyframe, payload)


def _seen(frame: av.VideoFrame) -> tuple[int, int]:
    assert frame.pts is not None
    luma = frame.to_ndarray(format="gray")
    return frame.pts, round((float(luma.mean()) - 60) / 20)
