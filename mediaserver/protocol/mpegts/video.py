"""H.264 and H.265 in PES packets: an access unit each, as a byte stream (ISO/IEC 13818-1 §2.14, §2.17).

After a loss nothing is handed on until the next keyframe: what refers to a picture that is missing
would be shown as smear.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mediaserver.errors import ProtocolError
from mediaserver.media import Track
from mediaserver.protocol import h264, h265
from mediaserver.protocol.mpegts.frame import Frame
from mediaserver.protocol.mpegts.pes import Pes

_HALF, _WHOLE = 1 << 32, 1 << 33  # of the 33 bits of a time stamp


@dataclass(frozen=True, slots=True)
class VideoCodec:
    """`sets`: the kinds of parameter sets, in the order in which `track` takes them."""

    nal_type: Callable[[h264.Nal], int]
    sets: tuple[int, ...]
    apart: frozenset[int]
    begins: Callable[[int], bool]
    track: Callable[..., Track]


H264 = VideoCodec(
    h264.nal_type,
    (h264.NAL_SPS, h264.NAL_PPS),
    frozenset({h264.NAL_SPS, h264.NAL_PPS, h264.NAL_AUD, h264.NAL_FILLER}),
    lambda kind: kind == h264.NAL_IDR,
    h264.video_track,
)
H265 = VideoCodec(
    h265.nal_type,
    (h265.NAL_VPS, h265.NAL_SPS, h265.NAL_PPS),
    frozenset({h265.NAL_VPS, h265.NAL_SPS, h265.NAL_PPS, h265.NAL_AUD, h265.NAL_FILLER}),
    h265.is_irap,
    h265.video_track,
)


class Pictures:
    """Access units to frames; those before the first keyframe with its parameter sets are dropped."""

    def __init__(self, codec: VideoCodec) -> None:
        self._codec = codec
        self._sets: dict[int, tuple[bytes, ...]] = {}
        self._track: Track | None = None
        self._waiting = True

    def lose(self) -> None:
        self._waiting = True

    def feed(self, pes: Pes) -> list[Frame]:
        if pes.pts is None or pes.dts is None:
            raise ProtocolError("a picture without its time")
        codec = self._codec
        nals = h264.split_annex_b(pes.payload)
        kinds = [codec.nal_type(nal) for nal in nals]
        if not codec.apart.isdisjoint(kinds):
            self._learn(nals, kinds)
            nals = [nal for nal, kind in zip(nals, kinds, strict=True) if kind not in codec.apart]
        keyframe = any(map(codec.begins, kinds))
        self._waiting = self._waiting and not keyframe
        if self._waiting or self._track is None or not nals:
            return []
        composition = (pes.pts - pes.dts + _HALF) % _WHOLE - _HALF
        payload = h264.join_length_prefixed(nals)
        return [Frame(self._track, pes.dts, composition, keyframe, payload)]

    def _learn(self, nals: list[bytes], kinds: list[int]) -> None:
        pairs = list(zip(nals, kinds, strict=True))
        sets = dict(self._sets)
        for each in self._codec.sets:
            found = dict.fromkeys(nal for nal, kind in pairs if kind == each)
            if found:
                sets[each] = tuple(found)
        if sets == self._sets:
            return
        self._sets, self._track = (
            sets,
            None,
        )  # should they not parse, those before are no longer right
        if len(sets) == len(self._codec.sets):
            self._track = self._codec.track(*(sets[kind] for kind in self._codec.sets))
