"""Which frames are encoded and which are keyframes: one decision for all rungs of a ladder.

Keyframes stand at those of the source, so that a player changes between source and rungs without a
seam; where the source has none for KEYFRAME_S, one is put in; and one where a viewer asks. Never two
within KEYFRAME_MIN_S: a crowd with losses would have nothing but keyframes.
"""

from __future__ import annotations

KEYFRAME_S = 2.0
KEYFRAME_MIN_S = 0.5
EARLY = 0.25  # of a frame's interval: timestamps jitter


class Keyframes:
    """Where the keyframes are; times are seconds of media time."""

    def __init__(self) -> None:
        self._last_s = -KEYFRAME_S
        self._owed = False

    def request(self) -> None:
        """The next frame that may be a keyframe is one."""
        self._owed = True

    def missed(self) -> None:
        """A keyframe of the source was not encoded: the next frame stands for it."""
        self._owed = True

    def at(self, media_s: float, source_keyframe: bool) -> bool:
        """Whether the frame at `media_s`, which is encoded, is a keyframe."""
        since_s = media_s - self._last_s
        due = since_s >= KEYFRAME_S or self._owed or source_keyframe
        if not due or (0 <= since_s < KEYFRAME_MIN_S):
            return False
        self._last_s, self._owed = media_s, False
        return True


class Pace:
    """Leaves out frames beyond `fps` a second, evenly; no keyframe is left out."""

    def __init__(self, fps: float) -> None:
        self._interval_s = 1 / fps
        self._due_s: float | None = None

    def takes(self, media_s: float, keyframe: bool) -> bool:
        due_s, interval_s = self._due_s, self._interval_s
        if due_s is None or keyframe or media_s >= due_s + interval_s:
            self._due_s = media_s + interval_s
            return True
        if media_s < due_s - EARLY * interval_s:
            return False
        self._due_s = due_s + interval_s
        return True
