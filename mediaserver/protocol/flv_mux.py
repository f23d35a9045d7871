"""Packets to FLV tag bodies, what RTMP carries as media: the other direction of `flv.py`.

H.264 and AAC travel as Adobe has them (Video File Format 10.1 §E.4.2, §E.4.3), other codecs by the
FourCC of Enhanced RTMP (E-RTMP v2), for servers that take them.

Timestamps are decode times in ms from the first packet on, modulo 2**32. Sound that begins before the
picture stands at 0.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from mediaserver.media import Codec, Kind, Packet, Track
from mediaserver.protocol import amf0
from mediaserver.protocol import flv_enhanced as enhanced
from mediaserver.protocol.flv import DATA, SEQUENCE_HEADER, AudioTag, VideoTag
from mediaserver.protocol.flv_enhanced import TrackTag

PLAIN: frozenset[Codec] = frozenset({"h264", "aac"})  # what every server takes
FOUR_CCS: Mapping[Codec, bytes] = {
    "h265": b"hvc1",
    "av1": b"av01",
    "vp9": b"vp09",
    "opus": b"Opus",
}
ENHANCED: frozenset[Codec] = PLAIN | frozenset(FOUR_CCS)

_KEY_FRAME, _INTER_FRAME = 1, 2
_AVC_ID, _AAC_ID = 7, 10  # in onMetaData
_MAX_COMPOSITION_MS = 0x7FFFFF


@dataclass(frozen=True, slots=True)
class Tag:
    """The body of one tag, to be sent as a message of its kind."""

    kind: Kind
    timestamp_ms: int
    body: bytes


def codecs_of(four_ccs: Collection[str]) -> frozenset[Codec]:
    """The codecs that a server takes which lists these FourCCs, `*` for all."""
    listed = {
        codec
        for codec, four_cc in FOUR_CCS.items()
        if "*" in four_ccs or four_cc.decode() in four_ccs
    }
    return PLAIN | listed


class FlvMuxer:
    """Packets in decode order in, tags out; a track's configuration goes ahead of its first packet."""

    def __init__(self) -> None:
        self._zero_ms: int | None = None
        self._tracks: dict[Kind, Track] = {}

    def from_packet(self, packet: Packet) -> list[Tag]:
        """The tags of one packet, of a codec in ENHANCED."""
        track = packet.track
        dts_ms = packet.dts * 1000 // track.clock_rate
        if self._zero_ms is None:
            self._zero_ms = dts_ms
        timestamp_ms = max(0, dts_ms - self._zero_ms) & 0xFFFFFFFF
        tags = []
        if self._tracks.get(track.kind) != track:
            self._tracks[track.kind] = track
            tags.append(Tag(track.kind, timestamp_ms, _header(track)))
        body = _video(packet, dts_ms) if track.kind == "video" else _audio(track, packet.payload)
        tags.append(Tag(track.kind, timestamp_ms, body))
        return tags


def metadata(tracks: Collection[Track]) -> amf0.EcmaArray:
    """What onMetaData says of these tracks."""
    values = amf0.EcmaArray(duration=0, encoder="Hawker")
    for track in tracks:
        if track.kind == "video":
            values["videocodecid"] = _codec_id(track.codec, _AVC_ID)
            if track.width and track.height:
                values["width"], values["height"] = track.width, track.height
        else:
            values["audiocodecid"] = _codec_id(track.codec, _AAC_ID)
            values["audiosamplerate"] = track.clock_rate
            values["audiosamplesize"] = 16
            values["audiochannels"] = track.channels
            values["stereo"] = track.channels == 2
    return values


def _codec_id(codec: Codec, plain: int) -> int:
    return plain if codec in PLAIN else int.from_bytes(FOUR_CCS[codec], "big")


def _header(track: Track) -> bytes:
    if track.codec == "h264":
        return VideoTag(SEQUENCE_HEADER, True, 0, track.config).serialize()
    if track.codec == "aac":
        return AudioTag(SEQUENCE_HEADER, track.config).serialize()
    tag = TrackTag(enhanced.SEQUENCE_START, FOUR_CCS[track.codec], track.config)
    if track.kind == "video":
        return enhanced.serialize_video(tag, _KEY_FRAME)
    return enhanced.serialize_audio(tag)


def _video(packet: Packet, dts_ms: int) -> bytes:
    later_ms = packet.pts * 1000 // packet.track.clock_rate - dts_ms
    composition_ms = max(-_MAX_COMPOSITION_MS, min(later_ms, _MAX_COMPOSITION_MS))
    if packet.track.codec == "h264":
        return VideoTag(DATA, packet.keyframe, composition_ms, packet.payload).serialize()
    tag = TrackTag(
        enhanced.CODED_FRAMES,
        FOUR_CCS[packet.track.codec],
        packet.payload,
        composition_ms=composition_ms,
    )
    return enhanced.serialize_video(tag, _KEY_FRAME if packet.keyframe else _INTER_FRAME)


def _audio(track: Track, payload: bytes) -> bytes:
    if track.codec == "aac":
        return AudioTag(DATA, payload).serialize()
    return enhanced.serialize_audio(TrackTag(enhanced.CODED_FRAMES, FOUR_CCS[track.codec], payload))
