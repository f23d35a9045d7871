"""What the server sees of a publisher's stream, for the host: codecs, picture, rates, notices."""

from __future__ import annotations

from mediaserver.hub import Hub, Notice, Stream
from mediaserver.ingest.doctor import Doctor, Patient, declared_frame_rate

INPUTS = ("main", "backup", "slate")  # by the rank of the publication that is on the air


def describe(room: str, hub: Hub, doctor: Doctor) -> dict[str, object]:
    """The document of `GET /v1/rooms/{room}/ingest`; without a stream nothing is known."""
    stream, patient, on_air = hub.get(room), doctor.patient(room), hub.on_air(room)
    video = None if stream is None else stream.tracks.get("video")
    vitals = None if patient is None else patient.vitals
    return {
        "room": room,
        "live": stream is not None and stream.live,
        "input": INPUTS[on_air.rank] if on_air is not None else None,
        "protocol": (stream.protocol if stream is not None else "") or None,
        "codecs": {} if stream is None else {kind: t.codec for kind, t in stream.tracks.items()},
        "resolution": None if video is None else f"{video.width}x{video.height}",
        "frame_rate": declared_frame_rate(video),
        "bitrate_bps": 0 if vitals is None else vitals.video_bps + vitals.audio_bps,
        "quality": None if stream is None or patient is None else _quality(stream, patient),
        "notices": [] if stream is None else [notice(each) for each in stream.notices.values()],
    }


def notice(found: Notice) -> dict[str, object]:
    """One notice, as it is told in documents and events."""
    return {
        "code": found.code,
        "severity": found.severity,
        "text": found.text,
        "fix": found.fix,
    }


def _quality(stream: Stream, patient: Patient) -> dict[str, object]:
    vitals = patient.vitals
    return {
        "frame_rate": round(vitals.frame_rate, 1),
        "keyframe_interval_s": round(vitals.keyframe_interval_s, 2),
        "video_bps": vitals.video_bps,
        "audio_bps": vitals.audio_bps,
        "loudness_lufs": _lufs(stream, "loudness_lufs"),
        "loudness_now_lufs": _lufs(stream, "loudness_now_lufs"),
        "av_drift_ms": round(vitals.drift_ms),
        "clock_jumps": stream.timeline.jumps,
        "frames": vitals.frames,
        "outages": patient.outages,
        "away_s": round(patient.away_s, 1),
    }


def _lufs(stream: Stream, name: str) -> float | None:
    measured = stream.measured.get(name)
    return None if measured is None else round(measured, 1)
