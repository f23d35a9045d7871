"""Opus in PES packets, by the mapping that FFmpeg and others write (Opus in MPEG-TS, a draft).

Each packet stands behind a control header: a prefix of eleven bits, what to trim, and its size.
"""

from __future__ import annotations

from mediaserver.errors import ProtocolError
from mediaserver.protocol import opus
from mediaserver.protocol.mpegts.frame import CLOCK_RATE, Frame
from mediaserver.protocol.mpegts.pes import Pes

_PREFIX, _PREFIX_BITS = 0x7FE0, 0xFFE0
_START_TRIM, _END_TRIM, _CONTROL_EXTENSION = 0x10, 0x08, 0x04
_CHANNELS = {0: 2, 1: 1, 2: 2}  # channel_config_code; 0 is two of one channel each


class OpusFrames:
    """Opus packets of one stream; `extension` is the body of its descriptor."""

    def __init__(self, extension: bytes) -> None:
        """Raises ProtocolError for channels that are not taken."""
        channels = _CHANNELS.get(extension[1]) if len(extension) >= 2 else 2
        if channels is None:
            raise ProtocolError("Opus is taken in mono and stereo only")
        self._track = opus.opus_track(channels)

    def lose(self) -> None:
        """Every PES packet stands for itself."""

    def feed(self, pes: Pes) -> list[Frame]:
        if pes.pts is None:
            raise ProtocolError("Opus without its time")
        data, frames, samples, position = pes.payload, [], 0, 0
        while position < len(data):
            start, size = _control_header(data, position)
            position = start + size
            if position > len(data):
                raise ProtocolError("an Opus packet is cut off")
            packet = data[start:position]
            dts = pes.pts + samples * CLOCK_RATE // self._track.clock_rate
            samples += opus.packet_duration(packet)
            frames.append(Frame(self._track, dts, 0, True, packet))
        return frames


def _control_header(data: bytes, at: int) -> tuple[int, int]:
    """Where the packet begins, and its size."""
    if int.from_bytes(data[at : at + 2], "big") & _PREFIX_BITS != _PREFIX:
        raise ProtocolError("an Opus packet without its control header")
    flags = data[at + 1]
    at += 2
    size = 0
    while at < len(data) and data[at] == 0xFF:
        size += 0xFF
        at += 1
    size += int.from_bytes(data[at : at + 1], "big")
    at += 1
    at += 2 * bool(flags & _START_TRIM) + 2 * bool(flags & _END_TRIM)
    if flags & _CONTROL_EXTENSION:
        at += 1 + int.from_bytes(data[at : at + 1], "big")
    return at, size
