"""H.264 in RTP (RFC 6184), non-interleaved mode: access units to payloads, and back.

`packetize` serves the batch sender, which hands the kernel runs of packets of one size (the last of
a run may be shorter). So all slices of an access unit are cut to one payload size and what is
missing is made up with RTP padding; a NAL unit that lacks too much for that makes a run of its own.
Padding costs the viewers at most 255 bytes a packet and saves a system call per viewer.

The depacketizer is told of losses (`gap`) by whoever reads sequence numbers. A NAL unit that lacks
a fragment is dropped, the rest of its access unit comes out marked `damaged`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mediaserver.errors import ProtocolError
from mediaserver.protocol.h264 import NAL_AUD, NAL_IDR, NAL_PPS, NAL_SEI, NAL_SLICE, NAL_SPS
from mediaserver.protocol.rtp_payload import RtpPayload, ceil_div, cut, pad

NAL_LAST_SINGLE = 23  # types above are RTP's own (RFC 6184 §5.2)
STAP_A = 24
FU_A = 28

MAX_ACCESS_UNIT_BYTES = 4 * 1024 * 1024  # far above any level a live encoder uses in one picture
MAX_ACCESS_UNIT_NALS = 4096
MAX_FRAGMENTS = 65_536  # of one NAL unit: of 64 bytes in the largest access unit

_ONE_BYTE = [bytes((value,)) for value in range(256)]
_FU_HEADER_BYTES = 2
_FU_START, _FU_END = 0x80, 0x40
_SLICES = frozenset((NAL_SLICE, 2, 3, 4, NAL_IDR))
_AHEAD_OF_SLICES = frozenset((NAL_SEI, NAL_SPS, NAL_PPS, NAL_AUD))

Nal = bytes | memoryview


@dataclass(slots=True)
class AccessUnit:
    """The whole NAL units of one picture; `damaged` when something of it was lost."""

    timestamp: int
    nals: list[bytes]
    damaged: bool


def packetize(nals: Sequence[Nal], max_payload: int) -> list[RtpPayload]:
    """The payloads of one access unit, in order, each at most `max_payload` bytes.

    Parameter sets that stand together go as one STAP-A, other small NAL units alone, slices as the
    head of this module says. Empty NAL units and types that RFC 6184 uses for itself are left out.
    """
    sendable = [nal for nal in nals if len(nal) and 1 <= nal[0] & 0x1F <= NAL_LAST_SINGLE]
    target = _target_size(sendable, max_payload)
    packets: list[tuple[bytes, bool]] = []
    sets: list[Nal] = []
    for nal in sendable:
        kind = nal[0] & 0x1F
        if kind in (NAL_SPS, NAL_PPS):
            sets.append(nal)
            continue
        if sets:
            packets += _parameter_sets(sets, max_payload)
            sets = []
        packets += _fragments(nal, target if kind in _SLICES else 0, max_payload)
    if sets:
        packets += _parameter_sets(sets, max_payload)
    if not packets:
        return []
    last, padded = packets.pop()
    if padded:  # nothing follows it in the run
        last = last[: -last[-1]]
    payloads = [RtpPayload(payload, padding, False) for payload, padding in packets]
    payloads.append(RtpPayload(last, False, True))
    return payloads


def _target_size(nals: Sequence[Nal], max_payload: int) -> int:
    """The payload size for all slices: of the even cuts of each, the largest."""
    return max(
        (_even_size(len(nal), max_payload) for nal in nals if nal[0] & 0x1F in _SLICES), default=0
    )


def _even_size(size: int, max_payload: int) -> int:
    if size <= max_payload:
        return size
    return _FU_HEADER_BYTES + ceil_div(size - 1, ceil_div(size - 1, max_payload - _FU_HEADER_BYTES))


def _parameter_sets(sets: Sequence[Nal], max_payload: int) -> list[tuple[bytes, bool]]:
    size = 1 + sum(2 + len(nal) for nal in sets)
    if len(sets) == 1 or size > max_payload:
        return [packet for nal in sets for packet in _fragments(nal, 0, max_payload)]
    # RFC 6184 §5.7: F is set if any has it, NRI is the highest of them.
    header = max(nal[0] & 0x60 for nal in sets) | STAP_A
    for nal in sets:
        header |= nal[0] & 0x80
    parts: list[Nal] = [bytes((header,))]
    for nal in sets:
        parts += (len(nal).to_bytes(2, "big"), nal)
    return [(b"".join(parts), False)]


def _fragments(nal: Nal, target: int, max_payload: int) -> list[tuple[bytes, bool]]:
    """One NAL unit as payloads of `target` bytes, or of its own even size where `target` is 0."""
    if len(nal) <= max_payload:
        return [pad(bytes(nal), target)]
    indicator, kind = nal[0] & 0xE0 | FU_A, nal[0] & 0x1F
    body = memoryview(nal)
    size = (target or _even_size(len(nal), max_payload)) - _FU_HEADER_BYTES
    sizes, padded = cut(len(body) - 1, size)
    if not padded:
        target = 0
    first, middle, last = (bytes((indicator, flag | kind)) for flag in (_FU_START, 0, _FU_END))
    packets = []
    start, header = 1, first
    for step in sizes:
        end = start + step
        packet = (header if end < len(body) else last) + body[start:end]
        packets.append((packet, False) if len(packet) >= target else pad(packet, target))
        start, header = end, middle
    return packets


class Depacketizer:
    """Payloads of one track in sequence order to access units.

    Memory is bounded: an access unit above MAX_ACCESS_UNIT_BYTES or MAX_ACCESS_UNIT_NALS is a
    ProtocolError. After any ProtocolError the open access unit counts as damaged.
    """

    def __init__(self) -> None:
        self._timestamp = 0
        self._nals: list[bytes] = []
        self._bytes = 0
        self._fragments: list[bytes] = []  # of the NAL unit that is coming in pieces
        self._open = False
        self._damaged = False
        self._gap = False  # came with a packet that carried nothing

    def feed(
        self, payload: bytes, marker: bool, timestamp: int, *, gap: bool = False
    ) -> list[AccessUnit]:
        """Take one payload, without padding; `gap`: packets just before it are lost.

        Returns the access units that it ends: usually none, or one at the marker; two when the
        marker before was lost. ProtocolError for interleaved mode (STAP-B, MTAP, FU-B) and for
        payloads that don't add up.
        """
        if not payload:
            self._gap = gap or self._gap
            return []  # padding only: a probe of the path
        if self._gap:
            gap, self._gap = True, False
        finished: list[AccessUnit] = []
        if self._open and timestamp != self._timestamp:
            # No marker came: it was lost, or the sender sets none (RFC 6184 §5.1).
            finished.append(self._finish(gap))
        if gap and (self._open or not _begins_access_unit(payload)):
            self._damage()
        self._open = True
        self._timestamp = timestamp
        kind = payload[0] & 0x1F
        try:
            if kind == FU_A:
                self._feed_fragment(payload)
            else:
                if self._fragments:
                    self._damage()
                if kind == STAP_A:
                    self._feed_aggregate(payload)
                elif kind > STAP_A and kind < 30:
                    raise ProtocolError("RTP H.264 interleaved mode is not negotiated")
                elif 1 <= kind <= NAL_LAST_SINGLE:
                    self._add(payload)
        except ProtocolError:
            self._damage()
            raise
        if marker:
            finished.append(self._finish(False))
        return finished

    def _feed_fragment(self, payload: bytes) -> None:
        size = len(payload)
        if size < _FU_HEADER_BYTES:
            raise ProtocolError("RTP H.264 FU-A shorter than its headers")
        header = payload[1]
        fragments = self._fragments
        if header & _FU_START:
            if fragments:
                self._damage()
            if not 1 <= header & 0x1F <= NAL_LAST_SINGLE:
                raise ProtocolError("RTP H.264 FU-A of a type that is not a NAL unit's")
            fragments.append(_ONE_BYTE[payload[0] & 0xE0 | header & 0x1F])
        elif not fragments:
            self._damaged = True
            return
        fragments.append(payload[_FU_HEADER_BYTES:])
        self._bytes += size
        if self._bytes > MAX_ACCESS_UNIT_BYTES or len(fragments) > MAX_FRAGMENTS:
            self._discard()
            raise ProtocolError("RTP H.264 access unit too large")
        if header & _FU_END:
            self._nals.append(b"".join(fragments))
            fragments.clear()
            if len(self._nals) > MAX_ACCESS_UNIT_NALS:
                self._discard()
                raise ProtocolError("RTP H.264 access unit too large")

    def _feed_aggregate(self, payload: bytes) -> None:
        offset, size = 1, len(payload)
        while offset < size:
            start = offset + 2
            offset = start + int.from_bytes(payload[offset:start], "big")
            if offset > size or offset == start:
                raise ProtocolError("RTP H.264 STAP-A sizes do not add up")
            if 1 <= payload[start] & 0x1F <= NAL_LAST_SINGLE:
                self._add(bytes(payload[start:offset]))

    def _add(self, nal: bytes) -> None:
        self._bytes += len(nal)
        if self._bytes > MAX_ACCESS_UNIT_BYTES or len(self._nals) >= MAX_ACCESS_UNIT_NALS:
            self._discard()
            raise ProtocolError("RTP H.264 access unit too large")
        self._nals.append(nal)

    def _damage(self) -> None:
        self._damaged = True
        self._fragments.clear()

    def _discard(self) -> None:
        self._nals = []
        self._bytes = 0
        self._fragments.clear()

    def _finish(self, gap: bool) -> AccessUnit:
        damaged = self._damaged or gap or bool(self._fragments)
        unit = AccessUnit(self._timestamp, self._nals, damaged)
        self._discard()
        self._open = False
        self._damaged = False
        return unit


def _begins_access_unit(payload: bytes) -> bool:
    """Whether nothing that matters of its picture can have been lost before this payload."""
    start = 3 if payload[0] & 0x1F == STAP_A else 0
    if len(payload) < start + 2:
        return False
    kind, first = payload[start] & 0x1F, payload[start + 1]
    if kind == FU_A:
        if not first & _FU_START or len(payload) < 3:
            return False
        kind, first = first & 0x1F, payload[2]
    # A slice header begins with first_mb_in_slice, Exp-Golomb: the top bit alone says 0.
    return kind in _AHEAD_OF_SLICES or (kind in _SLICES and first >= 0x80)
