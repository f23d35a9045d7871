"""One run of `hawker bench ladder`: a film through our worker's process, or through ffmpeg's.

Both decode once and scale and encode for each rung with the same settings of x264. Our worker gets its
packets through the relay and gives them back through it, as it does in a server; ffmpeg reads a file and
throws away what it makes.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av

from benchmarks.process import cpu_s
from mediaserver.hub import Hub, Stream
from mediaserver.hub.relay import RelayServer
from mediaserver.media import VIDEO_CLOCK_RATE, Packet
from mediaserver.protocol import h264
from mediaserver.transcode.cadence import KEYFRAME_S
from mediaserver.transcode.encoder import BUFFER_S, NEVER, X264
from mediaserver.transcode.ladder import Form, Rung, Source, plan
from mediaserver.transcode.supervisor import LadderWorker

WIDTH, HEIGHT, FRAMES_PER_S = 1920, 1080, 30
RUNGS = (Rung(720, 2500), Rung(480, 1200), Rung(360, 600))
AHEAD = 8  # frames that the worker may be behind: it never takes them for late
STUCK_S = 30.0
_APART = (h264.NAL_SPS, h264.NAL_PPS, h264.NAL_AUD)


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU seconds of a whole process, from its start to its last frame; what came out by suffix."""

    cpu_s: float
    wall_s: float
    frames: Mapping[str, int] = field(default_factory=dict)
    bytes: Mapping[str, int] = field(default_factory=dict)


def forms() -> list[Form]:
    return plan(RUNGS, Source(WIDTH, HEIGHT, Fraction(FRAMES_PER_S)))


def make_film(ffmpeg: str, path: Path, seconds: float) -> None:
    """Moving patterns with some noise, H.264 of 6 Mbit/s without B-frames, a keyframe every 2 s."""
    pattern = f"testsrc2=size={WIDTH}x{HEIGHT}:rate={FRAMES_PER_S},noise=alls=8:allf=t"
    command = [ffmpeg, "-v", "error", "-y", "-f", "lavfi", "-i", pattern, "-t", f"{seconds:g}"]
    command += ["-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p"]
    command += ["-b:v", "6M", "-bf", "0", "-g", str(2 * FRAMES_PER_S), str(path)]
    subprocess.run(command, check=True)


def read_film(path: Path) -> list[Packet]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        config = h264.AvcConfig.parse(bytes(stream.codec_context.extradata or b""))
        track = h264.video_track(config.sps, config.pps)
        packets = []
        for number, coded in enumerate(each for each in container.demux(stream) if each.size):
            nals = h264.split_length_prefixed(bytes(coded))
            payload = h264.join_length_prefixed(n for n in nals if h264.nal_type(n) not in _APART)
            pts = number * VIDEO_CLOCK_RATE // FRAMES_PER_S
            packets.append(Packet(track, pts, pts, 0, coded.is_keyframe, payload))
    return packets


def peer(ffmpeg: str, film: Path) -> Cost:
    """ffmpeg's cost; raises CalledProcessError."""
    began_at = time.monotonic()
    process = subprocess.Popen([ffmpeg, *_arguments(film)], stdin=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, ffmpeg)
    return Cost(usage.ru_utime + usage.ru_stime, time.monotonic() - began_at)


def ours(packets: Sequence[Packet]) -> Cost:
    """Our worker's cost; raises TimeoutError where it makes nothing."""
    return asyncio.run(_ours(packets))


async def _ours(packets: Sequence[Packet]) -> Cost:
    hub = Hub()
    relay = RelayServer(hub)
    await relay.start()
    rungs = [{"height": each.height, "bitrate_kbps": each.bitrate_kbps} for each in RUNGS]
    worker = LadderWorker(relay.path, rungs, always=True, threads=1)
    await worker.start()
    began_at = time.monotonic()
    try:
        made = await _play(hub, packets)
        assert worker.pid is not None
        return Cost(
            cpu_s(worker.pid),
            time.monotonic() - began_at,
            {each.name.partition("/")[2]: each.counters.packets for each in made},
            {each.name.partition("/")[2]: each.counters.bytes for each in made},
        )
    finally:
        await worker.stop()
        await relay.close()
        hub.drain()


async def _play(hub: Hub, packets: Sequence[Packet]) -> list[Stream]:
    """As fast as the worker takes them; the renditions at the end."""
    publication = hub.publish("film", protocol="film", clock_rate=None, on_close=lambda _: None)
    async with asyncio.timeout(STUCK_S):
        while not publication.stream.readers:
            await asyncio.sleep(0.001)
    names = [f"film/{form.suffix}" for form in forms()]
    for number, packet in enumerate(packets):
        publication.write(
            packet.track,
            packet.pts,
            packet.payload,
            keyframe=packet.keyframe,
            arrival=time.monotonic(),
        )
        await _made(hub, names, number + 1 - (AHEAD if number else 0))
    await _made(hub, names, len(packets))
    return [hub.streams[name] for name in names]


async def _made(hub: Hub, names: Sequence[str], count: int) -> None:
    async with asyncio.timeout(STUCK_S):
        while any(
            name not in hub.streams or hub.streams[name].counters.packets < count for name in names
        ):
            await asyncio.sleep(0.002)


def _arguments(film: Path) -> list[str]:
    made = forms()
    split = "".join(f"[s{n}]" for n, _ in enumerate(made))
    graph = [f"[0:v]split={len(made)}{split}"]
    graph += [f"[s{n}]scale={each.width}:{each.height}[o{n}]" for n, each in enumerate(made)]
    arguments = [
        "-v",
        "error",
        "-threads",
        "1",
        "-i",
        str(film),
        "-filter_complex",
        ";".join(graph),
    ]
    for number, form in enumerate(made):
        arguments += ["-map", f"[o{number}]", *_encoder(form), "-f", "null", "-"]
    return arguments


def _encoder(form: Form) -> list[str]:
    options = {
        "c:v": X264.name,
        "preset": form.preset,
        **{name: value for name, value in X264.options.items() if name != "profile"},
        "profile:v": X264.options["profile"],
        "b:v": str(form.bits_per_s),
        "maxrate": str(form.bits_per_s),
        "bufsize": str(round(form.bits_per_s * BUFFER_S)),
        "bf": "0",
        "g": str(NEVER),
        "force_key_frames": f"expr:gte(t,n_forced*{KEYFRAME_S:g})",
        "flags": "+cgop",
        "threads": "1",
    }
    return [part for name, value in options.items() for part in (f"-{name}", value)]
