"""Headers of Enhanced RTMP (Veovera, E-RTMP v2), beyond Adobe's FLV: FourCC codecs, ModEx, tracks.

One tag can hold several tracks, so a tag's body is read into a list of `TrackTag`. Track 0 is the
default one, and what stands without a number. A tag without media (a command) gives an empty list.
ModEx only makes timestamps finer than a millisecond, which is what the rest counts in: it is read and
passed over.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from mediaserver.errors import ProtocolError

EX_VIDEO = 0x80  # isExVideoHeader, in the first byte of a video tag
EX_AUDIO = 9  # SoundFormat.ExHeader

SEQUENCE_START, CODED_FRAMES, SEQUENCE_END, CODED_FRAMES_X = 0, 1, 2, 3
METADATA, MPEG2TS_SEQUENCE_START = 4, 5
VIDEO_MULTITRACK, AUDIO_MULTICHANNEL_CONFIG, AUDIO_MULTITRACK, MOD_EX = 6, 4, 5, 7
ONE_TRACK, MANY_TRACKS, MANY_TRACKS_MANY_CODECS = 0, 1, 2

MAX_TRACKS = 16  # in one tag; OBS has ten encoders at most
MAX_MOD_EX = 8  # before one tag; one is defined
_COMMAND_FRAME = 5
_WITH_COMPOSITION = frozenset({b"avc1", b"hvc1", b"vvc1"})  # whose CodedFrames say it


@dataclass(frozen=True, slots=True)
class TrackTag:
    """What one tag says of one track; `composition_ms` is presentation minus decode time."""

    packet_type: int
    four_cc: bytes
    data: bytes
    number: int = 0
    composition_ms: int = 0


def parse_video(body: bytes) -> list[TrackTag]:
    """The tracks of a tag whose first byte has EX_VIDEO; raises ProtocolError."""
    frame_type = body[0] >> 4 & 7
    packet_type, position = _skip_mod_ex(body)
    if packet_type != METADATA and frame_type == _COMMAND_FRAME:
        return []
    tags = _parse_tracks(body, position, packet_type, VIDEO_MULTITRACK)
    return [_with_composition(tag) for tag in tags]


def parse_audio(body: bytes) -> list[TrackTag]:
    """The tracks of a tag of the sound format EX_AUDIO; raises ProtocolError."""
    packet_type, position = _skip_mod_ex(body)
    return _parse_tracks(body, position, packet_type, AUDIO_MULTITRACK)


def serialize_video(tag: TrackTag, frame_type: int) -> bytes:
    """The body of a video tag of one track: its number is written where it is not 0."""
    data = tag.data
    if tag.packet_type == CODED_FRAMES and tag.four_cc in _WITH_COMPOSITION:
        data = tag.composition_ms.to_bytes(3, "big", signed=True) + data
    first = EX_VIDEO | frame_type << 4
    if tag.number:
        head = (first | VIDEO_MULTITRACK, ONE_TRACK << 4 | tag.packet_type)
        return bytes(head) + tag.four_cc + bytes((tag.number,)) + data
    return bytes((first | tag.packet_type,)) + tag.four_cc + data


def serialize_audio(tag: TrackTag) -> bytes:
    """The body of an audio tag of one track: its number is written where it is not 0."""
    if tag.number:
        head = (EX_AUDIO << 4 | AUDIO_MULTITRACK, ONE_TRACK << 4 | tag.packet_type)
        return bytes(head) + tag.four_cc + bytes((tag.number,)) + tag.data
    return bytes((EX_AUDIO << 4 | tag.packet_type,)) + tag.four_cc + tag.data


def serialize_video_tracks(tags: Sequence[TrackTag], frame_type: int) -> bytes:
    """The body of one tag of several tracks, all of one packet type, each with its codec."""
    packet_type = tags[0].packet_type
    first = EX_VIDEO | frame_type << 4 | VIDEO_MULTITRACK
    parts = [bytes((first, MANY_TRACKS_MANY_CODECS << 4 | packet_type))]
    for tag in tags:
        data = tag.data
        if packet_type == CODED_FRAMES and tag.four_cc in _WITH_COMPOSITION:
            data = tag.composition_ms.to_bytes(3, "big", signed=True) + data
        parts += (tag.four_cc, bytes((tag.number,)), len(data).to_bytes(3, "big"), data)
    return b"".join(parts)


def _skip_mod_ex(body: bytes) -> tuple[int, int]:
    """The packet type and where its header goes on."""
    packet_type, position = body[0] & 0x0F, 1
    for _ in range(MAX_MOD_EX):
        if packet_type != MOD_EX:
            return packet_type, position
        size, position = _take(body, position, 1)[0] + 1, position + 1
        if size == 256:
            size = int.from_bytes(_take(body, position, 2), "big") + 1
            position += 2
        position += size
        packet_type = _take(body, position, 1)[0] & 0x0F
        position += 1
    raise ProtocolError(f"Enhanced RTMP: more than {MAX_MOD_EX} modifiers before one tag")


def _parse_tracks(body: bytes, position: int, packet_type: int, multitrack: int) -> list[TrackTag]:
    if packet_type != multitrack:
        four_cc = _take(body, position, 4)
        return [TrackTag(packet_type, four_cc, body[position + 4 :])]
    kind, packet_type = divmod(_take(body, position, 1)[0], 16)
    position += 1
    if packet_type == multitrack or kind > MANY_TRACKS_MANY_CODECS:
        raise ProtocolError("Enhanced RTMP: a multitrack tag of an unknown kind")
    four_cc = b""
    if kind != MANY_TRACKS_MANY_CODECS:
        four_cc, position = _take(body, position, 4), position + 4
    if kind == ONE_TRACK:
        number = _take(body, position, 1)[0]
        return [TrackTag(packet_type, four_cc, body[position + 1 :], number)]
    tags: list[TrackTag] = []
    while position < len(body):
        if len(tags) == MAX_TRACKS:
            raise ProtocolError(f"Enhanced RTMP: more than {MAX_TRACKS} tracks in one tag")
        if kind == MANY_TRACKS_MANY_CODECS:
            four_cc, position = _take(body, position, 4), position + 4
        number, high, low = struct.unpack(">BBH", _take(body, position, 4))
        position += 4
        data = _take(body, position, high << 16 | low)
        position += len(data)
        tags.append(TrackTag(packet_type, four_cc, data, number))
    return tags


def _with_composition(tag: TrackTag) -> TrackTag:
    if tag.packet_type != CODED_FRAMES or tag.four_cc not in _WITH_COMPOSITION:
        return tag
    composition_ms = int.from_bytes(_take(tag.data, 0, 3), "big", signed=True)
    return TrackTag(tag.packet_type, tag.four_cc, tag.data[3:], tag.number, composition_ms)


def _take(body: bytes, position: int, count: int) -> bytes:
    found = body[position : position + count]
    if len(found) < count:
        raise ProtocolError("Enhanced RTMP: a tag is cut short")
    return found
