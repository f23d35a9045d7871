"""A stream on the air by WebRTC: its broadcast, and what is read from the hub for it.

Sound is read always, from the source and its Opus rendition. Each video layer, the source as well as
any other rendition of the stream, is read while somebody needs it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from mediaserver.errors import ProtocolError
from mediaserver.hub import MENDED, Hub, Reader, Stream, StreamEnded
from mediaserver.media import Kind, Packet, Track
from mediaserver.rtc.broadcast import Broadcast
from mediaserver.rtc.layer import Layer
from mediaserver.rtc.sender import SLICE_S
from mediaserver.rtc.session import CONNECT_S
from mediaserver.rtc.transport import Transport

if TYPE_CHECKING:
    from mediaserver.egress.whep import WhepSession

VIDEO: frozenset[Kind] = frozenset({"video"})
AUDIO: frozenset[Kind] = frozenset({"audio"})
SOUND_PACKETS = 100  # 2 s without any picture: there is none to come


class Reading:
    """A stream's packets of one kind, handed on without holding the loop for long."""

    def __init__(self, channel: Channel, stream: Stream, layer: Layer | None) -> None:
        """`layer` is None for sound."""
        self.stream = stream
        self.layer = layer
        self._channel = channel
        self._reader = stream.subscribe(
            from_keyframe=layer is not None, kinds=VIDEO if layer is not None else AUDIO
        )
        self._task = asyncio.get_running_loop().create_task(self._run())

    def close(self) -> None:
        self._task.cancel()
        self._reader.close()

    async def _run(self) -> None:
        with contextlib.suppress(StreamEnded):
            await self._pump(self._reader)
        self._reader.close()
        await self._channel.ended(self)

    async def _pump(self, reader: Reader) -> None:
        """Feed the broadcast until the stream turns out to have B-frames; raises StreamEnded."""
        clock = self._channel.broadcast.clock
        while True:
            packets = await reader.read()
            began_at = clock()
            for packet in packets:
                if self.layer is not None and self.stream.reordered:
                    return
                self._channel.take(packet, self.layer)
                if clock() - began_at > SLICE_S:  # a group of pictures that waited for us
                    await asyncio.sleep(0)
                    began_at = clock()


class Channel:
    """A stream's broadcast with its readings and its sessions."""

    def __init__(
        self,
        hub: Hub,
        stream: Stream,
        picture: Stream,
        transport: Transport,
        on_closed: Callable[[Channel], None],
    ) -> None:
        """`picture` is the stream itself, or the rendition that stands for its video."""
        self.stream = stream
        self.picture = picture
        self.sessions: set[WhepSession] = set()
        self.malformed = 0  # packets that are not what their track says
        self._hub = hub
        self._transport = transport
        self._on_closed = on_closed
        self.broadcast = Broadcast(
            transport.sender,
            self._requester(picture),
            transport.clock,
            stream.timeline.rtp_base,
        )
        self._renditions: dict[str, Stream] = {}  # that have, or may have, video; by suffix
        self._sounds: list[Reading] = []
        self._readings: dict[Layer, Reading] = {}
        self._track: Track | None = None  # of the newest picture
        self._ending: set[asyncio.Task[None]] = set()
        self._open()

    def _open(self) -> None:
        source = self.broadcast.source
        source.on_wanted = lambda: self._read(source, self.picture)
        source.want(CONNECT_S)  # the first viewer finds the cached pictures there
        opus = self._hub.rendition(self.stream, "opus")
        self._sounds = [Reading(self, each, None) for each in (self.stream, opus)]
        prefix = f"{self.stream.name}/"
        for name, stream in list(self._hub.streams.items()):
            if name.startswith(prefix):
                self.on_rendition(name.removeprefix(prefix), stream)

    @property
    def video(self) -> Track | None:
        return self.picture.tracks.get("video")

    @property
    def sound_alone(self) -> bool:
        """Whether the stream has sound, and no picture that might only be late."""
        tracks = self.stream.tracks
        return set(tracks) == {"audio"} and self.stream.counters.packets > SOUND_PACKETS

    # -- who watches -----------------------------------------------------------------------------

    def enter(self, session: WhepSession) -> None:
        """A session that will soon be connected."""
        self.sessions.add(session)
        self.broadcast.source.want(CONNECT_S)

    def leave(self, session: WhepSession) -> None:
        self.sessions.discard(session)
        self.close_unless_watched()

    def close_unless_watched(self) -> None:
        if not self.sessions:
            self.close()

    def close(self) -> None:
        """Stop reading; the last viewer has left."""
        for reading in (*self._sounds, *self._readings.values()):
            reading.close()
        self._sounds.clear()
        self._readings.clear()
        self.broadcast.close()
        self._on_closed(self)

    async def end(
        self, reason: str, which: Callable[[WhepSession], bool] = lambda session: True
    ) -> None:
        """Close sessions, one by one: a goodbye costs 0.1 ms of everybody's loop."""
        for each in [session for session in self.sessions if which(session)]:
            if each.session is not None:
                self._transport.close(each.session, reason)
                await asyncio.sleep(0)

    # -- what is read ----------------------------------------------------------------------------

    def take(self, packet: Packet, layer: Layer | None) -> None:
        """A packet of a reading; `layer` is None for sound."""
        if layer is self.broadcast.source and packet.track is not self._track:
            self._on_track(packet.track)
        try:
            self.broadcast.feed(packet, layer)
        except ProtocolError:
            self.malformed += 1

    async def ended(self, reading: Reading) -> None:
        """A reading came to its end: its stream was removed, or has B-frames."""
        layer = reading.layer
        if layer is None and reading.stream is not self.stream and not self.stream.removed:
            self._sounds.remove(reading)  # it may come again while the source goes on
            self._sounds.append(Reading(self, self._hub.rendition(self.stream, "opus"), None))
        elif layer is not None and layer is not self.broadcast.source:
            self.on_rendition(layer.name, None)
        elif self.picture.reordered:
            await self.end("source has B-frames")
        else:
            await self.end("stream ended")

    def on_rendition(self, suffix: str, stream: Stream | None) -> None:
        """A rendition has come, or gone (None)."""
        layer = self.broadcast.layers.get(suffix)
        if layer is not None and self._renditions.get(suffix) is not stream:
            self._stop(layer)
            self.broadcast.remove_layer(layer)
        if stream is None:
            self._renditions.pop(suffix, None)
        elif suffix != MENDED:  # it is a stream's picture, or nothing to its viewers
            self._renditions[suffix] = stream
            self._look()

    def sweep(self, now: float) -> None:
        """About once a second: what is read by whom, rates and rings."""
        self._look()
        if self.video is not None and self.video is not self._track:
            self._on_track(self.video)
        for layer in list(self._readings):
            if not layer.wanted(now):
                self._stop(layer)
        self.broadcast.housekeep(now)

    def _look(self) -> None:
        """Make layers of the renditions that have the source's kind of video."""
        video = self.video
        for suffix, stream in self._renditions.items():
            track = stream.tracks.get("video")
            if suffix in self.broadcast.layers or track is None or stream.removed:
                continue
            if video is not None and track.codec == video.codec and not stream.reordered:
                layer = self.broadcast.add_layer(suffix, self._requester(stream))
                layer.track = track
                layer.on_wanted = self._starter(layer, stream)
                self.broadcast.ladder.watch()

    def _on_track(self, track: Track) -> None:
        self._track = track

        def other(session: WhepSession) -> bool:
            accepted = session.accepted
            return accepted.sound_alone or accepted.codec not in ("", track.codec)

        if any(other(session) for session in self.sessions):
            reason = f"the publisher sends {track.codec} now"
            task = asyncio.get_running_loop().create_task(self.end(reason, other))
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    def _starter(self, layer: Layer, stream: Stream) -> Callable[[], None]:
        return lambda: self._read(layer, stream)

    def _requester(self, stream: Stream) -> Callable[[], None]:
        return lambda: stream.request_keyframe(self._transport.clock())

    def _read(self, layer: Layer, stream: Stream) -> None:
        if layer not in self._readings and not stream.removed:
            layer.begin()
            self._readings[layer] = Reading(self, stream, layer)

    def _stop(self, layer: Layer) -> None:
        reading = self._readings.pop(layer, None)
        if reading is not None:
            reading.close()
            layer.stop()
