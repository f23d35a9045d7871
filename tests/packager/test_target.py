"""EXT-X-TARGETDURATION is fixed once."""

from __future__ import annotations

import pytest

from mediaserver.packager.target import MAX_GOP_S, TargetDuration


@pytest.mark.parametrize(
    ("segment_ms", "first_s", "seconds"),
    [
        (2000, 2.0, 2),
        (2000, 2.002, 2),  # 60 frames of 29.97/s
        (2000, 1.9, 2),
        (2000, 4.0, 4),
        (2000, 8.34, 9),  # 250 frames at 30/s
        (1500, 1.5, 2),
        (1000, 1.0, 1),
        (2000, 0.4, 2),
        (2000, 12.4, 2 + MAX_GOP_S),
        (30_000, 34.0, 34),
    ],
)
def test_the_first_segment_fixes_it(segment_ms: int, first_s: float, seconds: int) -> None:
    target = TargetDuration(segment_ms)
    assert target.seconds is None
    assert target.fix(first_s) == seconds
    assert target.fix(90.0) == target.seconds == seconds
    assert round(target.limit_s) == seconds


def test_until_then_any_length_that_a_target_allows_is_allowed() -> None:
    assert round(TargetDuration(2000).limit_s) == 2 + MAX_GOP_S


def test_the_encoders_interval_counts_unless_keyframes_come_by_the_clock() -> None:
    for first_s, seconds in ((2.53, 9), (2.0, 2), (3.03, 3), (9.4, 10)):
        target = TargetDuration(2000)
        target.expect_interval(250 / 30)
        assert target.fix(first_s) == seconds
    target = TargetDuration(2000)
    target.expect_interval(100.0)
    assert target.fix(2.53) == 2 + MAX_GOP_S
    silent = TargetDuration(2000)
    silent.expect_interval(None)
    assert silent.fix(2.53) == 3


def test_a_publisher_that_answers_requests_gets_a_second() -> None:
    for first_s, seconds in ((1.95, 3), (2.2, 3), (3.3, 4)):
        target = TargetDuration(2000)
        target.expect_requests()
        assert target.fix(first_s) == seconds
