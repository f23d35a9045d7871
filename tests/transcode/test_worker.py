"""The transcode process: a real one, on a real hub's relay."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mediaserver import child
from mediaserver.hub import Hub, Publication, Reader, Stream, StreamEnded
from mediaserver.hub.relay import RelayServer
from mediaserver.media import Packet, Track
from mediaserver.transcode.supervisor import TranscodeWorker
from tests.transcode.sound import beep, find_beep, play, publish, tone

WAIT_S = 30
VIDEO = Track("video", "h264", 90_000, b"avcC", 1280, 720)


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
async def worker(relay: RelayServer) -> AsyncIterator[TranscodeWorker]:
    worker = TranscodeWorker(relay.path)
    await worker.start()
    yield worker
    await worker.stop()


def go_live(hub: Hub) -> Publication:
    return hub.publish("show", protocol="rtmp", clock_rate=None, on_close=lambda reason: None)


async def heard(stream: Stream, readers: int = 1) -> None:
    """Wait until the worker, in its own process, listens to the stream or has left it."""
    async with asyncio.timeout(WAIT_S):
        while stream.readers != readers:
            await asyncio.sleep(0.005)


def speak(publication: Publication, packets: list[Packet]) -> None:
    """Write packets as a publisher would, with pictures between them."""
    for number, packet in enumerate(packets):
        publication.write(
            packet.track, packet.pts, packet.payload, keyframe=True, arrival=time.monotonic()
        )
        publication.write(VIDEO, number * 1800, b"frame", keyframe=True, arrival=time.monotonic())


async def rendition(hub: Hub, name: str) -> Stream:
    appeared = asyncio.Event()
    unlisten = hub.listen(lambda _, stream: appeared.set() if stream.name == name else None)
    await asyncio.wait_for(appeared.wait(), WAIT_S)
    unlisten()
    return hub.streams[name]


async def collect(reader: Reader, until_s: float) -> list[Packet]:
    packets: list[Packet] = []
    async with asyncio.timeout(WAIT_S):
        while not packets or packets[-1].pts < until_s * 48_000:
            packets += await reader.read()
    return packets


def beep_time(packets: list[Packet]) -> float:
    begin_s, samples = play(packets)
    return begin_s + find_beep(samples, 48_000)


@pytest.mark.parametrize(("codec", "other"), [("aac", "opus"), ("opus", "aac")])
async def test_a_streams_sound_appears_in_the_other_codec_at_the_same_time(
    hub: Hub, worker: TranscodeWorker, codec: str, other: str
) -> None:
    publication = go_live(hub)
    await heard(publication.stream)
    sound = publish(codec, beep(0.7, 1.5, 48_000), 48_000, 2, 0.0)
    originals = publication.stream.subscribe(kinds=frozenset({"audio"}))
    speak(publication, sound[:5])
    reader = (await rendition(hub, f"show/{other}")).subscribe()
    speak(publication, sound[5:])
    converted = await collect(reader, 1.35)
    assert {packet.track.codec for packet in converted} == {other}
    heard_packets = await originals.read()
    at_s = beep_time(heard_packets)
    assert at_s == pytest.approx(0.7, abs=0.025)  # media time begins with the priming
    assert beep_time(converted) == pytest.approx(at_s, abs=0.003)
    epochs_ms = [packet.wallclock_ms - packet.pts / 48 for packet in heard_packets]
    epoch_ms = converted[-1].wallclock_ms - converted[-1].pts / 48
    assert min(epochs_ms) - 2 <= epoch_ms <= max(epochs_ms) + 2
    assert set(hub.streams) == {"show", f"show/{other}"}


async def test_a_streams_loudness_is_told_to_the_hub(hub: Hub, worker: TranscodeWorker) -> None:
    publication = go_live(hub)
    await heard(publication.stream)
    speak(publication, publish("aac", tone(-20, 11), 48_000, 2, 0.0))
    async with asyncio.timeout(WAIT_S):
        while "loudness_lufs" not in publication.stream.measured:
            await asyncio.sleep(0.005)
    assert publication.stream.measured["loudness_lufs"] == pytest.approx(-20, abs=0.3)


async def test_a_publisher_that_returns_with_the_other_codec_gets_the_other_rendition(
    hub: Hub, worker: TranscodeWorker
) -> None:
    publication = go_live(hub)
    await heard(publication.stream)
    sound = beep(0.2, 0.5, 48_000)
    speak(publication, publish("aac", sound, 48_000, 2, 0.0))
    reader = (await rendition(hub, "show/opus")).subscribe()
    returned = go_live(hub)
    speak(returned, publish("opus", sound, 48_000, 2, 0.0))
    await rendition(hub, "show/aac")
    with pytest.raises(StreamEnded):
        async with asyncio.timeout(WAIT_S):
            while True:
                await reader.read()
    assert set(hub.streams) == {"show", "show/aac"}


async def test_a_worker_that_dies_is_replaced_and_its_renditions_go_on(
    hub: Hub, worker: TranscodeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "RESTART_MIN_S", 0.01)
    publication = go_live(hub)
    await heard(publication.stream)
    sound = publish("aac", beep(0.2, 3.0, 48_000), 48_000, 2, 0.0)
    speak(publication, sound[:40])
    stream = await rendition(hub, "show/opus")
    reader = stream.subscribe()
    await reader.read()
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    await heard(publication.stream, readers=0)
    await heard(publication.stream)
    speak(publication, sound[60:])
    assert (await collect(reader, 2.5))[-1].track.codec == "opus"
    assert hub.streams["show/opus"] is stream
    assert worker.restarts == 1


async def test_a_removed_stream_is_left_and_its_name_may_live_again(
    hub: Hub, worker: TranscodeWorker
) -> None:
    sound = publish("aac", beep(0.2, 0.5, 48_000), 48_000, 2, 0.0)
    for _ in range(3):
        publication = go_live(hub)
        await heard(publication.stream)
        speak(publication, sound)
        await rendition(hub, "show/opus")
        removed = asyncio.Event()
        unlisten = hub.listen(
            lambda change, stream, event=removed: (
                event.set()  # type: ignore[misc]
                if (change, stream.name) == ("removed", "show/opus")
                else None
            )
        )
        publication.close("left")
        await asyncio.wait_for(removed.wait(), WAIT_S)
        unlisten()
        assert hub.streams == {}


async def test_sound_that_no_decoder_takes_costs_no_other_stream_its_sound(
    hub: Hub, worker: TranscodeWorker
) -> None:
    broken = hub.publish("bad", protocol="rtmp", clock_rate=None, on_close=lambda reason: None)
    publication = go_live(hub)
    await heard(broken.stream)
    await heard(publication.stream)
    track = Track("audio", "aac", 48_000, b"\xff\xff\xff", channels=2)
    for number in range(20):
        broken.write(track, number * 1024, b"\xff" * 40, keyframe=True, arrival=time.monotonic())
    speak(publication, publish("aac", beep(0.2, 0.5, 48_000), 48_000, 2, 0.0))
    await rendition(hub, "show/opus")
    assert "bad/opus" not in hub.streams
    assert worker.restarts == 0


async def test_a_worker_stops_within_two_seconds(hub: Hub, worker: TranscodeWorker) -> None:
    publication = go_live(hub)
    await heard(publication.stream)
    async with asyncio.timeout(2):
        await worker.stop()
    assert worker.pid is None


async def test_a_worker_ends_with_the_relay(hub: Hub) -> None:
    relay = RelayServer(hub)
    await relay.start()
    publication = go_live(hub)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "mediaserver.transcode.worker", str(relay.path)
    )
    await heard(publication.stream)
    await relay.close()
    assert await asyncio.wait_for(process.wait(), WAIT_S) == 0


SERVER = """
import asyncio
from mediaserver.hub import Hub
from mediaserver.hub.relay import RelayServer
from mediaserver.transcode.supervisor import TranscodeWorker

async def main():
    hub = Hub()
    relay = RelayServer(hub)
    await relay.start()
    worker = TranscodeWorker(relay.path)
    await worker.start()
    stream = hub.publish("show", protocol="rtmp", on_close=print).stream
    while not stream.readers:
        await asyncio.sleep(0.01)
    print(worker.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="pidfd_open is Linux's")
async def test_a_worker_does_not_outlive_a_server_that_was_killed(tmp_path: Path) -> None:
    server = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        SERVER,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert server.stdout is not None
    try:
        pid = int(await asyncio.wait_for(server.stdout.readline(), WAIT_S))
        descriptor = os.pidfd_open(pid)
    finally:
        server.kill()
        await server.wait()
    readable, _, _ = await asyncio.to_thread(select.select, [descriptor], [], [], WAIT_S)
    os.close(descriptor)
    assert readable


async def test_a_worker_without_a_relay_says_so_and_ends() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "mediaserver.transcode.worker",
        "/nonexistent/relay",
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await asyncio.wait_for(process.communicate(), WAIT_S)
    assert process.returncode == 1
    assert errors.decode().startswith("ERROR cannot reach the relay")
    assert b"Traceback" not in errors
