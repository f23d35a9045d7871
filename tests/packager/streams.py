"""Made-up packets for what no encoder does on demand; the tracks are real ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cache

from mediaserver.media import Packet, Track
from mediaserver.packager.muxer import Muxer
from mediaserver.packager.rendition import HlsSettings
from mediaserver.protocol.aac import AudioSpecificConfig, audio_track
from tests.packager.encoding import Encode, at, encode


@cache
def video_track(width: int = 160, height: int = 96) -> Track:
    return encode(Encode(0.1, audio=False, size=(width, height)))[0].track


@cache
def aac_track(sample_rate: int = 48_000, channels: int = 2) -> Track:
    return audio_track(AudioSpecificConfig(2, sample_rate, channels).serialize())


def video(
    start_s: float,
    seconds: float,
    *,
    gop_s: float = 1.0,
    fps: int = 30,
    track: Track | None = None,
    size: int = 40,
) -> list[Packet]:
    """Frames from `start_s` on, a keyframe first and then every `gop_s`; payloads tell their dts."""
    track = track or video_track()
    gop = round(gop_s * fps)
    first = round(start_s * 90_000)
    return [
        at(
            track,
            dts := first + number * 90_000 // fps,
            dts,
            f"v{dts:+}".encode().ljust(size, b"."),
            keyframe=number % gop == 0,
        )
        for number in range(round(seconds * fps))
    ]


def audio(start_s: float, seconds: float, *, track: Track | None = None) -> list[Packet]:
    """AAC frames on the grid from `start_s` on; payloads tell their pts."""
    track = track or aac_track()
    first = round(start_s * track.clock_rate)
    count = round(seconds * track.clock_rate / 1024)
    return [
        at(track, pts, pts, f"a{pts:+}".encode(), keyframe=True)
        for pts in range(first, first + count * 1024, 1024)
    ]


def moved(packets: Iterable[Packet], ticks: int) -> list[Packet]:
    """The packets with later timestamps and the same payloads."""
    return [replace(p, pts=p.pts + ticks, dts=p.dts + ticks) for p in packets]


def interleaved(*tracks: list[Packet], audio_lag_s: float = 0.0) -> list[Packet]:
    """All packets in order of decode time; audio arrives `audio_lag_s` later (or earlier)."""

    def arrival(packet: Packet) -> float:
        lag_s = audio_lag_s if packet.track.kind == "audio" else 0.0
        return packet.dts / packet.track.clock_rate + lag_s

    return sorted((packet for track in tracks for packet in track), key=arrival)


def mux(
    packets: Iterable[Packet], settings: HlsSettings | None = None, *, end: bool = True
) -> Muxer:
    muxer = Muxer("0123", settings or HlsSettings())
    for packet in packets:
        muxer.write(packet)
    if end:
        muxer.end()
    return muxer
