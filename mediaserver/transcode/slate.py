"""The slate's pictures: `python -m mediaserver.transcode.slate CODEC WIDTH HEIGHT [PICTURE]`.

A still picture becomes one group of pictures that can be shown over and over: a keyframe and some that
say "the same again", in the codec and the size of the publisher it stands in for, so that players go
on with it. Made once per codec and size, in a process of its own, which prints by msgpack the Track's
fields, frames/s, and the payloads of Packets, the keyframe first.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import astuple
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import msgpack
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType

from mediaserver import child
from mediaserver.errors import ProtocolError
from mediaserver.media import Codec, Track
from mediaserver.protocol import h264, h265, vp8, vp9

PICTURE = Path(__file__).with_name("slate.jpg")
FPS = 5
GOP_FRAMES = 10  # a joiner waits two seconds at most
NICENESS = 10
MAX_SIDE = 4096
_BT709, _LIMITED = 1, 1  # as libavutil numbers them
# AV1 is left out: of its encoders only SVT-AV1 comes with PyAV, and takes real-time priority.
_VPX = {"deadline": "good", "cpu-used": "4", "lag-in-frames": "0", "b": "1M"}
ENCODERS: dict[Codec, tuple[str, dict[str, str]]] = {
    "h264": (
        "libx264",
        {"preset": "medium", "tune": "zerolatency", "profile": "baseline", "crf": "20"},
    ),
    "h265": (
        "libx265",
        {
            "preset": "fast",
            "tune": "zerolatency",
            "crf": "22",
            "x265-params": "log-level=none:pools=1",
        },
    ),
    "vp8": ("libvpx", _VPX),
    "vp9": ("libvpx-vp9", _VPX),
}


def encode(
    codec: Codec, width: int, height: int, picture: Path = PICTURE
) -> tuple[Track, list[bytes]]:
    """The group of pictures at FPS; raises av.FFmpegError, OSError or ValueError."""
    frame = _fitted(_read(picture), width & ~1, height & ~1)
    context = _encoder(codec, frame.width, frame.height)
    coded: list[bytes] = []
    for number in range(GOP_FRAMES):
        frame.pts = number
        frame.pict_type = PictureType.NONE  # that of a JPEG would make each a keyframe
        coded += [bytes(packet) for packet in context.encode(frame)]
    coded += [bytes(packet) for packet in context.encode(None)]
    return _track(codec, coded[0]), [_payload(codec, data) for data in coded]


def _read(picture: Path) -> av.VideoFrame:
    with av.open(str(picture)) as container:
        for frame in container.decode(video=0):
            return frame
    raise ValueError(f"{picture} holds no picture")


def _fitted(frame: av.VideoFrame, width: int, height: int) -> av.VideoFrame:
    """The whole picture, as large as it fits, on black."""
    graph = av.filter.Graph()
    nodes = [
        graph.add_buffer(
            width=frame.width,
            height=frame.height,
            format=frame.format,
            time_base=Fraction(1, FPS),
        ),
        graph.add("scale", f"{width}:{height}:force_original_aspect_ratio=decrease:out_range=tv"),
        graph.add("pad", f"{width}:{height}:(ow-iw)/2:(oh-ih)/2"),
        graph.add("format", "pix_fmts=yuv420p"),
        graph.add("buffersink"),
    ]
    graph.link_nodes(*nodes).configure()
    graph.push(frame)
    return cast(av.VideoFrame, graph.pull())


def _encoder(codec: Codec, width: int, height: int) -> VideoCodecContext:
    if codec not in ENCODERS:
        raise ValueError(f"no slate is made in {codec}")
    name, options = ENCODERS[codec]
    context = cast(VideoCodecContext, av.CodecContext.create(name, "w"))
    context.width, context.height, context.pix_fmt = width, height, "yuv420p"
    context.time_base, context.framerate = Fraction(1, FPS), Fraction(FPS)
    context.colorspace = context.color_primaries = context.color_trc = _BT709
    context.color_range = _LIMITED
    context.gop_size, context.thread_count = GOP_FRAMES, 1
    context.options = dict(options)
    return context


def _track(codec: Codec, first: bytes) -> Track:
    if codec == "vp8":
        return vp8.video_track(first)
    if codec == "vp9":
        keyframe = vp9.parse_keyframe(first)
        if keyframe is None:
            raise ProtocolError("a slate that does not begin with a keyframe")
        return vp9.video_track(keyframe)
    nals = h264.split_annex_b(first)
    return h265.track_from_nals(nals) if codec == "h265" else h264.track_from_nals(nals)


def _payload(codec: Codec, data: bytes) -> bytes:
    if codec in ("vp8", "vp9"):
        return data
    if codec == "h265":
        kept = (n for n in h264.split_annex_b(data) if h265.nal_type(n) < h265.NAL_VPS)
    else:
        kept = (n for n in h264.split_annex_b(data) if 1 <= h264.nal_type(n) <= h264.NAL_IDR)
    return h264.join_length_prefixed(kept)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m mediaserver.transcode.slate")
    parser.add_argument("codec", choices=sorted(ENCODERS))
    parser.add_argument("width", type=int)
    parser.add_argument("height", type=int)
    parser.add_argument("picture", type=Path, nargs="?", default=PICTURE)
    given = parser.parse_args()
    child.begin(NICENESS)
    if not (0 < given.width <= MAX_SIDE and 0 < given.height <= MAX_SIDE):
        parser.error(f"sides of 1 to {MAX_SIDE}")
    track, payloads = encode(given.codec, given.width, given.height, given.picture)
    sys.stdout.buffer.write(msgpack.packb((astuple(track), FPS, payloads)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
