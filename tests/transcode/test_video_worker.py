"""The process of the ladder: a real one, on a real hub's relay."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from mediaserver import child
from mediaserver.hub import Hub, Publication, Reader, Stream
from mediaserver.hub.relay import RelayServer
from mediaserver.media import Packet
from mediaserver.transcode.supervisor import LadderWorker
from mediaserver.transcode.video_worker import NICENESS
from tests.protocol import encoded
from tests.transcode.film import TICKS, film, show

WAIT_S = 30
RUNGS = [
    {"height": 120, "bitrate_kbps": 300, "preset": "ultrafast"},
    {"height": 90, "bitrate_kbps": 200, "preset": "ultrafast"},
]


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    hub = Hub(grace_s=0.01)
    yield hub
    hub.drain()


@pytest.fixture
async def relay(hub: Hub) -> AsyncIterator[RelayServer]:
    relay = RelayServer(hub)
    await relay.start()
    yield relay
    await relay.close()


@pytest.fixture
async def worker(relay: RelayServer) -> AsyncIterator[LadderWorker]:
    worker = LadderWorker(relay.path, RUNGS, threads=1)
    await worker.start()
    yield worker
    await worker.stop()


def go_live(hub: Hub) -> Publication:
    return hub.publish("show", protocol="rtmp", clock_rate=90_000, on_close=lambda reason: None)


def send(publication: Publication, packets: list[Packet]) -> None:
    for packet in packets:
        publication.write(
            packet.track,
            packet.dts,
            packet.payload,
            keyframe=packet.keyframe,
            composition=packet.pts - packet.dts,
            arrival=time.monotonic(),
        )


async def play(publication: Publication, packets: list[Packet]) -> None:
    """Send them one after the other, half as fast again as they were made."""
    for packet in packets:
        send(publication, [packet])
        await asyncio.sleep(0.02)


async def so(condition: Callable[[], bool]) -> None:
    """Wait until the worker, in its own process, has brought it about."""
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(0.005)


async def offered(hub: Hub, *names: str) -> list[Stream]:
    await so(lambda: all(name in hub.streams for name in names))
    return [hub.streams[name] for name in names]


async def take(reader: Reader, count: int) -> list[Packet]:
    packets: list[Packet] = []
    async with asyncio.timeout(WAIT_S):
        while len(packets) < count:
            packets += await reader.read()
    return packets


async def test_renditions_are_offered_with_their_tracks_and_cost_nothing(
    hub: Hub, worker: LadderWorker
) -> None:
    publication = go_live(hub)
    await so(lambda: publication.stream.readers == 1)
    send(publication, film(31))
    large, small = await offered(hub, "show/120p", "show/90p")
    sizes = [(each.tracks["video"].width, each.tracks["video"].height) for each in (large, small)]
    assert sizes == [(214, 120), (160, 90)]
    await so(lambda: publication.stream.readers == 0)
    send(publication, film(60)[31:])
    assert large.counters.packets == small.counters.packets == 0
    assert "show/mended" not in hub.streams


async def test_a_rendition_is_made_from_when_it_is_read_on(hub: Hub, worker: LadderWorker) -> None:
    publication, packets = go_live(hub), film(90)
    await so(lambda: publication.stream.readers == 1)
    send(publication, packets[:40])
    large, small = await offered(hub, "show/120p", "show/90p")
    await so(lambda: publication.stream.readers == 0)
    reader = small.subscribe()
    first = (await take(reader, 1))[0]
    assert first.keyframe
    assert first.track == small.tracks["video"]
    await play(publication, packets[40:])
    made = [first]
    while made[-1].pts < packets[-1].pts:
        made += await take(reader, 1)
    assert show(made) == [each for each in show(packets) if each[0] >= first.pts]
    assert all(each.timeline is publication.stream.timeline for each in (large, small))
    assert large.counters.packets == 0
    wallclock_ms = int(small.epoch_ms + made[-1].pts / 90)
    assert made[-1].wallclock_ms == pytest.approx(wallclock_ms, abs=2)


async def test_keyframes_and_bitrates_may_be_asked_for(hub: Hub, worker: LadderWorker) -> None:
    publication, packets = go_live(hub), film(200, gop=200)
    await so(lambda: publication.stream.readers == 1)
    send(publication, packets[:1])
    (small,) = await offered(hub, "show/90p")
    reader = small.subscribe()
    await so(lambda: publication.stream.readers == 1)
    send(publication, packets[1:40])
    await take(reader, 1)
    assert small.request_bitrate(400_000)
    small.request_keyframe(time.monotonic())
    made: list[Packet] = []
    async with asyncio.timeout(WAIT_S):
        for packet in packets[40:]:
            send(publication, [packet])
            while not made or made[-1].pts < packet.pts:
                made += await reader.read()
            if sum(each.keyframe for each in made if each.pts >= 40 * TICKS):
                return
    raise AssertionError("no keyframe came")


async def test_what_is_far_behind_is_shown_as_slides(hub: Hub, worker: LadderWorker) -> None:
    publication, packets = go_live(hub), film(240, gop=500)
    await so(lambda: publication.stream.readers == 1)
    send(publication, packets[:10])
    (small,) = await offered(hub, "show/90p")
    reader = small.subscribe()
    await so(lambda: publication.stream.readers == 1)
    await play(publication, packets[10:20])
    made = await take(reader, 1)
    send(publication, packets[20:])  # 7.3 s at once, and no keyframe to begin at anew
    while made[-1].pts < packets[-1].pts:
        made += await take(reader, 1)
    late = [each.pts for each in made if packets[20].pts <= each.pts < packets[160].pts]
    assert (
        7 <= len(late) <= 14
    )  # of 140: two a second, while the rest was two seconds and more away
    assert len(set(show(made))) == len(made)


async def test_b_frames_bring_a_mended_rendition(hub: Hub, worker: LadderWorker) -> None:
    publication, packets = go_live(hub), film(60, b_frames=2)
    await so(lambda: publication.stream.readers == 1)
    send(publication, packets[:30])
    (mended,) = await offered(hub, "show/mended")
    reader = mended.subscribe()
    await so(lambda: publication.stream.readers == 1)
    await play(publication, packets[30:])
    made = await take(reader, 10)
    assert (mended.tracks["video"].width, mended.tracks["video"].height) == (320, 180)
    assert [each.pts for each in made] == sorted(each.pts for each in made)
    assert made[0].keyframe
    assert set(show(made)) <= set(show(packets))


async def test_a_group_of_more_than_four_seconds_is_mended(hub: Hub, worker: LadderWorker) -> None:
    publication = go_live(hub)
    await so(lambda: publication.stream.readers == 1)
    send(publication, film(130, gop=500))
    (mended,) = await offered(hub, "show/mended")
    assert mended.tracks["video"].width == 320


async def test_a_codec_that_browsers_lack_is_mended(hub: Hub, worker: LadderWorker) -> None:
    publication = go_live(hub)
    await so(lambda: publication.stream.readers == 1)
    send(publication, encoded.packets("h265"))
    (mended,) = await offered(hub, "show/mended")
    assert mended.tracks["video"].codec == "h264"


async def test_a_picture_that_changes_its_size_changes_the_rungs(
    hub: Hub, worker: LadderWorker
) -> None:
    publication = go_live(hub)
    await so(lambda: publication.stream.readers == 1)
    send(publication, film(31))
    large, small = await offered(hub, "show/120p", "show/90p")
    reader = small.subscribe()
    await so(lambda: publication.stream.readers == 1)
    before = await take(reader, 1)
    narrow = film(30, size=(100, 120), first=31)
    for packet in narrow:
        packet.pts += 31 * TICKS
        packet.dts = packet.pts
    await play(publication, narrow)
    after = await take(reader, 20)
    while not after[0].keyframe or after[0].track == before[0].track:
        after.pop(0)
    assert (after[0].track.width, after[0].track.height) == (90, 108)
    assert hub.streams["show/90p"] is small
    assert large.removed


async def test_a_worker_that_is_killed_is_replaced_and_fifty_readers_go_on(
    hub: Hub, worker: LadderWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "RESTART_MIN_S", 0.01)
    publication, packets = go_live(hub), film(120)
    await so(lambda: publication.stream.readers == 1)
    send(publication, packets[:40])
    streams = await offered(hub, "show/120p", "show/90p")
    readers = [stream.subscribe() for stream in streams * 25]
    for reader in readers:
        await take(reader, 1)
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    await so(lambda: publication.stream.readers == 0)
    send(publication, packets[40:70])
    await so(lambda: publication.stream.readers == 1)
    await play(publication, packets[70:])
    for reader in readers:
        made = await take(reader, 20)
        again = next(n for n, each in enumerate(made) if each.pts >= 60 * TICKS)
        assert made[again].keyframe
        assert hub.streams[reader.stream.name] is reader.stream
    assert worker.restarts == 1


async def test_a_stream_that_is_removed_may_live_again(hub: Hub, worker: LadderWorker) -> None:
    for _ in range(2):
        publication = go_live(hub)
        await so(lambda stream=publication.stream: stream.readers == 1)  # type: ignore[misc]
        send(publication, film(31))
        await offered(hub, "show/90p")
        publication.close("left")
        await so(lambda: not hub.streams)


async def test_a_picture_that_no_decoder_takes_harms_no_other(
    hub: Hub, worker: LadderWorker
) -> None:
    broken = hub.publish("bad", protocol="rtmp", clock_rate=90_000, on_close=lambda reason: None)
    publication, packets = go_live(hub), film(31)
    await so(lambda: broken.stream.readers == publication.stream.readers == 1)
    for number in range(20):
        broken.write(
            packets[0].track, number * TICKS, b"\xff" * 40, keyframe=True, arrival=time.monotonic()
        )
    send(publication, packets)
    await offered(hub, "show/90p")
    assert "bad/90p" not in hub.streams
    assert worker.restarts == 0


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="/proc is Linux's")
async def test_the_worker_stands_back_behind_the_server(hub: Hub, worker: LadderWorker) -> None:
    publication = go_live(hub)
    await so(lambda: publication.stream.readers == 1)
    assert worker.pid is not None
    assert os.getpriority(os.PRIO_PROCESS, worker.pid) == NICENESS
    autogroup = Path(f"/proc/{worker.pid}/autogroup")
    if autogroup.exists():
        assert f"nice {NICENESS}" in autogroup.read_text("ascii")
