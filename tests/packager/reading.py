"""Playlists and segments of a muxer, read back and held against the rules that always apply."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from itertools import pairwise

from mediaserver.packager.fmp4 import ORIGIN_S
from mediaserver.packager.muxer import AUDIO, VIDEO, Muxer
from mediaserver.packager.playlist import with_query
from tests.packager.boxes import ReadSample, read_boxes, read_samples


@dataclass
class Entry:
    uri: str
    init: str
    duration_s: float
    utc_ms: int
    discontinuity: int  # discontinuity sequence number, absolute
    sequence: int


@dataclass
class Playlist:
    target_s: int
    entries: list[Entry]
    independent: bool
    ended: bool


def read_playlist(text: bytes) -> Playlist:
    """Parse a media playlist; fails on a line it doesn't know and on a too long EXTINF."""
    head, target_s, sequence, discontinuity = "", 0, 0, 0
    init, duration_s, utc_ms = "", 0.0, 0
    found = Playlist(0, [], independent=False, ended=False)
    lines = text.decode().splitlines()
    assert lines[0] == "#EXTM3U"
    for line in lines[1:]:
        assert not found.ended
        tag, _, value = line.partition(":")
        match tag:
            case "#EXT-X-VERSION":
                head = value
            case "#EXT-X-TARGETDURATION":
                target_s = int(value)
            case "#EXT-X-MEDIA-SEQUENCE":
                sequence = int(value)
            case "#EXT-X-DISCONTINUITY-SEQUENCE":
                discontinuity = int(value)
            case "#EXT-X-INDEPENDENT-SEGMENTS":
                found.independent = True
            case "#EXT-X-DISCONTINUITY":
                discontinuity += 1
            case "#EXT-X-MAP":
                init = re.fullmatch(r'URI="([^"]+)"', value)[1]  # type: ignore[index]
            case "#EXT-X-PROGRAM-DATE-TIME":
                utc_ms = round(datetime.fromisoformat(value).timestamp() * 1000)
            case "#EXTINF":
                duration_s = float(value.rstrip(","))
                assert 0 < duration_s < target_s + 0.5
            case "#EXT-X-ENDLIST":
                found.ended = True
            case _:
                assert not line.startswith("#"), line
                assert init
                assert utc_ms
                found.entries.append(Entry(line, init, duration_s, utc_ms, discontinuity, sequence))
                sequence += 1
                utc_ms = 0
    assert head == "7"
    found.target_s = target_s
    return found


@dataclass
class Read:
    """A segment as a player gets it; times in seconds of media time."""

    entry: Entry
    rate: int
    samples: list[ReadSample]

    @property
    def start_s(self) -> Fraction:
        return Fraction(self.samples[0].dts, self.rate) - ORIGIN_S

    @property
    def end_s(self) -> Fraction:
        last = self.samples[-1]
        return Fraction(last.dts + last.duration, self.rate) - ORIGIN_S

    @property
    def pts(self) -> list[int]:
        """In track ticks of media time."""
        return [each.dts + each.composition - ORIGIN_S * self.rate for each in self.samples]

    @property
    def payloads(self) -> list[bytes]:
        return [each.payload for each in self.samples]


def playlist(muxer: Muxer, name: str) -> Playlist:
    text = muxer.playlist(name)
    assert text is not None
    return read_playlist(with_query(text, ""))


def read_rendition(muxer: Muxer, name: str) -> list[Read]:
    """The listed segments of a rendition, after checking what holds for every rendition."""
    text = playlist(muxer, name)
    found = []
    for entry in text.entries:
        init, data = muxer.segment(entry.init), muxer.segment(entry.uri)
        assert init is not None
        assert data is not None
        mdhd = read_boxes(init)[1].find("trak/mdia/mdhd").body
        found.append(Read(entry, int.from_bytes(mdhd[12:16], "big"), read_samples(data)))
    for segment in found:
        assert abs(segment.end_s - segment.start_s - Fraction(segment.entry.duration_s)) < 1e-4
        assert all(sample.duration > 0 for sample in segment.samples)
        assert all(sample.payload for sample in segment.samples)
        if text.independent:
            assert segment.samples[0].sync
    for before, after in pairwise(found):
        assert after.entry.utc_ms > before.entry.utc_ms
        assert after.start_s >= before.end_s
        if after.entry.discontinuity == before.entry.discontinuity:
            assert after.entry.init == before.entry.init
            if name == VIDEO:
                assert after.start_s == before.end_s
    return found


def read_both(muxer: Muxer) -> tuple[list[Read], list[Read]]:
    """Video and audio, after checking that they are cut together."""
    video, audio = read_rendition(muxer, VIDEO), read_rendition(muxer, AUDIO)
    assert playlist(muxer, VIDEO).target_s == playlist(muxer, AUDIO).target_s
    return video, audio
