"""HLS egress: a muxer for each live stream, fed from the hub, looked up by room and file name.

Video and AAC come from the stream itself, AAC for an Opus source from the rendition `<stream>/aac`
on the same media time. A muxer lives as long as its stream: a publisher that returns in time goes
on in the same playlists. When the stream is removed, the playlists end (EXT-X-ENDLIST) and stay for
ENDED_S, so that players fetch what they have not shown yet; then they are gone.

Who closes whom: the hub ends a stream's readers, the end of the stream's own reader ends the muxer;
`close` stops all.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Mapping

from mediaserver.egress.hls_renditions import HlsRenditions
from mediaserver.hub import Hub, Reader, Stream, StreamEnded
from mediaserver.packager.muxer import INDEX, VIDEO, Muxer
from mediaserver.packager.playlist import with_query
from mediaserver.packager.rendition import HlsSettings

log = logging.getLogger("hawker.hls")

ENDED_S = 30.0  # three target durations of the longest, which a player may be behind
OFFLINE_FLUSH_S = 1.0  # a publisher back within this goes on in the open segment
BRIDGE = "aac"  # the rendition in which an audio bridge brings AAC

__all__ = ["INDEX", "HlsEgress", "HlsSettings"]


class HlsEgress:
    """Playlists and segments of all streams."""

    def __init__(
        self, hub: Hub, settings: HlsSettings, rates: Mapping[str, int] | None = None
    ) -> None:
        """`rates` are the bit/s of renditions by their suffixes, where they are known."""
        self._renditions = HlsRenditions(hub, settings, rates or {})
        self._hub = hub
        self._settings = settings
        self._muxers: dict[str, Muxer] = {}
        self._feeds: set[asyncio.Task[None]] = set()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._unlisten: Callable[[], None] | None = None

    def start(self) -> None:
        """Follow the hub from now on; needs a running event loop."""
        self._unlisten = self._hub.listen(self._on_change)

    async def close(self) -> None:
        """Leave the hub and forget every muxer."""
        if self._unlisten is not None:
            self._unlisten()
            self._unlisten = None
        feeds = list(self._feeds)
        for feed in feeds:
            feed.cancel()
        await asyncio.gather(*feeds, return_exceptions=True)
        for name in list(self._timers):
            self._cancel_timer(name)
        await self._renditions.close()
        self._muxers.clear()

    async def rendition_playlist(
        self, room: str, suffix: str, name: str, query: str = ""
    ) -> bytes | None:
        """The media playlist of a rendition, once it has a segment; None where there is none."""
        muxer = self._muxers.get(room)
        if muxer is None or name != VIDEO:
            return None
        playlist = await self._renditions.playlist(room, suffix, muxer.discontinuity)
        return None if playlist is None else with_query(playlist, query)

    def rendition_segment(self, room: str, suffix: str, name: str) -> bytes | None:
        return self._renditions.segment(room, suffix, name)

    def playlist(self, room: str, name: str, query: str = "") -> bytes | None:
        """A playlist of a room, with `query` ("?token=…" or "") after every URI in it."""
        muxer = self._muxers.get(room)
        playlist = muxer.playlist(name) if muxer is not None else None
        return None if playlist is None else with_query(playlist, query)

    def segment(self, room: str, name: str) -> bytes | None:
        """A segment or initialization segment of a room."""
        muxer = self._muxers.get(room)
        return muxer.segment(name) if muxer is not None else None

    def _on_change(self, change: str, stream: Stream) -> None:
        room, _, rendition = stream.name.partition("/")
        if rendition == BRIDGE:
            if change == "online" and room in self._muxers:
                self._feed(stream, self._muxers[room])
        elif not rendition and change == "online":
            self._on_online(stream)
        elif not rendition and change == "offline":
            self._later(room, OFFLINE_FLUSH_S, self._flush)

    def _on_online(self, stream: Stream) -> None:
        self._cancel_timer(stream.name)
        muxer = self._muxers.get(stream.name)
        if muxer is not None and not muxer.ended:
            return  # the publisher came back
        muxer = Muxer(secrets.token_hex(8), self._settings)
        muxer.more = lambda codecs, bps: self._renditions.variants(stream.name, codecs, bps)
        self._muxers[stream.name] = muxer
        self._feed(stream, muxer)
        bridged = self._hub.get(f"{stream.name}/{BRIDGE}")
        if bridged is not None:
            self._feed(bridged, muxer)

    def _feed(self, stream: Stream, muxer: Muxer) -> None:
        reader = stream.subscribe()  # now, so that no packet is missed until the task runs
        feed = asyncio.create_task(self._run(reader, muxer), name=f"hls {stream.name}")
        self._feeds.add(feed)
        feed.add_done_callback(self._feeds.discard)
        feed.add_done_callback(lambda _: reader.close())

    async def _run(self, reader: Reader, muxer: Muxer) -> None:
        try:
            while True:
                for packet in await reader.read():
                    muxer.write(packet)
                if muxer.wants_keyframe and reader.stream.on_keyframe_request is not None:
                    muxer.expect_requests()
                    reader.stream.request_keyframe(time.monotonic())
        except StreamEnded:
            pass
        finally:
            self._end(reader.stream.name, muxer)

    def _end(self, name: str, muxer: Muxer) -> None:
        if self._muxers.get(name) is muxer:  # not the bridge's stream
            muxer.end()
            self._later(name, ENDED_S, self._forget)

    def _flush(self, room: str) -> None:
        self._muxers[room].flush()

    def _forget(self, room: str) -> None:
        del self._muxers[room]

    def _later(self, room: str, seconds: float, act: Callable[[str], None]) -> None:
        self._cancel_timer(room)

        def run() -> None:
            del self._timers[room]
            act(room)

        self._timers[room] = asyncio.get_running_loop().call_later(seconds, run)

    def _cancel_timer(self, room: str) -> None:
        timer = self._timers.pop(room, None)
        if timer is not None:
            timer.cancel()
