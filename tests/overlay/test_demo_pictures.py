"""The demo's drawings: shapes cover what they should, and each product has a picture of its own."""

from __future__ import annotations

import math

import numpy as np
import pytest

from commerce.images import reencode, sniff
from overlay.demo import canvas, pictures
from overlay.demo.canvas import SIDE, Canvas, arc, box, coverage, ellipse, polygon, stroke, turned
from overlay.demo.catalogue import ARTICLES

PIXEL = 1 / SIDE


def area(shape: canvas.Shape) -> float:
    """As a share of the picture."""
    return float(coverage(shape).mean())


def test_a_box_covers_its_pixels_wholly_and_half_of_those_it_cuts() -> None:
    mask = coverage(box(10 * PIXEL, 20 * PIXEL, 30.5 * PIXEL, 40 * PIXEL))
    assert mask[20:40, 10:30].min() == 1
    assert mask[30, 30] == pytest.approx(0.5)
    assert mask.sum() == pytest.approx(20.5 * 20)


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [
        (ellipse(0.5, 0.5, 0.2), math.pi * 0.04),
        (ellipse(0.5, 0.5, 0.3, 0.1, 37), math.pi * 0.03),
        (polygon((0.1, 0.1), (0.9, 0.1), (0.1, 0.9)), 0.32),
        (polygon((0.1, 0.9), (0.9, 0.1), (0.1, 0.1)), 0.32),  # the other way around
        (turned(box(0.4, 0.4, 0.6, 0.6), 45, (0.5, 0.5)), 0.04),
        (box(0.2, 0.2, 0.8, 0.4, 0.05), 0.12 - (4 - math.pi) * 0.0025),
        (stroke(polygon((0.2, 0.5), (0.5, 0.5), (0.8, 0.5)), 0.1), 0.06 + math.pi * 0.0025),
        (arc(0.5, 0.5, 0.2, 0.2, 0, 180), math.pi * 0.02),
        (box(-1, -1, 2, 2), 1.0),  # what is outside is cut off
        (box(0.5, -0.5, 1.5, 0.5), 0.25),
        (box(2, 2, 3, 3), 0.0),
    ],
)
def test_a_shape_covers_its_area(shape: canvas.Shape, wanted: float) -> None:
    assert area(shape) == pytest.approx(wanted, abs=0.001)


def test_a_fill_within_another_stays_inside_it() -> None:
    drawn, plain = Canvas("#000000"), Canvas("#000000")
    inside = drawn.fill(box(0.25, 0.25, 0.75, 0.75), "#ffffff")
    drawn.fill(box(0, 0, 1, 1), "#ff0000", within=inside)
    plain.fill(box(0.25, 0.25, 0.75, 0.75), "#ff0000")
    assert drawn.png() == plain.png()


def test_every_product_has_a_picture_of_its_own_that_the_server_takes() -> None:
    shown = [article.picture for article in ARTICLES]
    assert sorted(shown) == sorted(pictures.PICTURES)
    smallest = []
    for name in shown:
        png = pictures.png(name)
        assert sniff(png) == "png_pipe"
        pixels = pictures.PICTURES[name]()._pixels
        assert pixels.shape == (1024, 1024, 3)
        assert pixels[256:768, 256:768].std() > 20  # there is something in the middle
        smallest.append(pixels[::64, ::64].ravel())
    assert reencode(png).startswith(b"\xff\xd8\xff")
    for number, one in enumerate(smallest):
        for other in smallest[:number]:
            assert np.abs(one - other).mean() > 8
