"""Renditions of a stream by HLS: listed with it, and read only while somebody asks for their playlist.

To read one is what has it encoded, where the ladder makes it. The first request for its playlist waits
until there is a segment; who goes on asking keeps it, and after IDLE_S without a request it is left.
Sound is the stream's own, for all of them.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mediaserver.hub import MENDED, Hub, Reader, Stream, StreamEnded
from mediaserver.media import Kind, Track
from mediaserver.packager.muxer import VIDEO, Muxer
from mediaserver.packager.playlist import Variant
from mediaserver.packager.rendition import HlsSettings
from mediaserver.packager.video_codecs import VIDEO_CODECS
from mediaserver.rtc.ladder import GUESS_BPS, GUESS_PIXELS, GUESS_POWER

PICTURES: frozenset[Kind] = frozenset({"video"})
HIGH = 100  # profile_idc
FIRST_S = 8.0  # a group of pictures of the source, one of the rendition, and its encoder's start
IDLE_S = 20.0  # three target durations of the longest
SWEEP_S = 2.0
HEADROOM = 1.3  # of a segment over its encoder's mean rate


@dataclass(eq=False)
class Rendition:
    """One that is read."""

    stream: Stream
    muxer: Muxer
    asked_at: float
    first: asyncio.Event = field(default_factory=asyncio.Event)  # there is a playlist, or an end
    feed: asyncio.Task[None] | None = None


class HlsRenditions:
    """Those of all streams; `rates` are bit/s by suffix, of those who make them at a known rate."""

    def __init__(
        self,
        hub: Hub,
        settings: HlsSettings,
        rates: Mapping[str, int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._hub = hub
        self._settings = settings
        self._rates = rates
        self._clock = clock
        self._read: dict[str, Rendition] = {}  # by the stream's name
        self._timer: asyncio.TimerHandle | None = None

    def variants(self, room: str, sound: tuple[str, ...], sound_bps: int) -> tuple[Variant, ...]:
        """What may be asked for besides the source, largest first; with codecs and rate of its sound."""
        tracks = {
            suffix: track
            for name, stream in self._hub.streams.items()
            if name.startswith(f"{room}/")
            and self._offers(room, suffix := name.removeprefix(f"{room}/"))
            and (track := stream.tracks.get("video")) is not None
            and track.codec in VIDEO_CODECS
        }
        order = sorted(tracks, key=lambda suffix: -tracks[suffix].width * tracks[suffix].height)
        return tuple(self._variant(suffix, tracks[suffix], sound, sound_bps) for suffix in order)

    async def playlist(self, room: str, suffix: str, discontinuity: int) -> bytes | None:
        """The media playlist, once there is a segment; None where there is no such rendition.

        `discontinuity` is the source's counter now: players line renditions up by it.
        """
        offered = self._offers(room, suffix)
        rendition = self._wanted(f"{room}/{suffix}", discontinuity) if offered else None
        if rendition is None:
            return None
        try:
            async with asyncio.timeout(FIRST_S):
                await rendition.first.wait()
        except TimeoutError:
            return None
        return rendition.muxer.playlist(VIDEO)

    def segment(self, room: str, suffix: str, name: str) -> bytes | None:
        rendition = self._read.get(f"{room}/{suffix}")
        return rendition.muxer.segment(name) if rendition is not None else None

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        feeds = [each.feed for each in self._read.values() if each.feed is not None]
        for feed in feeds:
            feed.cancel()
        await asyncio.gather(*feeds, return_exceptions=True)
        self._read.clear()

    def _offers(self, room: str, suffix: str) -> bool:
        """Not what was mended for WebRTC alone: HLS carries the source as it is."""
        if suffix != MENDED:
            return True
        source = self._hub.get(room)
        video = source.tracks.get("video") if source is not None else None
        return video is not None and not _plays_everywhere(video)

    def _wanted(self, name: str, discontinuity: int) -> Rendition | None:
        now = self._clock()
        rendition = self._read.get(name)
        if rendition is None or rendition.stream.removed:
            stream = self._hub.get(name)
            if stream is None or "video" not in stream.tracks:
                return None
            muxer = Muxer(secrets.token_hex(8), self._settings, discontinuity)
            rendition = self._read[name] = Rendition(stream, muxer, now)
            reader = stream.subscribe(kinds=PICTURES)
            rendition.feed = asyncio.create_task(self._run(rendition, reader), name=f"hls {name}")
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)
        rendition.asked_at = now
        return rendition

    async def _run(self, rendition: Rendition, reader: Reader) -> None:
        muxer = rendition.muxer
        try:
            while True:
                for packet in await reader.read():
                    muxer.write(packet)
                if muxer.wants_keyframe and reader.stream.on_keyframe_request is not None:
                    muxer.expect_requests()
                    reader.stream.request_keyframe(self._clock())
                if muxer.playlist(VIDEO) is not None:
                    rendition.first.set()
        except StreamEnded:
            pass
        finally:
            reader.close()
            muxer.end()
            rendition.first.set()

    def _sweep(self) -> None:
        self._timer = None
        since = self._clock() - IDLE_S
        for name, rendition in list(self._read.items()):
            if rendition.asked_at < since:
                del self._read[name]
                if rendition.feed is not None:
                    rendition.feed.cancel()
        if self._read:
            self._timer = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)

    def _variant(
        self, suffix: str, track: Track, sound: tuple[str, ...], sound_bps: int
    ) -> Variant:
        guess = GUESS_BPS * (track.width * track.height / GUESS_PIXELS) ** GUESS_POWER
        mean = self._rates.get(suffix, round(guess))
        return Variant(
            uri=f"{suffix}/{VIDEO}",
            bandwidth=round(mean * HEADROOM) + sound_bps,
            average_bandwidth=mean + sound_bps,
            codecs=(VIDEO_CODECS[track.codec].name(track.config), *sound),
            resolution=(track.width, track.height),
        )


def _plays_everywhere(video: Track) -> bool:
    """Whether every browser has a decoder: for H.264, up to High (AVCProfileIndication)."""
    return video.codec == "h264" and (len(video.config) < 2 or video.config[1] <= HIGH)
