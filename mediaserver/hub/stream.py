"""A live stream and its readers: the producer never waits, a slow reader skips to the next keyframe.

Who closes whom: the hub closes a stream, a stream ends its readers; a reader that closes itself only
leaves the stream.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from mediaserver.hub.timeline import Timeline
from mediaserver.media import Kind, Packet, Track

log = logging.getLogger("hawker.hub")

READER_PACKETS = 1024  # about 12 s of 30 frames/s and AAC: beyond it a reader is not live
READER_BYTES = 16 << 20
GOP_S = 2.5  # a longer group is not worth replaying to a joiner
GOP_BYTES = 2 << 20
KEYFRAME_REQUEST_S = 0.5  # many viewers ask at once; the publisher is asked once
MENDED = (
    "mended"  # the rendition of a stream that browsers can't be sent as it is: the source's size
)
EVERY_KIND: frozenset[Kind] = frozenset({"video", "audio"})


class StreamEnded(Exception):
    """The stream was removed; no more packets will come."""


@dataclass(frozen=True, slots=True)
class Notice:
    """What the server found wrong with a stream, for the host: words and fix by language."""

    code: str
    severity: Literal["info", "warning", "error"]
    text: dict[str, str]
    fix: dict[str, str]


@dataclass(slots=True)
class Counters:
    """What went through a stream; `skipped` adds up over its readers."""

    packets: int = 0
    bytes: int = 0
    skipped: int = 0

    def add(self, other: Counters) -> None:
        self.packets += other.packets
        self.bytes += other.bytes
        self.skipped += other.skipped


@dataclass(eq=False)
class Stream:
    """Packets of one name in decode order, with the group of pictures that a joiner needs."""

    name: str
    timeline: Timeline
    live: bool = False
    protocol: str = ""
    remote: str = ""
    reordered: bool = False  # pts ran against decode order: the source has B-frames
    tracks: dict[Kind, Track] = field(default_factory=dict)
    notices: dict[str, Notice] = field(default_factory=dict)
    measured: dict[str, float] = field(
        default_factory=dict
    )  # by who decodes it: relay.wire.MEASURES
    counters: Counters = field(default_factory=Counters)
    on_keyframe_request: Callable[[], None] | None = None
    on_read: Callable[[bool], None] | None = None  # whether anybody reads it, at each change
    on_bitrate_request: Callable[[int], None] | None = (
        None  # bits a second, of a rendition we encode
    )

    def __post_init__(self) -> None:
        self._readers: set[Reader] = set()
        self._gop: list[Packet] = []
        self._gop_bytes = 0
        self._asked_at = -KEYFRAME_REQUEST_S
        self.removed = False

    @property
    def epoch_ms(self) -> float:
        return self.timeline.epoch_ms

    @property
    def readers(self) -> int:
        return len(self._readers)

    def write(self, packet: Packet) -> None:
        """Hand a packet to every reader; never waits."""
        track, counters = packet.track, self.counters
        self.tracks[track.kind] = track
        counters.packets += 1
        counters.bytes += len(packet.payload)
        if self._gop or packet.keyframe:
            self._cache(packet)
        for reader in self._readers:
            reader._offer(packet)

    def subscribe(
        self, *, from_keyframe: bool = True, kinds: frozenset[Kind] = EVERY_KIND
    ) -> Reader:
        """A new reader; with `from_keyframe` it gets the cached group of pictures first."""
        reader = Reader(self, kinds)
        if from_keyframe:
            for packet in self._gop:
                reader._offer(packet)
        self._readers.add(reader)
        if self.on_read is not None and len(self._readers) == 1:
            self.on_read(True)
        return reader

    def request_keyframe(self, now: float) -> None:
        """Ask the publisher for a keyframe, at most once in KEYFRAME_REQUEST_S."""
        if self.on_keyframe_request and now - self._asked_at >= KEYFRAME_REQUEST_S:
            self._asked_at = now
            self.on_keyframe_request()

    def request_bitrate(self, bits_per_s: int) -> bool:
        """Ask who encodes this rendition for another bitrate; False where nobody can."""
        if self.on_bitrate_request is None:
            return False
        self.on_bitrate_request(bits_per_s)
        return True

    def begin_anew(self, track: Track) -> None:
        """What comes next has nothing to do with what was; joiners wait for its keyframe."""
        self.tracks[track.kind] = track
        self._gop.clear()

    def forget(self) -> None:
        """Another publisher begins: nothing of the last one is told to those who come now."""
        self.tracks.clear()
        self.notices.clear()
        self.measured.clear()
        self.reordered = False
        self.on_keyframe_request = None
        self._gop.clear()

    def notice(self, notice: Notice) -> None:
        """Tell the host something, once per code and publication."""
        if notice.code not in self.notices:
            self.notices[notice.code] = notice
            log.warning("stream %s: %s", self.name, notice.code)

    def remove(self) -> None:
        """End every reader; called by the hub."""
        self.removed = True
        self.live = False
        self._gop.clear()
        for reader in list(self._readers):
            reader._end()

    def _leave(self, reader: Reader) -> None:
        if reader in self._readers:
            self._readers.discard(reader)
            if self.on_read is not None and not self._readers:
                self.on_read(False)

    def _cache(self, packet: Packet) -> None:
        gop, video = self._gop, packet.track.kind == "video"
        if video and packet.keyframe:
            gop.clear()
            self._gop_bytes = 0
        elif not gop:
            return
        gop.append(packet)
        self._gop_bytes += len(packet.payload)
        if video:
            first = gop[0]
            age_s = packet.dts / packet.track.clock_rate - first.dts / first.track.clock_rate
            if age_s > GOP_S:
                gop.clear()
        if self._gop_bytes > GOP_BYTES:
            gop.clear()


class Reader:
    """One bounded queue of a stream's packets, in batches."""

    def __init__(self, stream: Stream, kinds: frozenset[Kind] = EVERY_KIND) -> None:
        self.stream = stream
        self.skipped = 0
        self._kinds = kinds
        self._queue: deque[Packet] = deque()
        self._bytes = 0
        self._wait_keyframe = False
        self._ended = False
        self._waiter: asyncio.Future[None] | None = None

    async def read(self) -> list[Packet]:
        """All packets that wait, at least one; raises StreamEnded once removed and drained."""
        while not self._queue:
            if self._ended:
                raise StreamEnded(self.stream.name)
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self.take()

    def take(self) -> list[Packet]:
        """What waits now, if anything: for who looks now and then."""
        batch = list(self._queue)
        self._queue.clear()
        self._bytes = 0
        return batch

    def close(self) -> None:
        """Leave the stream."""
        self._end()

    def _offer(self, packet: Packet) -> None:
        if packet.track.kind not in self._kinds:
            return
        video = packet.track.kind == "video"
        if self._wait_keyframe and video:
            if not packet.keyframe:
                self._skip(1)
                return
            self._wait_keyframe = False
        if len(self._queue) >= READER_PACKETS or self._bytes >= READER_BYTES:
            self._skip(len(self._queue))
            self._queue.clear()
            self._bytes = 0
            if video and not packet.keyframe:
                self._wait_keyframe = True
                self._skip(1)
                return
            self._wait_keyframe = not video and "video" in self.stream.tracks
        self._queue.append(packet)
        self._bytes += len(packet.payload)
        self._wake()

    def _skip(self, count: int) -> None:
        self.skipped += count
        self.stream.counters.skipped += count

    def _end(self) -> None:
        self._ended = True
        self.stream._leave(self)
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
