"""A stream of one hub in another, over a real relay: there while somebody watches, and the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from mediaserver.egress.mirror import LINGER_S, Mirror
from mediaserver.hub import Hub, Publication, Reader, Stream, StreamEnded
from mediaserver.hub.relay import RelayClient, RelayServer
from mediaserver.media import Packet, Track

VIDEO = Track("video", "h264", 90_000, b"avcC", 1280, 720)
SMALL = Track("video", "h264", 90_000, b"avcC", 640, 360)
OPUS = Track("audio", "opus", 48_000, b"OpusHead", channels=2)
FRAME = 3000


@dataclass
class Both:
    """`source` is the server's hub, `here` the worker's; `now` is the mirror's clock."""

    source: Hub
    here: Hub
    mirror: Mirror
    now: float = 100.0
    asked: int = 0
    frames: int = 0
    publication: Publication | None = None
    heard: list[tuple[str, str]] = field(default_factory=list)

    def publish(self) -> Stream:
        self.publication = self.source.publish(
            "show", protocol="test", on_close=lambda reason: None
        )
        self.publication.stream.on_keyframe_request = self._ask
        return self.publication.stream

    def show(self, *, keyframe: bool = False) -> None:
        assert self.publication is not None
        timestamp = self.frames * FRAME
        self.publication.write(
            VIDEO, timestamp, b"%d" % self.frames, keyframe=keyframe, arrival=self.frames / 30
        )
        self.frames += 1

    async def open(self) -> Stream:
        await self.mirror.open("show")
        stream = self.here.get("show")
        assert stream is not None
        return stream

    def _ask(self) -> None:
        self.asked += 1


@asynccontextmanager
async def both() -> AsyncIterator[Both]:
    source, here = Hub(grace_s=0.05), Hub()
    server = RelayServer(source)
    await server.start()
    client = await RelayClient.connect(server.path)
    mirror = Mirror(here, client, lambda: house.now)
    house = Both(source, here, mirror)
    here.listen(lambda change, stream: house.heard.append((change, stream.name)))
    following = asyncio.create_task(mirror.run())
    try:
        yield house
    finally:
        mirror.close()
        here.drain()
        await client.close()
        await asyncio.wait([following])
        source.drain()
        await server.close()


async def eventually(condition: Callable[[], bool]) -> None:
    """Let the loop turn until it is so, where nobody tells of it."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


async def take(reader: Reader, count: int) -> list[Packet]:
    packets: list[Packet] = []
    async with asyncio.timeout(5):
        while len(packets) < count:
            packets += await reader.read()
    return packets


async def test_a_stream_is_mirrored_with_its_tracks_its_clock_and_its_packets() -> None:
    async with both() as house:
        source = house.publish()
        house.show(keyframe=True)
        house.show()
        at_source = source.subscribe()
        stream = await house.open()
        assert stream.tracks == {"video": VIDEO}
        assert stream.live
        assert stream.timeline.rtp_base == source.timeline.rtp_base
        assert abs(stream.epoch_ms - source.epoch_ms) <= 1
        reader = stream.subscribe()
        house.show()
        assert await take(reader, 3) == await take(at_source, 3)


async def test_what_is_not_on_the_air_is_not_in_the_hub() -> None:
    async with both() as house:
        await house.mirror.open("show")
        assert house.here.get("show") is None


async def test_a_stream_that_has_just_begun_is_waited_for_until_it_has_a_track() -> None:
    async with both() as house:
        source = house.publish()
        opening = asyncio.create_task(house.open())
        await eventually(lambda: source.readers == 1)
        house.show(keyframe=True)
        assert (await opening).tracks == {"video": VIDEO}


async def test_viewers_who_ask_at_once_share_one_subscription() -> None:
    async with both() as house:
        source = house.publish()
        house.show(keyframe=True)
        streams = await asyncio.gather(*(house.open() for _ in range(5)))
        assert len(set(map(id, streams))) == 1
        assert source.readers == 1


async def test_b_frames_at_the_source_are_known_here() -> None:
    async with both() as house:
        source = house.publish()
        house.show(keyframe=True)
        source.reordered = True
        stream = await house.open()
        assert stream.reordered
        source.reordered = False
        house.show()
        await eventually(lambda: not stream.reordered)


async def test_a_rendition_is_there_at_once_and_subscribed_to_while_it_is_read() -> None:
    async with both() as house:
        source = house.publish()
        house.show(keyframe=True)
        small = house.source.rendition(source, "360p", SMALL)
        await house.open()
        mirrored = house.here.get("show/360p")
        assert mirrored is not None
        assert mirrored.tracks == {"video": SMALL}
        assert small.readers == 0
        reader = mirrored.subscribe()
        await eventually(lambda: small.readers == 1)
        packet = Packet(SMALL, 5, 5, 6, True, b"small")
        small.write(packet)
        assert await take(reader, 1) == [packet]
        reader.close()
        await eventually(lambda: small.readers == 0)
        house.source.end_rendition(small)
        await eventually(lambda: house.here.get("show/360p") is None)


async def test_a_rendition_that_is_read_again_gives_nothing_of_the_last_time() -> None:
    async with both() as house:
        source = house.publish()
        house.show(keyframe=True)
        small = house.source.rendition(source, "360p", SMALL)
        await house.open()
        mirrored = house.here.streams["show/360p"]
        for pts in (0, 90_000):
            reader = mirrored.subscribe()
            await eventually(lambda: small.readers == 1)
            packet = Packet(SMALL, pts, pts, 0, True, b"keyframe")
            small.write(packet)
            packets = await take(reader, 1 if pts == 0 else 2)
            reader.close()
            await eventually(lambda: small.readers == 0)
        assert [each.pts for each in packets] == [0, 90_000]


async def test_a_rendition_that_is_made_only_later_reaches_who_waits_for_it() -> None:
    async with both() as house:
        source = house.publish()
        house.show(keyframe=True)
        stream = await house.open()
        reader = house.here.rendition(stream, "opus").subscribe()
        opus = house.source.rendition(source, "opus", OPUS)
        await eventually(lambda: opus.readers == 1)
        packet = Packet(OPUS, 960, 960, 20, True, b"sound")
        opus.write(packet)
        assert await take(reader, 1) == [packet]


async def test_a_wish_for_a_keyframe_reaches_the_publisher_as_often_as_its_limit_allows() -> None:
    async with both() as house:
        house.publish()
        house.show(keyframe=True)
        stream = await house.open()
        for now in (1.0, 1.1, 1.2, 2.0):
            stream.request_keyframe(now)
        await eventually(lambda: house.asked >= 1)
        stream.subscribe()
        house.show()
        await eventually(lambda: stream.counters.packets >= 2)
        assert house.asked == 1


async def test_a_publisher_that_goes_and_returns_is_followed() -> None:
    async with both() as house:
        house.source.grace_s = 30.0
        source = house.publish()
        house.show(keyframe=True)
        stream = await house.open()
        reader = stream.subscribe()
        await take(reader, 1)
        assert house.publication is not None
        house.publication.close("left")
        await eventually(lambda: not stream.live)
        assert house.publish() is source
        await eventually(lambda: stream.live)
        house.show(keyframe=True)
        assert len(await take(reader, 1)) == 1
        stream.request_keyframe(1.0)
        await eventually(lambda: house.asked == 1)
        online, offline = ("online", "show"), ("offline", "show")
        assert house.heard == [online, offline, online]


async def test_a_removed_stream_ends_its_readers_here() -> None:
    async with both() as house:
        source = house.publish()
        house.show(keyframe=True)
        house.source.rendition(source, "opus", OPUS)
        stream = await house.open()
        reader = stream.subscribe()
        house.source.end("show", "ended by the host")
        with suppress(StreamEnded):
            while True:
                await asyncio.wait_for(reader.read(), 5)
        assert house.here.streams == {}


async def test_a_stream_nobody_watches_any_more_is_let_go_after_a_while() -> None:
    async with both() as house:
        source = house.publish()
        house.show(keyframe=True)
        stream = await house.open()
        reader = stream.subscribe()
        house.now += 2 * LINGER_S
        house.mirror.sweep()
        assert house.here.get("show") is stream
        reader.close()
        house.mirror.sweep()
        assert house.here.get("show") is stream
        house.now += LINGER_S
        house.mirror.sweep()
        assert house.here.streams == {}
        await eventually(lambda: source.readers == 0)
        again = await house.open()
        assert again is not stream
        assert again.timeline.rtp_base == stream.timeline.rtp_base
