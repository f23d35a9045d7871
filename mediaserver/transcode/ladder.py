"""Which renditions a source gets: the rungs of the ladder below its size, and one that mends it.

A rung's height is that of the picture's shorter side, so that a phone held upright gets the same
rungs. Nothing is made larger: a rung at or above the source is left out. Widths and heights are even,
as 4:2:0 has it, and the form of the pixels is the source's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from mediaserver.hub import MENDED

MENDED_BITS_PER_PIXEL = 0.09  # of a frame: 5.6 Mbit/s for 1080p at 30 frames/s
MIN_SIDE = 16  # what every encoder takes


@dataclass(frozen=True, slots=True)
class Rung:
    """One step of the ladder, as configured; `fps` 0 is the source's."""

    height: int
    bitrate_kbps: int
    fps: float = 0.0
    preset: str = "veryfast"


@dataclass(frozen=True, slots=True)
class Colour:
    """How the numbers of a picture are to be read (ITU-T H.273), 2 being "unspecified"."""

    primaries: int = 2
    transfer: int = 2
    matrix: int = 2
    full_range: bool = False


@dataclass(frozen=True, slots=True)
class Source:
    """A source's pictures as they are shown, rotation made good; `pixel` is width to height of one."""

    width: int
    height: int
    frame_rate: Fraction
    pixel: Fraction = Fraction(1)
    rotation: int = 0  # degrees counter-clockwise, by which they are turned for it
    colour: Colour = Colour()
    pixel_format: str = "yuv420p"


@dataclass(frozen=True, slots=True)
class Form:
    """What one encoder makes; `fps` 0 is every frame of the source."""

    suffix: str
    width: int
    height: int
    bits_per_s: int
    frame_rate: Fraction
    fps: float = 0.0
    preset: str = "veryfast"
    pixel: Fraction = Fraction(1)
    colour: Colour = Colour()


def plan(rungs: Iterable[Rung], source: Source) -> list[Form]:
    """The rungs that are below the source, highest first."""
    shorter = min(source.width, source.height)
    below = {rung.height: rung for rung in rungs if MIN_SIDE <= rung.height < shorter}
    return [_form(rung, source) for _, rung in sorted(below.items(), reverse=True)]


def mended(source: Source, preset: str = "veryfast") -> Form:
    """The source itself, encoded anew so that a browser can show it as it comes."""
    width, height = _even(source.width), _even(source.height)
    bits_per_s = round(width * height * float(source.frame_rate) * MENDED_BITS_PER_PIXEL)
    return Form(
        MENDED,
        width,
        height,
        bits_per_s,
        source.frame_rate,
        preset=preset,
        pixel=source.pixel,
        colour=source.colour,
    )


def _form(rung: Rung, source: Source) -> Form:
    scale = Fraction(rung.height, min(source.width, source.height))
    frame_rate = source.frame_rate
    if 0 < rung.fps < frame_rate:
        frame_rate = Fraction(rung.fps).limit_denominator(1001)
    return Form(
        f"{rung.height}p",
        _even(source.width * scale),
        _even(source.height * scale),
        rung.bitrate_kbps * 1000,
        frame_rate,
        rung.fps if rung.fps < source.frame_rate else 0.0,
        rung.preset,
        source.pixel,
        source.colour,
    )


def _even(side: Fraction | int) -> int:
    return max(MIN_SIDE, round(side / 2) * 2)
