"""The shop's things for the home, drawn: scarf, tote, socks, cushion and succulent."""

from __future__ import annotations

import numpy as np

from overlay.demo.canvas import (
    Canvas,
    arc,
    both_sides,
    box,
    ellipse,
    mirrored,
    polygon,
    shifted,
    smooth,
    stroke,
    turned,
)


def scarf() -> Canvas:
    """A linen scarf with stripes, one end over the other."""
    canvas = Canvas(("#e9eef3", "#d3dde7"))
    canvas.fill(ellipse(0.5, 0.5, 0.39), "#f5f8fa")
    canvas.shadow(0.5, 0.9, 0.30, 0.05, "#44546a", 0.3)
    for end, dark in ((_scarf_end(-9, 0.60), True), (_scarf_end(7, 0.41), False)):
        _scarf_tail(canvas, *end, dark=dark)
    loop = smooth(
        (0.23, 0.30), (0.30, 0.20), (0.5, 0.155), (0.70, 0.20), (0.77, 0.30), (0.73, 0.41),
        (0.62, 0.475), (0.5, 0.495), (0.38, 0.475), (0.27, 0.41),
    )  # fmt: skip
    inside = canvas.fill(loop, ("#d0694a", "#b04e35"))
    canvas.fill(ellipse(0.5, 0.265, 0.165, 0.062), ("#6e2c20", "#94402c"), within=inside)
    for drop, opacity in ((0.0, 0.5), (0.05, 0.4), (0.10, 0.3)):
        fold = smooth(
            (0.26, 0.31 + drop),
            (0.38, 0.375 + drop),
            (0.5, 0.39 + drop),
            (0.62, 0.375 + drop),
            (0.74, 0.31 + drop),
            closed=False,
        )
        canvas.fill(stroke(fold, 0.010), "#7e3222", opacity=opacity, within=inside)
        canvas.fill(
            stroke(shifted(fold, 0, -0.012), 0.006), "#f0a083", opacity=opacity, within=inside
        )
    return canvas


def _scarf_end(turn: float, x: float) -> tuple[float, float]:
    return turn, x


def _scarf_tail(canvas: Canvas, turn: float, x: float, *, dark: bool) -> None:
    around = (x, 0.40)
    for number in range(9):
        left = x - 0.094 + number * 0.0235
        fringe = polygon((left, 0.83), (left, 0.86), (left + 0.003, 0.905))
        canvas.fill(turned(stroke(fringe, 0.010), turn, around), "#8f3d29" if dark else "#b9573d")
    tail = turned(box(x - 0.105, 0.38, x + 0.105, 0.84, 0.012), turn, around)
    inside = canvas.fill(tail, ("#a94a33", "#9a412c") if dark else ("#c9603f", "#c0573a"))
    for y, height in ((0.69, 0.035), (0.745, 0.012), (0.775, 0.035)):
        stripe = turned(box(x - 0.2, y, x + 0.2, y + height), turn, around)
        canvas.fill(stripe, "#f3dcc0", opacity=0.8 if dark else 0.95, within=inside)
    for offset in (-0.045, 0.03):
        crease = turned(box(x + offset, 0.4, x + offset + 0.012, 0.86), turn, around)
        canvas.fill(crease, "#5f2418", opacity=0.16, within=inside)


def tote() -> Canvas:
    """A canvas bag with a heron of a few strokes printed on it."""
    canvas = Canvas(("#dbe5d3", "#c6d5bb"))
    canvas.fill(ellipse(0.5, 0.5, 0.39), "#eaf1e4")
    canvas.shadow(0.5, 0.885, 0.36, 0.05, "#42533a", 0.5)
    for width, colour in ((0.155, "#b39a72"), (0.125, "#d9c39b")):
        handle = arc(0.5, 0.36, width, 0.235 if width > 0.15 else 0.20, 180, 360)
        canvas.fill(stroke(handle, 0.030), colour)
    body = smooth(
        (0.245, 0.345), (0.5, 0.355), (0.755, 0.345), (0.775, 0.60), (0.795, 0.855), (0.77, 0.88),
        (0.5, 0.886), (0.23, 0.88), (0.205, 0.855), (0.225, 0.60),
    )  # fmt: skip
    inside = canvas.fill(body, ("#f3e6c9", "#e3cfa5"))
    canvas.fill(box(0.2, 0.33, 0.8, 0.395), "#d9c39b", opacity=0.7, within=inside)
    for x in (0.345, 0.655):
        canvas.fill(box(x - 0.018, 0.34, x + 0.018, 0.41, 0.004), "#cdb587")
    canvas.fill(ellipse(0.62, 0.52, 0.075), "#d8614a", within=inside)
    wing = smooth(
        (0.36, 0.62), (0.47, 0.585), (0.58, 0.64), (0.66, 0.745), (0.52, 0.725), (0.41, 0.70)
    )
    canvas.fill(wing, "#2f5a6b", within=inside)
    neck = smooth((0.385, 0.65), (0.35, 0.59), (0.415, 0.54), (0.395, 0.475), closed=False)
    canvas.fill(stroke(neck, 0.024), "#2f5a6b")
    canvas.fill(ellipse(0.388, 0.468, 0.028, 0.021, -12), "#2f5a6b")
    canvas.fill(polygon((0.372, 0.458), (0.372, 0.478), (0.285, 0.482)), "#e0a23c")
    canvas.fill(ellipse(0.38, 0.464, 0.005), "#f3e6c9")
    for x, foot in ((0.475, 0.455), (0.525, 0.535)):
        canvas.fill(stroke(polygon((x, 0.72), (x - 0.004, 0.77), (foot, 0.83)), 0.009), "#2f5a6b")
    for y, half in ((0.832, 0.13), (0.85, 0.075)):
        canvas.fill(box(0.5 - half, y, 0.5 + half, y + 0.007, 0.003), "#7fa9b5", within=inside)
    return canvas


def socks() -> Canvas:
    """A pair of wool socks."""
    canvas = Canvas(("#fbe6d8", "#f6d2bd"))
    canvas.fill(ellipse(0.5, 0.5, 0.39), "#fff4ec")
    canvas.shadow(0.47, 0.87, 0.38, 0.05, "#7a4a35", 0.4)
    for dx, dy, shade in ((0.13, -0.045, 0.18), (-0.07, 0.03, 0.0)):
        _sock(canvas, dx, dy, shade)
    return canvas


def _sock(canvas: Canvas, dx: float, dy: float, shade: float) -> None:
    outline = smooth(
        (0.42, 0.20), (0.50, 0.195), (0.62, 0.20), (0.625, 0.35), (0.63, 0.52), (0.645, 0.62),
        (0.625, 0.715), (0.54, 0.77), (0.42, 0.80), (0.31, 0.815), (0.225, 0.785), (0.215, 0.71),
        (0.275, 0.665), (0.37, 0.63), (0.415, 0.57), (0.425, 0.45), (0.42, 0.32),
    )  # fmt: skip
    sock = shifted(outline, dx, dy)
    inside = canvas.fill(sock, ("#5c7fa8", "#4a6a92"))
    parts = (
        (ellipse(0.625, 0.70, 0.105, 0.105), "#e7a24f"),
        (ellipse(0.215, 0.745, 0.105, 0.12), "#e7a24f"),
        (box(0.35, 0.15, 0.75, 0.275), "#e7a24f"),
    )
    for part, colour in parts:
        canvas.fill(shifted(part, dx, dy), colour, within=inside)
    for x in np.arange(0.42, 0.64, 0.022):
        canvas.fill(shifted(box(x, 0.19, x + 0.007, 0.268), dx, dy), "#c07f30", within=inside)
    for y in (0.315, 0.40, 0.485):
        zigzag = [(0.38 + 0.025 * n, y + (0.022 if n % 2 else 0.0)) for n in range(12)]
        line = stroke(shifted(polygon(*zigzag), dx, dy), 0.011)
        canvas.fill(line, "#f6efe2", within=inside)
    canvas.fill(
        shifted(box(0.585, 0.2, 0.66, 0.66), dx, dy), "#22344d", opacity=0.16, within=inside
    )
    if shade:
        canvas.fill(sock, "#22344d", opacity=shade)


def cushion() -> Canvas:
    """A cushion in the shape of a persimmon, with a face."""
    canvas = Canvas(("#e3ecf4", "#cddbe9"))
    canvas.fill(ellipse(0.5, 0.5, 0.40), "#f1f6fa")
    canvas.shadow(0.5, 0.82, 0.42, 0.06, "#4a5b70", 0.5)
    body = both_sides(
        [
            (0.5, 0.315),
            (0.62, 0.285),
            (0.77, 0.345),
            (0.845, 0.50),
            (0.80, 0.685),
            (0.66, 0.80),
            (0.5, 0.815),
        ]
    )
    inside = canvas.fill(body, ("#ff9d4d", "#ee6f2d"))
    canvas.fill(ellipse(0.5, 0.95, 0.48, 0.26), "#c94f1d", opacity=0.22, within=inside)
    canvas.fill(ellipse(0.29, 0.45, 0.055, 0.10, 28), "#ffd9ae", opacity=0.75, within=inside)
    for x in (0.335, 0.665):
        seam = smooth((0.5, 0.33), (x, 0.42), (x - (x - 0.5) * 0.1, 0.83), closed=False)
        canvas.fill(stroke(seam, 0.005), "#d65f22", opacity=0.6, within=inside)
    for turn in (-78, -28, 28, 78):
        leaf = smooth(
            (0.5, 0.335), (0.545, 0.275), (0.53, 0.205), (0.5, 0.165), (0.47, 0.205), (0.455, 0.275)
        )
        canvas.fill(turned(leaf, turn * 1.25, (0.5, 0.325)), ("#7da35a", "#567f3c"))
    canvas.fill(ellipse(0.5, 0.318, 0.055, 0.035), "#6b9349")
    canvas.fill(
        stroke(smooth((0.5, 0.31), (0.503, 0.26), (0.53, 0.215), closed=False), 0.026),
        ("#8a6a42", "#6f5230"),
    )
    for x in (0.405, 0.595):
        canvas.fill(ellipse(x, 0.56, 0.020, 0.026), "#4a2413")
        canvas.fill(ellipse(x + 0.006, 0.55, 0.007), "#ffffff")
    for x in (0.335, 0.665):
        canvas.fill(ellipse(x, 0.625, 0.042, 0.025), "#ff7f6b", opacity=0.75)
    canvas.fill(stroke(arc(0.5, 0.592, 0.036, 0.030, 20, 160), 0.011), "#4a2413")
    return canvas


def succulent() -> Canvas:
    """A succulent in a small pot."""
    canvas = Canvas(("#f7dfe0", "#efc7c9"))
    canvas.fill(ellipse(0.5, 0.47, 0.38), "#fdf0ef")
    canvas.fill(box(0, 0.80, 1, 1), ("#e6b3a6", "#dba597"))
    canvas.shadow(0.5, 0.875, 0.30, 0.045, "#7a4038", 0.5)
    for count, radius, size, colours in (
        (11, 0.205, 0.105, ("#6fa58c", "#4e8770")),
        (9, 0.145, 0.090, ("#86bb9f", "#639c84")),
        (7, 0.085, 0.070, ("#a5d2b6", "#7fb498")),
        (4, 0.034, 0.045, ("#c6e6cf", "#9fcdb0")),
    ):
        _rosette(canvas, count, radius, size, colours)
    pot = polygon((0.315, 0.60), (0.685, 0.60), (0.635, 0.875), (0.365, 0.875))
    inside = canvas.fill(pot, ("#fbf5ef", "#e6d8cc"))
    canvas.fill(box(0.60, 0.58, 0.70, 0.9), "#8a6a5a", opacity=0.16, within=inside)
    wave = [(0.30 + 0.025 * n, 0.745 + (0.028 if n % 2 else 0.0)) for n in range(17)]
    canvas.fill(stroke(smooth(*wave, closed=False), 0.014), "#d9705a", within=inside)
    canvas.fill(
        stroke(shifted(smooth(*wave, closed=False), 0, 0.05), 0.010), "#7fb498", within=inside
    )
    canvas.fill(box(0.295, 0.575, 0.705, 0.640, 0.018), ("#ffffff", "#eee2d7"))
    return canvas


def _rosette(
    canvas: Canvas, count: int, radius: float, size: float, colours: tuple[str, str]
) -> None:
    """A ring of leaves, the ones behind first."""
    angles = sorted(
        (360 * number / count + count * 7 for number in range(count)),
        key=lambda degrees: -np.cos(np.radians(degrees)),
    )
    for degrees in angles:
        angle = np.radians(degrees)
        x, y = 0.5 + radius * np.sin(angle), 0.43 - radius * 0.82 * np.cos(angle)
        leaf = both_sides(
            [(0.5, -size), (0.5 + size * 0.62, 0.0), (0.5 + size * 0.3, size), (0.5, size * 1.1)]
        )
        placed = turned(shifted(leaf, x - 0.5, y), degrees, (x, y))
        canvas.fill(placed, colours)
        tip = turned(ellipse(x, y - size * 0.86, size * 0.16), degrees, (x, y))
        canvas.fill(tip, "#e58f86", opacity=0.8)
        vein = turned(
            mirrored(box(x - 0.0025, y - size * 0.5, x + 0.0025, y + size * 0.8), x),
            degrees,
            (x, y),
        )
        canvas.fill(vein, "#ffffff", opacity=0.18)
