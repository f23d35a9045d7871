"""VP8 in RTP (RFC 7741): frames to payloads, and back.

What we send has the shortest descriptor, one byte. Picture ids and temporal layers tell an SFU which
packets it may drop; all our viewers of a stream get all of it, and one who changes between renditions
would meet ids that don't follow each other. Without them receivers go by the sequence numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

from mediaserver.errors import ProtocolError
from mediaserver.media import Packet, Track
from mediaserver.protocol import vp8
from mediaserver.protocol.rtp_payload import (
    MAX_FRAME_BYTES,
    CodedFrame,
    RtpPayload,
    even_size,
)
from mediaserver.protocol.rtp_pictures import PictureDepacketizer

_EXTENDED, _NON_REFERENCE, _START, _PARTITION = 0x80, 0x20, 0x10, 0x07
_PICTURE_ID, _TL0PICIDX, _TID, _KEYIDX = 0x80, 0x40, 0x20, 0x10
_FIRST, _LATER = bytes((_START,)), b"\0"


@dataclass(frozen=True, slots=True)
class Descriptor:
    """The VP8 payload descriptor (§4.2), of `size` bytes; None is for what is absent.

    `begins`: the payload is the first of its frame (S with partition 0). `picture_id` has 7 or 15
    bits, `temporal_layer` 2.
    """

    size: int
    begins: bool
    non_reference: bool
    picture_id: int | None = None
    tl0_picture_index: int | None = None
    temporal_layer: int | None = None
    key_index: int | None = None

    @classmethod
    def parse(cls, payload: bytes) -> Descriptor:
        """Raises ProtocolError where it is cut off."""
        try:
            return cls._parse(payload)
        except IndexError as error:
            raise ProtocolError("RTP VP8 descriptor cut off") from error

    @classmethod
    def _parse(cls, payload: bytes) -> Descriptor:
        first, size = payload[0], 1
        begins = first & (_START | _PARTITION) == _START
        picture_id = tl0 = temporal = key_index = None
        if first & _EXTENDED:
            present, size = payload[1], 2
            if present & _PICTURE_ID:
                picture_id, size = payload[size], size + 1
                if picture_id & 0x80:
                    picture_id, size = (picture_id & 0x7F) << 8 | payload[size], size + 1
            if present & _TL0PICIDX:
                tl0, size = payload[size], size + 1
            if present & (_TID | _KEYIDX):
                layers, size = payload[size], size + 1
                temporal = layers >> 6 if present & _TID else None
                key_index = layers & 0x1F if present & _KEYIDX else None
        return cls(size, begins, bool(first & _NON_REFERENCE), picture_id, tl0, temporal, key_index)


def packetize(packet: Packet, max_payload_bytes: int) -> list[RtpPayload]:
    """The RTP payloads of one frame, all of one size but the last."""
    frame = packet.payload
    step = even_size(len(frame), max_payload_bytes - 1)
    starts = range(0, len(frame), step) if frame else ()
    payloads = [
        RtpPayload((_LATER if start else _FIRST) + frame[start : start + step], False, False)
        for start in starts
    ]
    if payloads:
        payloads[-1] = payloads[-1]._replace(marker=True)
    return payloads


def depacketizer() -> PictureDepacketizer:
    return PictureDepacketizer(_Frame())


class _Frame:
    """The open frame; partitions follow each other and need no telling apart."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._track: Track | None = None

    def begins(self, payload: bytes) -> bool:
        return payload[0] & (_START | _PARTITION) == _START

    def add(self, payload: bytes) -> bool:
        descriptor = Descriptor.parse(payload)
        if descriptor.size == len(payload):
            raise ProtocolError("RTP VP8 payload without data")
        if len(self._data) + len(payload) > MAX_FRAME_BYTES:
            self._data.clear()
            raise ProtocolError("RTP VP8 frame too large")
        whole = descriptor.begins == (not self._data)
        self._data += memoryview(payload)[descriptor.size :]
        return whole

    def lose(self) -> None:
        """What came is kept, as what follows can't be told from a frame's beginning."""

    def take(self, timestamp: int, damaged: bool) -> CodedFrame:
        frame, self._data = bytes(self._data), bytearray()
        keyframe = not damaged and vp8.is_keyframe(frame)
        if keyframe:
            track = vp8.video_track(frame)
            self._track = self._track if track == self._track else track
        return CodedFrame(timestamp, frame, keyframe, damaged, self._track if keyframe else None)
