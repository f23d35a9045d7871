"""Streams of another process, as this process's viewers want them: mirrored while somebody watches.

A stream is subscribed to when its first viewer asks, and let go LINGER_S after its last reader has
left. Its renditions stand in the local hub as soon as the stream does, so that a viewer's layers can be
chosen; each is subscribed to only while it is read here. Packets are written as they come: media time,
RTP base and UTC are those of the source, and whoever is too slow for the relay has skipped there to the
next keyframe. Requests for keyframes travel back, and their limits are those of the source.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from mediaserver.hub import Hub, Stream, StreamEnded
from mediaserver.hub.relay import Change, RelayClient, Subscription
from mediaserver.hub.timeline import Timeline
from mediaserver.media import Track

LINGER_S = 5.0  # one viewer leaves, another comes: the group of pictures is still here
DESCRIBED_S = 3.0  # for a stream that has just begun to show its tracks


class Mirror:
    """The streams behind `client`, in `hub`."""

    def __init__(
        self, hub: Hub, client: RelayClient, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._hub = hub
        self._client = client
        self._clock = clock
        self._there: dict[str, Change] = {}  # streams and renditions on the air over there
        self._feeds: dict[str, Feed] = {}  # of streams and renditions that stand in our hub
        self._opening: dict[str, asyncio.Task[None]] = {}
        self._unlisten = hub.listen(self._on_local)

    async def run(self) -> None:
        """Follow what comes and goes over there, until the relay ends."""
        async for change in self._client.watch():
            self._follow(change)

    async def open(self, name: str) -> None:
        """See to it that a stream that is live over there is in the hub, with its tracks.

        Where it is not live, or shows no track in time, the hub has nothing that could be watched.
        """
        if self._hub.get(name) is not None:
            return
        task = self._opening.get(name)
        if task is None:
            task = self._opening[name] = asyncio.create_task(self._open(name))
            task.add_done_callback(lambda _: self._opening.pop(name))
        await asyncio.shield(task)

    def sweep(self) -> None:
        """About once a second: let go of streams that nobody reads any more."""
        now = self._clock()
        for feed in list(self._feeds.values()):
            if "/" not in feed.stream.name and feed.idle(now):
                self._hub.end(feed.stream.name, "nobody watches")

    def close(self) -> None:
        self._unlisten()
        for feed in list(self._feeds.values()):
            feed.close()
        self._feeds.clear()
        for task in list(self._opening.values()):
            task.cancel()

    async def _open(self, name: str) -> None:
        subscription = self._client.subscribe(name)
        try:
            async with asyncio.timeout(DESCRIBED_S):
                told = await subscription.described()
                first = [] if told.tracks else await subscription.read()
        except (StreamEnded, TimeoutError):
            subscription.close()
            return
        stream = self._hub.mirror(name, Timeline(0.0, told.epoch_ms, told.rtp_base))
        stream.reordered = told.reordered
        _show(stream, told.tracks)
        feed = self._feeds[name]
        feed.take(subscription)
        for packet in first:
            stream.write(packet)
        if name not in self._there:
            self._hub.set_live(stream, False)
        for change in list(self._there.values()):
            self._show_rendition(change)

    def _follow(self, change: Change) -> None:
        if change.change == "online":
            self._there[change.stream] = change
        else:
            self._there.pop(change.stream, None)
        if "/" in change.stream:
            self._follow_rendition(change)
        elif (stream := self._hub.get(change.stream)) is None:
            return
        elif change.change == "removed":
            self._hub.end(change.stream, "removed")
        elif stream.live != (change.change == "online"):
            self._hub.set_live(stream, not stream.live)

    def _follow_rendition(self, change: Change) -> None:
        stream = self._hub.get(change.stream)
        if change.change == "online":
            self._show_rendition(change)
            if (feed := self._feeds.get(change.stream)) is not None:
                feed.arrange()
        elif change.change == "removed" and stream is not None:
            self._hub.end_rendition(stream)

    def _show_rendition(self, change: Change) -> None:
        """Have a rendition in the hub whose stream is there."""
        name, slash, suffix = change.stream.partition("/")
        parent = self._hub.get(name)
        if slash and parent is not None:
            track = next(iter(change.tracks), None)
            _show(self._hub.rendition(parent, suffix, track), change.tracks)

    def _on_local(self, change: str, stream: Stream) -> None:
        name = stream.name
        if change == "online" and name not in self._feeds:
            self._feeds[name] = Feed(stream, self._client, lambda: name in self._there, self._clock)
        elif change == "removed" and (feed := self._feeds.get(name)) is not None:
            del self._feeds[name]
            feed.close()


class Feed:
    """One mirrored stream or rendition, and the subscription that fills it while it is wanted."""

    def __init__(
        self,
        stream: Stream,
        client: RelayClient,
        there: Callable[[], bool],
        clock: Callable[[], float],
    ) -> None:
        self.stream = stream
        self._client = client
        self._there = there
        self._clock = clock
        self._idle_since: float | None = clock()
        self._subscription: Subscription | None = None
        self._task: asyncio.Task[None] | None = None
        stream.on_read = self._on_read

    def idle(self, now: float) -> bool:
        """Whether it has not been read for LINGER_S."""
        return self._idle_since is not None and now - self._idle_since >= LINGER_S

    def take(self, subscription: Subscription) -> None:
        """Be filled by a subscription that has begun."""
        self._subscription = subscription
        self._task = asyncio.create_task(self._run(subscription))
        self.stream.on_keyframe_request = subscription.request_keyframe

    def arrange(self) -> None:
        """Begin or end the subscription of a rendition, as it is there and read."""
        wanted = self.stream.readers > 0 and self._there()
        if wanted and self._task is None:
            self.take(self._client.subscribe(self.stream.name))
        elif not wanted:
            self._stop()

    def close(self) -> None:
        self.stream.on_read = None
        self._stop()

    def _on_read(self, read: bool) -> None:
        self._idle_since = None if read else self._clock()
        if "/" in self.stream.name:
            self.arrange()

    def _stop(self) -> None:
        if self._task is not None and self._subscription is not None:
            self._task.cancel()
            self._subscription.close()
            self._task = self._subscription = None
            self.stream.on_keyframe_request = None
            for track in list(self.stream.tracks.values()):
                self.stream.begin_anew(track)  # what is read next comes after a gap

    async def _run(self, subscription: Subscription) -> None:
        """Write what comes; the end is told by the watch over all streams."""
        stream = self.stream
        try:
            while True:
                packets = await subscription.read()
                if subscription.description is not None:
                    stream.reordered = subscription.description.reordered
                for packet in packets:
                    stream.write(packet)
        except StreamEnded:
            return


def _show(stream: Stream, tracks: tuple[Track, ...]) -> None:
    for track in tracks:
        stream.tracks.setdefault(track.kind, track)
