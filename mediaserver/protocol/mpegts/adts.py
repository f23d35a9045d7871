"""AAC in PES packets as ADTS (ISO/IEC 14496-3 §1.A.2.2, ISO/IEC 13818-7 §6.2).

Frames may go on in the next PES packet. A time stamp is that of the first frame that begins in its PES
packet; those after it follow by their length.
"""

from __future__ import annotations

from mediaserver.errors import ProtocolError
from mediaserver.media import AAC_FRAME_SAMPLES, Track
from mediaserver.protocol import aac
from mediaserver.protocol.mpegts.frame import CLOCK_RATE, Frame
from mediaserver.protocol.mpegts.pes import Pes

_HEADER_BYTES, _CRC_BYTES = 7, 2
_LENGTH_BITS = 0x1FFF


class AdtsFrames:
    """Raw frames of one AAC stream; the Track follows what their headers say."""

    def __init__(self) -> None:
        self._left = b""  # of a frame, so below 8 KiB
        self._synced = False
        self._header = b""
        self._track: Track | None = None
        self._pts: int | None = None
        self._samples = 0  # since that

    def lose(self) -> None:
        self._left = b""
        self._synced = False
        self._pts = None  # it counted samples that are gone

    def feed(self, pes: Pes) -> list[Frame]:
        begin, data = len(self._left), self._left + pes.payload
        self._left = b""
        frames: list[Frame] = []
        position = 0 if self._synced else self._sync(data)
        timed = pes.pts is None
        while position + _HEADER_BYTES <= len(data):
            length = _frame_bytes(data, position)
            if not length:
                self.lose()
                raise ProtocolError("what should be an ADTS header is none")
            if position + length > len(data):
                break
            if not timed and position >= begin:
                timed, self._pts, self._samples = True, pes.pts, 0
            self._take(data[position : position + length], frames)
            position += length
        self._synced = True
        self._left = data[position:]
        return frames

    def _sync(self, data: bytes) -> int:
        """Where a header is that has another behind its frame, or that fills what there is."""
        position = data.find(b"\xff")
        while position >= 0:
            length = _frame_bytes(data, position)
            following = position + length
            if length and (following == len(data) or _frame_bytes(data, following)):
                return position
            position = data.find(b"\xff", position + 1)
        return len(data)

    def _take(self, frame: bytes, frames: list[Frame]) -> None:
        header = bytes((frame[2], frame[3] & 0xC0))  # profile, rate, channels
        if header != self._header or self._track is None:
            self._track = _track(frame)
            self._header = header
        start = _HEADER_BYTES + (0 if frame[1] & 1 else _CRC_BYTES)
        if frame[6] & 3:
            raise ProtocolError("several AAC blocks in one ADTS frame are not supported")
        if self._pts is not None:
            dts = self._pts + self._samples * CLOCK_RATE // self._track.clock_rate
            frames.append(Frame(self._track, dts, 0, True, frame[start:]))
        self._samples += AAC_FRAME_SAMPLES


def _frame_bytes(data: bytes, at: int) -> int:
    """The length of the frame whose header stands there; 0 if there is none."""
    if at + _HEADER_BYTES > len(data) or data[at] != 0xFF or data[at + 1] & 0xF6 != 0xF0:
        return 0
    length = int.from_bytes(data[at + 3 : at + 6], "big") >> 5 & _LENGTH_BITS
    least = _HEADER_BYTES + (0 if data[at + 1] & 1 else _CRC_BYTES)
    return length if length > least else 0


def _track(frame: bytes) -> Track:
    object_type = (frame[2] >> 6) + 1
    rate = frame[2] >> 2 & 15
    channels = (frame[2] & 1) << 2 | frame[3] >> 6
    config = object_type << 11 | rate << 7 | channels << 3
    return aac.audio_track(config.to_bytes(2, "big"))
