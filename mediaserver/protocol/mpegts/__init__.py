"""MPEG transport streams (ISO/IEC 13818-1), what SRT publishers send: bytes in, frames out."""

from mediaserver.protocol.mpegts.demuxer import Demuxer
from mediaserver.protocol.mpegts.frame import CLOCK_RATE, Frame

__all__ = ["CLOCK_RATE", "Demuxer", "Frame"]
