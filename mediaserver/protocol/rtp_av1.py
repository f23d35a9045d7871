"""AV1 in RTP (RTP Payload Format For AV1 v1.0): temporal units to payloads, and back.

Payloads carry OBUs without size fields, whole or in fragments. A temporal unit is cut into payloads of
one size whatever OBU borders lie in between. Layers are not told apart: a viewer gets all of them, and
no dependency descriptor; receivers then go by the sequence numbers.
"""

from __future__ import annotations

from mediaserver.errors import ProtocolError
from mediaserver.media import Packet, Track
from mediaserver.protocol import av1
from mediaserver.protocol.rtp_payload import (
    MAX_FRAME_BYTES,
    CodedFrame,
    RtpPayload,
    even_size,
)
from mediaserver.protocol.rtp_pictures import PictureDepacketizer

_CONTINUES, _CONTINUED, _NEW_SEQUENCE = 0x80, 0x40, 0x08  # Z, Y, N of the aggregation header (§4.4)
_COUNT_SHIFT, _MAX_COUNT = 4, 3  # W
_DROPPED = frozenset({av1.OBU_TEMPORAL_DELIMITER, av1.OBU_TILE_LIST, av1.OBU_PADDING})


def packetize(packet: Packet, max_payload_bytes: int) -> list[RtpPayload]:
    """The RTP payloads of one temporal unit; raises ProtocolError if it does not parse.

    A keyframe without a sequence header gets that of its Track.
    """
    obus = av1.split_temporal_unit(packet.payload)
    types = [av1.obu_type(obu) for obu in obus]
    if packet.keyframe and av1.OBU_SEQUENCE_HEADER not in types:
        config = av1.Av1Config.parse(packet.track.config).obus
        obus, types = [*config, *obus], [*map(av1.obu_type, config), *types]
    elements = [
        av1.without_size(obu) for obu, kind in zip(obus, types, strict=True) if kind not in _DROPPED
    ]
    lengths = sum(len(av1.write_leb128(len(element))) for element in elements[:-1])
    total = sum(map(len, elements)) + lengths
    payloads = _fill(elements, even_size(total, max_payload_bytes - 1) if elements else 0)
    if payloads and packet.keyframe:
        payloads[0][0] |= _NEW_SEQUENCE
    last = len(payloads) - 1
    return [RtpPayload(bytes(data), False, index == last) for index, data in enumerate(payloads)]


def _fill(elements: list[bytes], size: int) -> list[bytearray]:
    """Payloads of an aggregation header and `size` bytes of elements, up to three in each."""
    payloads: list[bytearray] = []
    index = offset = 0
    while index < len(elements):
        payload = bytearray((_CONTINUES if offset else 0,))
        room, count = size, 0
        while room and index < len(elements):
            count += 1
            element = elements[index]
            rest = len(element) - offset
            alone = count == _MAX_COUNT or index == len(elements) - 1 or rest >= room
            length = b"" if alone else av1.write_leb128(rest)
            if alone or rest + len(length) >= room:  # the last of its payload has no length
                step = min(rest, room)
                payload += element[offset : offset + step]
                index, offset = (index + 1, 0) if step == rest else (index, offset + step)
                break
            payload += length + element[offset:]
            room -= len(length) + rest
            index, offset = index + 1, 0
        payload[0] |= count << _COUNT_SHIFT | (_CONTINUED if offset else 0)
        payloads.append(payload)
    return payloads


def depacketizer() -> PictureDepacketizer:
    return PictureDepacketizer(_TemporalUnit())


class _TemporalUnit:
    """The OBUs of the open temporal unit."""

    def __init__(self) -> None:
        self._obus: list[bytes] = []
        self._fragment: bytearray | None = None
        self._bytes = 0
        self._sequence_header = b""
        self._track: Track | None = None

    def begins(self, payload: bytes) -> bool:
        """A tile group never comes first; but the headers before a frame could be lost unseen."""
        try:
            elements = _elements(payload)
        except ProtocolError:
            return False
        first = elements[0] if elements else b""
        return not payload[0] & _CONTINUES and av1.obu_type(first) != av1.OBU_TILE_GROUP

    def add(self, payload: bytes) -> bool:
        elements = _elements(payload)
        if not elements:
            raise ProtocolError("RTP AV1 payload without OBUs")
        self._bytes += len(payload)
        if self._bytes > MAX_FRAME_BYTES or len(self._obus) + len(elements) > av1.MAX_OBUS:
            self._clear()
            raise ProtocolError("RTP AV1 temporal unit too large")
        whole = bool(payload[0] & _CONTINUES) == (self._fragment is not None)
        self._join(elements, payload[0])
        return whole

    def _join(self, elements: list[bytes], header: int) -> None:
        """Take a payload's elements, of which the first and the last may be fragments."""
        begun, self._fragment = self._fragment, None
        if header & _CONTINUES:
            first = elements.pop(0)
            if begun is not None:  # else its beginning is lost
                begun += first
                if header & _CONTINUED and not elements:
                    self._fragment = begun
                else:
                    self._obus.append(bytes(begun))
        if header & _CONTINUED and elements:
            self._fragment = bytearray(elements.pop())
        self._obus += elements

    def lose(self) -> None:
        self._fragment = None

    def take(self, timestamp: int, damaged: bool) -> CodedFrame:
        elements, damaged = self._obus, damaged or self._fragment is not None
        self._clear()
        obus = [av1.without_size(obu) for obu in elements if av1.obu_type(obu) not in _DROPPED]
        payload = b"".join(map(av1.with_size, obus))
        headers = [obu for obu in obus if av1.obu_type(obu) == av1.OBU_SEQUENCE_HEADER]
        # A decoder can begin only where a sequence header stands before a key frame (§7.6).
        keyframe = not damaged and bool(headers) and any(map(av1.is_key_frame, obus))
        if keyframe:
            self._learn(headers[0])
        return CodedFrame(timestamp, payload, keyframe, damaged, self._track if keyframe else None)

    def _learn(self, sequence_header: bytes) -> None:
        if sequence_header != self._sequence_header:
            self._track = av1.video_track(av1.with_size(sequence_header))
            self._sequence_header = sequence_header

    def _clear(self) -> None:
        self._obus, self._fragment, self._bytes = [], None, 0


def _elements(payload: bytes) -> list[bytes]:
    """The OBU elements of a payload (§4.3); raises ProtocolError."""
    count = payload[0] >> _COUNT_SHIFT & _MAX_COUNT
    elements: list[bytes] = []
    position = 1
    while position < len(payload):
        if count and len(elements) == count - 1:
            elements.append(payload[position:])
            return elements
        size, start = av1.read_leb128(payload, position)
        position = start + size
        if position > len(payload) or len(elements) == av1.MAX_OBUS:
            raise ProtocolError("RTP AV1 OBU elements that don't add up")
        if size:
            elements.append(payload[start:position])
    if count and len(elements) != count:
        raise ProtocolError("RTP AV1 payload with fewer OBU elements than it says")
    return elements
