"""One measured run of one sender, in a process of its own: live, saturated, or for its holds."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import uvloop

from benchmarks.meter import Cpu, Hold, TimedLoop
from benchmarks.picture import FRAMES_PER_S
from benchmarks.senders import (
    KEY_BYTES,
    SALT_BYTES,
    Job,
    Rig,
    Viewer,
    aiortc_sender,
    floor,
    loop,
    sendto,
)
from benchmarks.senders import hawker as hawker_sender
from mediaserver.rtc.address import UdpAddress
from mediaserver.rtc.compiled import Unavailable, compiler
from mediaserver.rtc.sender import PASS_S

Mode = Literal["live", "saturated"]
MODES: tuple[Mode, ...] = ("live", "saturated")
WARM_UP_S = 0.25
JOINS_PER_S = 300


@dataclass(frozen=True, slots=True)
class Variant:
    title: str
    start: Callable[[Job], Awaitable[Rig]]


VARIANTS = {
    "hawker": Variant("Hawker", hawker_sender.start),
    "sendto": Variant("pylibsrtp + sendto", sendto.start),
    "aiortc": Variant("aiortc", aiortc_sender.start),
}
if sys.platform == "linux":  # where GSO is
    VARIANTS["floor"] = Variant("encrypt_into + GSO", floor.start)
    with contextlib.suppress(Unavailable):
        compiler()
        VARIANTS["compiled"] = Variant("Hawker, compiled", hawker_sender.start_compiled)
        VARIANTS["loop"] = Variant("loop in C", loop.start)


@dataclass(frozen=True, slots=True)
class Sample:
    """What one run sent and what that cost its process."""

    variant: str
    mode: Mode
    viewers: int
    frames: int
    packets: int
    user_s: float
    system_s: float
    wall_s: float
    sent: int  # with the warm-up
    received: int | None  # datagrams that viewers read, where they read

    @property
    def us_per_packet(self) -> float:
        return (self.user_s + self.system_s) / self.packets * 1e6

    @property
    def frames_per_s(self) -> float:
        return self.frames / self.wall_s


@dataclass(frozen=True, slots=True)
class Phase:
    """How long Hawker held its loop while something went on; the longest holds come first."""

    title: str
    frames_per_s: float
    holds: Sequence[Hold]


def new_viewers(addresses: Sequence[UdpAddress]) -> list[Viewer]:
    return [
        Viewer(each, secrets.token_bytes(KEY_BYTES), secrets.token_bytes(SALT_BYTES))
        for each in addresses
    ]


def measure(variant: str, mode: Mode, job: Job, seconds: float) -> Sample:
    """Run one variant in this process and take its CPU time."""
    return uvloop.run(_measure(variant, mode, job, seconds))


def send_frames(variant: str, job: Job, frames: int) -> int:
    """Send the first frames of the picture; how many packets that were to all viewers."""

    async def run() -> int:
        rig = await VARIANTS[variant].start(job)
        for frame in range(frames):
            rig.publish(frame)
            await rig.drained()
        sent = await rig.sent()
        await rig.close()
        return sent

    return uvloop.run(run())


def hold(job: Job, seconds: float) -> list[Phase]:
    """Run Hawker live on a loop that times its callbacks."""
    with asyncio.Runner(loop_factory=lambda: TimedLoop(PASS_S)) as runner:
        return runner.run(_hold(job, seconds))


async def _measure(variant: str, mode: Mode, job: Job, seconds: float) -> Sample:
    rig = await VARIANTS[variant].start(job)
    send = _live if mode == "live" else _saturated
    first = await send(rig, 0, WARM_UP_S)
    packets, cpu, began = await rig.sent(), Cpu.now(), time.perf_counter()
    after = await send(rig, first, seconds)
    cost, ended = Cpu.now().since(cpu), time.perf_counter()
    sent = await rig.sent()
    received = await rig.close()
    return Sample(
        variant=variant,
        mode=mode,
        viewers=len(job.viewers),
        frames=after - first,
        packets=sent - packets,
        user_s=cost.user_s,
        system_s=cost.system_s,
        wall_s=ended - began,
        sent=sent,
        received=received if job.reading else None,
    )


async def _live(rig: Rig, frame: int, seconds: float) -> int:
    """Publish at the frame rate; late frames follow at once. Returns the number of the next frame."""
    began, frames = time.perf_counter(), round(seconds * FRAMES_PER_S)
    for number in range(frames):
        rig.publish(frame + number)
        due = began + (number + 1) / FRAMES_PER_S
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
    return frame + frames


async def _saturated(rig: Rig, frame: int, seconds: float) -> int:
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        rig.publish(frame)
        await rig.drained()
        frame += 1
    return frame


async def _hold(job: Job, seconds: float) -> list[Phase]:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, TimedLoop)
    rig = await hawker_sender.start(job)
    frame = await _live(rig, 0, WARM_UP_S)
    watching = f"{len(job.viewers):,} watch"
    phases: list[Phase] = []
    for joins_per_s in (0, JOINS_PER_S):
        turnover = asyncio.create_task(_come_and_go(rig, job.viewers, joins_per_s))
        loop.holds()
        began, first = time.perf_counter(), frame
        frame = await _live(rig, frame, seconds)
        elapsed_s, holds = time.perf_counter() - began, loop.holds()
        turnover.cancel()
        joined = await turnover
        title = f"{watching}, {joined / elapsed_s:.0f} come and go per s"
        phases.append(Phase(title, (frame - first) / elapsed_s, holds))
    await rig.close()
    return phases


async def _come_and_go(
    rig: hawker_sender.HawkerRig, viewers: Sequence[Viewer], joins_per_s: int
) -> int:
    """Until cancelled viewers leave and come back under a new key, evenly; returns how many did.

    Each does so in a callback of its own, as the handshakes of real ones end.
    """
    began, joined = time.perf_counter(), 0
    with contextlib.suppress(asyncio.CancelledError):
        while joins_per_s:
            await asyncio.sleep(max(0.0, began + joined / joins_per_s - time.perf_counter()))
            place = joined % len(viewers)
            (fresh,) = new_viewers([viewers[place].address])
            rig.rejoin(place, fresh)
            joined += 1
    return joined
