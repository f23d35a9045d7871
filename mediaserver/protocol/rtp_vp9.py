"""VP9 in RTP (RFC 9628): superframes to payloads, and back.

Both modes of reference come in. The spatial layers of a picture are kept together as one superframe.
What we send is one layer frame for each picture in non-flexible mode, without picture ids and layer
indices: see rtp_vp8. Keyframes bear a scalability structure, which is where receivers find the size.
"""

from __future__ import annotations

from dataclasses import dataclass

from mediaserver.errors import ProtocolError
from mediaserver.media import Packet, Track
from mediaserver.protocol import vp9
from mediaserver.protocol.rtp_payload import (
    MAX_FRAME_BYTES,
    CodedFrame,
    RtpPayload,
    even_size,
)
from mediaserver.protocol.rtp_pictures import PictureDepacketizer

_PICTURE_ID, _PREDICTED, _LAYERS, _FLEXIBLE = 0x80, 0x40, 0x20, 0x10
_BEGIN, _END, _STRUCTURE = 0x08, 0x04, 0x02
_MAX_REFERENCES = 3  # of one frame, in flexible mode (§4.2)
_SIZES, _GROUP = 0x10, 0x08  # Y and G of the scalability structure


@dataclass(frozen=True, slots=True)
class Descriptor:
    """The VP9 payload descriptor (§4.2), of `length` bytes; None is for what is absent.

    `begins` and `ends` are of the layer frame. `size` is that of the topmost spatial layer, where the
    scalability structure tells it.
    """

    length: int
    begins: bool
    ends: bool
    predicted: bool
    picture_id: int | None
    temporal_layer: int | None
    spatial_layer: int | None
    size: tuple[int, int] | None

    @classmethod
    def parse(cls, payload: bytes) -> Descriptor:
        """Raises ProtocolError where it is cut off."""
        try:
            descriptor = cls._parse(payload)
        except IndexError as error:
            raise ProtocolError("RTP VP9 descriptor cut off") from error
        if descriptor.length > len(payload):
            raise ProtocolError("RTP VP9 descriptor cut off")
        return descriptor

    @classmethod
    def _parse(cls, payload: bytes) -> Descriptor:
        first, length = payload[0], 1
        picture_id = temporal = spatial = size = None
        if first & _PICTURE_ID:
            picture_id, length = payload[length], length + 1
            if picture_id & 0x80:
                picture_id, length = (picture_id & 0x7F) << 8 | payload[length], length + 1
        if first & _LAYERS:
            layers, length = payload[length], length + 1
            temporal, spatial = layers >> 5, layers >> 1 & 7
            if not first & _FLEXIBLE:
                length += 1  # TL0PICIDX
        if first & _FLEXIBLE and first & _PREDICTED:
            length = _after_references(payload, length)
        if first & _STRUCTURE:
            size, length = _parse_structure(payload, length)
        return cls(
            length,
            bool(first & _BEGIN),
            bool(first & _END),
            bool(first & _PREDICTED),
            picture_id,
            temporal,
            spatial,
            size,
        )


def _after_references(payload: bytes, position: int) -> int:
    for _ in range(_MAX_REFERENCES):
        position += 1
        if not payload[position - 1] & 1:
            return position
    raise ProtocolError(f"RTP VP9 frame with more than {_MAX_REFERENCES} references")


def _parse_structure(payload: bytes, position: int) -> tuple[tuple[int, int] | None, int]:
    """The size of the topmost spatial layer, and where the structure ends (§4.2.1)."""
    header, position, size = payload[position], position + 1, None
    if header & _SIZES:
        position += 4 * ((header >> 5) + 1)
        width, height = payload[position - 4 : position - 2], payload[position - 2 : position]
        largest = int.from_bytes(width, "big"), int.from_bytes(height, "big")
        size = largest if all(largest) else None
    if header & _GROUP:
        count, position = payload[position], position + 1
        for _ in range(count):
            position += 1 + (payload[position] >> 2 & 3)
    return size, position


def packetize(packet: Packet, max_payload_bytes: int) -> list[RtpPayload]:
    """The RTP payloads of one superframe, all of one size but the last."""
    frame = packet.payload
    if not frame:
        return []
    structure, bits = b"", _PREDICTED
    if packet.keyframe:
        sizes = packet.track.width.to_bytes(2, "big") + packet.track.height.to_bytes(2, "big")
        structure, bits = bytes((_SIZES,)) + sizes, 0
    step = even_size(len(frame) + len(structure), max_payload_bytes - 1)
    payloads = []
    start, end = 0, step - len(structure)
    begin = _BEGIN | (_STRUCTURE if structure else 0)
    while start < len(frame):
        last = end >= len(frame)
        header = bytes((bits | begin | (_END if last else 0),)) + structure
        payloads.append(RtpPayload(header + frame[start:end], False, last))
        start, end, begin, structure = end, end + step, 0, b""
    return payloads


def depacketizer() -> PictureDepacketizer:
    return PictureDepacketizer(_Superframe())


class _Superframe:
    """The layer frames of the open picture."""

    def __init__(self) -> None:
        self._frames: list[bytes] = []
        self._layer: bytearray | None = None
        self._bytes = 0
        self._size: tuple[int, int] | None = None
        self._track: Track | None = None

    def begins(self, payload: bytes) -> bool:
        try:
            descriptor = Descriptor.parse(payload)
        except ProtocolError:
            return False
        return descriptor.begins and not descriptor.spatial_layer

    def add(self, payload: bytes) -> bool:
        descriptor = Descriptor.parse(payload)
        if descriptor.length >= len(payload):
            raise ProtocolError("RTP VP9 payload without data")
        self._bytes += len(payload)
        if self._bytes > MAX_FRAME_BYTES or len(self._frames) >= vp9.MAX_SUPERFRAME_FRAMES:
            self._clear()
            raise ProtocolError("RTP VP9 picture too large")
        whole = descriptor.begins == (self._layer is None)
        self._size = descriptor.size or self._size
        if descriptor.begins:
            self._layer = bytearray()
        if self._layer is not None:
            self._layer += memoryview(payload)[descriptor.length :]
            if descriptor.ends:
                self._frames.append(bytes(self._layer))
                self._layer = None
        return whole

    def lose(self) -> None:
        self._layer = None

    def take(self, timestamp: int, damaged: bool) -> CodedFrame:
        layers, size = self._frames, self._size
        damaged = damaged or self._layer is not None
        self._clear()
        if len(layers) > 1:  # each may hold hidden frames of its own
            layers = [frame for layer in layers for frame in vp9.split_superframe(layer)]
        payload = vp9.join_superframe(layers)
        keyframe = None if damaged or not payload else vp9.parse_keyframe(payload)
        if keyframe is not None:
            track = vp9.video_track(keyframe, size)
            self._track = self._track if track == self._track else track
        key = keyframe is not None
        return CodedFrame(timestamp, payload, key, damaged, self._track if key else None)

    def _clear(self) -> None:
        self._frames, self._layer, self._bytes, self._size = [], None, 0, None
