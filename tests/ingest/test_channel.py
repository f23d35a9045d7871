"""The scheduled channel: files in turn on one timeline, behind a host who goes live."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from mediaserver.hub import Hub, Reader
from mediaserver.ingest.channel import Channel, Plan, Status
from mediaserver.ingest.channel.files import RATE, Unplayable, units
from mediaserver.media import Packet
from tests.protocol import encoded

PATIENCE_S = 20.0
HEVC = "log-level=none:keyint=10:min-keyint=10:scenecut=0:open-gop=0"
AAC = ("-c:a", "aac", "-ar", "44100")


def film(
    ffmpeg: str, path: Path, *, size: str = "320x180", seconds: float = 1.0, codecs: tuple[str, ...]
) -> Path:
    """A film of 25 frames/s with a keyframe every ten, and a tone."""
    command = [
        *(ffmpeg, "-hide_banner", "-loglevel", "error", "-y"),
        *("-f", "lavfi", "-i", f"testsrc2=size={size}:rate=25"),
        *("-f", "lavfi", "-i", "sine=frequency=440:sample_rate=44100"),
        *("-t", str(seconds), "-g", "10", *codecs, str(path)),
    ]
    subprocess.run(command, check=True, timeout=60)
    return path


def x264(*more: str) -> tuple[str, ...]:
    return ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", *more, *AAC)


async def read_until(reader: Reader, done: Callable[[list[Packet]], bool]) -> list[Packet]:
    packets: list[Packet] = []
    async with asyncio.timeout(PATIENCE_S):
        while not done(packets):
            packets += await reader.read()
    return packets


def video(packets: list[Packet]) -> list[Packet]:
    return [packet for packet in packets if packet.track.kind == "video"]


async def on_air(hub: Hub) -> Reader:
    async with asyncio.timeout(PATIENCE_S):
        while (stream := hub.get("show")) is None:
            await asyncio.sleep(0.01)
    return stream.subscribe()


@pytest.mark.parametrize(
    ("name", "codecs", "expected"),
    [
        ("b_frames.mp4", x264("-bf", "2", "-x264-params", "b-adapt=0"), ("h264", "aac")),
        ("mkv.mkv", x264("-bf", "0"), ("h264", "aac")),
        (
            "hevc.mp4",
            (
                "-c:v",
                "libx265",
                "-x265-params",
                "log-level=none",
                "-c:a",
                "libopus",
                "-ar",
                "48000",
            ),
            ("h265", "opus"),
        ),
    ],
)
def test_a_files_units_are_what_a_publisher_would_send(
    tmp_path: Path, ffmpeg: str, name: str, codecs: tuple[str, ...], expected: tuple[str, str]
) -> None:
    found = [*units(film(ffmpeg, tmp_path / name, codecs=codecs), start=5 * RATE)]
    pictures = [unit for unit in found if unit.track.kind == "video"]
    sound = [unit for unit in found if unit.track.kind == "audio"]
    assert (pictures[0].track.codec, sound[0].track.codec) == expected
    assert len(pictures) == 25
    assert pictures[0].keyframe
    assert sum(unit.keyframe for unit in pictures) == 3
    assert (pictures[0].track.width, pictures[0].track.height) == (320, 180)
    shown = sorted(unit.dts + unit.composition for unit in pictures)
    assert {later - sooner for sooner, later in pairwise(shown)} == {RATE // 25}
    assert abs(pictures[0].dts - 5 * RATE) < RATE // 4
    assert all(unit.payload and unit.track is pictures[0].track for unit in pictures)
    if "b_frames" in name:
        assert any(unit.composition > 2 * RATE // 25 for unit in pictures)


def test_a_file_that_cannot_be_played_says_what_can(tmp_path: Path, ffmpeg: str) -> None:
    old = film(ffmpeg, tmp_path / "old.mp4", codecs=("-c:v", "mpeg4", "-an"))
    with pytest.raises(Unplayable, match=r"old.mp4: nothing in it can be played: play H.264"):
        list(units(old, 0))
    text = tmp_path / "text.mp4"
    text.write_text("this is no film")
    with pytest.raises(Unplayable, match=r"text.mp4"):
        list(units(text, 0))


async def test_files_follow_each_other_on_one_timeline_at_their_pace(
    tmp_path: Path, ffmpeg: str
) -> None:
    files = (
        film(ffmpeg, tmp_path / "one.mp4", codecs=x264("-bf", "0")),
        tmp_path / "missing.mp4",
        film(ffmpeg, tmp_path / "two.mp4", size="160x90", codecs=x264("-bf", "0")),
    )
    hub = Hub()
    channel = Channel(hub, "show", Plan(files, loop=True))
    channel.start()
    reader = await on_air(hub)
    began_at = time.monotonic()
    packets = await read_until(reader, lambda got: len(video(got)) > 50)
    assert time.monotonic() - began_at > 1.5  # two films of a second, and a missing one
    sizes = [packet.track.width for packet in video(packets)]
    assert sizes[:51] == [320] * 25 + [160] * 25 + [320]
    times = [packet.media_time_ms for packet in video(packets)]
    assert times == sorted(times)
    assert 2500 < times[-1] < 5000
    assert channel.status.state == "playing"
    assert channel.status.problem is not None and "missing.mp4" in channel.status.problem
    await channel.stop()
    assert not hub.streams["show"].live
    hub.drain()


async def test_a_host_who_goes_live_is_on_the_air_and_the_channel_comes_back_behind_him(
    tmp_path: Path, ffmpeg: str
) -> None:
    file = film(ffmpeg, tmp_path / "loop.mp4", codecs=x264("-bf", "0"))
    hub = Hub()
    channel = Channel(hub, "show", Plan((file,), loop=True))
    channel.start()
    reader = await on_air(hub)
    await read_until(reader, lambda got: len(got) > 10)
    host = hub.publish("show", protocol="rtmp", clock_rate=1000, on_close=lambda reason: None)
    picture = encoded.packets("h264")[0]
    host.write(picture.track, 0, picture.payload, keyframe=True, arrival=time.monotonic())
    assert hub.streams["show"].protocol == "rtmp"
    host.close("publisher finished", finished=True)
    async with asyncio.timeout(PATIENCE_S):
        while hub.streams["show"].protocol != "channel":
            await asyncio.sleep(0.02)
    await channel.stop()
    hub.drain()


async def test_a_channel_waits_for_its_hour_and_ends_with_its_last_file(
    tmp_path: Path, ffmpeg: str
) -> None:
    file = film(ffmpeg, tmp_path / "once.mp4", seconds=0.4, codecs=x264("-bf", "0"))
    hub = Hub()
    channel = Channel(hub, "show", Plan((file,), starts_at_s=100.5), utc_s=lambda: 100.0)
    channel.start()
    await asyncio.sleep(0)
    assert channel.status == Status("waiting")
    reader = await on_air(hub)
    async with asyncio.timeout(PATIENCE_S):
        while channel.status.state != "ended":
            await asyncio.sleep(0.02)
    assert len(video(await reader.read())) == 10
    assert not hub.streams["show"].live
    await channel.stop()
    hub.drain()
