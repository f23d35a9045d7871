"""What every video codec's RTP payload format here takes and gives.

The batch sender hands the kernel runs of packets of one size, of which the last may be shorter. So
whatever a format cuts, it cuts evenly: see `even_size`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from mediaserver.media import Track

MAX_PADDING_BYTES = 255  # one byte counts them (RFC 3550 §5.1)
MAX_FRAME_BYTES = 4 * 1024 * 1024  # far above what a live encoder uses for one picture

_PADDING = tuple(bytes(count - 1) + bytes((count,)) for count in range(1, MAX_PADDING_BYTES + 1))


class RtpPayload(NamedTuple):
    """`payload` with its padding bytes, the P bit for the header, and the M bit."""

    payload: bytes
    padding: bool
    marker: bool


@dataclass(slots=True)
class CodedFrame:
    """One picture, or what is left of it when `damaged`.

    `payload` is ready for Packet.payload, b"" when nothing is left. `track` is set on a keyframe whose
    configuration is complete: the same object for as long as nothing changed. Whether a damaged
    picture was a keyframe is not always to be seen.
    """

    timestamp: int
    payload: bytes
    keyframe: bool
    damaged: bool
    track: Track | None


def ceil_div(dividend: int, divisor: int) -> int:
    return -(-dividend // divisor)


def even_size(total: int, most: int) -> int:
    """The size of all pieces but the last when `total` is cut into as few of up to `most` as can be."""
    return ceil_div(total, ceil_div(total, most)) if total > most else total


def cut(total: int, size: int) -> tuple[list[int], bool]:
    """Fragment sizes up to `size`, and whether padding is to make all of them `size`."""
    count = ceil_div(total, size)
    if count * size - total <= MAX_PADDING_BYTES:
        return [size] * (count - 1) + [total - size * (count - 1)], True
    share, longer = divmod(total, count)
    if size - share <= MAX_PADDING_BYTES:
        return [share + 1] * longer + [share] * (count - longer), True
    even = ceil_div(total, count)
    count = ceil_div(total, even)
    return [even] * (count - 1) + [total - even * (count - 1)], False


def pad(payload: bytes, target: int) -> tuple[bytes, bool]:
    """The payload made up to `target` bytes where padding can do it, and whether it was."""
    deficit = target - len(payload)
    if 0 < deficit <= MAX_PADDING_BYTES:
        return payload + _PADDING[deficit - 1], True
    return payload, False
