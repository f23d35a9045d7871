"""The only fan-out: streams, their bounded readers, and the relay between processes."""

from mediaserver.hub.hub import Hub, Publication
from mediaserver.hub.stream import Notice, Reader, Stream, StreamEnded

__all__ = ["Hub", "Notice", "Publication", "Reader", "Stream", "StreamEnded"]
