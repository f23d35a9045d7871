"""What the ladder costs, 1080p to 720p, 480p and 360p, in CPU seconds against ffmpeg doing the same.

The same film, the same x264 settings (preset, tune, bitrates, keyframe every 2 s, one thread for each
encoder), runs interleaved. Counted is all CPU time of the process from its start: of ours with Python's
start, the relay and all its messages. What is compared is the median over the runs; where there are
several ffmpegs, with the one that takes least. Exits with 1 when that is over the bound, or when a frame
is missing.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import machine, report
from benchmarks.ladder_runs import (
    FRAMES_PER_S,
    HEIGHT,
    RUNGS,
    WIDTH,
    Cost,
    make_film,
    ours,
    peer,
    read_film,
)

RATIO_MAX = 1.05
OURS = "Hawker's worker"


def main(argv: Sequence[str]) -> int:
    options = _options(argv)
    if not (options.ffmpeg or _ffmpegs()):
        sys.exit("hawker bench ladder: there is no ffmpeg to compare with; name one by --ffmpeg")
    peers = {_version(path): path for path in options.ffmpeg or _ffmpegs()}
    facts = {**machine.describe(["av"]), **_conditions(options.seconds, peers)}
    console = report.console()
    report.show_facts(console, f"ladder, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC", facts)
    columns = TextColumn("{task.description:<44}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress:
        costs = run(peers, options.seconds, options.runs, progress)
    passed = _show(console, costs, round(options.seconds * FRAMES_PER_S))
    if options.json is not None:
        runs = {title: [asdict(cost) for cost in each] for title, each in costs.items()}
        report.save(options.json, {"facts": facts, "runs": runs, "passed": passed})
    return 0 if passed else 1


def run(
    peers: dict[str, str], seconds: float, runs: int, progress: Progress
) -> dict[str, list[Cost]]:
    """Costs by title, ours first."""
    costs: dict[str, list[Cost]] = {OURS: [], **{title: [] for title in peers}}
    with tempfile.TemporaryDirectory(prefix="hawker-bench-") as folder:
        film = Path(folder) / "film.mp4"
        make_film(next(iter(peers.values())), film, seconds)
        packets = read_film(film)
        task = progress.add_task("runs", total=runs * len(costs))
        for _ in range(runs):
            for title, each in costs.items():
                progress.update(task, description=title)
                each.append(ours(packets) if title == OURS else peer(peers[title], film))
                progress.advance(task)
    return costs


def _show(console: Console, costs: dict[str, list[Cost]], frames: int) -> bool:
    medians = {title: median(each.cpu_s for each in runs) for title, runs in costs.items()}
    longest = max(medians.values())
    rows = [
        [
            title,
            f"{cpu_s:.2f}",
            f"{min(each.cpu_s for each in costs[title]):.2f}",
            f"{cpu_s / frames * 1000:.2f}",
            f"{medians[OURS] / cpu_s:.3f}",
            report.bar(cpu_s, longest),
        ]
        for title, cpu_s in medians.items()
    ]
    columns = ["", "CPU s, median", "least", "ms a frame", "Hawker's part of it", ""]
    report.show_table(console, "CPU time of the whole process", columns, rows)
    ratio = medians[OURS] / min(medians[title] for title in medians if title != OURS)
    whole = all(set(each.frames.values()) == {frames} for each in costs[OURS])
    words = "every frame is in every rung" if whole else f"frames are missing: {costs[OURS]}"
    verdict = "kept" if ratio <= RATIO_MAX and whole else "missed"
    console.print(
        f"{ratio:.3f} of the cheapest ffmpeg; {words}. Bound {RATIO_MAX:g}: {verdict}.",
        highlight=False,
    )
    return verdict == "kept"


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "hawker bench ladder", description=(__doc__ or "").split("\n")[0]
    )
    add = parser.add_argument
    add("--seconds", type=_positive, default=20.0, help="of film; default %(default)s")
    add("--runs", type=int, choices=range(1, 100), default=3, metavar="N", help="of each; 3")
    add("--ffmpeg", action="append", metavar="PATH", help="a peer; default all that are found")
    add("--json", type=Path, metavar="FILE", help="save all that was measured")
    return parser.parse_args(argv)


def _ffmpegs() -> list[str]:
    """The wheel's and the system's, where they are."""
    found = [shutil.which("ffmpeg")]
    with contextlib.suppress(ImportError):
        found.insert(0, importlib.import_module("imageio_ffmpeg").get_ffmpeg_exe())
    return [each for each in found if each]


def _version(path: str) -> str:
    told = subprocess.run([path, "-version"], capture_output=True, text=True, check=True)
    return f"ffmpeg {told.stdout.split()[2].partition('-')[0]}"


def _positive(text: str) -> float:
    value = float(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return value


def _conditions(seconds: float, peers: dict[str, str]) -> dict[str, str]:
    rungs = ", ".join(f"{each.height}p {each.bitrate_kbps} kbit/s" for each in RUNGS)
    return {
        "film": f"{seconds:g} s of {WIDTH}x{HEIGHT}, {FRAMES_PER_S} frames/s, H.264 of 6 Mbit/s",
        "rungs": f"{rungs}; x264 {RUNGS[0].preset}, zerolatency, main, one thread each, IDR every 2 s",
        "peers": ", ".join(peers),
    }
