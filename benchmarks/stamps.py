"""When a frame was sent, written into the frame: behind the first bytes of its slice, in hex.

So whoever decrypts the frame's first packet knows how old it is. A decoder would not like it.
"""

from __future__ import annotations

from benchmarks.picture import FIRST_SLICE
from mediaserver.protocol.h264 import NAL_IDR, NAL_SLICE
from mediaserver.protocol.rtp_h264 import FU_A

DIGITS = 16
_AT = 2  # behind the NAL unit's header and the first byte of the slice header
_FU_START = 0x80


def stamped(nal: bytes, utc_ns: int) -> bytes:
    """A slice of the same size that says `utc_ns`."""
    return b"%b%016x%b" % (nal[:_AT], utc_ns, nal[_AT + DIGITS :])


def sent_ns(payload: bytes) -> int | None:
    """UTC in ns from the RTP payload that begins a stamped slice; None for any other."""
    kind = payload[0] & 0x1F
    if kind == FU_A and payload[1] & _FU_START:
        at = _AT
    elif kind in (NAL_SLICE, NAL_IDR):
        at = _AT - 1
    else:
        return None
    if payload[at] != FIRST_SLICE:
        return None
    try:
        return int(payload[at + 1 : at + 1 + DIGITS], 16)
    except ValueError:
        return None
