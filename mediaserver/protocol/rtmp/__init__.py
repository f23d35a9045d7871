"""RTMP, server side, without input or output (Adobe's RTMP specification 1.0, 2012-12-21)."""

from mediaserver.protocol.rtmp.chunk_stream import Message
from mediaserver.protocol.rtmp.connection import (
    Event,
    MetadataReceived,
    PublishEnded,
    PublishRequested,
    RtmpConnection,
    State,
)

__all__ = [
    "Event",
    "Message",
    "MetadataReceived",
    "PublishEnded",
    "PublishRequested",
    "RtmpConnection",
    "State",
]
