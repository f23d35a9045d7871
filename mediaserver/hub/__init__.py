"""The only fan-out: streams, their bounded readers, and the relay between processes."""

from mediaserver.hub.hub import BACKUP, MAIN, SLATE, STALL_S, Hub, Publication
from mediaserver.hub.stream import MENDED, Notice, Reader, Stream, StreamEnded

__all__ = [
    "BACKUP",
    "MAIN",
    "MENDED",
    "SLATE",
    "STALL_S",
    "Hub",
    "Notice",
    "Publication",
    "Reader",
    "Stream",
    "StreamEnded",
]
