"""A viewer of HLS: fetches the playlists as a player does, and every segment of the best rendition.

It begins START_SEGMENTS behind the live edge, once so many are there, and plays by the clock: a stall
is when the next second was not there in time. What it fetches it does not decode.
"""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass
from urllib.parse import urljoin

import aiohttp

from benchmarks.load.figures import Figures, Measure

START_SEGMENTS = 3
START_S = 30.0  # a stream's first segment may take that long
RETRY_S = 0.5
OK, NOT_FOUND = 200, 404

_TARGET = re.compile(r"#EXT-X-TARGETDURATION:(\d+)")
_SEQUENCE = re.compile(r"#EXT-X-MEDIA-SEQUENCE:(\d+)")
_DURATION = re.compile(r"#EXTINF:([0-9.]+)")
_MAP = re.compile(r'#EXT-X-MAP:URI="([^"]+)"')


@dataclass(frozen=True, slots=True)
class Segment:
    sequence: int
    uri: str
    duration_s: float


@dataclass(frozen=True, slots=True)
class Playlist:
    """A media playlist, as far as this player reads it (RFC 8216 §4.3)."""

    target_s: float
    init: str | None
    segments: list[Segment]
    ended: bool


class HlsViewer:
    """Watches one room; `figures` of the process get what it saw."""

    def __init__(self, http: aiohttp.ClientSession, figures: Figures) -> None:
        self._http = http
        self._figures = figures
        self.playing = False
        self._init: str | None = None
        self._next = -1
        self._buffered_until = 0.0  # monotonic: when the last segment fetched will have been shown

    async def watch_forever(self, index: str) -> None:
        """`index` is the URL of the multivariant playlist; ends with the stream."""
        began_at = time.monotonic()
        media = await self._start(index, began_at + START_S)
        while media is not None:
            text = await self._get(media, "playlist")
            playlist = parse_media(text.decode()) if text is not None else None
            if playlist is not None:
                await self._follow(media, playlist, began_at)
                if playlist.ended:
                    return
            await asyncio.sleep(playlist.target_s / 2 if playlist is not None else RETRY_S)

    async def _start(self, index: str, until: float) -> str | None:
        """The URL of the first variant's playlist, once it is there."""
        while time.monotonic() < until:
            text = await self._get(index, "playlist", may_miss=True)
            if text is not None:
                uris = [each for each in text.decode().splitlines() if each and each[0] != "#"]
                return urljoin(index, uris[0])
            await asyncio.sleep(RETRY_S)
        self._figures.errors["hls: no playlist came"] += 1
        return None

    async def _follow(self, media: str, playlist: Playlist, began_at: float) -> None:
        if self._next < 0 and len(playlist.segments) < START_SEGMENTS and not playlist.ended:
            return  # a stream that has just begun
        if playlist.init is not None and playlist.init != self._init:
            self._init = playlist.init
            await self._get(urljoin(media, playlist.init), "segment")
        if self._next < 0:
            self._next = playlist.segments[-START_SEGMENTS:][0].sequence
        for segment in playlist.segments:
            if segment.sequence >= self._next:
                self._next = segment.sequence + 1
                data = await self._get(urljoin(media, segment.uri), "segment")
                if data is not None:
                    self._fetched(segment, len(data), began_at)

    def _fetched(self, segment: Segment, size: int, began_at: float) -> None:
        now = time.monotonic()
        self._figures.counts["segments"] += 1
        self._figures.counts["segment_bytes"] += size
        if not self.playing:
            self.playing = True
            self._figures.time("join_hls", (now - began_at) * 1000)
            self._buffered_until = now
        elif now > self._buffered_until:
            self._figures.counts["stalls"] += 1
            self._buffered_until = now
        self._buffered_until += segment.duration_s

    async def _get(self, url: str, measure: Measure, *, may_miss: bool = False) -> bytes | None:
        """The body, or None and an error counted."""
        began_at = time.monotonic()
        try:
            async with self._http.get(url) as reply:
                data = await reply.read()
                if reply.status == OK:
                    self._figures.time(measure, (time.monotonic() - began_at) * 1000)
                    return data
                if not (may_miss and reply.status == NOT_FOUND):
                    self._figures.errors[f"hls {measure}: {reply.status}"] += 1
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self._figures.errors[f"hls {measure}: {type(error).__name__}"] += 1
        return None


def parse_media(text: str) -> Playlist | None:
    """Read a media playlist; None when it has no segment."""
    target, sequence = _TARGET.search(text), _SEQUENCE.search(text)
    number = int(sequence[1]) if sequence else 0
    duration_s, init = 0.0, None
    segments: list[Segment] = []
    for line in text.splitlines():
        if found := _DURATION.match(line):
            duration_s = float(found[1])
        elif found := _MAP.match(line):
            init = found[1]
        elif line and not line.startswith("#"):
            segments.append(Segment(number + len(segments), line, duration_s))
    if target is None or not segments:
        return None
    return Playlist(float(target[1]), init, segments, "#EXT-X-ENDLIST" in text)
