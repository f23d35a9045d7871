"""How long a viewer in Chromium waits for the picture: from the WHEP POST to the first frame shown.

A real server, a 720p stream by RTMP with a keyframe every 2 s, and Chromium, headless, all on this
machine. A page of the server's origin joins again and again, each time at another moment of the group of
pictures: a new RTCPeerConnection, an offer, then the clock runs from `fetch` of the POST to the callback
of the first frame (requestVideoFrameCallback: decoded and handed to the screen). The first joins warm
up what a browser sets up once, and are not counted. Exits with 1 when p95 is over the bound.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import film, machine, report
from benchmarks.chromium import BrowserFailed, chromium, find
from benchmarks.stage import on_the_air, whep

WARM_UP = 2
P95_MS = 300.0
GOP_S = film.GOP_FRAMES / film.FRAMES_PER_S
PERCENTILES = (50, 95, 100)

JOIN = """
(async (url) => {
  const pc = new RTCPeerConnection();
  const video = document.createElement("video");
  video.muted = video.autoplay = true;
  document.body.append(video);
  try {
    const { receiver } = pc.addTransceiver("video", { direction: "recvonly" });
    pc.addTransceiver("audio", { direction: "recvonly" });
    const connected = new Promise((resolve) => {
      pc.onconnectionstatechange = () =>
        pc.connectionState === "connected" && resolve(performance.now());
    });
    video.srcObject = new MediaStream([receiver.track]);
    const shown = new Promise((resolve, reject) => {
      video.requestVideoFrameCallback(() => resolve(performance.now()));
      setTimeout(() => reject(new Error("no frame within 10 s")), 10_000);
    });
    await pc.setLocalDescription();
    const began = performance.now();
    const headers = { "Content-Type": "application/sdp" };
    const reply = await fetch(url, { method: "POST", headers, body: pc.localDescription.sdp });
    if (reply.status !== 201) throw new Error(`WHEP ${reply.status}`);
    await pc.setRemoteDescription({ type: "answer", sdp: await reply.text() });
    const answered = performance.now();
    const times = [answered, await connected, await shown].map((at) => at - began);
    if (video.videoWidth !== %d) throw new Error(`a frame ${video.videoWidth} pixels wide`);
    await fetch(reply.headers.get("Location"), { method: "DELETE" });
    return times;
  } finally {
    pc.close();
    video.remove();
  }
})(%s)
"""


@dataclass(frozen=True, slots=True)
class Join:
    """ms from the POST on: answer taken in, DTLS connected, first frame; or why there was none."""

    answered_ms: float = 0.0
    connected_ms: float = 0.0
    shown_ms: float = 0.0
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    joins: Sequence[Join]

    def percentile(self, of: Callable[[Join], float], percent: float) -> float:
        """Of the joins that succeeded, in ms: the least that so many percent do not exceed."""
        times = sorted(of(each) for each in self.joins if not each.failure)
        return times[max(0, -(-len(times) * int(percent) // 100) - 1)] if times else 0.0

    @property
    def failures(self) -> list[str]:
        return [each.failure for each in self.joins if each.failure]

    @property
    def passed(self) -> bool:
        return not self.failures and self.percentile(lambda each: each.shown_ms, 95) <= P95_MS


def main(argv: Sequence[str]) -> int:
    options = _options(argv)
    executable = options.chromium or find()
    if executable is None:
        print("hawker bench first_frame: Chromium is not installed", file=sys.stderr)
        return 1
    facts = {**machine.describe(), **_conditions(options)}
    console = report.console()
    report.show_facts(console, f"first_frame, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC", facts)
    columns = TextColumn("{task.description:<20}"), BarColumn(), MofNCompleteColumn()
    try:
        with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress:
            result = run(executable, options.joins, options.seed, progress)
    except BrowserFailed as error:
        print(f"hawker bench first_frame: {error}", file=sys.stderr)
        return 1
    _show(console, result)
    if options.json is not None:
        joins = [asdict(each) for each in result.joins]
        report.save(options.json, {"facts": facts, "joins": joins, "ms": _percentiles(result)})
    return 0 if result.passed else 1


def run(executable: str, joins: int, seed: int, progress: Progress) -> Result:
    """Publish, and let a browser join that often; raises BrowserFailed."""
    task = progress.add_task("joins", total=WARM_UP + joins)
    with on_the_air(film.publish, film.encode()) as server:

        async def join_all() -> Result:
            dice, seen = random.Random(seed), []
            async with chromium(executable) as page:
                await page.open(f"{server.url}/healthz")
                for _ in range(WARM_UP + joins):
                    await asyncio.sleep(dice.uniform(0.0, GOP_S))
                    try:
                        times = await page.run(JOIN % (film.WIDTH, json.dumps(whep(server))))
                        seen.append(Join(*times))
                    except BrowserFailed as error:
                        seen.append(Join(failure=str(error).splitlines()[0]))
                    progress.advance(task)
            return Result(seen[WARM_UP:])

        return asyncio.run(join_all())


# -- words and figures ---------------------------------------------------------------------------


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "hawker bench first_frame", description=(__doc__ or "").split("\n")[0]
    )
    add = parser.add_argument
    add("--joins", type=_count, default=40, metavar="N", help="default %(default)s")
    add("--seed", type=int, default=1, help="of the moments of joining; %(default)s")
    add("--chromium", metavar="PATH", help="default: as it is installed")
    add("--json", type=Path, metavar="FILE", help="save all that was measured")
    return parser.parse_args(argv)


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not above zero")
    return value


def _conditions(options: argparse.Namespace) -> Mapping[str, str]:
    return {
        "stream": f"H.264 {film.WIDTH}x{film.HEIGHT}, {film.FRAMES_PER_S} frames/s, a keyframe every "
        f"{GOP_S:g} s, by RTMP; no sound",
        "viewer": "Chromium, headless, on this machine; a new RTCPeerConnection each time",
        "joins": f"{options.joins} and {WARM_UP} before that are not counted, at random moments, seed "
        f"{options.seed}",
        "bound": f"p95 {P95_MS:g} ms from the POST to the first frame",
    }


def _percentiles(result: Result) -> dict[str, dict[str, float]]:
    return {
        name: {f"p{each}": result.percentile(of, each) for each in PERCENTILES}
        for name, of in _TIMES.items()
    }


def _show(console: Console, result: Result) -> None:
    columns = ["ms from the POST", "p50", "p95", "highest"]
    rows = [
        [name, *(f"{ms:.0f}" for ms in of.values())] for name, of in _percentiles(result).items()
    ]
    title = f"{len(result.joins) - len(result.failures)} joins"
    report.show_table(console, title, columns, rows)
    for failure in result.failures:
        console.print(f"failed: {failure}", highlight=False)
    word = "kept" if result.passed else "missed"
    console.print(f"The bound of {P95_MS:g} ms is {word}.", highlight=False)


_TIMES: Mapping[str, Callable[[Join], float]] = {
    "answer taken in": lambda each: each.answered_ms,
    "connected": lambda each: each.connected_ms,
    "first frame": lambda each: each.shown_ms,
}
