"""What is found out of a source before anything is made of it."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from mediaserver.media import Codec, Packet
from mediaserver.transcode.ladder import Source
from mediaserver.transcode.looking import MendingJudge, look
from tests.protocol import encoded
from tests.transcode.film import film


def judged(packets: list[Packet], codec: str = "h264", **source: str) -> tuple[bool, bool]:
    """Whether it needs mending, and whether that is settled."""
    judge = MendingJudge()
    judge.began(replace(Source(320, 180, Fraction(30)), **source), codec)  # type: ignore[arg-type]
    for packet in packets:
        judge.saw(packet)
    return judge.needed, judge.settled


@pytest.mark.parametrize("codec", ["h264", "h265", "vp8", "vp9", "av1"])
def test_size_and_format_are_those_of_the_picture(codec: Codec) -> None:
    source = look(encoded.packets(codec)[0])
    assert source is not None
    assert (source.width, source.height, source.pixel_format) == (*encoded.SIZE, "yuv420p")
    assert (source.rotation, source.pixel) == (0, Fraction(1))
    assert 1 <= source.frame_rate <= 120


def test_the_frame_rate_and_the_pixels_form_are_what_the_bitstream_says() -> None:
    source = look(film(2, pixel=Fraction(4, 3))[0])
    assert source is not None
    assert (source.frame_rate, source.pixel) == (Fraction(30), Fraction(4, 3))


def test_a_keyframe_before_b_frames_is_enough() -> None:
    source = look(film(10, b_frames=2)[0])
    assert source is not None
    assert (source.width, source.height) == (320, 180)


def test_what_no_decoder_takes_is_nothing() -> None:
    keyframe = film(1)[0]
    assert look(replace(keyframe, payload=b"\xff" * 50)) is None
    assert look(replace(keyframe, track=replace(keyframe.track, config=b"avcC"))) is None
    assert look(replace(keyframe, payload=b"")) is None


def test_what_browsers_show_needs_no_mending() -> None:
    assert judged(film(20, gop=30)) == (False, False)
    assert judged(film(40, gop=30)) == (False, True)


def test_b_frames_need_it() -> None:
    assert judged(film(12, b_frames=2))[0]


def test_long_groups_need_it() -> None:
    assert judged(film(119, gop=500)) == (False, False)
    assert judged(film(125, gop=500)) == (True, True)


def test_codecs_and_formats_that_browsers_lack_need_it() -> None:
    assert judged([], "h265")[0]
    assert judged([], pixel_format="yuv422p")[0]
    assert judged([], pixel_format="yuv420p10le")[0]
    assert not judged([], "vp9")[0]
