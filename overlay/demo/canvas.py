"""A canvas for flat illustrations: closed shapes filled with soft edges, in plain numpy.

Coordinates are fractions of the picture's side, x to the right and y down. A shape is an array (n, 2)
of its corners; curves are corners that lie close together. A shape is filled by summing up the signed
area that each edge leaves to its right, so edges are smooth and a shape may cross itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import TypeAlias

import av
import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]
Shape: TypeAlias = NDArray[np.float64]  # (corners, 2)
Mask: TypeAlias = NDArray[np.float32]  # (side, side), 0 to 1
Colour: TypeAlias = str  # "#rrggbb"
Paint: TypeAlias = Colour | tuple[Colour, Colour]  # plain, or from top to bottom of the shape

SIDE = 1024
SAMPLES = 4  # lines of samples in one row of pixels
CURVE_STEPS = 16  # corners between two points of a curve


class Canvas:
    """One square picture, SIDE pixels each way."""

    def __init__(self, background: Paint) -> None:
        whole = box(0, 0, 1, 1)
        self._pixels = np.zeros((SIDE, SIDE, 3), np.float32)
        self.fill(whole, background)

    def fill(
        self, shape: Shape, paint: Paint, *, opacity: float = 1.0, within: Mask | None = None
    ) -> Mask:
        """Paint a shape, where given only `within` another's mask; its own mask."""
        mask = coverage(shape)
        shown = mask if within is None else mask * within
        self._blend(shown * np.float32(opacity), _colours(paint, shape))
        return mask

    def shadow(
        self, x: float, y: float, rx: float, ry: float, colour: Colour, opacity: float = 0.35
    ) -> None:
        """A soft ellipse, darkest in its middle."""
        at = (np.arange(SIDE, dtype=np.float32) + 0.5) / SIDE
        far = ((at[None, :] - x) / rx) ** 2 + ((at[:, None] - y) / ry) ** 2
        self._blend((np.clip(1 - far, 0, 1) ** 1.5 * opacity).astype(np.float32), _rgb(colour))

    def png(self) -> bytes:
        """The picture as a PNG."""
        pixels = np.clip(np.round(self._pixels), 0, 255).astype(np.uint8)
        encoder = av.CodecContext.create("png", "w")
        assert isinstance(encoder, av.VideoCodecContext)
        encoder.width = encoder.height = SIDE
        encoder.pix_fmt, encoder.time_base = "rgb24", Fraction(1)
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        packets = [*encoder.encode(frame), *encoder.encode(None)]
        return b"".join(bytes(packet) for packet in packets)

    def _blend(self, mask: Mask, colours: Floats) -> None:
        rows = np.flatnonzero(mask.any(axis=1))
        if rows.size:
            part = slice(rows[0], rows[-1] + 1)
            under = self._pixels[part]
            over = colours[part] if colours.ndim == 3 else colours
            under += (over - under) * mask[part, :, None]


def coverage(shape: Shape) -> Mask:
    """How much of each pixel lies inside the shape."""
    begin = shape * (SIDE, SIDE * SAMPLES)
    end = np.roll(begin, -1, axis=0)
    low, high = np.clip((begin[:, 1].min(), begin[:, 1].max()), 0, SIDE * SAMPLES)
    first, rows = int(low) // SAMPLES, math.ceil(high / SAMPLES) - int(low) // SAMPLES
    lines = first * SAMPLES + np.arange(rows * SAMPLES) + 0.5
    above, below = begin[:, None, 1] <= lines, end[:, None, 1] <= lines
    edge, line = np.nonzero(above != below)
    (x0, y0), (x1, y1) = begin[edge].T, end[edge].T
    x = np.clip(x0 + (lines[line] - y0) / (y1 - y0) * (x1 - x0), 0, SIDE)
    weight = np.where(above[edge, line], 1.0, -1.0) / SAMPLES
    column = np.floor(x).astype(np.int64)
    cell = (line // SAMPLES) * (SIDE + 2) + column
    area = np.bincount(cell, weight * (1 - (x - column)), rows * (SIDE + 2))
    area += np.bincount(cell + 1, weight * (x - column), rows * (SIDE + 2))
    filled = np.cumsum(area.reshape(rows, SIDE + 2), axis=1)[:, :SIDE]
    mask = np.zeros((SIDE, SIDE), np.float32)
    mask[first : first + rows] = np.clip(np.abs(filled), 0, 1)
    return mask


def box(left: float, top: float, right: float, bottom: float, radius: float = 0.0) -> Shape:
    """An upright rectangle with round corners."""
    if radius <= 0:
        return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
    corners = [
        (right - radius, top + radius, -90),
        (right - radius, bottom - radius, 0),
        (left + radius, bottom - radius, 90),
        (left + radius, top + radius, 180),
    ]
    return np.concatenate([arc(x, y, radius, radius, a, a + 90) for x, y, a in corners])


def barrel(left: float, top: float, right: float, bottom: float, bulge: float) -> Shape:
    """A standing cylinder seen from a little above: flat at the top, `bottom` is its lowest point."""
    middle, half = (left + right) / 2, (right - left) / 2
    return np.concatenate(
        [polygon((left, top), (right, top)), arc(middle, bottom - bulge, half, bulge, 0, 180)]
    )


def ellipse(x: float, y: float, rx: float, ry: float | None = None, turn: float = 0.0) -> Shape:
    """A circle or an ellipse, turned clockwise by degrees."""
    return turned(arc(x, y, rx, rx if ry is None else ry, 0, 360), turn, (x, y))


def arc(x: float, y: float, rx: float, ry: float, begin: float, end: float) -> Shape:
    """Points on an ellipse; degrees run clockwise, -90 is its top."""
    steps = max(2, math.ceil(abs(end - begin) / 4))
    angles = np.radians(np.linspace(begin, end, steps + 1))
    return np.stack([x + rx * np.cos(angles), y + ry * np.sin(angles)], axis=1)


def polygon(*points: tuple[float, float]) -> Shape:
    return np.array(points)


def smooth(*points: tuple[float, float], closed: bool = True) -> Shape:
    """A curve through the points (centripetal enough for drawings: Catmull-Rom)."""
    given = np.array(points)
    if closed:
        around = np.concatenate([given[-1:], given, given[:2]])
    else:
        around = np.concatenate([given[:1], given, given[-1:]])
    t = np.linspace(0, 1, CURVE_STEPS, endpoint=False)[:, None]
    pieces = []
    for p0, p1, p2, p3 in zip(around, around[1:], around[2:], around[3:], strict=False):
        straight, bent = p2 - p0, 2 * p0 - 5 * p1 + 4 * p2 - p3
        last = 3 * p1 - p0 - 3 * p2 + p3
        pieces.append(p1 + 0.5 * t * (straight + t * (bent + t * last)))
    return np.concatenate(pieces if closed else [*pieces, given[-1:]])


def stroke(line: Shape, width: float) -> Shape:
    """The outline of a line of some width, with round ends."""
    along = np.gradient(line, axis=0)
    along /= np.maximum(np.hypot(*along.T), 1e-9)[:, None]
    across = np.stack([-along[:, 1], along[:, 0]], axis=1) * width / 2
    first, last = (math.degrees(math.atan2(along[end, 1], along[end, 0])) for end in (0, -1))
    r = width / 2
    return np.concatenate(
        [
            line - across,
            arc(line[-1, 0], line[-1, 1], r, r, last - 90, last + 90),
            (line + across)[::-1],
            arc(line[0, 0], line[0, 1], r, r, first + 90, first + 270),
        ]
    )


def turned(shape: Shape, degrees: float, around: tuple[float, float]) -> Shape:
    """Turned clockwise around a point."""
    if not degrees:
        return shape
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    x, y = (shape - around).T
    return np.stack([x * cos - y * sin, x * sin + y * cos], axis=1) + around


def mirrored(shape: Shape, x: float = 0.5) -> Shape:
    """Left and right exchanged around `x`."""
    return np.stack([2 * x - shape[:, 0], shape[:, 1]], axis=1)


def shifted(shape: Shape, dx: float, dy: float) -> Shape:
    return np.add(shape, (dx, dy))


def both_sides(half: Sequence[tuple[float, float]], x: float = 0.5) -> Shape:
    """A shape from its right half, given from top to bottom as a curve."""
    right = smooth(*half, closed=False)
    return np.concatenate([right, mirrored(right, x)[::-1]])


def _rgb(colour: Colour) -> Floats:
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)], np.float32)


def _colours(paint: Paint, shape: Shape) -> Floats:
    if isinstance(paint, str):
        return _rgb(paint)
    top, bottom = shape[:, 1].min(), shape[:, 1].max()
    down = (np.arange(SIDE) / SIDE - top) / max(bottom - top, 1e-6)
    share = np.clip(down, 0, 1).astype(np.float32)[:, None]
    colours: Floats = _rgb(paint[0]) + (_rgb(paint[1]) - _rgb(paint[0])) * share
    return colours[:, None, :]
