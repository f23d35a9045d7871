"""What the maker of a rendition and the server tell each other over the relay."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from mediaserver.hub import Hub, Notice, Publication
from mediaserver.hub.relay import RelayClient, RelayServer
from mediaserver.media import Packet, Track

VIDEO = Track("video", "h264", 90_000, b"avcC", 1280, 720)
SMALL = Track("video", "h264", 90_000, b"avcC of the rung", 640, 360)


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


def publish(hub: Hub) -> Publication:
    return hub.publish("show", protocol="rtmp", clock_rate=1000, on_close=lambda reason: None)


def picture(number: int, *, keyframe: bool = False) -> Packet:
    return Packet(SMALL, number * 3000, number * 3000, number * 33, keyframe, b"picture")


async def so(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


async def test_a_rendition_is_there_before_its_first_packet(hub: Hub, client: RelayClient) -> None:
    publish(hub)
    client.publish("show", "360p").declare(SMALL)
    await so(lambda: "show/360p" in hub.streams)
    assert hub.streams["show/360p"].tracks == {"video": SMALL}
    assert hub.streams["show/360p"].live


async def test_its_maker_hears_whether_anybody_reads_it(hub: Hub, client: RelayClient) -> None:
    publish(hub)
    publication = client.publish("show", "360p")
    heard: list[bool] = []
    publication.on_wanted = heard.append
    publication.declare(SMALL)
    await so(lambda: "show/360p" in hub.streams)
    stream = hub.streams["show/360p"]
    first, second = stream.subscribe(), stream.subscribe()
    await so(lambda: publication.wanted)
    first.close()
    second.close()
    await so(lambda: not publication.wanted)
    assert heard == [True, False]


async def test_a_maker_that_comes_back_hears_of_readers_who_stayed(
    hub: Hub, server: RelayServer
) -> None:
    publish(hub)
    first = await RelayClient.connect(server.path)
    first.publish("show", "360p").declare(SMALL)
    await so(lambda: "show/360p" in hub.streams)
    reader = hub.streams["show/360p"].subscribe()
    await first.close()
    second = await RelayClient.connect(server.path)
    publication = second.publish("show", "360p")
    publication.declare(SMALL)
    await so(lambda: publication.wanted)
    reader.close()
    await so(lambda: not publication.wanted)
    await second.close()


async def test_nothing_of_before_a_new_beginning_is_given_to_who_comes_after_it(
    hub: Hub, client: RelayClient
) -> None:
    publish(hub)
    publication = client.publish("show", "360p")
    await publication.write(picture(0, keyframe=True))
    await so(lambda: "show/360p" in hub.streams)
    stream = hub.streams["show/360p"]
    await so(lambda: stream.counters.packets == 1)
    early = stream.subscribe()
    publication.declare(SMALL)
    await publication.write(picture(1))
    await so(lambda: stream.counters.packets == 2)
    late = stream.subscribe()
    await publication.write(picture(2, keyframe=True))
    async with asyncio.timeout(5):
        assert (await late.read())[0].pts == 6000
        assert [each.pts for each in await early.read()][:2] == [0, 3000]


async def test_a_bitrate_is_asked_of_who_can_change_it(hub: Hub, client: RelayClient) -> None:
    stream = publish(hub).stream
    assert not stream.request_bitrate(500_000)
    publication = client.publish("show", "360p")
    heard: list[int] = []
    publication.on_bitrate = heard.append
    publication.declare(SMALL)
    await so(lambda: "show/360p" in hub.streams)
    assert hub.streams["show/360p"].request_bitrate(500_000)
    await so(lambda: heard == [500_000])


async def test_a_maker_may_tell_the_host_something(hub: Hub, client: RelayClient) -> None:
    stream = publish(hub).stream
    notice = Notice("Slow", "warning", {"en": "slow", "zh": "慢"}, {"en": "wait", "zh": "等"})
    publication = client.publish("show", "360p")
    publication.notice(notice)
    await so(lambda: bool(stream.notices))
    assert stream.notices == {"Slow": notice}


async def test_a_maker_tells_what_it_measures_and_who_publishes_next_begins_without(
    hub: Hub, client: RelayClient
) -> None:
    stream = publish(hub).stream
    client.publish("show", "opus").measured("loudness_lufs", -16.5)
    await so(lambda: bool(stream.measured))
    assert stream.measured == {"loudness_lufs": -16.5}
    publish(hub)
    assert stream.measured == {}
