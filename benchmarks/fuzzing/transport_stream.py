"""MPEG-TS, as FFmpeg's muxer writes it, and its parts."""

from __future__ import annotations

import io
from fractions import Fraction
from typing import Literal

import av
import numpy as np

from benchmarks.fuzzing import bitstreams
from benchmarks.fuzzing.parser import Parser
from mediaserver.protocol.mpegts import Demuxer
from mediaserver.protocol.mpegts.adts import AdtsFrames
from mediaserver.protocol.mpegts.pes import Pes
from mediaserver.protocol.mpegts.pes import parse as parse_pes

SIZE = 64
PICTURES = 2
PIECE_BYTES = 700
_ADTS = b"\xff\xf1\x4c\x80" + (((7 + len(bitstreams.AAC_FRAME)) << 13) | 0x1FFC).to_bytes(3, "big")


def _film(video: Literal["libx264", "libx265"], sound: Literal["aac", "libopus"]) -> bytes:
    """A few pictures, and sound for as long."""
    file = io.BytesIO()
    with av.open(file, "w", format="mpegts") as container:
        pictures = container.add_stream(video, rate=25)
        pictures.width, pictures.height, pictures.pix_fmt = SIZE, SIZE, "yuv420p"
        pictures.options = {"preset": "ultrafast", "tune": "zerolatency"}
        if video == "libx265":
            pictures.options |= {"x265-params": "log-level=none:pools=1:info=0"}
        tones = container.add_stream(sound, rate=48_000, layout="stereo")
        for number in range(PICTURES):
            plain = np.full((SIZE * 3 // 2, SIZE), 40 * number, np.uint8)
            picture = av.VideoFrame.from_ndarray(plain, format="yuv420p")
            picture.pts, picture.time_base = number, Fraction(1, 25)
            container.mux(pictures.encode(picture))
            samples = np.zeros((1, 2 * 1920), np.int16)
            tone = av.AudioFrame.from_ndarray(samples, format="s16", layout="stereo")
            tone.sample_rate, tone.pts = 48_000, number * 1920
            container.mux(tones.encode(tone))
        container.mux(pictures.encode(None))
        container.mux(tones.encode(None))
    return file.getvalue()


def _demux(data: bytes) -> object:
    demuxer = Demuxer()
    return demuxer.feed(data[:PIECE_BYTES]) + demuxer.feed(data[PIECE_BYTES:])


PARSERS = (
    Parser("mpegts", (_film("libx264", "aac"), _film("libx265", "libopus")), _demux),
    Parser(
        "adts",
        ((_ADTS + bitstreams.AAC_FRAME) * 3,),
        lambda data: AdtsFrames().feed(Pes(0, 0, data)),
    ),
    Parser(
        "pes",
        (b"\0\0\1\xe0\0\0\x80\xc0\x0a\x31\0\1\0\1\x11\0\1\0\1payload",),
        parse_pes,
    ),
)
