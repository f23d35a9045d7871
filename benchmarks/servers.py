"""Whole servers side by side: CPU per packet sent to WebRTC viewers by Hawker, Pion v3 and Janus.

Hawker runs twice, with the sender in Python and with the compiled one, built for the run.
Each server runs in processes of its own, gets the same stream and sends it to the same light viewers,
who decrypt with AES-128-GCM. Its CPU time is Linux's schedstat of all its threads; a packet counts when
it came to a viewer's socket. Two ways of watching: live, at 30 frames/s, where every packet is read,
decrypted and looked at for gaps, and saturated, where the viewers' process stands still and the frame
rate rises until a server drops half of it: the rate that is cheapest per packet that came counts.

Every figure is from a fresh server with fresh viewers; servers take turns, and medians of the rounds
count. A server that is not installed is named and left out.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import machine, report
from benchmarks.loads import Load
from benchmarks.peers import NotStarted, Peer, Running
from benchmarks.peers.cost import Cost
from benchmarks.peers.hawker import Hawker
from benchmarks.peers.janus import Janus
from benchmarks.peers.pion import Pion
from benchmarks.peers.viewers import Seen, watch
from benchmarks.picture import FRAME_BYTES, FRAMES_PER_S, GOP_FRAMES

Mode = Literal["live", "saturated"]
MODES: tuple[Mode, ...] = ("live", "saturated")
PEERS: Mapping[str, Peer] = {
    "hawker": Hawker(compiled=False),
    "compiled": Hawker(compiled=True),
    "pion": Pion(),
    "janus": Janus(),
}
RATES = (120, 180, 270, 400, 600, 900)  # frames/s; 900 is what timestamps in ms can tell apart
STEP_S = 1.5  # at each of these: viewers must not stand still for as long as consent lasts
WORTH = 0.5  # of the packets published: when fewer come, a higher rate makes it only worse
WARM_UP_S = 1.0
SETTLE_S = 0.4  # for what is still on its way
LOOK_S = 0.1  # between two looks at whether something still goes on
LOOKS = 50  # at most
RESTS = 0.25  # cores: below it a server only keeps its sessions


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be run; `seconds` is each live stretch."""

    servers: Sequence[str]
    viewers: int
    rounds: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Sample:
    """One stretch: what was published for all viewers, what came, and what it cost the server."""

    server: str
    mode: Mode
    frames_per_s: int
    published: int
    arrived: int
    lost: int  # gaps in what viewers decrypted; of a live stretch
    cpu_s: float
    waited_s: float  # its threads could run and had no core
    wall_s: float
    seen: Seen  # by the viewers, in their whole life

    @property
    def us_per_packet(self) -> float:
        return self.cpu_s / max(1, self.arrived) * 1e6

    @property
    def share(self) -> float:
        return self.arrived / self.published


@dataclass(frozen=True, slots=True)
class Result:
    samples: Sequence[Sample]
    missing: Mapping[str, str]  # by server, in words
    broken: Sequence[str]  # runs that came to no figure, in words

    @property
    def servers(self) -> list[str]:
        """Those with figures of both modes."""
        return [name for name in PEERS if all(self.of(name, mode) for mode in MODES)]

    def of(self, server: str, mode: Mode) -> list[Sample]:
        return [s for s in self.samples if (s.server, s.mode) == (server, mode)]

    def us_per_packet(self, server: str, mode: Mode) -> float:
        """The median of the rounds."""
        return statistics.median(each.us_per_packet for each in self.of(server, mode))

    def ratio(self, server: str, mode: Mode, to: str = "hawker") -> float | None:
        """How many times the CPU per packet of Hawker, or of another, if that one ran."""
        if not self.of(to, mode):
            return None
        return self.us_per_packet(server, mode) / self.us_per_packet(to, mode)


class ProofFailed(Exception):
    """Viewers did not get, encrypted with GCM, what was published."""


def main(argv: Sequence[str]) -> int:
    plan, saved, install = _options(argv)
    console = report.console()
    missing = {name: why for name in plan.servers if (why := PEERS[name].missing())}
    if install and missing and shutil.which("apt-get") is not None:
        _install(missing)
        missing = {name: why for name in plan.servers if (why := PEERS[name].missing())}
    present = [name for name in plan.servers if name not in missing]
    facts = {**machine.describe(), **_conditions(plan, present)}
    report.show_facts(console, f"servers, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC", facts)
    columns = TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn()
    try:
        with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress:
            samples, broken = run(plan, present, progress)
    except (NotStarted, ProofFailed) as error:
        console.print(f"the run broke off: {type(error).__name__}: {error}", highlight=False)
        return 1
    result = Result(samples, missing, broken)
    _show(console, result)
    if saved is not None:
        report.save(saved, _as_json(facts, result))
    return 0 if set(present) <= set(result.servers) else 1


def run(plan: Plan, servers: Sequence[str], progress: Progress) -> tuple[list[Sample], list[str]]:
    """Build what has to be built, and measure in turns; the samples, and which runs broke off."""
    task = progress.add_task("builds", total=plan.rounds * len(servers) * len(MODES))
    samples, broken = [], []
    with tempfile.TemporaryDirectory(prefix="hawker-bench-") as given:
        folders = {name: Path(given) / name for name in servers}
        for name, folder in folders.items():
            folder.mkdir()
            PEERS[name].prepare(folder)
        for number in range(plan.rounds):
            for mode in MODES:
                for name, folder in folders.items():
                    what = f"round {number + 1}: {name} {mode}"
                    progress.update(task, description=what)
                    try:
                        samples.append(measure(name, mode, plan, folder))
                    except (OSError, EOFError) as error:  # a machine that is far too busy
                        broken.append(f"{what} broke off: {type(error).__name__}: {error}")
                    progress.advance(task)
    return samples, broken


def measure(server: str, mode: Mode, plan: Plan, folder: Path) -> Sample:
    """One figure of a fresh server with fresh viewers; raises ProofFailed."""
    with PEERS[server].running(folder) as running, Load(watch, running.way, plan.viewers) as crowd:
        time.sleep(WARM_UP_S)
        measuring = Measuring(server, running, crowd)
        if mode == "live":
            return measuring.stretch(mode, FRAMES_PER_S, plan.seconds)
        return measuring.saturated()


class Measuring:
    """Takes the figures of one server; between stretches nothing is published."""

    def __init__(self, server: str, running: Running, crowd: Load) -> None:
        self._server = server
        self._running = running
        self._crowd = crowd

    def saturated(self) -> Sample:
        """The cheapest of rising rates, kept or not: the machine may be busy, and cost is CPU alone."""
        self._crowd.ask("narrow")
        samples = []
        for rate in RATES:
            samples.append(self.stretch("saturated", rate, STEP_S))
            if samples[-1].share < WORTH:
                break
        return min(samples, key=lambda each: each.us_per_packet)

    def stretch(self, mode: Mode, rate: int, seconds: float) -> Sample:
        """Publish for that long; raises ProofFailed when viewers got something else."""
        feed, pid = self._running.feed, self._running.pid
        published = feed.ask("0")
        before = self._settled()
        with _standing_still(before.pid) if mode == "saturated" else contextlib.nullcontext():
            cost, began_at = Cost.of(pid), time.monotonic()
            feed.ask(str(rate))
            time.sleep(seconds)
            published = feed.ask("0") - published
            wall_s = time.monotonic() - began_at
            cost = self._rested() - cost
        after = self._settled()
        _prove(self._server, before if mode == "saturated" else after)
        live = mode == "live"
        return Sample(
            server=self._server,
            mode=mode,
            frames_per_s=rate,
            published=published * after.viewers,
            arrived=after.packets - before.packets if live else after.arrived - before.arrived,
            lost=after.lost - before.lost if live else 0,
            cpu_s=cost.cpu_s,
            waited_s=cost.waited_s,
            wall_s=wall_s,
            seen=after,
        )

    def _rested(self) -> Cost:
        """The server's cost once it has sent what was still queued, in it or before it."""
        cost = Cost.of(self._running.pid)
        for _ in range(LOOKS):
            time.sleep(LOOK_S)
            latest = Cost.of(self._running.pid)
            if (latest - cost).cpu_s < RESTS * LOOK_S:
                return latest
            cost = latest
        raise TimeoutError(f"{self._server} works on when nothing is published")

    def _settled(self) -> Seen:
        """What viewers have seen once nothing more comes to them."""
        time.sleep(SETTLE_S)
        seen: Seen = self._crowd.ask("count")
        for _ in range(LOOKS):
            time.sleep(LOOK_S)
            latest: Seen = self._crowd.ask("count")
            if latest.packets == seen.packets:
                return latest
            seen = latest
        raise TimeoutError(f"{self._server} sends on when nothing is published")


@contextlib.contextmanager
def _standing_still(pid: int) -> Iterator[None]:
    """The process of the viewers is stopped: their sockets fill up and the kernel drops the rest."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _prove(server: str, seen: Seen) -> None:
    if seen.gcm != seen.viewers:
        raise ProofFailed(f"{server}: {seen.gcm} of {seen.viewers} viewers have AES-128-GCM")
    if seen.undecryptable or seen.wrong or not seen.right or not seen.packets:
        raise ProofFailed(
            f"{server}: {seen.packets} packets decrypted and {seen.undecryptable} not, "
            f"{seen.right} frames right and {seen.wrong} wrong"
        )


def _install(missing: Mapping[str, str]) -> None:
    """Debian's packages of these servers, by apt-get, which says itself what went wrong."""
    packages = [package for name in missing for package in PEERS[name].packages]
    command = ["apt-get", "install", "--yes", "--no-install-recommends", *packages]
    subprocess.run(command, stdout=sys.stderr, check=False)


# -- words and figures ---------------------------------------------------------------------------


def _options(argv: Sequence[str]) -> tuple[Plan, Path | None, bool]:
    parser = argparse.ArgumentParser(
        "hawker bench servers", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--viewers", type=_positive(int), default=100, help="default %(default)s")
    parser.add_argument("--rounds", type=_positive(int), help="default 5; the median counts")
    parser.add_argument("--seconds", type=_positive(float), help="each live stretch; default 5")
    parser.add_argument("--servers", nargs="+", choices=tuple(PEERS), default=list(PEERS))
    parser.add_argument("--quick", action="store_true", help="1 round of 1 s")
    parser.add_argument(
        "--install", action="store_true", help="apt-get install what is missing, as root"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="save all that was measured")
    given = parser.parse_args(argv)
    rounds = given.rounds or (1 if given.quick else 5)
    seconds = given.seconds or (1.0 if given.quick else 5.0)
    servers = [name for name in PEERS if name in given.servers]
    return Plan(servers, given.viewers, rounds, seconds), given.json, given.install


def _positive(kind: type[int] | type[float]) -> Callable[[str], float]:
    def parse(text: str) -> float:
        value = kind(text)
        if value <= 0:
            raise argparse.ArgumentTypeError(f"{text} is not above zero")
        return value

    return parse


def _conditions(plan: Plan, servers: Sequence[str]) -> dict[str, str]:
    versions = {PEERS[name].title: PEERS[name].version() for name in servers}
    return {
        "servers": "; ".join(f"{title}: {version}" for title, version in versions.items()),
        "work": f"{plan.viewers} viewers of one stream, {FRAME_BYTES:,} bytes a frame (9 packets), "
        f"every {GOP_FRAMES}th a keyframe; loopback, or for Janus the machine's own address",
        "keys": "AEAD_AES_128_GCM by DTLS; a receiver report a second from each viewer that reads",
        "live": f"{FRAMES_PER_S} frames/s; all packets are decrypted in another process and counted, "
        "one viewer's frames compared with those published",
        "saturated": f"{RATES[0]} to {RATES[-1]} frames/s, {STEP_S:g} s each, viewers standing still; "
        f"rising while {WORTH:.0%} come to the sockets; the rate cheapest per packet that came counts",
        "Hawker": "hawker serve, all its parts but the transcode worker, limits on posts off; RTMP in, "
        "one UDP port, data channels to all viewers",
        "Pion": "TrackLocalStaticRTP, default interceptors, GOMAXPROCS=1; RTP in by UDP",
        "Janus": "streaming plugin, event_loops=1, ICE lite; RTP in by UDP",
        "load": "publisher and viewers are two processes on the same machine and share its cores",
        "figures": "CPU (user + system, kernel's receive half included) of the server's processes by "
        f"schedstat; median of {plan.rounds} x {plan.seconds:g} s, servers in turns, all fresh",
    }


def _show(console: Console, result: Result) -> None:
    for mode in MODES:
        rows = [_row(result, server, mode) for server in result.servers]
        for name in result.missing:
            rows.append([PEERS[name].title, "missing", *[""] * 6])
        columns = ["", "µs", "least-most", "x Hawker", "x compiled", "arrived"]
        columns += ["lost", "no core"] if mode == "live" else ["frames/s", "packets/s"]
        report.show_table(console, f"CPU per sent packet, {mode}", columns, rows)
    for server in result.servers:
        console.print(_proof(result, server), highlight=False)
    for line in result.broken:
        console.print(line, highlight=False)
    for name, why in result.missing.items():
        packages = " ".join(PEERS[name].packages)
        console.print(
            f"{PEERS[name].title} was left out ({why}); on Debian: apt-get install {packages}, "
            "or --install",
            highlight=False,
            soft_wrap=True,
        )


def _row(result: Result, server: str, mode: Mode) -> list[str]:
    samples = result.of(server, mode)
    cost = result.us_per_packet(server, mode)
    ratios = [result.ratio(server, mode, to) for to in ("hawker", "compiled")]
    costs = [each.us_per_packet for each in samples]
    arrived = sum(each.arrived for each in samples) / sum(each.published for each in samples)
    if mode == "live":
        waited = statistics.median(each.waited_s / each.wall_s for each in samples)
        last = [f"{sum(each.lost for each in samples):,}", f"{waited:.0%}"]
    else:
        rate = statistics.median(each.frames_per_s for each in samples)
        last = [f"{rate:g}", f"{1e6 / cost:,.0f}"]
    return [
        PEERS[server].title,
        f"{cost:.2f}",
        f"{min(costs):.2f}-{max(costs):.2f}",
        *["-" if ratio is None else f"{ratio:.2f}" for ratio in ratios],
        f"{arrived:.1%}",
        *last,
    ]


def _proof(result: Result, server: str) -> str:
    seen = [each.seen for each in result.samples if each.server == server]
    decrypted, undecryptable = sum(s.packets for s in seen), sum(s.undecryptable for s in seen)
    return (
        f"{PEERS[server].title}: viewers decrypted {decrypted:,} packets, failed on {undecryptable:,}; "
        f"{sum(each.right for each in seen):,} frames looked at were those published"
    )


def _as_json(facts: Mapping[str, str], result: Result) -> dict[str, Any]:
    return {
        "facts": dict(facts),
        "missing": dict(result.missing),
        "broken": list(result.broken),
        "us_per_packet": {
            mode: {each: result.us_per_packet(each, mode) for each in result.servers}
            for mode in MODES
        },
        "times_hawker": {
            mode: {each: result.ratio(each, mode) for each in result.servers} for mode in MODES
        },
        "times_compiled": {
            mode: {each: result.ratio(each, mode, "compiled") for each in result.servers}
            for mode in MODES
        },
        "samples": [asdict(each) for each in result.samples],
    }
