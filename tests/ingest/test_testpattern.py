"""The synthetic host: a picture that machines can read, a beep on every flash, and its process."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import cast

import av
import numpy as np
import pytest
from av.audio.codeccontext import AudioCodecContext
from av.video.codeccontext import VideoCodecContext
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mediaserver.errors import Unauthorized
from mediaserver.hub import Hub, Stream
from mediaserver.hub.relay import RelayServer
from mediaserver.ingest.rtmp import RtmpServer
from mediaserver.ingest.testpattern import (
    DemoHost,
    frame_utc_ms,
    publisher,
    read_frame_number,
    sound,
)
from mediaserver.ingest.testpattern.frame_number import BITS, BLOCKS, FPS, strip_bits
from mediaserver.ingest.testpattern.picture import FLASH_FRAMES, HEIGHT, WIDTH, Picture, clock_text
from mediaserver.media import Packet
from mediaserver.protocol.h264 import AvcConfig, parse_sps
from mediaserver.transcode.supervisor import TranscodeWorker

WAIT_S = 30
KEY = "test-key-0123456789"
MOMENT = 1_700_000_000 * FPS  # a whole second
FLASH = (slice(130, 270), slice(1050, 1190))  # inside the white square

Luma = NDArray[np.uint8]


@pytest.fixture(scope="module")
def picture() -> Picture:
    return Picture()


def luma_of(picture: Picture, number: int) -> Luma:
    return picture.frame(number)[:HEIGHT].copy()


# --- the frame number -------------------------------------------------------------------------


@given(st.integers(0, (1 << BITS) - 1))
def test_a_frame_number_reads_back(number: int) -> None:
    strip = np.repeat(np.array(strip_bits(number), np.uint8) * 219 + 16, 1280 // BLOCKS)
    luma = np.full((720, 1280), 128, np.uint8)
    luma[:24] = strip
    assert read_frame_number(luma) == number


@pytest.mark.parametrize("size", [(1920, 1080), (1280, 720), (960, 540), (640, 360), (427, 240)])
def test_a_frame_number_reads_at_any_size(picture: Picture, size: tuple[int, int]) -> None:
    frame = av.VideoFrame.from_ndarray(picture.frame(MOMENT + 77), format="yuv420p")
    scaled = frame.reformat(width=size[0], height=size[1], format="gray").to_ndarray()
    assert read_frame_number(scaled) == (MOMENT + 77) % (1 << BITS)


def test_a_frame_number_survives_a_poor_encoder(picture: Picture) -> None:
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    encoder.options = {"preset": "ultrafast", "tune": "zerolatency", "qp": "45"}
    decoder = av.CodecContext.create("h264", "r")
    numbers = range(MOMENT, MOMENT + 8)
    read = []
    for count, number in enumerate(numbers):
        frame = av.VideoFrame.from_ndarray(picture.frame(number), format="yuv420p")
        frame.pts = count
        for packet in encoder.encode(frame):
            read += [
                read_frame_number(each.to_ndarray()[:HEIGHT]) for each in decoder.decode(packet)
            ]
    read += [read_frame_number(each.to_ndarray()[:HEIGHT]) for each in decoder.decode(None)]
    assert read == [number % (1 << BITS) for number in numbers]


def test_no_number_is_read_where_there_is_none(picture: Picture) -> None:
    dice = np.random.default_rng(1)
    assert read_frame_number(np.zeros((720, 1280), np.uint8)) is None
    assert read_frame_number(np.full((720, 1280), 255, np.uint8)) is None
    assert read_frame_number(dice.integers(0, 255, (720, 1280)).astype(np.uint8)) is None
    assert read_frame_number(np.tile(np.arange(1280) / 5, (720, 1))) is None
    assert read_frame_number(luma_of(picture, MOMENT)[::-1]) is None
    assert read_frame_number(np.zeros((1, 1), np.uint8)) is None


def test_a_damaged_strip_is_not_misread(picture: Picture) -> None:
    for block in range(BLOCKS):
        luma = luma_of(picture, MOMENT)
        columns = slice(block * WIDTH // BLOCKS, (block + 1) * WIDTH // BLOCKS)
        luma[:24, columns] = 251 - luma[:24, columns]
        assert read_frame_number(luma) is None


@given(st.integers(0, 1 << 48), st.integers(-(1 << 22), 1 << 22))
def test_a_frame_number_says_when_it_was_drawn(number: int, off: int) -> None:
    near_ms = (number + off) * 1000 / FPS
    assert frame_utc_ms(number % (1 << BITS), near_ms) == pytest.approx(
        number * 1000 / FPS, abs=0.01, rel=0
    )


# --- the picture ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "00:00:00.000"),
        (MOMENT, "22:13:20.000"),
        (MOMENT + 1, "22:13:20.033"),
        (MOMENT + 29, "22:13:20.966"),
        (MOMENT + 30 * (3600 + 46 * 60 + 39), "23:59:59.000"),
    ],
)
def test_the_clock_is_the_utc_of_the_frame(number: int, text: str) -> None:
    assert clock_text(number) == text


def test_the_picture_is_a_legal_yuv_frame(picture: Picture) -> None:
    frame = picture.frame(MOMENT)
    assert frame.shape == (HEIGHT * 3 // 2, WIDTH)
    assert frame.dtype == np.uint8
    assert frame[:HEIGHT].min() >= 16
    assert frame[:HEIGHT].max() <= 235
    assert frame[HEIGHT:].min() >= 16
    assert frame[HEIGHT:].max() <= 240


def test_the_flash_is_lit_at_the_begin_of_every_second(picture: Picture) -> None:
    lit = [luma_of(picture, MOMENT + count)[FLASH].mean() > 200 for count in range(2 * FPS)]
    assert lit == [count % FPS < FLASH_FRAMES for count in range(2 * FPS)]


def test_the_picture_moves_and_leaves_no_trail() -> None:
    moved, fresh = Picture(), Picture()
    for number in range(MOMENT, MOMENT + 240, 7):
        moved.frame(number)
    assert np.array_equal(moved.frame(MOMENT + 500), fresh.frame(MOMENT + 500))
    assert not np.array_equal(luma_of(moved, MOMENT), luma_of(moved, MOMENT + 1))


# --- the sound --------------------------------------------------------------------------------


def test_the_sound_goes_round_without_a_seam() -> None:
    loop = sound.loop()
    assert loop.shape == (2, sound.LOOP_S * sound.RATE)
    assert np.abs(loop).max() < 0.5
    inside = np.abs(np.diff(loop, axis=1)).max()
    assert np.abs(loop[:, 0] - loop[:, -1]).max() <= inside


def test_a_beep_sounds_at_every_full_second_and_never_else() -> None:
    left = sound.loop()[0].reshape(sound.LOOP_S, 100, sound.RATE // 100)  # in 10 ms
    turn = np.exp(2j * np.pi * sound.BEEP_HZ * np.arange(sound.RATE // 100) / sound.RATE)
    level = np.abs(left @ turn) * 2 / turn.size
    beeping = int(sound.BEEP_S * 100)
    assert level[:, 1 : beeping - 1].min() > 0.8 * sound.BEEP_LEVEL
    assert level[:, beeping:].max() < 0.2 * sound.BEEP_LEVEL
    assert np.abs(left[:, 20:]).max() < 0.2  # the chord is quiet


# --- pacing -----------------------------------------------------------------------------------


@dataclass
class Clock:
    """Time that a test moves; stands in for the time module."""

    now_s: float = 1000.0
    utc_s: float = 1_700_000_000.49
    slept_s: list[float] = field(default_factory=list)

    def monotonic(self) -> float:
        return self.now_s

    def time(self) -> float:
        return self.utc_s + self.now_s - 1000.0

    def sleep(self, pause_s: float) -> None:
        self.slept_s.append(pause_s)
        self.now_s += pause_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(publisher, "time", clock)
    return clock


def test_every_frame_comes_at_its_moment_and_nothing_drifts(clock: Clock) -> None:
    frames = publisher.due_frames()
    first = next(frames)
    assert first == MOMENT + 15  # the first moment after .49 s is .5 s
    for count in range(1, 3000):
        clock.now_s += 0.004 + 0.01 * (count % 3 == 0)  # the work of a frame, now and then more
        assert next(frames) == first + count
        assert clock.time() == pytest.approx((first + count) / FPS, abs=1e-5)


def test_a_host_that_is_late_leaves_frames_out(clock: Clock) -> None:
    frames = publisher.due_frames()
    first = next(frames)
    clock.now_s += 1.0
    late = next(frames)
    assert late == first + FPS
    assert next(frames) == late + 1
    clock.now_s += 0.05  # a little late: nothing is left out
    assert next(frames) == late + 2


def test_a_machine_that_slept_begins_anew(clock: Clock) -> None:
    frames = publisher.due_frames()
    next(frames)
    clock.now_s += 60
    assert list(frames) == []


# --- the process ------------------------------------------------------------------------------


class OneKey:
    """Access for a server with one stream."""

    async def publish(self, key: str) -> str:
        if key != KEY:
            raise Unauthorized("wrong key")
        return "show"

    async def watch(self, stream: str, token: str | None) -> None:
        raise NotImplementedError


@dataclass
class Server:
    hub: Hub
    rtmp: RtmpServer

    @property
    def url(self) -> str:
        return f"rtmp://127.0.0.1:{self.rtmp.port}/live"

    async def stream(self, name: str = "show") -> Stream:
        """The stream of this name, once it is live."""
        online = asyncio.Event()
        unlisten = self.hub.listen(
            lambda change, stream: (
                online.set() if (change, stream.name) == ("online", name) else None
            )
        )
        await asyncio.wait_for(online.wait(), WAIT_S)
        unlisten()
        return self.hub.streams[name]


async def serve(port: int = 0) -> Server:
    hub = Hub(grace_s=0.01)
    rtmp = RtmpServer(hub, OneKey(), "127.0.0.1", port)
    await rtmp.start()
    return Server(hub, rtmp)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = await serve()
    yield server
    await server.rtmp.stop()
    server.hub.drain()


@dataclass
class Seen:
    """What a viewer decoded: (media time in s, frame number, flash lit, delay in ms) by frame."""

    frames: list[tuple[float, int | None, bool, float]] = field(default_factory=list)
    packets: list[Packet] = field(default_factory=list)

    def flashes(self) -> list[float]:
        return [after[0] for before, after in pairwise(self.frames) if after[2] and not before[2]]


async def look(stream: Stream, length_s: float) -> Seen:
    reader = stream.subscribe(kinds=frozenset({"video"}))
    decoder: VideoCodecContext | None = None
    seen = Seen()
    async with asyncio.timeout(WAIT_S):
        while not seen.frames or seen.frames[-1][0] - seen.frames[0][0] < length_s:
            for packet in await reader.read():
                if decoder is None:
                    decoder = av.CodecContext.create("h264", "r")
                    decoder.extradata = packet.track.config
                    decoder.thread_count = 1
                    decoder.options = {"flags": "low_delay"}
                seen.packets.append(packet)
                for frame in decoder.decode(av.Packet(packet.payload)):
                    luma = frame.to_ndarray()[:HEIGHT]
                    number = read_frame_number(luma)
                    now_ms = time.time() * 1000
                    delay_ms = now_ms - frame_utc_ms(number or 0, now_ms)
                    lit = luma[FLASH].mean() > 125
                    seen.frames.append((packet.pts / 90_000, number, bool(lit), delay_ms))
    reader.close()
    return seen


def beeps(packets: list[Packet]) -> list[float]:
    """Media time at which each beep begins, as a player that places sound by pts hears it."""
    track = packets[0].track
    name = "aac" if track.codec == "aac" else "libopus"
    decoder = cast(AudioCodecContext, av.CodecContext.create(name, "r"))
    if track.codec == "aac":
        decoder.extradata = track.config
    else:
        decoder.sample_rate, decoder.layout = 48_000, "stereo"
    first = packets[0].pts
    left = np.zeros(packets[-1].pts - first + 4096, np.float32)
    for packet in packets:
        for frame in decoder.decode(av.Packet(packet.payload)):
            block = frame.to_ndarray()
            if block.dtype == np.int16:
                block = block.reshape(-1, 2).T.astype(np.float32) / 32768
            begin = packet.pts - first
            left[begin : begin + frame.samples] = block[0]
    size = 48  # one turn of the beep
    turn = np.exp(2j * np.pi * sound.BEEP_HZ * np.arange(size) / sound.RATE)
    level = np.abs(left[: left.size // size * size].reshape(-1, size) @ turn) * 2 / size
    loud = level > sound.BEEP_LEVEL / 2
    begins = np.flatnonzero(loud[1:] & ~loud[:-1]) + 1
    return [(first + begin * size) / sound.RATE for begin in begins]


async def test_a_flash_is_seen_when_its_beep_is_heard(server: Server) -> None:
    """Through RTMP and the hub; and through the bridge to Opus, as a browser gets it."""
    relay = RelayServer(server.hub)
    await relay.start()
    worker, host = TranscodeWorker(relay.path), DemoHost(server.url, KEY)
    await worker.start()
    await host.start()
    stream = await server.stream()
    aac = stream.subscribe(kinds=frozenset({"audio"}))
    opus = (await server.stream("show/opus")).subscribe()
    seen = await look(stream, 5.3)  # five flashes; a starved host leaves out frames
    flashes = seen.flashes()
    assert len(flashes) >= 3
    for packets in (await aac.read(), await opus.read()):
        heard = beeps(packets)
        for flash in flashes[1:-1]:
            nearest = min(heard, key=lambda beep: abs(beep - flash))
            assert nearest == pytest.approx(flash, abs=0.005)

    numbers = [number for _, number, _, _ in seen.frames]
    assert None not in numbers
    steps = np.diff(np.array(numbers, int))
    assert np.median(steps) == 1
    for time_s, number, lit, _ in seen.frames:
        assert number is not None
        assert lit == (number % FPS < FLASH_FRAMES)
        assert time_s - seen.frames[0][0] == pytest.approx(
            (number - (numbers[0] or 0)) / FPS, abs=0.002
        )
    assert np.median([delay for _, _, _, delay in seen.frames]) < 250
    await host.stop()
    await worker.stop()
    await relay.close()


async def test_the_stream_is_one_that_every_browser_plays(server: Server) -> None:
    host = DemoHost(server.url, KEY)
    await host.start()
    stream = await server.stream()
    seen = await look(stream, 6.5)
    config = AvcConfig.parse(stream.tracks["video"].config)
    sps = parse_sps(config.sps[0])
    assert (sps.width, sps.height, sps.profile_idc) == (WIDTH, HEIGHT, 66)
    assert not stream.reordered
    keyframes = [count for count, packet in enumerate(seen.packets) if packet.keyframe]
    assert set(np.diff(keyframes)) == {2 * FPS}
    bits = sum(len(packet.payload) * 8 for packet in seen.packets)
    seconds = (seen.packets[-1].pts - seen.packets[0].pts) / 90_000
    assert 1e6 < bits / seconds < 3e6
    assert stream.notices == {}
    await host.stop()


async def test_the_key_is_in_no_argument_and_no_log_line(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    host = DemoHost(server.url, KEY)
    await host.start()
    await server.stream()
    if sys.platform == "linux":
        assert KEY.encode() not in Path(f"/proc/{host.pid}/cmdline").read_bytes()
    await host.stop()
    refused = DemoHost(server.url, "wrong-key")
    nothing_there = DemoHost("rtmp://127.0.0.1:9/live", KEY)
    await refused.start()
    await nothing_there.start()
    async with asyncio.timeout(WAIT_S):
        while caplog.text.count("not publishing") < 3:
            await asyncio.sleep(0.01)
    await refused.stop()
    await nothing_there.stop()
    assert KEY not in caplog.text
    assert "wrong-key" not in caplog.text
    assert "Traceback" not in caplog.text


async def test_the_host_comes_back_when_the_server_does(server: Server) -> None:
    first = await serve()
    host = DemoHost(first.url, KEY)
    await host.start()
    await look(await first.stream(), 0.1)
    pid = host.pid
    await first.rtmp.stop()
    first.hub.drain()
    second = await serve(first.rtmp.port)
    await look(await second.stream(), 0.1)
    assert host.pid == pid
    assert host.restarts == 0
    await host.stop()
    await second.rtmp.stop()
    second.hub.drain()


async def test_the_host_ends_within_a_second_of_sigterm(server: Server) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "mediaserver.ingest.testpattern",
        "--url",
        server.url,
        env={**os.environ, "HAWKER_STREAM_KEY": KEY},
    )
    await look(await server.stream(), 0.1)
    assert os.getpriority(os.PRIO_PROCESS, process.pid) > os.getpriority(os.PRIO_PROCESS, 0)
    process.send_signal(signal.SIGTERM)
    await asyncio.wait_for(process.wait(), 1)


async def test_the_host_wants_a_key(server: Server) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "mediaserver.ingest.testpattern",
        "--url",
        server.url,
        env={name: value for name, value in os.environ.items() if name != "HAWKER_STREAM_KEY"},
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await asyncio.wait_for(process.communicate(), WAIT_S)
    assert process.returncode == 2
    assert b"HAWKER_STREAM_KEY" in errors


PARENT = """
import asyncio, os, sys
from mediaserver.ingest.testpattern import DemoHost

async def main():
    host = DemoHost(sys.argv[1], os.environ["KEY"])
    await host.start()
    print(host.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="pidfd_open is Linux's")
async def test_the_host_does_not_outlive_a_parent_that_was_killed(server: Server) -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PARENT,
        server.url,
        env={**os.environ, "KEY": KEY},
        stdout=asyncio.subprocess.PIPE,
    )
    assert parent.stdout is not None
    try:
        pid = int(await asyncio.wait_for(parent.stdout.readline(), WAIT_S))
        descriptor = os.pidfd_open(pid)
        await look(await server.stream(), 0.1)
    finally:
        parent.kill()
        await parent.wait()
    readable, _, _ = await asyncio.to_thread(select.select, [descriptor], [], [], WAIT_S)
    os.close(descriptor)
    assert readable


AWAY = """
import resource
from mediaserver import child
from mediaserver.ingest.testpattern import publisher

publisher.RETRY_MIN_S = publisher.RETRY_MAX_S = 0.0
peaks = []

def orphaned():
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return len(peaks) > 80

child.orphaned = orphaned
publisher.publish("rtmp://127.0.0.1:9/live/key")
print(peaks[-1] / peaks[20])
"""


async def test_a_server_that_is_away_costs_no_memory() -> None:
    """An encoder is made for every try, and must go with it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        AWAY,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    output, _ = await asyncio.wait_for(process.communicate(), WAIT_S)
    assert float(output) < 1.1
