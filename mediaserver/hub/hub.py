"""The registry of streams and the act of publishing one.

A stream outlives its publisher by `grace_s`: who comes back within it finds the readers still there.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Literal

from mediaserver.hub.stream import Counters, Stream
from mediaserver.hub.timeline import Timeline
from mediaserver.media import Packet, Track

log = logging.getLogger("hawker.hub")

Change = Literal["online", "offline", "removed"]
Listener = Callable[[Change, Stream], None]


class Publication:
    """One publisher's turn on a stream, until it closes, is taken over or is drained."""

    def __init__(
        self, hub: Hub, stream: Stream, clock_rate: int | None, on_close: Callable[[str], None]
    ) -> None:
        self.stream = stream
        self._hub = hub
        self._clock_rate = clock_rate
        self._on_close = on_close
        self._last_pts = -1
        self._renditions: list[Stream] = []
        self.closed = False
        stream.timeline.begin(clock_rate)

    def write(
        self,
        track: Track,
        timestamp: int,
        payload: bytes,
        *,
        keyframe: bool,
        composition: int = 0,
        arrival: float,
    ) -> None:
        """Place one access unit or audio frame on the stream's timeline and hand it on.

        `timestamp` is the publisher's decode time in its ticks, 32-bit wrapped or not; `composition`
        is presentation minus decode time in the same ticks; `arrival` is monotonic seconds.
        """
        if self.closed:
            return
        stream = self.stream
        timeline = stream.timeline
        jumps = timeline.jumps
        placed = timeline.place(track, timestamp, composition, arrival)
        if timeline.jumps != jumps:
            log.warning("stream %s: publisher clock jumped", stream.name)
        if placed is None:
            return
        dts, pts = placed
        if track.kind == "video":
            if pts < self._last_pts:
                stream.reordered = True
            self._last_pts = pts
        wallclock_ms = int(timeline.epoch_ms + pts * 1000 / track.clock_rate)
        stream.write(Packet(track, pts, dts, wallclock_ms, keyframe, payload))

    def write_layer(
        self,
        line: str,
        track: Track,
        timestamp: int,
        payload: bytes,
        *,
        keyframe: bool,
        arrival: float,
        rendition: Stream | None = None,
    ) -> None:
        """One picture of one of the publisher's layers: to its rendition, else to the stream itself.

        `line` names the layer's clock, `video/` and the layer; B-frames there are none.
        """
        if self.closed:
            return
        timeline, stream = self.stream.timeline, rendition or self.stream
        pts = timeline.place_layer(line, track, timestamp, arrival, shown=rendition is None)
        wallclock_ms = int(timeline.epoch_ms + pts * 1000 / track.clock_rate)
        stream.write(Packet(track, pts, pts, wallclock_ms, keyframe, payload))

    def rendition(self, suffix: str, track: Track) -> Stream:
        """A rendition that this publisher makes itself; it ends with the publication at the latest."""
        stream = self._hub.rendition(self.stream, suffix, track)
        self._renditions.append(stream)
        return stream

    def end_rendition(self, stream: Stream) -> None:
        """End one that `rendition` made."""
        self._renditions.remove(stream)
        self._hub.end_rendition(stream)

    def align(self, line: str, timestamp: int, ntp_s: float) -> None:
        """A sender report of the publisher (RFC 3550 §6.4.1): its `timestamp` was at its `ntp_s`.

        `line` is `video`, `audio`, or that of a layer.
        """
        if not self.closed:
            self.stream.timeline.align(line, timestamp, ntp_s)

    def close(self, reason: str) -> None:
        """End this turn; the stream waits for a return. Calling it again does nothing."""
        if self.closed:
            return
        self.closed = True
        for stream in self._renditions:
            self._hub.end_rendition(stream)
        self._hub._left(self, reason)
        self._on_close(reason)


class Hub:
    """Streams by name."""

    def __init__(self, grace_s: float = 30.0) -> None:
        self.grace_s = grace_s
        self.streams: dict[str, Stream] = {}
        self._publications: dict[str, Publication] = {}
        self._removals: dict[str, asyncio.TimerHandle] = {}
        self._listeners: list[Listener] = []
        self._removed = Counters()  # of streams that are gone

    def get(self, name: str) -> Stream | None:
        return self.streams.get(name)

    def publish(
        self,
        name: str,
        *,
        protocol: str,
        remote: str = "",
        clock_rate: int | None = None,
        on_close: Callable[[str], None],
    ) -> Publication:
        """Begin to publish `name`, taking over from whoever publishes it now.

        `clock_rate` is ticks per second of the publisher's one clock (RTMP: 1000), or None where each
        track counts in its own clock rate (RTP). `on_close(reason)` is called once at the end.
        """
        earlier = self._publications.get(name)
        if earlier is not None:
            earlier.close("taken over")
        stream = self.streams.get(name) or self._create(name)
        if (removal := self._removals.pop(name, None)) is not None:
            removal.cancel()
        publication = Publication(self, stream, clock_rate, on_close)
        self._publications[name] = publication
        stream.live = True
        stream.protocol, stream.remote = protocol, remote
        stream.forget()
        log.info("stream %s: online by %s from %s", name, protocol, remote)
        self._notify("online", stream)
        return publication

    def rendition(self, parent: Stream, suffix: str, track: Track | None = None) -> Stream:
        """The stream `parent/suffix`, on its parent's timeline, removed with its parent.

        `track`, where known, is there already when listeners hear of the stream.
        """
        name = f"{parent.name}/{suffix}"
        stream = self.streams.get(name)
        if stream is None:
            stream = Stream(name, parent.timeline, live=True, protocol="rendition")
            if track is not None:
                stream.tracks[track.kind] = track
            self.streams[name] = stream
            self._notify("online", stream)
        return stream

    def mirror(self, name: str, timeline: Timeline) -> Stream:
        """A stream that another process publishes: who makes it writes, tells of changes and ends it.

        `timeline` is a copy of that process's.
        """
        stream = Stream(name, timeline, live=True, protocol="relay")
        self.streams[name] = stream
        self._notify("online", stream)
        return stream

    def set_live(self, stream: Stream, live: bool) -> None:
        """Tell that the publisher of a mirrored stream has come, or come back, or has gone."""
        stream.live = live
        self._notify("online" if live else "offline", stream)

    def end_rendition(self, stream: Stream) -> None:
        """Remove a rendition that nobody makes any more; its parent stays."""
        if self.streams.get(stream.name) is stream:
            self._remove(stream.name)

    def listen(self, callback: Listener) -> Callable[[], None]:
        """Call back on every change; returns the call that ends it. Live streams are told at once."""
        self._listeners.append(callback)
        for stream in list(self.streams.values()):
            if stream.live:
                callback("online", stream)
        return lambda: self._listeners.remove(callback)

    def totals(self) -> Counters:
        """What went through all streams since the start."""
        totals = Counters()
        totals.add(self._removed)
        for stream in self.streams.values():
            totals.add(stream.counters)
        return totals

    def end(self, name: str, reason: str) -> None:
        """Close a stream's publication and remove it, without grace; nothing where there is none."""
        publication = self._publications.get(name)
        if publication is not None:
            publication.close(reason)
        if name in self.streams:
            self._remove(name)

    def drain(self) -> None:
        """Close every publication and remove every stream, without grace."""
        for publication in list(self._publications.values()):
            publication.close("server is stopping")
        for name in [name for name in self.streams if "/" not in name]:
            self._remove(name)

    def _create(self, name: str) -> Stream:
        stream = Stream(name, Timeline(time.monotonic(), time.time() * 1000))
        self.streams[name] = stream
        return stream

    def _left(self, publication: Publication, reason: str) -> None:
        stream = publication.stream
        if self._publications.get(stream.name) is publication:
            del self._publications[stream.name]
        stream.live = False
        stream.on_keyframe_request = None
        log.info("stream %s: offline, %s", stream.name, reason)
        self._notify("offline", stream)
        loop = asyncio.get_running_loop()
        self._removals[stream.name] = loop.call_later(self.grace_s, self._remove, stream.name)

    def _remove(self, name: str) -> None:
        if (removal := self._removals.pop(name, None)) is not None:
            removal.cancel()
        for each in [n for n in self.streams if n == name or n.startswith(f"{name}/")]:
            stream = self.streams.pop(each)
            stream.remove()
            self._removed.add(stream.counters)
            self._notify("removed", stream)
        log.info("stream %s: removed", name)

    def _notify(self, change: Change, stream: Stream) -> None:
        for listener in list(self._listeners):
            listener(change, stream)
