"""Media files as access units with timestamps that go on from one file to the next.

Nothing is encoded: of what a file holds, the first video and audio track go out as they are, if they
are in a codec that the server carries.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from mediaserver.errors import ProtocolError
from mediaserver.media import VIDEO_CLOCK_RATE, Track
from mediaserver.protocol import aac, h264, h265, opus

RATE = VIDEO_CLOCK_RATE  # of all timestamps here
PLAYED = "play H.264 or H.265 with AAC or Opus (ffmpeg -c:v libx264 -bf 0 -g 60 -c:a aac converts)"
_NAL_CODECS = {"h264": h264, "hevc": h265}


class Unplayable(Exception):
    """A file that can't be played, in words for the host."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One access unit; `dts`, `composition` and `duration` in ticks of RATE."""

    track: Track
    dts: int
    composition: int
    duration: int
    keyframe: bool
    payload: bytes


def units(path: Path, start: int) -> Iterator[Unit]:
    """The units of a file in the order they are stored, the first at `start`; raises Unplayable."""
    try:
        with av.open(str(path)) as container:
            yield from _units(container, start)
    except (av.FFmpegError, OSError, ProtocolError, ValueError) as error:
        words = getattr(error, "strerror", None) or str(error)
        raise Unplayable(f"{path.name}: {words}") from error


def _units(container: Any, start: int) -> Iterator[Unit]:
    readers = [
        _reader(each) for each in (*container.streams.video[:1], *container.streams.audio[:1])
    ]
    playable = {each.stream.index: each for each in readers if each is not None}
    if not playable:
        raise ValueError(f"nothing in it can be played: {PLAYED}")
    first: Fraction | None = None
    for packet in container.demux([each.stream for each in playable.values()]):
        if packet.dts is None or packet.pts is None:
            continue
        at = packet.dts * packet.time_base
        first = at if first is None else first
        reader = playable[packet.stream.index]
        payload = reader.payload(bytes(packet))
        if payload:
            composition = round((packet.pts - packet.dts) * packet.time_base * RATE)
            dts = start + round((at - first) * RATE)
            lasts = round((packet.duration or 0) * packet.time_base * RATE)
            yield Unit(reader.track, dts, composition, lasts, packet.is_keyframe, payload)


class _Sound:
    """AAC and Opus: packets as they are."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        context = stream.codec_context
        self.track: Track
        if context.name.removeprefix("lib") == "opus":
            self.track = opus.opus_track(min(2, context.channels))
        else:
            self.track = aac.audio_track(_config(context))

    def payload(self, data: bytes) -> bytes:
        return data


class _Picture:
    """H.264 and H.265: four-byte lengths, and no parameter sets among the slices."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        config = bytes(stream.codec_context.extradata or b"")
        self._codec = _NAL_CODECS[_name(stream)]
        self._annex_b = config[:1] != b"\1"
        self._length_bytes = 4 if self._annex_b else (config[4 if self._is_avc else 21] & 3) + 1
        self.track = self._track(config)

    @property
    def _is_avc(self) -> bool:
        return self._codec is h264

    def payload(self, data: bytes) -> bytes:
        kept = []
        for nal in self._split(data):
            kind = self._codec.nal_type(nal)
            if (1 <= kind <= h264.NAL_IDR) if self._is_avc else (kind < h265.NAL_VPS):
                kept.append(nal)
        return h264.join_length_prefixed(kept)

    def _split(self, data: bytes) -> list[Any]:
        if self._annex_b:
            return list(h264.split_annex_b(data))
        return list(h264.split_length_prefixed(data, self._length_bytes))

    def _track(self, config: bytes) -> Track:
        if self._annex_b:
            nals = h264.split_annex_b(config)
            return h264.track_from_nals(nals) if self._is_avc else h265.track_from_nals(nals)
        if self._is_avc:
            record = h264.AvcConfig.parse(config)
            return h264.video_track(tuple(record.sps), tuple(record.pps))
        hevc = h265.HevcConfig.parse(config)
        return h265.video_track(hevc.vps, hevc.sps, hevc.pps)


def _config(context: Any) -> bytes:
    if not context.extradata:  # ADTS, as in MPEG-TS
        raise ValueError("its AAC has no configuration: put it into an MP4 (ffmpeg -c copy)")
    return bytes(context.extradata)


def _name(stream: Any) -> str:
    return str(stream.codec_context.codec.canonical_name)


def _reader(stream: Any) -> _Picture | _Sound | None:
    name = _name(stream)
    if name in _NAL_CODECS:
        return _Picture(stream)
    return _Sound(stream) if name in ("aac", "opus") else None
