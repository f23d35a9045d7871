"""Where keyframes stand and which frames a slower rung leaves out."""

from __future__ import annotations

from itertools import pairwise

import pytest

from mediaserver.transcode.cadence import Keyframes, Pace


def keyframes(source: set[int], frames: int, *, asked: int | None = None) -> list[int]:
    """Frame numbers of the keyframes, at 30 frames/s."""
    made, found = Keyframes(), []
    for number in range(frames):
        if number == asked:
            made.request()
        if made.at(number / 30, number in source):
            found.append(number)
    return found


def test_keyframes_stand_at_those_of_the_source() -> None:
    assert keyframes({0, 60, 120}, 150) == [0, 60, 120]
    assert keyframes({0, 45, 90, 135}, 150) == [0, 45, 90, 135]


def test_a_long_group_is_cut_every_two_seconds() -> None:
    assert keyframes({0, 150}, 230) == [0, 60, 120, 150, 210]


def test_a_keyframe_on_request_comes_at_once_and_the_next_is_the_sources() -> None:
    assert keyframes({0, 60, 120}, 130, asked=25) == [0, 25, 60, 120]


def test_requests_and_keyframes_in_a_row_make_one_each_half_second() -> None:
    assert keyframes({0, 60}, 70, asked=2) == [0, 15, 60]
    assert keyframes(set(range(40)), 40) == [0, 15, 30]


def test_a_keyframe_of_the_source_that_was_left_out_is_made_up_for() -> None:
    made = Keyframes()
    assert made.at(0.0, True)
    made.missed()
    assert made.at(1.0, False)


@pytest.mark.parametrize(("fps", "kept"), [(15, 30), (25, 50), (10, 20), (24, 48)])
def test_a_slower_rung_leaves_frames_out_evenly(fps: float, kept: int) -> None:
    pace = Pace(fps)
    taken = [number for number in range(60) if pace.takes(number / 30 + number % 2 * 0.001, False)]
    assert len(taken) == pytest.approx(kept, abs=1)
    steps = {after - before for before, after in pairwise(taken)}
    assert max(steps) - min(steps) <= 1


def test_a_slower_rung_leaves_no_keyframe_out() -> None:
    pace = Pace(10)
    assert pace.takes(0.0, True)
    assert not pace.takes(1 / 30, False)
    assert pace.takes(2 / 30, True)


def test_a_slower_rung_goes_on_after_a_pause() -> None:
    pace = Pace(10)
    assert pace.takes(0.0, False)
    assert pace.takes(60.0, False)
    assert not pace.takes(60.03, False)
