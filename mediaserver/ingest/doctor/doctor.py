"""Looks at every published stream once a second; a notice stays until the publisher comes again.

What is said of the loudness is taken back when it is mended: who has moved a fader wants to see it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from mediaserver.hub import Hub, Notice, Reader, Stream
from mediaserver.ingest.doctor import notices
from mediaserver.ingest.doctor.vitals import Vitals
from mediaserver.media import Track
from mediaserver.protocol import h264

LOOK_S = 1.0
SETTLED_S = 10.0  # a stream that begins is judged by its rates from then on
MISSING_S = 5.0  # a track that has not come by then is missing
LONG_GOP_S = 4.0
DROPS = 0.85  # of the declared frame rate
DRIFT_MS = 100.0  # what people notice
LOUDNESS_AFTER_S = 15.0
LOUDNESS_LUFS = (
    -24.0,
    -12.0,
)  # between what is asked of broadcasts and what hardly a platform plays
MENDED_LU = 1.0  # so far inside it has to be
TARGET_LUFS = -16.0  # about what platforms and phones play at
SILENT_LUFS = -60.0
SILENT_S = 10.0
_USUAL_PROFILES = frozenset({66, 77, 88, 100})  # H.264's of 8 bits and 4:2:0


@dataclass(eq=False)
class Patient:
    """A stream that is looked at; `outages` and `away_s`: how often and how long nobody published it."""

    stream: Stream
    reader: Reader
    vitals: Vitals
    source: tuple[str, str]
    told: set[str] = field(default_factory=set)
    away: bool = False
    outages: int = 0
    away_s: float = 0.0
    looked_at: float = 0.0
    silent_since: float | None = None


class Doctor:
    """From `start` to `close` it looks by itself; `tell(room, notice)` hears of every new notice."""

    def __init__(
        self,
        hub: Hub,
        *,
        bitrate_kbps: int = 20_000,
        tell: Callable[[str, Notice], None] = lambda room, notice: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._hub = hub
        self._bitrate_kbps = bitrate_kbps
        self._tell = tell
        self._clock = clock
        self._patients: dict[str, Patient] = {}
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self.look()
        self._timer = asyncio.get_running_loop().call_later(LOOK_S, self.start)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for patient in self._patients.values():
            patient.reader.close()
        self._patients.clear()

    def patient(self, room: str) -> Patient | None:
        """What is known of a room's stream; None where there is none."""
        return self._patients.get(room)

    def look(self) -> None:
        """At every stream, once."""
        now = self._clock()
        for name, patient in list(self._patients.items()):
            if patient.stream.removed:
                patient.reader.close()
                del self._patients[name]
        for name, stream in self._hub.streams.items():
            if "/" in name:
                continue
            if name not in self._patients:
                reader = stream.subscribe(from_keyframe=False)
                source = (stream.protocol, stream.remote)
                self._patients[name] = Patient(stream, reader, Vitals(now), source, looked_at=now)
            self._look_at(self._patients[name], now)

    def _look_at(self, patient: Patient, now: float) -> None:
        stream, packets = patient.stream, patient.reader.take()
        away = not stream.live or stream.protocol == "slate"
        if away:
            patient.away_s += now - patient.looked_at
            patient.outages += not patient.away
            patient.silent_since = None
        patient.away, patient.looked_at = away, now
        source = (stream.protocol, stream.remote)
        if source != patient.source:
            patient.source, patient.vitals = source, Vitals(now)
            patient.told &= stream.notices.keys()
        if not away:
            patient.vitals.look(packets, now)
            self._examine(stream, patient.vitals, now)
            self._listen(patient, now)
        for code in stream.notices.keys() - patient.told:
            patient.told.add(code)
            self._tell(stream.name, stream.notices[code])

    def _listen(self, patient: Patient, now: float) -> None:
        """To how loud it is, where somebody measures it."""
        stream = patient.stream
        loud_now = stream.measured.get("loudness_now_lufs", 0.0)
        if loud_now >= SILENT_LUFS:
            patient.silent_since = None
            stream.notices.pop(notices.SILENT_AUDIO.code, None)
        elif patient.silent_since is None:
            patient.silent_since = now
        elif now - patient.silent_since >= SILENT_S:
            stream.notice(notices.SILENT_AUDIO)
        lufs = stream.measured.get("loudness_lufs")
        if lufs is None or now - patient.vitals.began_at < LOUDNESS_AFTER_S:
            return
        low, high = LOUDNESS_LUFS
        if SILENT_LUFS < lufs < low or lufs > high:
            stream.notice(notices.loudness_off(lufs, TARGET_LUFS))
        elif low + MENDED_LU <= lufs <= high - MENDED_LU or lufs <= SILENT_LUFS:
            stream.notices.pop("LoudnessOff", None)

    def _examine(self, stream: Stream, vitals: Vitals, now: float) -> None:
        """Put on the stream the notices that apply to it now."""
        self._examine_picture(stream, vitals)
        if stream.timeline.jumps:
            stream.notice(notices.CLOCK_JUMP)
        age_s = now - vitals.began_at
        if age_s > MISSING_S and vitals.has_video != vitals.has_audio:
            stream.notice(notices.NO_AUDIO if vitals.has_video else notices.NO_VIDEO)
        if age_s > SETTLED_S:
            self._examine_rates(stream, vitals)

    def _examine_picture(self, stream: Stream, vitals: Vitals) -> None:
        if stream.reordered:
            stream.notice(notices.HAS_B_FRAMES)
        video = stream.tracks.get("video")
        if video is None:
            return
        if video.codec == "vp8":
            stream.notice(notices.NO_HLS_FOR_VP8)
        elif video.codec == "h265":
            stream.notice(notices.NOT_EVERY_BROWSER)
        elif video.codec == "h264" and video.config[1] not in _USUAL_PROFILES:
            stream.notice(notices.UNUSUAL_PIXEL_FORMAT)
        asked = (
            stream.on_keyframe_request is not None
        )  # who sends keyframes on request needs none else
        if not asked and vitals.keyframe_interval_s > LONG_GOP_S:
            stream.notice(notices.long_keyframe_interval(vitals.keyframe_interval_s))

    def _examine_rates(self, stream: Stream, vitals: Vitals) -> None:
        kbps = (vitals.video_bps + vitals.audio_bps) // 1000
        if kbps > self._bitrate_kbps:
            stream.notice(notices.bitrate_over_limit(kbps, self._bitrate_kbps))
        declared = declared_frame_rate(stream.tracks.get("video"))
        if declared and vitals.frame_rate < DROPS * declared:
            stream.notice(notices.frame_drops(vitals.frame_rate, declared))
        if abs(vitals.drift_ms) > DRIFT_MS:
            stream.notice(notices.av_drift(vitals.drift_ms))


def declared_frame_rate(video: Track | None) -> float | None:
    """Frames per second as the encoder declares them, if it does."""
    if video is None or video.codec != "h264":
        return None
    declared = h264.parse_sps(h264.AvcConfig.parse(video.config).sps[0]).frame_rate
    return None if declared is None else round(declared, 3)
