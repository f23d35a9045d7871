"""RTMP and what it carries."""

from __future__ import annotations

from benchmarks.fuzzing import bitstreams
from benchmarks.fuzzing.parser import Parser
from mediaserver.errors import ProtocolError
from mediaserver.protocol import amf0, flv_enhanced
from mediaserver.protocol.flv import DATA, SEQUENCE_HEADER, AudioTag, FlvDemuxer, VideoTag
from mediaserver.protocol.flv_enhanced import CODED_FRAMES, SEQUENCE_START, TrackTag
from mediaserver.protocol.h265 import video_track
from mediaserver.protocol.opus import OpusHead
from mediaserver.protocol.rtmp import RtmpConnection, connection
from mediaserver.protocol.rtmp.chunk_stream import MAX_BUFFERED_BYTES, ChunkReader
from mediaserver.protocol.rtmp.client import RtmpClient

RANDOM = bytes(1528)
HANDSHAKE_BYTES = 3073
MAX_TRACKS = 10

_AVC_HEADER = VideoTag(SEQUENCE_HEADER, True, 0, bitstreams.AVC_CONFIG).serialize()
_AVC_FRAME = VideoTag(DATA, True, 40, bitstreams.AVC_KEYFRAME).serialize()
_AAC_HEADER = AudioTag(SEQUENCE_HEADER, bitstreams.AAC_CONFIG).serialize()
_AAC_FRAME = AudioTag(DATA, bitstreams.AAC_FRAME).serialize()
_HEVC_CONFIG = video_track(
    (bitstreams.HEVC_VPS,), (bitstreams.HEVC_SPS,), (bitstreams.HEVC_PPS,)
).config
_METADATA = amf0.serialize(
    ["@setDataFrame", "onMetaData", amf0.EcmaArray(width=160.0, stereo=True, encoder="a test")]
)


def _talk() -> tuple[bytes, bytes]:
    """What a publisher and our server say to each other until media flow, and some of those."""
    client = RtmpClient("rtmp://host/live", "live", "key", 0.0, RANDOM)
    server = RtmpConnection(0.0, RANDOM)
    said, answered = b"", b""
    for accepting in (False, True):
        if accepting:
            server.accept_publish()
        while (up := client.data_to_send()) + (down := server.data_to_send()):
            said, answered = said + up, answered + down
            server.receive_data(up, 0.0)
            client.receive_data(down, 0.0)
    said += client.metadata(0, amf0.EcmaArray(width=160.0))
    said += client.video(0, _AVC_HEADER) + client.audio(0, _AAC_HEADER)
    for at_ms in (0, 40):
        said += client.video(at_ms, _AVC_FRAME) + client.audio(at_ms, _AAC_FRAME)
    return said + client.close(), answered


_SAID, _ANSWERED = _talk()


def _chunks(data: bytes) -> object:
    reader = ChunkReader()
    try:
        return reader.receive(data[:400]) + reader.receive(data[400:])
    finally:
        assert reader.buffered_bytes <= min(len(data), MAX_BUFFERED_BYTES)


def _connection(data: bytes) -> object:
    """A publisher's bytes behind the handshake."""
    server = RtmpConnection(0.0, RANDOM)
    server.receive_data(_SAID[:HANDSHAKE_BYTES], 0.0)
    try:
        for piece in (data[:700], data[700:]):
            server.receive_data(piece, 0.0)
            if server.state is connection.State.REQUESTED:
                server.accept_publish()
    finally:
        assert len(server.data_to_send()) <= connection.MAX_OUTPUT_BYTES + 1000
    return server


def _client(data: bytes) -> object:
    """A server's bytes behind the handshake."""
    client = RtmpClient("rtmp://host/live", "live", "key", 0.0, RANDOM)
    client.data_to_send()
    client.receive_data(_ANSWERED[:HANDSHAKE_BYTES], 0.0)
    return client.receive_data(data, 0.0)


def _flv_video(data: bytes) -> object:
    demuxer = FlvDemuxer()
    demuxer.video(_AVC_HEADER)
    try:
        return demuxer.video(data)
    finally:
        assert len(demuxer.video_tracks) <= MAX_TRACKS


def _flv_audio(data: bytes) -> object:
    demuxer = FlvDemuxer()
    demuxer.audio(_AAC_HEADER)
    return demuxer.audio(data)


def _flv(data: bytes) -> object:
    """Tags of both kinds in a row, each behind its length in two bytes."""
    demuxer, frames, at = FlvDemuxer(), 0, 0
    while at + 2 < len(data):
        length = int.from_bytes(data[at : at + 2], "big") % 1024
        body, at = data[at + 2 : at + 2 + length], at + 2 + length
        try:
            frames += len(demuxer.video(body) if at & 1 else demuxer.audio(body))
        except ProtocolError:
            if at >= len(data):
                raise
    return frames


_TRACKS = [TrackTag(SEQUENCE_START, b"avc1", bitstreams.AVC_CONFIG, number) for number in (0, 4)]
_ENHANCED_VIDEO = (
    flv_enhanced.serialize_video(TrackTag(SEQUENCE_START, b"avc1", bitstreams.AVC_CONFIG), 1),
    flv_enhanced.serialize_video(TrackTag(SEQUENCE_START, b"hvc1", _HEVC_CONFIG), 1),
    flv_enhanced.serialize_video(TrackTag(SEQUENCE_START, b"av01", bitstreams.AV1_CONFIG), 1),
    flv_enhanced.serialize_video(TrackTag(CODED_FRAMES, b"avc1", bitstreams.AVC_KEYFRAME), 1),
    flv_enhanced.serialize_video(TrackTag(CODED_FRAMES, b"vp09", bitstreams.VP9_KEYFRAME), 1),
    flv_enhanced.serialize_video(TrackTag(CODED_FRAMES, b"av01", bitstreams.AV1_KEYFRAME), 1),
    flv_enhanced.serialize_video_tracks(_TRACKS, 1),
)
_ENHANCED_AUDIO = (
    flv_enhanced.serialize_audio(TrackTag(SEQUENCE_START, b"Opus", OpusHead(2).serialize())),
    flv_enhanced.serialize_audio(TrackTag(CODED_FRAMES, b"Opus", bitstreams.OPUS_PACKET)),
)
_TAGS = (_AAC_HEADER, _AVC_HEADER, _AAC_FRAME, _AVC_FRAME)

PARSERS = (
    Parser("rtmp chunks", (_SAID[HANDSHAKE_BYTES:], _ANSWERED[HANDSHAKE_BYTES:]), _chunks),
    Parser("rtmp connection", (_SAID[HANDSHAKE_BYTES:],), _connection),
    Parser("rtmp client", (_ANSWERED[HANDSHAKE_BYTES:],), _client),
    Parser("amf0", (_METADATA,), amf0.parse),
    Parser("flv video", (_AVC_HEADER, _AVC_FRAME), _flv_video),
    Parser("flv audio", (_AAC_HEADER, _AAC_FRAME), _flv_audio),
    Parser("flv enhanced video", _ENHANCED_VIDEO, _flv_video),
    Parser("flv enhanced audio", _ENHANCED_AUDIO, _flv_audio),
    Parser("flv", (b"".join(len(each).to_bytes(2, "big") + each for each in _TAGS),), _flv),
)
