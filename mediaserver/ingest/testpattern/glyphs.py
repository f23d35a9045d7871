"""Letters and digits as strokes, drawn smooth at any size.

A glyph is polylines on a grid whose height is 1 and whose y points down; its mask is the distance to
the nearest stroke, cut off softly at half the pen's width.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.float32]  # (height, width), 0 to 1
Points = list[tuple[float, float]]

SPACING = 0.28  # between letters, of their height


def _arc(x: float, y: float, rx: float, ry: float, begin: float, end: float) -> Points:
    """Part of an ellipse; degrees run clockwise on the screen, -90 is its top."""
    count = max(2, round(abs(end - begin) / 12) + 1)
    angles = [math.radians(begin + (end - begin) * i / (count - 1)) for i in range(count)]
    return [(x + rx * math.cos(angle), y + ry * math.sin(angle)) for angle in angles]


# By character: the width, and the strokes.
_GLYPHS: dict[str, tuple[float, list[Points]]] = {
    " ": (0.3, []),
    ".": (0.02, [[(0.01, 1.0), (0.01, 1.0)]]),
    ":": (0.02, [[(0.01, 0.28), (0.01, 0.28)], [(0.01, 0.78), (0.01, 0.78)]]),
    "0": (
        0.6,
        [
            [
                *_arc(0.3, 0.3, 0.3, 0.3, -180, 0),
                *_arc(0.3, 0.7, 0.3, 0.3, 0, 180),
                (0.0, 0.3),
            ]
        ],
    ),
    "1": (0.6, [[(0.1, 0.22), (0.34, 0.0), (0.34, 1.0)]]),
    "2": (0.6, [[*_arc(0.3, 0.3, 0.3, 0.3, -180, 35), (0.0, 1.0), (0.6, 1.0)]]),
    "3": (
        0.6,
        [
            [
                *_arc(0.29, 0.25, 0.25, 0.25, -160, 90),
                *_arc(0.29, 0.75, 0.3, 0.25, -90, 160),
            ]
        ],
    ),
    "4": (0.6, [[(0.44, 1.0), (0.44, 0.0), (0.0, 0.72), (0.6, 0.72)]]),
    "5": (0.6, [[(0.54, 0.0), (0.1, 0.0), (0.06, 0.46), *_arc(0.28, 0.68, 0.31, 0.32, -135, 145)]]),
    "6": (0.6, [_arc(0.3, 0.68, 0.3, 0.32, 0, 360), [(0.46, 0.0), (0.04, 0.56)]]),
    "7": (0.6, [[(0.0, 0.0), (0.6, 0.0), (0.2, 1.0)]]),
    "8": (0.6, [_arc(0.3, 0.24, 0.24, 0.24, 0, 360), _arc(0.3, 0.74, 0.3, 0.26, 0, 360)]),
    "9": (0.6, [_arc(0.3, 0.32, 0.3, 0.32, 0, 360), [(0.56, 0.44), (0.14, 1.0)]]),
    "A": (0.68, [[(0.0, 1.0), (0.34, 0.0), (0.68, 1.0)], [(0.11, 0.68), (0.57, 0.68)]]),
    "B": (
        0.58,
        [
            [(0.0, 0.0), *_arc(0.26, 0.24, 0.26, 0.24, -90, 90), (0.0, 0.48)],
            [(0.26, 0.48), *_arc(0.3, 0.74, 0.28, 0.26, -90, 90), (0.0, 1.0), (0.0, 0.0)],
        ],
    ),
    "C": (0.62, [_arc(0.36, 0.5, 0.36, 0.5, -50, -310)]),
    "D": (0.62, [[(0.0, 0.0), *_arc(0.24, 0.5, 0.38, 0.5, -90, 90), (0.0, 1.0), (0.0, 0.0)]]),
    "E": (0.5, [[(0.5, 0.0), (0.0, 0.0), (0.0, 1.0), (0.5, 1.0)], [(0.0, 0.48), (0.44, 0.48)]]),
    "F": (0.5, [[(0.5, 0.0), (0.0, 0.0), (0.0, 1.0)], [(0.0, 0.48), (0.44, 0.48)]]),
    "H": (
        0.62,
        [[(0.0, 0.0), (0.0, 1.0)], [(0.62, 0.0), (0.62, 1.0)], [(0.0, 0.48), (0.62, 0.48)]],
    ),
    "K": (
        0.6,
        [[(0.0, 0.0), (0.0, 1.0)], [(0.56, 0.0), (0.0, 0.6)], [(0.2, 0.4), (0.6, 1.0)]],
    ),
    "M": (0.76, [[(0.0, 1.0), (0.0, 0.0), (0.38, 0.62), (0.76, 0.0), (0.76, 1.0)]]),
    "O": (0.72, [_arc(0.36, 0.5, 0.36, 0.5, 0, 360)]),
    "P": (
        0.58,
        [[(0.0, 1.0), (0.0, 0.0), *_arc(0.3, 0.28, 0.28, 0.28, -90, 90), (0.0, 0.56)]],
    ),
    "R": (
        0.6,
        [
            [(0.0, 1.0), (0.0, 0.0), *_arc(0.28, 0.27, 0.28, 0.27, -90, 90), (0.0, 0.54)],
            [(0.28, 0.54), (0.58, 1.0)],
        ],
    ),
    "S": (
        0.58,
        [
            [
                *_arc(0.3, 0.25, 0.25, 0.25, -25, -270),
                *_arc(0.28, 0.75, 0.28, 0.25, -90, 155),
            ]
        ],
    ),
    "T": (0.6, [[(0.0, 0.0), (0.6, 0.0)], [(0.3, 0.0), (0.3, 1.0)]]),
    "U": (0.62, [[(0.0, 0.0), *_arc(0.31, 0.69, 0.31, 0.31, 180, 0), (0.62, 0.0)]]),
    "W": (0.96, [[(0.0, 0.0), (0.24, 1.0), (0.48, 0.1), (0.72, 1.0), (0.96, 0.0)]]),
}


def text(words: str, height: float, pen: float) -> Mask:
    """A line of text; `height` of the letters and `pen` width in pixels, a pen's width of margin."""
    strokes: list[Points] = []
    x = 0.0
    for character in words:
        width, lines = _GLYPHS[character]
        strokes += [[(x + px, py) for px, py in line] for line in lines]
        x += width + SPACING
    return _draw(strokes, x - SPACING, height, pen)


def digit(character: str, height: float, pen: float) -> Mask:
    """One digit, or a colon or full stop, in the middle of a cell that all digits share."""
    width, lines = _GLYPHS[character]
    cell = 0.6 if character.isdigit() else 0.16
    shift = (cell - width) / 2
    strokes = [[(x + shift, y) for x, y in line] for line in lines]
    return _draw(strokes, cell, height, pen)


def _draw(strokes: list[Points], width: float, height: float, pen: float) -> Mask:
    rows = np.arange(math.ceil(height + 2 * pen), dtype=np.float32)[:, None] - pen
    columns = np.arange(math.ceil(width * height + 2 * pen), dtype=np.float32)[None, :] - pen
    nearest = np.full((rows.shape[0], columns.shape[1]), np.inf, np.float32)
    for stroke in strokes:
        for (x0, y0), (x1, y1) in pairwise(stroke):
            dx, dy = (x1 - x0) * height, (y1 - y0) * height
            px, py = columns - x0 * height, rows - y0 * height
            length = dx * dx + dy * dy
            along = np.clip((px * dx + py * dy) / length, 0, 1) if length else np.float32(0)
            np.minimum(nearest, np.hypot(px - along * dx, py - along * dy), out=nearest)
    mask: Mask = np.clip(0.5 + pen / 2 - nearest, 0, 1)
    return mask
