"""Keyframe intervals, as x264 says them and as they were seen."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mediaserver.packager.gop import OPTIONS_BYTES, KeyframeIntervals, promised_interval_s
from tests.packager.encoding import Encode, encode
from tests.packager.streams import video_track


@pytest.mark.parametrize(("gop", "fps"), [(250, 30), (60, 25), (48, 24)])
def test_x264_says_its_longest_interval(gop: int, fps: int) -> None:
    keyframe = encode(Encode(0.2, gop=gop, fps=fps, audio=False))[0]
    assert promised_interval_s(keyframe) == gop / fps


def test_who_says_nothing_promises_nothing() -> None:
    first, second = encode(Encode(0.2, audio=False))[:2]
    assert promised_interval_s(second) is None
    options = b"x264 - core 164 r3095 - options: cabac=1 keyint=infinite min-keyint=1 "
    assert promised_interval_s(replace(first, payload=options)) is None
    late = bytes(OPTIONS_BYTES) + options.replace(b"infinite", b"60")
    assert promised_interval_s(replace(first, payload=late)) is None


def test_a_track_whose_sps_is_unreadable_promises_nothing() -> None:
    first = encode(Encode(0.2, audio=False))[0]
    broken = replace(video_track(), config=b"\x01")
    assert promised_interval_s(replace(first, track=broken)) is None


def test_the_longest_of_the_latest_intervals_is_remembered() -> None:
    intervals = KeyframeIntervals()
    assert intervals.longest == 0
    intervals.begin(100)
    for dts in (150, 350, 360):
        intervals.add(dts)
    assert intervals.longest == 200
    intervals.begin(10_000)
    intervals.add(10_010)
    assert intervals.longest == 200
    for dts in range(10_020, 10_100, 10):
        intervals.add(dts)
    assert intervals.longest == 10
