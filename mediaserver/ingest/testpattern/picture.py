"""The moving picture, drawn with numpy straight into YUV 4:2:0 planes (BT.709, limited range).

What stands still is drawn once; a frame repaints the strip, the digits that changed, the flash, the
bars and the ball. The ball touches the ground when the flash lights and the beep sounds.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mediaserver.ingest.testpattern import glyphs
from mediaserver.ingest.testpattern.frame_number import BITS, BLOCKS, FPS, STRIP_HEIGHT, strip_bits

WIDTH, HEIGHT = 1280, 720
FLASH_FRAMES = 3  # as long as the beep

Plane = NDArray[np.uint8]
Floats = NDArray[np.float32]
Colour = tuple[int, int, int]  # red, green, blue
Area = tuple[slice, slice]  # rows, columns

_WHITE: Colour = (255, 255, 255)
_DARK: Colour = (20, 20, 20)
_GOLD: Colour = (255, 206, 92)
_CORAL: Colour = (255, 104, 92)
_CORNERS: tuple[tuple[Colour, Colour], tuple[Colour, Colour]] = (  # top, bottom; left, right
    ((34, 18, 86), (120, 28, 122)),
    ((22, 60, 138), (238, 104, 76)),
)

_STRIP_ROWS = round(HEIGHT * STRIP_HEIGHT)
_WORDMARK_AT = (72, 84)
_SUBTITLE_AT = (90, 288)
_CLOCK_PANEL: Area = (slice(416, 656), slice(56, 784))
_CLOCK_AT = (84, 452)
_CLOCK_SIZE = (68.0, 10.0)  # height and pen of the digits
_NUMBER_AT = (248, 584)
_NUMBER_SIZE = (32.0, 5.0)
_FRAME_LABEL_AT = (92, 584)
_UTC_LABEL_AT = (660, 584)
_FLASH_FRAME: Area = (slice(96, 304), slice(1016, 1224))
_FLASH: Area = (slice(112, 288), slice(1032, 1208))
_BEEP_LABEL_AT = (1064, 322)
_BAR_PANEL: Area = (slice(416, 656), slice(808, 1224))
_BARS: Area = (slice(440, 632), slice(824, 1208))
_BAR_COUNT = 12
_BALL_RADIUS = 44
_GROUND_Y, _JUMP = 356, 160  # of the ball's centre
_BALL_LEFT, _BALL_RIGHT = 120, 940
_CROSSING_S = 4.0


class Picture:
    """Frames by number; `frame` gives the same planes each time, repainted."""

    def __init__(self) -> None:
        still = _still_picture()
        self._still = _to_yuv(still)
        self._planes = np.empty((HEIGHT * 3 // 2, WIDTH), np.uint8)
        chroma = self._planes[HEIGHT:].reshape(2, HEIGHT // 2, WIDTH // 2)
        self._yuv = self._planes[:HEIGHT], chroma[0], chroma[1]
        for plane, source in zip(self._yuv, self._still, strict=True):
            plane[:] = source
        self._clock = _Digits(self._yuv[0], _CLOCK_AT, *_CLOCK_SIZE)
        self._number = _Digits(self._yuv[0], _NUMBER_AT, *_NUMBER_SIZE)
        self._full_bars = _to_yuv(_bars_at_full_height(still))
        self._ball = _Ball()

    def frame(self, number: int) -> Plane:
        """The frame of this number, counted at FPS from the UTC epoch: (HEIGHT * 3 / 2, WIDTH)."""
        luma = self._yuv[0]
        luma[:_STRIP_ROWS] = _strip_row(number)
        self._clock.show(clock_text(number))
        self._number.show(f"{number % (1 << BITS):08d}")
        luma[_FLASH] = 235 if number % FPS < FLASH_FRAMES else self._still[0][_FLASH]
        self._paint_bars(number / FPS)
        self._ball.move(self._yuv, self._still, number / FPS)
        return self._planes

    def _paint_bars(self, now_s: float) -> None:
        rows = _BARS[0].stop - _BARS[0].start
        bars = np.arange(_BAR_COUNT)
        level = np.abs(np.sin(now_s % 600 * 1.7 + bars * 0.9) * np.sin(now_s % 600 * 2.3 - bars))
        tops = (rows * (0.92 - 0.85 * level)).astype(int) // 2 * 2
        width = (_BARS[1].stop - _BARS[1].start) // _BAR_COUNT
        for plane, still, full in zip(self._yuv, self._still, self._full_bars, strict=True):
            scale = WIDTH // plane.shape[1]
            area = _scaled(_BARS, scale)
            empty = (
                np.arange(rows // scale)[:, None] < np.repeat(tops, width)[None, ::scale] // scale
            )
            plane[area] = np.where(empty, still[area], full[area])


def clock_text(number: int) -> str:
    """UTC of a frame as HH:MM:SS.mmm."""
    milliseconds = number * 1000 // FPS
    seconds = milliseconds // 1000
    hours, minutes = seconds // 3600 % 24, seconds // 60 % 60
    return f"{hours:02d}:{minutes:02d}:{seconds % 60:02d}.{milliseconds % 1000:03d}"


class _Digits:
    """One line of digits on a dark panel; repaints only what changed."""

    def __init__(self, luma: Plane, at: tuple[int, int], height: float, pen: float) -> None:
        self._luma = luma
        self._at = at
        self._shown = ""
        self._tiles = {}
        for character in "0123456789:.":
            mask = glyphs.digit(character, height, pen)
            dark, white = _luma_of(_DARK), _luma_of(_WHITE)
            self._tiles[character] = np.round(dark + (white - dark) * mask).astype(np.uint8)

    def show(self, text: str) -> None:
        x, y = self._at
        for position, character in enumerate(text):
            tile = self._tiles[character]
            rows, columns = tile.shape
            if self._shown[position : position + 1] != character:
                self._luma[y : y + rows, x : x + columns] = tile
            x += columns
        self._shown = text


class _Ball:
    def __init__(self) -> None:
        size = 2 * _BALL_RADIUS + 4
        offset = np.arange(size, dtype=np.float32) - size / 2 + 0.5
        distance = np.hypot(offset[:, None], offset[None, :])
        light = np.hypot(offset[:, None] + 14, offset[None, :] + 14) / _BALL_RADIUS
        colour = np.array(_GOLD, np.float32) * np.clip(1.12 - 0.45 * light, 0, 1)[..., None]
        mask = np.clip(_BALL_RADIUS + 0.5 - distance, 0, 1)
        self._yuv = _to_yuv(colour)
        self._masks = mask, _halved(mask), _halved(mask)
        self._area: Area | None = None

    def move(self, yuv: tuple[Plane, ...], still: tuple[Plane, ...], now_s: float) -> None:
        fall = now_s % 1
        way = 0.5 - 0.5 * math.cos(math.pi * now_s / _CROSSING_S)
        x = _BALL_LEFT + way * (_BALL_RIGHT - _BALL_LEFT)
        y = _GROUND_Y - _JUMP * 4 * fall * (1 - fall)
        half = _BALL_RADIUS + 2
        left, top = round((x - half) / 2) * 2, round((y - half) / 2) * 2
        area = slice(top, top + 2 * half), slice(left, left + 2 * half)
        before, self._area = self._area, area
        for plane, ground, ball, mask in zip(yuv, still, self._yuv, self._masks, strict=True):
            scale = WIDTH // plane.shape[1]
            if before is not None:
                plane[_scaled(before, scale)] = ground[_scaled(before, scale)]
            under = ground[_scaled(area, scale)]
            plane[_scaled(area, scale)] = under + (ball - under.astype(np.float32)) * mask


def _strip_row(number: int) -> Plane:
    levels = np.where(np.array(strip_bits(number)), 235, 16).astype(np.uint8)
    return np.repeat(levels, WIDTH // BLOCKS)


def _still_picture() -> Floats:
    corners = np.array(_CORNERS, np.float32)
    across = np.linspace(0, 1, WIDTH, dtype=np.float32)[None, :, None]
    down = np.linspace(0, 1, HEIGHT, dtype=np.float32)[:, None, None] ** 1.4
    top = corners[0, 0] + (corners[0, 1] - corners[0, 0]) * across
    bottom = corners[1, 0] + (corners[1, 1] - corners[1, 0]) * across
    picture: Floats = top + (bottom - top) * down
    picture += np.random.default_rng(0).uniform(-1, 1, (HEIGHT, WIDTH, 1))  # no banding
    picture[:_STRIP_ROWS] = _DARK
    wordmark = glyphs.text("HAWKER", 130, 24)
    _blend(picture, wordmark * 0.35, (_WORDMARK_AT[0] + 6, _WORDMARK_AT[1] + 8), (0, 0, 0))
    _blend(picture, wordmark, _WORDMARK_AT, _WHITE)
    _blend(picture, glyphs.text("DEMO SHOW", 30, 6), _SUBTITLE_AT, _GOLD)
    _blend_panel(picture, _CLOCK_PANEL, _DARK, radius=24)
    _blend_panel(picture, _BAR_PANEL, _DARK, radius=24)
    _blend_panel(picture, _FLASH_FRAME, _DARK, radius=24)
    _blend(picture, glyphs.text("FRAME", *_NUMBER_SIZE), _FRAME_LABEL_AT, _GOLD)
    _blend(picture, glyphs.text("UTC", *_NUMBER_SIZE), _UTC_LABEL_AT, _GOLD)
    _blend(picture, glyphs.text("BEEP", 30, 6), _BEEP_LABEL_AT, _WHITE)
    return picture


def _bars_at_full_height(still: Floats) -> Floats:
    picture = still.copy()
    rows, columns = _BARS
    height, width = rows.stop - rows.start, (columns.stop - columns.start) // _BAR_COUNT
    down = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    colour = np.array(_CORAL) + (np.array(_GOLD, np.float32) - np.array(_CORAL)) * down
    for left in range(columns.start, columns.stop, width):
        picture[rows, left + 4 : left + width - 4] = colour
    return picture


def _blend(picture: Floats, mask: glyphs.Mask, at: tuple[int, int], colour: Colour) -> None:
    x, y = at
    under = picture[y : y + mask.shape[0], x : x + mask.shape[1]]
    under += (np.array(colour, np.float32) - under) * mask[..., None]


def _blend_panel(picture: Floats, area: Area, colour: Colour, radius: float) -> None:
    height, width = (side.stop - side.start for side in area)
    y = np.abs(np.arange(height, dtype=np.float32) - (height - 1) / 2) - height / 2 + radius
    x = np.abs(np.arange(width, dtype=np.float32) - (width - 1) / 2) - width / 2 + radius
    outside = np.hypot(np.maximum(y, 0)[:, None], np.maximum(x, 0)[None, :]) - radius
    _blend(picture, np.clip(0.5 - outside, 0, 1), (area[1].start, area[0].start), colour)


def _to_yuv(rgb: Floats) -> tuple[Plane, Plane, Plane]:
    """BT.709 in limited range, chroma at half size; `rgb` is (height, width, 3) in 0 to 255."""
    red, green, blue = (np.clip(rgb, 0, 255) / 255).transpose(2, 0, 1)
    luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    u = 128 + 224 * _halved((blue - luma) / 1.8556)
    v = 128 + 224 * _halved((red - luma) / 1.5748)
    return _rounded(16 + 219 * luma), _rounded(u), _rounded(v)


def _luma_of(colour: Colour) -> float:
    return float(_to_yuv(np.full((2, 2, 3), colour, np.float32))[0][0, 0])


def _halved(plane: Floats) -> Floats:
    rows, columns = plane.shape
    halved: Floats = plane.reshape(rows // 2, 2, columns // 2, 2).mean(axis=(1, 3))
    return halved


def _rounded(plane: Floats) -> Plane:
    return np.round(plane).astype(np.uint8)


def _scaled(area: Area, scale: int) -> Area:
    rows, columns = area
    return (
        slice(rows.start // scale, rows.stop // scale),
        slice(columns.start // scale, columns.stop // scale),
    )
