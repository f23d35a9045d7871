"""Which encoder this machine has: the graphics card's where it works, else x264.

That a library lists an encoder says nothing of the machine, so a few pictures are encoded: one packet
for each at once, keyframes at those that were asked for and nowhere else.
"""

from __future__ import annotations

from fractions import Fraction

import av

from mediaserver.errors import ProtocolError
from mediaserver.media import VIDEO_CLOCK_RATE
from mediaserver.transcode.encoder import NVENC, QSV, X264, Kind, PictureEncoder
from mediaserver.transcode.ladder import Form

HARDWARE = (NVENC, QSV)
_PICTURES = 8
_KEYFRAMES = {0, 5}
_FORM = Form("probe", 640, 360, 1_000_000, Fraction(30))


def choose(kinds: tuple[Kind, ...] = HARDWARE) -> Kind:
    """The first of these that works here, else x264; takes some ms, more where there is a card."""
    return next((kind for kind in kinds if works(kind)), X264)


def works(kind: Kind) -> bool:
    """Whether this machine encodes with it as the ladder needs it."""
    try:
        encoder = PictureEncoder(kind, _FORM)
        return all(_one_for_one(encoder, kind, number) for number in range(_PICTURES))
    except (av.FFmpegError, ProtocolError, ValueError):
        return False


def _one_for_one(encoder: PictureEncoder, kind: Kind, number: int) -> bool:
    frame = av.VideoFrame(_FORM.width, _FORM.height, kind.pixel_format)
    for plane in frame.planes:
        plane.update(bytes([16 * number + 64]) * plane.buffer_size)
    frame.pts = number * VIDEO_CLOCK_RATE // 30
    wanted = number in _KEYFRAMES
    return [(each.pts, each.keyframe) for each in encoder.encode(frame, keyframe=wanted)] == [
        (frame.pts, wanted)
    ]


def open_encoder(kind: Kind, form: Form, threads: int) -> PictureEncoder:
    """An encoder of this kind, or x264 where the card takes no more; raises as PictureEncoder does."""
    if kind is not X264:
        try:
            return PictureEncoder(kind, form, threads)
        except (av.FFmpegError, ProtocolError):
            pass  # cards have a limit on how many they run
    return PictureEncoder(X264, form, threads)
