"""H.264 between RTP and Packets: parameter sets live in the Track there, in the access units here.

What a Packet does not carry is taken out on the way in (parameter sets, delimiters, filler); on the
way out the parameter sets of the Track stand before each IDR picture, as a viewer may join there.
"""

from __future__ import annotations

from mediaserver.media import Packet, Track
from mediaserver.protocol import rtp_h264
from mediaserver.protocol.h264 import (
    NAL_AUD,
    NAL_FILLER,
    NAL_IDR,
    NAL_PPS,
    NAL_SLICE,
    NAL_SPS,
    AvcConfig,
    join_length_prefixed,
    split_length_prefixed,
    video_track,
)
from mediaserver.protocol.rtp_payload import CodedFrame, RtpPayload

_APART = frozenset({NAL_AUD, NAL_FILLER, NAL_SPS, NAL_PPS})


def packetize(packet: Packet, max_payload_bytes: int) -> list[RtpPayload]:
    """The RTP payloads of one access unit; raises ProtocolError."""
    nals: list[bytes | memoryview] = list(split_length_prefixed(memoryview(packet.payload)))
    if packet.keyframe:
        config = AvcConfig.parse(packet.track.config)
        nals = [*config.sps, *config.pps, *nals]
    return rtp_h264.packetize(nals, max_payload_bytes)


class FrameDepacketizer:
    """RTP payloads to coded frames, with the Track that their parameter sets make."""

    def __init__(self) -> None:
        self._units = rtp_h264.Depacketizer()
        self._sps: dict[bytes, None] = {}
        self._pps: dict[bytes, None] = {}
        self._track: Track | None = None

    def feed(
        self, payload: bytes, marker: bool, timestamp: int, *, gap: bool = False
    ) -> list[CodedFrame]:
        """As rtp_h264.Depacketizer.feed; ProtocolError also for parameter sets that don't parse."""
        units = self._units.feed(payload, marker, timestamp, gap=gap)
        return [self._frame(unit) for unit in units] if units else []

    def _frame(self, unit: rtp_h264.AccessUnit) -> CodedFrame:
        if len(unit.nals) == 1 and unit.nals[0][0] & 0x1F == NAL_SLICE:  # what nearly every one is
            payload = join_length_prefixed(unit.nals)
            return CodedFrame(unit.timestamp, payload, False, unit.damaged, None)
        types = [nal[0] & 0x1F for nal in unit.nals]
        if NAL_SPS in types or NAL_PPS in types:
            self._learn(unit.nals, types)
        keyframe = NAL_IDR in types
        nals = [nal for nal, kind in zip(unit.nals, types, strict=True) if kind not in _APART]
        track = self._track if keyframe else None
        return CodedFrame(unit.timestamp, join_length_prefixed(nals), keyframe, unit.damaged, track)

    def _learn(self, nals: list[bytes], types: list[int]) -> None:
        sps = dict.fromkeys(n for n, kind in zip(nals, types, strict=True) if kind == NAL_SPS)
        pps = dict.fromkeys(n for n, kind in zip(nals, types, strict=True) if kind == NAL_PPS)
        if (sps and sps != self._sps) or (pps and pps != self._pps):
            self._sps, self._pps = sps or self._sps, pps or self._pps
            self._track = None  # should these not parse, then those before are no longer right
            if self._sps and self._pps:
                self._track = video_track(tuple(self._sps), tuple(self._pps))
