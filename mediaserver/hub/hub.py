"""The registry of streams and the act of publishing one.

A stream outlives its publisher by `grace_s`: who comes back within it finds the readers still there.

It may have one publication of each rank, of which one is on the air. A better one goes on the air with
its first keyframe, a worse one where the better has gone, or has sent nothing for STALL_S. Of the same
rank, the second takes over from the first at once.
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

MAIN, BACKUP, SLATE = range(3)  # ranks, the best first
STALL_S = 2.0  # a network that stutters is back sooner; viewers look at a frozen picture meanwhile
SOUND_ALONE_S = 1.0  # who has sent no picture by then has none
KEYFRAME_WAIT_S = 0.5


class Publication:
    """One publisher's turn on a stream, until it closes, is taken over or is drained."""

    def __init__(
        self,
        hub: Hub,
        stream: Stream,
        rank: int,
        source: tuple[str, str],
        clock_rate: int | None,
        on_close: Callable[[str], None],
    ) -> None:
        """`source` is the protocol, and where the publisher comes from."""
        self.stream = stream
        self.rank = rank
        self.source = source
        self.clock_rate = clock_rate
        self.on_air = False
        self.closed = False
        self.began_at = self.heard_at = time.monotonic()
        self._hub = hub
        self._on_close = on_close
        self._on_keyframe_request: Callable[[], None] | None = None
        self._asked_at = 0.0
        self._pictures = False
        self._last_pts = -1
        self._layer_pts: dict[str, int] = {}
        self._renditions: list[Stream] = []

    @property
    def on_keyframe_request(self) -> Callable[[], None] | None:
        """How the publisher is asked for a keyframe, where it can be."""
        return self._on_keyframe_request

    @on_keyframe_request.setter
    def on_keyframe_request(self, request: Callable[[], None]) -> None:
        self._on_keyframe_request = request
        if self.on_air:
            self.stream.on_keyframe_request = request

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
        if not self.on_air and not self._goes_on_air(track, keyframe, arrival):
            return
        self.heard_at = arrival
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
        composition: int = 0,
        arrival: float,
        rendition: Stream | None = None,
    ) -> None:
        """One picture of one of the publisher's layers: to its rendition, else to the stream itself.

        `line` names the layer's clock, `video/` and the layer; `composition` is as in `write`, for
        publishers with one clock.
        """
        if not self.on_air and not self._goes_on_air(track, keyframe and not rendition, arrival):
            return
        self.heard_at = arrival
        timeline, stream = self.stream.timeline, rendition or self.stream
        dts = timeline.place_layer(line, track, timestamp, arrival, shown=rendition is None)
        pts = dts
        if self.clock_rate is not None:  # by RTP there are no B-frames
            pts += round(composition * track.clock_rate / self.clock_rate)
            if pts < self._layer_pts.get(line, -1):
                stream.reordered = True
            self._layer_pts[line] = pts
        wallclock_ms = int(timeline.epoch_ms + pts * 1000 / track.clock_rate)
        stream.write(Packet(track, pts, dts, wallclock_ms, keyframe, payload))

    def rendition(self, suffix: str, track: Track) -> Stream:
        """A rendition that this publisher makes itself; it ends with the publication at the latest.

        That of a backup is shown to nobody: the main publisher's have the same names.
        """
        if self.rank != MAIN:
            return Stream(f"{self.stream.name}/{suffix}", self.stream.timeline)
        stream = self._hub.rendition(self.stream, suffix, track)
        self._renditions.append(stream)
        return stream

    def end_rendition(self, stream: Stream) -> None:
        """End one that `rendition` made."""
        if stream in self._renditions:
            self._renditions.remove(stream)
            self._hub.end_rendition(stream)

    def align(self, line: str, timestamp: int, ntp_s: float) -> None:
        """A sender report of the publisher (RFC 3550 §6.4.1): its `timestamp` was at its `ntp_s`.

        `line` is `video`, `audio`, or that of a layer.
        """
        if self.on_air:
            self.stream.timeline.align(line, timestamp, ntp_s)

    def close(self, reason: str, *, finished: bool = False) -> None:
        """End this turn; the stream waits for a return. Calling it again does nothing.

        `finished`: the publisher has said that this is the end, so nothing stands in for it.
        """
        if self.closed:
            return
        self.closed = True
        for stream in self._renditions:
            self._hub.end_rendition(stream)
        self._hub._left(self, reason, finished)
        self._on_close(reason)

    def _goes_on_air(self, track: Track, keyframe: bool, arrival: float) -> bool:
        """Whether this is the moment; it is done then."""
        if self.closed:
            return False
        self.heard_at = arrival
        self._pictures |= track.kind == "video"
        current = self._hub.on_air(self.stream.name)
        if not (
            current is None or self.rank < current.rank or arrival - current.heard_at > STALL_S
        ):
            return False
        sound_alone = not self._pictures and arrival - self.began_at > SOUND_ALONE_S
        if sound_alone or (keyframe and track.kind == "video"):
            self._hub._put_on_air(self)
            return True
        if self._on_keyframe_request is not None and arrival - self._asked_at > KEYFRAME_WAIT_S:
            self._asked_at = arrival
            self._on_keyframe_request()
        return False


class Hub:
    """Streams by name."""

    def __init__(self, grace_s: float = 30.0) -> None:
        self.grace_s = grace_s
        self.streams: dict[str, Stream] = {}
        # puts a slate on the air for a stream whose publisher has gone; False where there is none
        self.stand_in: Callable[[Stream], bool] = lambda stream: False
        self._publications: dict[str, list[Publication]] = {}
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
        rank: int = MAIN,
        on_close: Callable[[str], None],
    ) -> Publication:
        """Begin to publish `name`, taking over from whoever publishes it now with the same rank.

        `clock_rate` is ticks per second of the publisher's one clock (RTMP: 1000), or None where each
        track counts in its own clock rate (RTP). `on_close(reason)` is called once at the end.
        """
        stream = self.streams.get(name) or self._create(name)
        source = (protocol, remote)
        publication = Publication(self, stream, rank, source, clock_rate, on_close)
        publications = self._publications.setdefault(name, [])
        earlier = [each for each in publications if each.rank == rank]
        publications.append(publication)
        if rank != SLATE and (removal := self._removals.pop(name, None)) is not None:
            removal.cancel()
        current = self.on_air(name)
        if current is None or current in earlier or rank == SLATE:
            self._put_on_air(publication)
        for each in earlier:
            each.close("taken over")
        return publication

    def on_air(self, name: str) -> Publication | None:
        """Whose packets are those of the stream now."""
        publications = self._publications.get(name, ())
        return next((each for each in publications if each.on_air), None)

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
        for publication in list(self._publications.get(name, ())):
            publication.close(reason, finished=True)
        if name in self.streams:
            self._remove(name)

    def drain(self) -> None:
        """Close every publication and remove every stream, without grace."""
        for publications in list(self._publications.values()):
            for publication in list(publications):
                publication.close("server is stopping", finished=True)
        for name in [name for name in self.streams if "/" not in name]:
            self._remove(name)

    def _create(self, name: str) -> Stream:
        stream = Stream(name, Timeline(time.monotonic(), time.time() * 1000))
        self.streams[name] = stream
        return stream

    def _put_on_air(self, publication: Publication) -> None:
        stream = publication.stream
        before = self.on_air(stream.name)
        if before is not None:
            before.on_air = False
        publication.on_air = True
        stream.timeline.begin(publication.clock_rate)
        stream.live = True
        stream.protocol, stream.remote = publication.source
        if publication.rank != SLATE:  # which belongs to the publisher before it
            stream.forget()
        stream.on_keyframe_request = publication.on_keyframe_request
        log.info("stream %s: online by %s from %s", stream.name, stream.protocol, stream.remote)
        self._notify("online", stream)
        if before is not None and before.rank == SLATE:
            before.close("the publisher is back")

    def _left(self, publication: Publication, reason: str, finished: bool) -> None:
        stream = publication.stream
        others = self._publications[stream.name]
        others.remove(publication)
        if not others:
            del self._publications[stream.name]
        slates = [each for each in others if each.rank == SLATE]
        if publication.rank != SLATE and len(slates) == len(others):
            self._remove_later(stream)
            if finished:
                for slate in slates:
                    slate.close(reason, finished=True)
        if not publication.on_air:
            return
        publication.on_air = False
        stream.on_keyframe_request = None
        if finished or publication.rank == SLATE or not (others or self.stand_in(stream)):
            stream.live = False
            log.info("stream %s: offline, %s", stream.name, reason)
            self._notify("offline", stream)

    def _remove_later(self, stream: Stream) -> None:
        if (removal := self._removals.pop(stream.name, None)) is not None:
            removal.cancel()
        if stream.removed:
            return
        loop = asyncio.get_running_loop()
        self._removals[stream.name] = loop.call_later(self.grace_s, self._end_of_grace, stream.name)

    def _end_of_grace(self, name: str) -> None:
        for slate in list(self._publications.get(name, ())):
            slate.close("nobody came back", finished=True)
        self._remove(name)

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
