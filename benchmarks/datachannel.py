"""CPU per delivered data-channel message of 300 bytes, beside stock aiortc.

Each variant runs in a process of its own with all its listeners connected: set up, warmed up, then its
CPU time (user and system, what the acknowledgements cost it included) over the messages that arrived.
The listeners are the same for both: stock aiortc peers in another process, which acknowledge every
packet at once (a browser acknowledges every second one). They count, and check numbers and order.
Variants take turns, so that a busy machine disturbs both alike, and the median of the rounds counts.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import machine, report, sinks
from benchmarks.meter import Cpu
from benchmarks.talkers import CHANNELS, Start, Talker, hawker, stock
from benchmarks.talkers.listeners import NUMBER_DIGITS, Listeners

MESSAGE_BYTES = 300
MESSAGES_PER_S = 20
BURST_MESSAGES = 50  # saturated: to each listener at once, again when all have left
WARM_UP_S = 0.25
POLL_S = 0.02
ARRIVE_TIMEOUT_S = 5.0  # after which what has not come is lost
TIMEOUT_S = 300.0

Mode = Literal["steady", "saturated"]
MODES: tuple[Mode, ...] = ("steady", "saturated")
VARIANTS: dict[str, tuple[str, Start]] = {
    "hawker": ("Hawker", hawker.start),
    "aiortc": ("aiortc", stock.start),
}


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be run; `seconds` is each measured stretch."""

    viewers: int
    rounds: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Sample:
    """One stretch over one channel, and what it cost the talker's process."""

    variant: str
    channel: int
    mode: Mode
    viewers: int
    said: int
    delivered: int
    user_s: float
    system_s: float
    wall_s: float

    @property
    def us_per_message(self) -> float:
        return (self.user_s + self.system_s) / max(1, self.delivered) * 1e6


@dataclass(frozen=True, slots=True)
class Result:
    samples: Sequence[Sample]

    def of(self, variant: str, channel: int, mode: Mode) -> list[Sample]:
        key = variant, channel, mode
        return [each for each in self.samples if (each.variant, each.channel, each.mode) == key]

    def us_per_message(self, variant: str, channel: int, mode: Mode) -> float:
        """The median of the rounds."""
        return statistics.median(each.us_per_message for each in self.of(variant, channel, mode))

    def ratio(self, variant: str, channel: int, mode: Mode) -> float:
        """How many times Hawker's CPU per message."""
        ours = self.us_per_message("hawker", channel, mode)
        return self.us_per_message(variant, channel, mode) / ours


def main(argv: Sequence[str]) -> int:
    options = _options(argv)
    plan = Plan(options.viewers, options.rounds, options.seconds)
    libraries = ("aiortc", "pyOpenSSL", "cryptography", "google-crc32c", "uvloop")
    facts = {**machine.describe(libraries), **_conditions(plan)}
    console = report.console()
    report.show_facts(console, f"datachannel, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC", facts)
    columns = TextColumn("{task.description:<20}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress:
        result = run(plan, progress)
    _show(console, result)
    if options.json is not None:
        report.save(options.json, _as_json(facts, result))
    return 0


def run(plan: Plan, progress: Progress) -> Result:
    """All rounds, the variants in turns."""
    task = progress.add_task("", total=plan.rounds * len(VARIANTS))
    samples: list[Sample] = []
    for number in range(plan.rounds):
        for variant in VARIANTS:
            progress.update(task, description=f"round {number + 1}: {variant}")
            with ProcessPoolExecutor(1, mp_context=sinks.PROCESSES) as pool:
                running = pool.submit(measure, variant, plan.viewers, plan.seconds)
                samples += running.result(TIMEOUT_S)
            progress.advance(task)
    return Result(samples)


def measure(variant: str, viewers: int, seconds: float) -> list[Sample]:
    """Run one variant in this process: each channel, steady and saturated."""
    return uvloop.run(_measure(variant, viewers, seconds))


async def _measure(variant: str, viewers: int, seconds: float) -> list[Sample]:
    with contextlib.closing(Listeners(viewers)) as listeners:
        talker, answers = await VARIANTS[variant][1](await listeners.offers())
        await listeners.connect(answers)
        gc.collect()
        gc.freeze()  # as the server does once it has started
        stage = Stage(variant, viewers, talker, listeners)
        samples = [
            await stage.stretch(channel, mode, seconds) for channel in CHANNELS for mode in MODES
        ]
        await talker.close()
    return samples


class Stage:
    """A talker, those who listen, and the number of the next message of each channel."""

    def __init__(self, variant: str, viewers: int, talker: Talker, listeners: Listeners) -> None:
        self._variant, self._viewers = variant, viewers
        self._talker, self._listeners = talker, listeners
        self._number = 0
        self._heard = 0

    async def stretch(self, channel: int, mode: Mode, seconds: float) -> Sample:
        """Warm up, then measure until what was said has arrived."""
        speak = self._steady if mode == "steady" else self._saturated
        await self._arrived(await speak(channel, WARM_UP_S))
        cpu, began = Cpu.now(), time.perf_counter()
        said = await speak(channel, seconds)
        delivered = await self._arrived(said)
        cost = Cpu.now().since(cpu)
        wall_s = time.perf_counter() - began
        return Sample(
            variant=self._variant,
            channel=channel,
            mode=mode,
            viewers=self._viewers,
            said=said,
            delivered=delivered,
            user_s=cost.user_s,
            system_s=cost.system_s,
            wall_s=wall_s,
        )

    async def _steady(self, channel: int, seconds: float) -> int:
        """One message to everybody at each tick; returns how many were taken."""
        said, began = 0, time.perf_counter()
        for tick in range(max(1, round(seconds * MESSAGES_PER_S))):
            said += self._say(channel)
            due = began + (tick + 1) / MESSAGES_PER_S
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
        return said

    async def _saturated(self, channel: int, seconds: float) -> int:
        """Bursts that fill every window, the next when the last has left the queues."""
        said, until = 0, time.perf_counter() + seconds
        while time.perf_counter() < until:
            said += sum(self._say(channel) for _ in range(BURST_MESSAGES))
            await asyncio.sleep(0)
            while self._talker.waiting():
                await asyncio.sleep(POLL_S / 4)
        return said

    def _say(self, channel: int) -> int:
        text = f"{self._number:0{NUMBER_DIGITS}}".ljust(MESSAGE_BYTES, ".")
        self._number += 1
        return self._talker.say(channel, text)

    async def _arrived(self, said: int) -> int:
        """Wait until that many more messages were heard, or no longer; how many were."""
        before, until = self._heard, time.perf_counter() + ARRIVE_TIMEOUT_S
        while self._heard - before < said and time.perf_counter() < until:
            await asyncio.sleep(POLL_S)
            self._heard = await self._listeners.heard()
        return self._heard - before


# -- words and figures ---------------------------------------------------------------------------


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "hawker bench datachannel", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--viewers", type=_positive(int), help="default 100")
    parser.add_argument("--rounds", type=_positive(int), help="default 5; the median counts")
    parser.add_argument("--seconds", type=_positive(float), help="each stretch measured; default 4")
    parser.add_argument("--quick", action="store_true", help="10 viewers, 1 round of 0.3 s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="save all that was measured")
    options = parser.parse_args(argv)
    options.viewers = options.viewers or (10 if options.quick else 100)
    options.rounds = options.rounds or (1 if options.quick else 5)
    options.seconds = options.seconds or (0.3 if options.quick else 4.0)
    return options


def _positive(kind: type[int] | type[float]) -> Callable[[str], float]:
    def parse(text: str) -> float:
        value = kind(text)
        if value <= 0:
            raise argparse.ArgumentTypeError(f"{text} is not above zero")
        return value

    return parse


def _conditions(plan: Plan) -> dict[str, str]:
    return {
        "work": f"{plan.viewers} viewers, text messages of {MESSAGE_BYTES} bytes to each, loopback",
        "steady": f"{MESSAGES_PER_S} messages/s to every viewer, all viewers in one turn of the loop",
        "saturated": f"bursts of {BURST_MESSAGES} to every viewer, the next when the queues are empty",
        "viewers": "stock aiortc in another process for both; a SACK for every packet",
        "Hawker": "sessions on one UDP port, as WHEP viewers have them; the C where it is built; uvloop",
        "aiortc": "an RTCPeerConnection per viewer; uvloop",
        "figures": f"CPU (user + system) of the sending process; median of {plan.rounds} x "
        f"{plan.seconds:g} s, variants in turns, a process each",
    }


def _show(console: Console, result: Result) -> None:
    for mode in MODES:
        rows = [
            _row(result, variant, channel, mode) for channel in CHANNELS for variant in VARIANTS
        ]
        columns = ["", "µs", "least-most", "x Hawker", "delivered", "messages/s", ""]
        report.show_table(console, f"CPU per delivered message, {mode}", columns, rows)


def _row(result: Result, variant: str, channel: int, mode: Mode) -> list[str]:
    samples = result.of(variant, channel, mode)
    cost = result.us_per_message(variant, channel, mode)
    costs = [each.us_per_message for each in samples]
    delivered = sum(each.delivered for each in samples)
    longest = max(result.us_per_message(v, c, mode) for v in VARIANTS for c in CHANNELS)
    return [
        f"{VARIANTS[variant][0]}: {CHANNELS[channel]}",
        f"{cost:.1f}",
        f"{min(costs):.1f}-{max(costs):.1f}",
        f"{result.ratio(variant, channel, mode):.2f}",
        f"{delivered / sum(each.said for each in samples):.2%}",
        f"{delivered / sum(each.wall_s for each in samples):,.0f}",
        report.bar(cost, longest),
    ]


def _as_json(facts: dict[str, str], result: Result) -> dict[str, Any]:
    def figures(of: Callable[[str, int, Mode], float]) -> dict[str, Any]:
        return {
            mode: {str(c): {v: of(v, c, mode) for v in VARIANTS} for c in CHANNELS}
            for mode in MODES
        }

    return {
        "facts": facts,
        "us_per_message": figures(result.us_per_message),
        "times_hawker": figures(result.ratio),
        "samples": [asdict(each) for each in result.samples],
    }
