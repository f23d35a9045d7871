"""Which renditions a source gets."""

from __future__ import annotations

from fractions import Fraction

import pytest

from mediaserver.transcode.ladder import Colour, Rung, Source, mended, plan

RUNGS = (Rung(720, 2500), Rung(480, 1200), Rung(360, 600))


def source(width: int, height: int, pixel: Fraction = Fraction(1)) -> Source:
    return Source(width, height, Fraction(30), pixel, colour=Colour(1, 1, 1))


def sizes(width: int, height: int) -> list[tuple[str, int, int]]:
    forms = plan(RUNGS, source(width, height))
    return [(form.suffix, form.width, form.height) for form in forms]


def test_a_wide_picture_gets_every_rung_below_it() -> None:
    assert sizes(1920, 1080) == [("720p", 1280, 720), ("480p", 854, 480), ("360p", 640, 360)]


def test_nothing_is_made_larger_or_as_large() -> None:
    assert sizes(1280, 720) == [("480p", 854, 480), ("360p", 640, 360)]
    assert sizes(640, 360) == []


def test_a_phone_held_upright_gets_the_same_rungs() -> None:
    assert sizes(1080, 1920) == [("720p", 720, 1280), ("480p", 480, 854), ("360p", 360, 640)]


def test_odd_sizes_become_even() -> None:
    for width, height in ((1921, 1081), (1366, 769), (999, 777)):
        assert all(side % 2 == 0 for _, *sides in sizes(width, height) for side in sides)
    assert mended(source(1281, 721)).width % 2 == 0


def test_the_pixels_form_and_the_colour_are_kept() -> None:
    wide = source(720, 576, Fraction(64, 45))
    form = plan([Rung(288, 400)], wide)[0]
    assert (form.width, form.height, form.pixel) == (360, 288, Fraction(64, 45))
    assert form.colour == wide.colour
    assert mended(wide).pixel == Fraction(64, 45)


def test_rungs_are_made_the_largest_first_and_each_height_once() -> None:
    forms = plan([Rung(360, 1), Rung(480, 2), Rung(360, 3)], source(1920, 1080))
    assert [(form.suffix, form.bits_per_s) for form in forms] == [("480p", 2000), ("360p", 3000)]


@pytest.mark.parametrize(("fps", "kept"), [(15, 15.0), (30, 0.0), (60, 0.0), (0, 0.0)])
def test_a_rung_is_slower_than_its_source_or_as_fast(fps: float, kept: float) -> None:
    form = plan([Rung(360, 600, fps)], source(1920, 1080))[0]
    assert form.fps == kept
    assert form.frame_rate == (kept or 30)


def test_what_is_mended_keeps_its_size() -> None:
    form = mended(source(1920, 1080))
    assert (form.suffix, form.width, form.height) == ("mended", 1920, 1080)
    assert 4_000_000 < form.bits_per_s < 8_000_000
