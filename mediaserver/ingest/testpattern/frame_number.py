"""The frame number as a strip of black and white blocks along the top edge, for machines to read.

The number is that of the frame's moment, counted from the UTC epoch at FPS and cut to 24 bits: who
reads it off a screen knows when the frame was drawn, to the millisecond, and needs no common start.
Forty blocks of equal width: white black white black, 24 bits from the highest, an 8-bit check
(CRC-8, polynomial 0x07), black white black white.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

FPS = 30
BITS = 24
BLOCKS = 40
STRIP_HEIGHT = 24 / 720  # of the picture's height
_BEFORE = (1, 0, 1, 0)
_AFTER = (0, 1, 0, 1)
_MIN_CONTRAST = 40.0  # of 255, between black and white as they arrive
_MIN_MARGIN = 0.15  # of the contrast, between a block and the middle


def strip_bits(number: int) -> tuple[int, ...]:
    """The forty blocks of a frame number, 1 for white."""
    number %= 1 << BITS
    value = number << 8 | _crc8(number.to_bytes(3, "big"))
    return _BEFORE + tuple(value >> shift & 1 for shift in range(BITS + 7, -1, -1)) + _AFTER


def read_frame_number(luma: NDArray[Any]) -> int | None:
    """The number burned into a frame, given its luma or grey values; None where it can't be read.

    `luma` is (height, width) of the whole frame at any size and any number type with black near 0 and
    white near 255, decoded or from a screenshot cut to the picture.
    """
    height, width = luma.shape
    top, bottom = height * STRIP_HEIGHT * 0.25, height * STRIP_HEIGHT * 0.75
    rows = luma[int(top) : max(int(bottom), int(top) + 1)]
    step = width / BLOCKS
    blocks = []
    for block in range(BLOCKS):
        left, right = int(step * (block + 0.3)), int(step * (block + 0.7))
        blocks.append(float(rows[:, left : max(right, left + 1)].mean()))
    ends = list(zip(_BEFORE + _AFTER, blocks[:4] + blocks[-4:], strict=True))
    white = sum(level for bit, level in ends if bit) / 4
    black = sum(level for bit, level in ends if not bit) / 4
    contrast, middle = white - black, (white + black) / 2
    if contrast < _MIN_CONTRAST:
        return None
    if any(abs(level - middle) < _MIN_MARGIN * contrast for level in blocks):
        return None
    bits = tuple(int(level > middle) for level in blocks)
    number = int("".join(map(str, bits[4 : 4 + BITS])), 2)
    return number if bits == strip_bits(number) else None


def frame_utc_ms(number: int, near_utc_ms: float) -> float:
    """When the frame of this number was drawn, in UTC ms: the moment of that number nearest to another.

    Numbers come again after 6.5 days.
    """
    near = round(near_utc_ms * FPS / 1000)
    ahead = (number - near) % (1 << BITS)
    if ahead >= 1 << (BITS - 1):
        ahead -= 1 << BITS
    return (near + ahead) * 1000 / FPS


def _crc8(data: bytes) -> int:
    register = 0xFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = (register << 1 ^ (0x07 if register & 0x80 else 0)) & 0xFF
    return register
