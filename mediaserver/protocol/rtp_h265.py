"""H.265 in RTP (RFC 7798), one stream in decoding order (no DONL): access units to payloads, and back.

Parameter sets live in the Track and in the access units of RTP, as rtp_h264_frames says. Slices are cut
to equal sizes as rtp_h264 does it.
"""

from __future__ import annotations

from collections.abc import Sequence

from mediaserver.errors import ProtocolError
from mediaserver.media import Packet, Track
from mediaserver.protocol import h265
from mediaserver.protocol.h264 import MAX_NALS, join_length_prefixed, split_length_prefixed
from mediaserver.protocol.h265 import NAL_HEADER_BYTES, NAL_LAST_VCL, Nal
from mediaserver.protocol.rtp_payload import (
    MAX_FRAME_BYTES,
    CodedFrame,
    RtpPayload,
    cut,
    even_size,
    pad,
)
from mediaserver.protocol.rtp_pictures import PictureDepacketizer

_LAST_SINGLE = 47  # types above are RTP's own (§4.4)
_AGGREGATION, _FRAGMENTATION, _PACI = 48, 49, 50
_FU_HEADER_BYTES = 3
_FU_START, _FU_END = 0x80, 0x40
_PARAMETER_SETS = (h265.NAL_VPS, h265.NAL_SPS, h265.NAL_PPS)
_APART = frozenset({*_PARAMETER_SETS, h265.NAL_AUD, h265.NAL_FILLER})
_AHEAD_OF_SLICES = frozenset({*_PARAMETER_SETS, h265.NAL_AUD, h265.NAL_PREFIX_SEI})


def packetize(packet: Packet, max_payload_bytes: int) -> list[RtpPayload]:
    """The RTP payloads of one access unit; raises ProtocolError."""
    nals = [nal for nal in split_length_prefixed(packet.payload) if _sendable(nal)]
    sets: tuple[Nal, ...] = ()
    if packet.keyframe:
        config = h265.HevcConfig.parse(packet.track.config)
        sets = config.vps + config.sps + config.pps
    slices = [nal for nal in nals if h265.nal_type(nal) <= NAL_LAST_VCL]
    target = max((_even(len(nal), max_payload_bytes) for nal in slices), default=0)
    packets = _aggregate(sets, max_payload_bytes)
    for nal in nals:
        size = target if h265.nal_type(nal) <= NAL_LAST_VCL else 0
        packets += _fragments(nal, size, max_payload_bytes)
    if not packets:
        return []
    last, padded = packets.pop()
    payloads = [RtpPayload(payload, padding, False) for payload, padding in packets]
    # Nothing follows it in the run, so it needs no padding.
    return [*payloads, RtpPayload(last[: -last[-1]] if padded else last, False, True)]


def _sendable(nal: Nal) -> bool:
    return len(nal) > NAL_HEADER_BYTES and h265.nal_type(nal) <= _LAST_SINGLE


def _even(size: int, most: int) -> int:
    if size <= most:
        return size
    return _FU_HEADER_BYTES + even_size(size - NAL_HEADER_BYTES, most - _FU_HEADER_BYTES)


def _aggregate(sets: Sequence[Nal], most: int) -> list[tuple[bytes, bool]]:
    """Parameter sets in one aggregation packet (§4.4.2) where they fit."""
    size = NAL_HEADER_BYTES + sum(2 + len(nal) for nal in sets)
    if len(sets) < 2 or size > most:
        return [packet for nal in sets for packet in _fragments(nal, 0, most)]
    layer = min(((nal[0] & 1) << 8 | nal[1]) >> 3 for nal in sets)
    tid = min(nal[1] & 7 for nal in sets)
    header = max(nal[0] & 0x80 for nal in sets) << 8 | _AGGREGATION << 9 | layer << 3 | tid
    parts: list[Nal] = [header.to_bytes(2, "big")]
    for nal in sets:
        parts += (len(nal).to_bytes(2, "big"), nal)
    return [(b"".join(parts), False)]


def _fragments(nal: Nal, target: int, most: int) -> list[tuple[bytes, bool]]:
    """One NAL unit as payloads of `target` bytes, or of its own even size where `target` is 0."""
    if len(nal) <= most:
        return [pad(bytes(nal), target)]
    header = bytes((nal[0] & 0x81 | _FRAGMENTATION << 1, nal[1]))
    kind, body = h265.nal_type(nal), memoryview(nal)[NAL_HEADER_BYTES:]
    sizes, padded = cut(len(body), (target or _even(len(nal), most)) - _FU_HEADER_BYTES)
    packets = []
    start, flag = 0, _FU_START
    for step in sizes:
        end = start + step
        flag |= _FU_END if end == len(body) else 0
        fragment = b"".join((header, bytes((flag | kind,)), body[start:end]))
        packets.append(pad(fragment, target if padded else 0))
        start, flag = end, 0
    return packets


def depacketizer() -> PictureDepacketizer:
    return PictureDepacketizer(_AccessUnit())


class _AccessUnit:
    """The NAL units of the open access unit, and the parameter sets so far."""

    def __init__(self) -> None:
        self._nals: list[bytes] = []
        self._fragment: bytearray | None = None
        self._bytes = 0
        self._sets: dict[int, dict[bytes, None]] = {kind: {} for kind in _PARAMETER_SETS}
        self._track: Track | None = None

    def begins(self, payload: bytes) -> bool:
        kind, start = payload[0] >> 1 & 0x3F, NAL_HEADER_BYTES
        if kind == _AGGREGATION:
            nal = payload[4:]
            kind = nal[0] >> 1 & 0x3F if nal else _LAST_SINGLE
            start += 4
        elif kind == _FRAGMENTATION:
            if len(payload) < 4 or not payload[2] & _FU_START:
                return False
            kind, start = payload[2] & 0x3F, _FU_HEADER_BYTES
        # A slice segment header begins with first_slice_segment_in_pic_flag (§7.3.6.1).
        first = len(payload) > start and payload[start] >= 0x80
        return kind in _AHEAD_OF_SLICES or (kind <= NAL_LAST_VCL and first)

    def add(self, payload: bytes) -> bool:
        if len(payload) <= NAL_HEADER_BYTES:
            raise ProtocolError("RTP H.265 payload shorter than its header")
        kind = payload[0] >> 1 & 0x3F
        if kind == _FRAGMENTATION:
            return self._add_fragment(payload)
        whole = self._fragment is None
        self._fragment = None
        if kind == _AGGREGATION:
            self._add_aggregate(payload)
        elif kind == _PACI:
            raise ProtocolError("RTP H.265 PACI packets are not negotiated")
        elif kind <= _LAST_SINGLE:
            self._add(bytes(payload))
        return whole

    def _add_fragment(self, payload: bytes) -> bool:
        if len(payload) <= _FU_HEADER_BYTES:
            raise ProtocolError("RTP H.265 FU shorter than its headers")
        flags, kind = payload[2], payload[2] & 0x3F
        whole = bool(flags & _FU_START) == (self._fragment is None)
        if flags & _FU_START:
            if kind > _LAST_SINGLE:
                raise ProtocolError("RTP H.265 FU of a type that is not a NAL unit's")
            self._fragment = bytearray((payload[0] & 0x81 | kind << 1, payload[1]))
        elif self._fragment is None:
            return False
        if self._bytes + len(self._fragment) + len(payload) > MAX_FRAME_BYTES:
            self._clear()
            raise ProtocolError("RTP H.265 access unit too large")
        self._fragment += memoryview(payload)[_FU_HEADER_BYTES:]
        if flags & _FU_END:
            nal, self._fragment = bytes(self._fragment), None
            self._add(nal)
        return whole

    def _add_aggregate(self, payload: bytes) -> None:
        offset, size = NAL_HEADER_BYTES, len(payload)
        while offset < size:
            start = offset + 2
            offset = start + int.from_bytes(payload[offset:start], "big")
            if offset > size or offset - start <= NAL_HEADER_BYTES:
                raise ProtocolError("RTP H.265 aggregation sizes do not add up")
            if payload[start] >> 1 & 0x3F <= _LAST_SINGLE:
                self._add(bytes(payload[start:offset]))

    def _add(self, nal: bytes) -> None:
        self._bytes += len(nal)
        if self._bytes > MAX_FRAME_BYTES or len(self._nals) >= MAX_NALS:
            self._clear()
            raise ProtocolError("RTP H.265 access unit too large")
        self._nals.append(nal)

    def lose(self) -> None:
        self._fragment = None

    def take(self, timestamp: int, damaged: bool) -> CodedFrame:
        nals, damaged = self._nals, damaged or self._fragment is not None
        self._clear()
        types = [h265.nal_type(nal) for nal in nals]
        self._learn(nals, types)
        keyframe = any(map(h265.is_irap, types))
        left = [nal for nal, kind in zip(nals, types, strict=True) if kind not in _APART]
        track = self._track if keyframe else None
        return CodedFrame(timestamp, join_length_prefixed(left), keyframe, damaged, track)

    def _learn(self, nals: list[bytes], types: list[int]) -> None:
        changed = False
        for kind in _PARAMETER_SETS:
            sets = dict.fromkeys(n for n, each in zip(nals, types, strict=True) if each == kind)
            if sets and sets != self._sets[kind]:
                self._sets[kind], changed = sets, True
        if changed:
            self._track = None  # should these not parse, then those before are no longer right
            if all(self._sets.values()):
                self._track = h265.video_track(*self._sets.values())

    def _clear(self) -> None:
        self._nals, self._fragment, self._bytes = [], None, 0
