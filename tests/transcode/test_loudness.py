"""Loudness by EBU R128, against the tones of EBU Tech 3341 and what bridges hear."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from mediaserver.transcode.audio_bridge import AudioBridge
from mediaserver.transcode.loudness import SILENCE_LUFS, WINDOW_S, LoudnessMeter
from tests.transcode.sound import publish, tone

RATE = 48_000


def hear(meter: LoudnessMeter, sound: NDArray[np.float32], layout: str = "stereo") -> None:
    for block in np.split(sound, range(1024, len(sound), 1024)):
        channels = np.tile(block, (1 if layout == "mono" else 2, 1))
        frame = av.AudioFrame.from_ndarray(channels, "fltp", layout)
        frame.sample_rate, frame.time_base = RATE, Fraction(1, RATE)
        meter.take(frame)


@pytest.mark.parametrize("layout", ["mono", "stereo"])
@pytest.mark.parametrize("dbfs", [-23.0, -33.0])
def test_a_tone_is_as_loud_as_the_standard_has_it(layout: str, dbfs: float) -> None:
    meter = LoudnessMeter()
    hear(meter, tone(dbfs, 11), layout)
    assert meter.integrated == pytest.approx(dbfs, abs=0.1)
    assert meter.short_term == pytest.approx(dbfs, abs=0.1)


def test_what_is_quiet_beside_the_rest_does_not_count() -> None:
    meter = LoudnessMeter()
    for dbfs in (-36.0, -23.0, -200.0, -36.0, -23.0):
        hear(meter, tone(dbfs, 6))
    assert meter.integrated == pytest.approx(-23, abs=0.3)


def test_there_is_no_figure_before_there_is_enough_sound_and_then_one_a_second() -> None:
    meter = LoudnessMeter()
    seen = []
    for _ in range(12):
        hear(meter, tone(-20, 1.0))
        seen.append(set(meter.readings()))
        assert meter.readings() == {}
    assert seen[1] == set() and seen[4] == {"loudness_now_lufs"}
    assert seen[-1] == {"loudness_now_lufs", "loudness_lufs"}


def test_a_fader_that_was_moved_shows_within_a_minute_and_silence_at_once() -> None:
    meter = LoudnessMeter()
    hear(meter, tone(-40, 12))
    hear(meter, tone(-18, WINDOW_S))
    assert meter.integrated == pytest.approx(-18, abs=0.1)
    hear(meter, np.zeros(4 * RATE, np.float32))
    assert meter.short_term == SILENCE_LUFS


def test_a_damaged_frame_is_not_heard_for_ever() -> None:
    meter = LoudnessMeter()
    hear(meter, np.full(RATE, np.nan, np.float32))
    hear(meter, tone(-23, 11))
    assert meter.integrated == pytest.approx(-23, abs=0.1)


@pytest.mark.parametrize("codec", ["aac", "opus"])
def test_a_bridge_measures_what_it_decodes(codec: str) -> None:
    packets = publish(codec, tone(-20, 12), RATE, 2, 0.0)
    bridge = AudioBridge(packets[0].track)
    for packet in packets:
        bridge.convert(packet)
    assert bridge.meter.integrated == pytest.approx(-20, abs=0.3)
