"""The sound: soft chords that go round in eight seconds, and a beep at every full second.

Every pitch is a multiple of 1/8 Hz, so that the loop has no seam; nothing but the beep sounds near
BEEP_HZ, so that a program finds it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Loop = NDArray[np.float32]  # (2, samples)

RATE = 48_000
LOOP_S = 8
BEEP_HZ = 1000
BEEP_S = 0.1
BEEP_LEVEL = 0.25
_CHORDS = (  # two seconds each, Hz
    (110.0, 220.0, 261.625, 329.625),
    (87.25, 220.0, 261.625, 349.25),
    (130.75, 196.0, 261.625, 329.625),
    (98.0, 196.0, 246.875, 293.625),
)
_NOTE_LEVEL = 0.02
_FADE_S = 0.4
_DETUNE_HZ = 0.125  # between left and right, for width


def loop() -> Loop:
    """One round, (2, LOOP_S * RATE): its sample n belongs at every multiple of LOOP_S plus n / RATE."""
    now_s = np.arange(LOOP_S * RATE) / RATE
    chord_s = LOOP_S / len(_CHORDS)
    sides = []
    for detune_hz in (0.0, _DETUNE_HZ):
        side = np.zeros(now_s.size)
        for number, chord in enumerate(_CHORDS):
            centre_s = (number + 0.5) * chord_s
            away_s = np.abs((now_s - centre_s + LOOP_S / 2) % LOOP_S - LOOP_S / 2)
            fade = np.clip((chord_s / 2 + _FADE_S / 2 - away_s) / _FADE_S, 0, 1)
            for pitch_hz in chord:
                turn = 2 * np.pi * (pitch_hz + detune_hz) * now_s
                side += _NOTE_LEVEL * fade * (np.sin(turn) + 0.3 * np.sin(2 * turn))
        sides.append(side + _beeps(now_s))
    return np.array(sides, np.float32)


def _beeps(now_s: NDArray[np.float64]) -> NDArray[np.float64]:
    second = now_s % 1
    edge_s = 0.001  # begins sharp, to be found; does not click
    envelope = np.clip(np.minimum(second, BEEP_S - second) / edge_s, 0, 1)
    beeps: NDArray[np.float64] = BEEP_LEVEL * envelope * np.sin(2 * np.pi * BEEP_HZ * second)
    return beeps
