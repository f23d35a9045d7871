"""The relay between two real ends of a Unix socket."""

from __future__ import annotations

import asyncio
import itertools
import logging
import socket
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from mediaserver.hub import Hub, Publication, Reader, Stream, StreamEnded
from mediaserver.hub.relay import Change, RelayClient, RelayServer, Subscription, wire
from mediaserver.hub.stream import READER_PACKETS
from mediaserver.media import Packet, Track

VIDEO = Track("video", "h264", 90_000, b"avcC", 1280, 720)
AAC = Track("audio", "aac", 48_000, b"\x11\x90", channels=2)
OPUS = Track("audio", "opus", 48_000, b"OpusHead", channels=2)


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    hub = Hub(grace_s=0.01)
    yield hub
    hub.drain()


@pytest.fixture
async def server(hub: Hub) -> AsyncIterator[RelayServer]:
    server = RelayServer(hub)
    await server.start()
    yield server
    await server.close()


@pytest.fixture
async def client(server: RelayServer) -> AsyncIterator[RelayClient]:
    client = await RelayClient.connect(server.path)
    yield client
    await client.close()


def publish(hub: Hub, name: str = "show") -> Publication:
    return hub.publish(name, protocol="rtmp", clock_rate=1000, on_close=lambda reason: None)


def video(number: int, *, keyframe: bool = False, payload: bytes = b"v") -> Packet:
    return Packet(VIDEO, number * 3000 + 10, number * 3000, number * 33, keyframe, payload)


def audio(number: int, track: Track = AAC) -> Packet:
    return Packet(track, number * 1024, number * 1024, number * 21, True, b"a")


async def eventually(condition: Callable[[], bool]) -> None:
    """Let the loop turn until it is so, where nobody tells of it."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


async def until(stream: Stream, readers: int) -> None:
    """Wait until the stream has so many readers: a subscription has arrived, or left."""
    await eventually(lambda: stream.readers == readers)


async def take(read: Reader | Subscription, count: int) -> list[Packet]:
    packets: list[Packet] = []
    async with asyncio.timeout(5):
        while len(packets) < count:
            packets += await read.read()
    return packets


async def test_a_subscriber_gets_the_packets_exactly(hub: Hub, client: RelayClient) -> None:
    stream = publish(hub).stream
    sent = [video(0, keyframe=True), audio(0), video(1)]
    for packet in sent:
        stream.write(packet)
    subscription = client.subscribe("show")
    await until(stream, 1)
    stream.write(video(2))
    assert await take(subscription, 4) == [*sent, video(2)]


async def test_a_subscriber_is_told_what_the_stream_is_before_its_packets(
    hub: Hub, client: RelayClient
) -> None:
    stream = publish(hub).stream
    stream.write(video(0, keyframe=True))
    subscription = client.subscribe("show")
    described = await asyncio.wait_for(subscription.described(), 5)
    assert (described.reordered, described.tracks) == (False, (VIDEO,))
    assert described.rtp_base == stream.timeline.rtp_base
    assert described.epoch_ms == round(stream.epoch_ms)
    stream.reordered = True
    stream.write(video(1))
    await take(subscription, 2)
    assert subscription.description is not None
    assert subscription.description.reordered
    with pytest.raises(StreamEnded):
        await asyncio.wait_for(client.subscribe("nobody").described(), 5)


async def test_a_wish_for_a_keyframe_travels_to_the_publisher(
    hub: Hub, client: RelayClient
) -> None:
    stream = publish(hub).stream
    asked = asyncio.Event()
    stream.on_keyframe_request = asked.set
    client.subscribe("show").request_keyframe()
    await asyncio.wait_for(asked.wait(), 5)


async def test_a_wish_for_a_keyframe_travels_to_who_makes_a_rendition(
    hub: Hub, client: RelayClient
) -> None:
    publish(hub)
    asked = asyncio.Event()
    publication = client.publish("show", "720p")
    publication.on_keyframe_request = asked.set
    await publication.write(video(0, keyframe=True))
    await eventually(lambda: "show/720p" in hub.streams)
    hub.streams["show/720p"].request_keyframe(1.0)
    await asyncio.wait_for(asked.wait(), 5)


async def test_a_subscriber_of_sound_from_now_on(hub: Hub, client: RelayClient) -> None:
    stream = publish(hub).stream
    stream.write(video(0, keyframe=True))
    stream.write(audio(0))
    subscription = client.subscribe("show", from_keyframe=False, kinds=["audio"])
    await until(stream, 1)
    for number in range(1, 4):
        stream.write(video(number))
        stream.write(audio(number))
    assert await take(subscription, 3) == [audio(1), audio(2), audio(3)]


async def test_a_watcher_sees_streams_come_and_go(hub: Hub, client: RelayClient) -> None:
    publish(hub).stream.write(video(0, keyframe=True))
    seen: list[Change] = []
    async with asyncio.timeout(5):
        async for change in client.watch():
            seen.append(change)
            if len(seen) == 1:
                hub.rendition(hub.streams["show"], "opus", OPUS)
                publish(hub, "other").close("left")
            if change == Change("removed", "other", ()):
                break
    assert seen == [
        Change("online", "show", (VIDEO,)),
        Change("online", "show/opus", (OPUS,)),
        Change("online", "other", ()),
        Change("offline", "other", ()),
        Change("removed", "other", ()),
    ]


async def test_a_rendition_is_published_on_the_streams_timeline(
    hub: Hub, client: RelayClient
) -> None:
    parent = publish(hub).stream
    appeared = asyncio.Event()
    hub.listen(lambda change, stream: appeared.set() if stream.name == "show/opus" else None)
    publication = client.publish("show", "opus")
    await publication.write(audio(-1, OPUS))
    await asyncio.wait_for(appeared.wait(), 5)
    rendition = hub.streams["show/opus"]
    assert rendition.timeline is parent.timeline
    assert rendition.tracks == {"audio": OPUS}
    reader = rendition.subscribe()
    await publication.write(audio(7, OPUS))
    assert (await take(reader, 1))[-1] == audio(7, OPUS)
    publication.close()
    with pytest.raises(StreamEnded):
        await asyncio.wait_for(reader.read(), 5)
    assert hub.get("show/opus") is None
    with pytest.raises(StreamEnded):
        await publication.write(audio(8, OPUS))


async def test_a_rendition_outlives_a_worker_that_died(hub: Hub, server: RelayServer) -> None:
    publish(hub)
    appeared = asyncio.Event()
    hub.listen(lambda change, stream: appeared.set() if stream.name == "show/opus" else None)
    first = await RelayClient.connect(server.path)
    await first.publish("show", "opus").write(audio(0, OPUS))
    await asyncio.wait_for(appeared.wait(), 5)
    reader = hub.streams["show/opus"].subscribe()
    await first.close()
    second = await RelayClient.connect(server.path)
    await second.publish("show", "opus").write(audio(1, OPUS))
    assert (await take(reader, 1))[-1] == audio(1, OPUS)
    await second.close()


async def test_the_end_of_a_stream_ends_what_hangs_on_it(hub: Hub, client: RelayClient) -> None:
    publication = publish(hub)
    subscription = client.subscribe("show", from_keyframe=False)
    rendition = client.publish("show", "opus")
    await rendition.write(audio(0, OPUS))
    await until(publication.stream, 1)
    publication.close("left")
    with pytest.raises(StreamEnded):
        await asyncio.wait_for(subscription.read(), 5)
    publish(hub)  # another stream of the name is another stream
    with pytest.raises(StreamEnded):
        async with asyncio.timeout(5):
            while True:
                await rendition.write(audio(1, OPUS))
                await asyncio.sleep(0)
    assert hub.get("show/opus") is None


async def test_an_unknown_stream_ends_at_once(client: RelayClient) -> None:
    with pytest.raises(StreamEnded):
        await asyncio.wait_for(client.subscribe("nobody").read(), 5)
    publication = client.publish("nobody", "opus")
    with pytest.raises(StreamEnded):
        async with asyncio.timeout(5):
            while True:
                await publication.write(audio(0, OPUS))
                await asyncio.sleep(0)


async def test_a_closed_subscription_leaves_the_stream(hub: Hub, client: RelayClient) -> None:
    stream = publish(hub).stream
    first, second = client.subscribe("show"), client.subscribe("show")
    await until(stream, 2)
    first.close()
    first.close()
    await until(stream, 1)
    stream.write(video(0, keyframe=True))
    assert len(await take(second, 1)) == 1
    with pytest.raises(StreamEnded):
        await first.read()


async def test_a_slow_client_skips_and_the_others_do_not(hub: Hub, server: RelayServer) -> None:
    stream = publish(hub).stream
    slow = await RelayClient.connect(server.path)
    lagging = slow.subscribe("show", from_keyframe=False)
    quick = await RelayClient.connect(server.path)
    leading = quick.subscribe("show", from_keyframe=False)
    await until(stream, 2)
    total = READER_PACKETS * 4
    received: list[Packet] = []
    for number in range(total):  # nobody reads `lagging`: its socket fills, then its reader
        stream.write(video(number, keyframe=number % 30 == 0, payload=bytes(8000)))
        received += await take(leading, 1)
    assert [packet.dts // 3000 for packet in received] == list(range(total))
    assert stream.counters.skipped > 0
    # What the slow one reads in the end is gapless but where it lands on a keyframe.
    seen: list[Packet] = []
    async with asyncio.timeout(20):
        while not seen or seen[-1].dts // 3000 < total - 1:
            seen += await lagging.read()
    assert len(seen) < total
    for before, after in itertools.pairwise(seen):
        assert after.dts - before.dts == 3000 or after.keyframe
    await slow.close()
    await quick.close()


GARBAGE = {
    "junk": b"GET / HTTP/1.1\r\n\r\n",
    "no greeting": wire.serialize(wire.Watch()),
    "another version": wire.serialize(wire.Hello(version=99)),
    "a frame too long": wire.serialize(wire.Hello()) + b"\xff\xff\xff\xff",
    "a server's message": wire.serialize(wire.Hello()) + wire.serialize(wire.Ended(0, "no")),
    "a channel twice": wire.serialize(wire.Hello())
    + 2 * wire.serialize(wire.Publish(1, "show", "opus")),
    "a rendition of a rendition": wire.serialize(wire.Hello())
    + wire.serialize(wire.Publish(1, "show/opus", "aac")),
    "a suffix that climbs": wire.serialize(wire.Hello())
    + wire.serialize(wire.Publish(1, "show", "../x")),
    "a packet without its track": wire.serialize(wire.Hello())
    + wire.serialize(wire.Publish(1, "show", "opus"))
    + wire.serialize(wire.Media(1, 0, 0, 0, 0, True, b"")),
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
async def test_garbage_closes_its_connection_alone_with_one_line(
    hub: Hub,
    server: RelayServer,
    client: RelayClient,
    garbage: bytes,
    caplog: pytest.LogCaptureFixture,
) -> None:
    stream = publish(hub).stream
    subscription = client.subscribe("show")
    await until(stream, 1)
    with caplog.at_level(logging.WARNING):
        reader, writer = await asyncio.open_unix_connection(str(server.path))
        writer.write(garbage)
        async with asyncio.timeout(5):
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await reader.readexactly(1 << 20)
        writer.close()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    stream.write(video(0, keyframe=True))
    assert len(await take(subscription, 1)) == 1


async def test_too_many_channels_close_the_connection(hub: Hub, server: RelayServer) -> None:
    publish(hub)
    client = await RelayClient.connect(server.path)
    for _ in range(1025):
        client.subscribe("show")
    await asyncio.wait_for(client.closed(), 5)


async def test_a_server_that_goes_ends_its_clients(hub: Hub) -> None:
    server = RelayServer(hub)
    await server.start()
    stream = publish(hub).stream
    client = await RelayClient.connect(server.path)
    subscription = client.subscribe("show")
    await until(stream, 1)
    await server.close()
    await server.close()
    with pytest.raises(StreamEnded):
        await asyncio.wait_for(subscription.read(), 5)
    assert [change async for change in client.watch()] == []
    await client.closed()
    assert stream.readers == 0
    assert server.connections == 0


async def test_clients_that_leave_leave_nothing(hub: Hub, server: RelayServer) -> None:
    stream = publish(hub).stream
    before = len(asyncio.all_tasks())
    for _ in range(20):
        client = await RelayClient.connect(server.path)
        client.subscribe("show")
        await until(stream, 1)
        await client.close()
        await until(stream, 0)
    await eventually(lambda: server.connections == 0)
    assert len(asyncio.all_tasks()) == before


async def test_the_socket_is_its_users_alone(hub: Hub, tmp_path: Path) -> None:
    private = RelayServer(hub)
    with pytest.raises(RuntimeError):
        _ = private.path
    await private.start()
    path = private.path
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    await private.close()
    assert not path.parent.exists()

    given = RelayServer(hub, tmp_path / "relay")
    await given.start()
    assert stat.S_IMODE(given.path.stat().st_mode) == 0o600
    await given.close()
    assert list(tmp_path.iterdir()) == []


async def test_a_dead_processes_socket_is_replaced(hub: Hub, tmp_path: Path) -> None:
    path = tmp_path / "relay"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    server = RelayServer(hub, path)
    await server.start()
    client = await RelayClient.connect(path)
    await client.close()
    await server.close()


async def test_a_file_that_is_no_socket_is_left_alone(hub: Hub, tmp_path: Path) -> None:
    path = tmp_path / "relay"
    path.write_text("precious")
    with pytest.raises(OSError, match="in use"):
        await RelayServer(hub, path).start()
    assert path.read_text() == "precious"


@pytest.mark.parametrize("greeting", [b"", b"SSH-2.0-OpenSSH\r\n", wire.serialize(wire.Hello(99))])
async def test_a_socket_where_no_relay_speaks_is_told_at_connect(
    tmp_path: Path, greeting: bytes
) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        writer.close()

    other = await asyncio.start_unix_server(answer, str(tmp_path / "other"))
    with pytest.raises(ConnectionError, match="no relay"):
        await RelayClient.connect(tmp_path / "other")
    other.close()
    await other.wait_closed()
