"""A plot as SVG: delay and order latency over the seconds, packets lost and recovered below them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, PANEL_HEIGHT = 800, 190
LEFT, RIGHT, TOP, GAP = 62, 12, 34, 46
STEPS = 4
FONT = 'font-family="sans-serif" font-size="12"'


@dataclass(frozen=True, slots=True)
class Curve:
    """`points` are (seconds, value); None leaves a gap."""

    title: str
    colour: str
    points: Sequence[tuple[float, float | None]]


@dataclass(frozen=True, slots=True)
class Panel:
    title: str
    unit: str
    curves: Sequence[Curve]


def svg(panels: Sequence[Panel], seconds: float) -> str:
    """The whole picture, one panel below the other, all over the same seconds."""
    height = TOP + len(panels) * (PANEL_HEIGHT + GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" {FONT}>',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
    ]
    for number, panel in enumerate(panels):
        parts += _panel(panel, TOP + number * (PANEL_HEIGHT + GAP), max(seconds, 1.0))
    return "\n".join((*parts, "</svg>", ""))


def _panel(panel: Panel, top: float, seconds: float) -> list[str]:
    values = [value for curve in panel.curves for _, value in curve.points if value is not None]
    highest = _round_up(max(values, default=0.0) or STEPS)
    bottom, right = top + PANEL_HEIGHT, WIDTH - RIGHT
    parts = [f'<text x="{LEFT}" y="{top - 10}" font-weight="bold">{escape(panel.title)}</text>']
    for step in range(STEPS + 1):
        share = step / STEPS
        y, x = bottom - share * PANEL_HEIGHT, LEFT + share * (right - LEFT)
        label = f"{highest * share:g} {panel.unit}".strip()
        parts += [
            f'<path d="M{LEFT} {y:.1f}H{right}" stroke="#ddd"/>',
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{escape(label)}</text>',
            f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{seconds * share:.3g} s</text>',
        ]
    for number, curve in enumerate(panel.curves):
        line = _path(curve, seconds, highest, bottom)
        x = right - 120 * (len(panel.curves) - number)
        parts += [
            f'<path d="{line}" fill="none" stroke="{curve.colour}" stroke-width="2" '
            'stroke-linecap="round"/>',
            f'<text x="{x}" y="{top - 10}" fill="{curve.colour}">{escape(curve.title)}</text>',
        ]
    return parts


def _path(curve: Curve, seconds: float, highest: float, bottom: float) -> str:
    """Lines between neighbours; a point without neighbours shows by its round cap."""
    path, pen = "", "M"
    for at_s, value in curve.points:
        if value is None:
            pen = "M"
            continue
        x = LEFT + at_s / seconds * (WIDTH - RIGHT - LEFT)
        y = bottom - value / highest * PANEL_HEIGHT
        path += f"{pen}{x:.1f} {y:.1f}" + (f"L{x:.1f} {y:.1f}" if pen == "M" else "")
        pen = "L"
    return path


def _round_up(value: float) -> float:
    """To 1, 2 or 5 of a power of ten, so that the scale has short words."""
    power = 1.0
    while power < value:
        power *= 10
    while power / 10 >= value > 0:
        power /= 10
    return next((power * part for part in (0.1, 0.2, 0.5) if power * part >= value), power)
