"""How long a product card takes to all viewers when a twentieth of all datagrams is lost, each way.

A real server pinned to one core and viewers on the others, who are real WHEP sessions: ICE, DTLS, both
data channels (acknowledged as browsers do, every second packet), and a thin picture that plays. Cards
are pinned over HTTP. A card's time runs from the moment the POST leaves to the kernel's stamp of the
datagram that completes the card at the viewer, the first copy that came or a refill. The loss is in
the viewers' own process, from a seed: what comes is dropped after the kernel has stamped it, what goes
before it is sent. It begins when all have joined.

At the end the viewers have time to ask for what they miss, and those without a card are counted. Exits
with 1 when somebody lacks a card, or p99 is over the bound.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import hall, machine, report, timed_server
from benchmarks.cards_figures import P99_MS, Result, as_json, show
from benchmarks.cores import split, stay_on
from benchmarks.hall import Heard
from benchmarks.joining import JOINS_PER_S, all_joined, ask_all
from benchmarks.load.stamped_loop import HeadLoop
from benchmarks.loads import Load
from benchmarks.member import Delays
from benchmarks.process import cpu_s
from benchmarks.publisher import publish
from benchmarks.server import READY_S, Server
from benchmarks.stage import ROOM, on_the_air, whep

CARDS_MAX = 20  # a room has no more
FRAME_BYTES, FRAMES_PER_S = 1_000, 10  # of the thin picture: one packet a frame
CALM_S = 2.0  # after the joins
REFILL_S = 10.0
POLL_S = 0.5
PRODUCT = {
    "title": "Enamel mug",
    "skus": [{"sku": "mug", "price": {"amount": 1990, "currency": "CNY"}, "stock": 100}],
}


@dataclass(frozen=True, slots=True)
class Plan:
    """`loss` is a share, each way; a card is pinned every `every_s`; `workers` are the server's."""

    viewers: int
    cards: int
    every_s: float
    loss: float
    seed: int
    processes: int
    joins_per_s: float
    workers: int


def main(argv: Sequence[str]) -> int:
    options = _options(argv)
    plan = Plan(
        viewers=options.viewers,
        cards=options.cards,
        every_s=options.every,
        loss=options.loss / 100,
        seed=options.seed,
        processes=options.processes,
        joins_per_s=options.joins_per_s,
        workers=options.workers,
    )
    core, others = split()
    if plan.workers > 1 and core is not None:  # they want the cores that there are
        others = {core, *others}
        core = None
    facts = {**machine.describe(), **_conditions(plan, core, others)}
    console = report.console()
    report.show_facts(console, f"cards, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC", facts)
    columns = TextColumn("{task.description:<40}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress:
        result = run(plan, core, others, progress)
    show(console, result)
    if options.json is not None:
        report.save(options.json, {"facts": facts, **as_json(result)})
    return 0 if result.passed(plan.viewers) else 1


def run(plan: Plan, core: int | None, others: set[int], progress: Progress) -> Result:
    """Let everybody join, then pin the cards one after the other."""
    if core is not None:
        stay_on(others)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hawker-bench-")))
        held = folder / "holds.json"
        picture = FRAME_BYTES, FRAME_BYTES, FRAMES_PER_S
        program = timed_server.program(held)
        workers = (f"workers={plan.workers}",)
        server = stack.enter_context(
            on_the_air(publish, *picture, program=program, core=core, settings=workers)
        )
        pace = plan.joins_per_s / plan.processes
        loads = [
            stack.enter_context(
                Load(
                    hall.listen,
                    *(whep(server), others, pace, plan.loss, f"{plan.seed} {number}"),
                    loop=HeadLoop,
                )
            )
            for number in range(plan.processes)
        ]
        all_joined(loads, plan.viewers, progress)
        return _pin_cards(plan, server, loads, held, progress)


def _pin_cards(
    plan: Plan, server: Server, loads: Sequence[Load], held: Path, progress: Progress
) -> Result:
    product = server.api("POST", "/v1/products", PRODUCT)["id"]
    server.api("POST", f"/v1/rooms/{ROOM}/bag", {"product_id": product})
    ask_all(loads, "lossy" if plan.loss else "calm")
    time.sleep(CALM_S)
    before = ask_all(loads, "measure")
    timed_server.holds(server.pid, held)
    cpu, waited, began_at = cpu_s(server.pid), server.waited_s(), time.monotonic()
    task = progress.add_task("cards", total=plan.cards)
    pins = []
    for _ in range(plan.cards):
        pins.append(_pin(server, product))
        progress.advance(task)
        time.sleep(plan.every_s)
    elapsed_s = time.monotonic() - began_at
    cpu, waited = cpu_s(server.pid) - cpu, server.waited_s() - waited
    after, holds = ask_all(loads, "seen"), timed_server.holds(server.pid, held)
    heard = _all_heard(loads, plan, pins, progress)
    delays, late = Delays(), 0
    for card, sent_ns, _ in pins:
        for stamp_ns in (stamp for each in heard for stamp in each.stamps.get(card, ())):
            delays.add(stamp_ns - sent_ns)
            late += stamp_ns - sent_ns > P99_MS * 1e6
    return Result(
        joined=after.joined,
        failed=dict(after.failed),
        closed=ask_all(loads, "seen").closed,
        cards=len(pins),
        missing=after.joined * len(pins) - delays.count,
        delays=delays,
        late=late,
        answered_ms=[answered_ms for _, _, answered_ms in pins],
        refills=sum(each.asked for each in heard),
        server_share=cpu / elapsed_s,
        waited_share=waited / elapsed_s,
        viewers_share=(after.cpu_s - before.cpu_s) / elapsed_s,
        holds=holds,
    )


def _pin(server: Server, product: str) -> tuple[str, int, float]:
    """Pin a card: its id, when the request left (UTC in ns), and the ms until the answer."""
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=READY_S)
    with contextlib.closing(connection):
        connection.connect()
        body = json.dumps({"product_id": product})
        headers = {"Authorization": f"Bearer {server.admin_token}"}
        headers["Content-Type"] = "application/json"
        sent_ns = time.time_ns()
        connection.request("POST", f"/v1/rooms/{ROOM}/cards", body, headers)
        reply = connection.getresponse()
        answer = json.load(reply)
        if reply.status != 201:
            raise ConnectionError(f"a card was not pinned: {reply.status} {answer}")
        return answer["id"], sent_ns, (time.time_ns() - sent_ns) / 1e6


def _all_heard(
    loads: Sequence[Load], plan: Plan, pins: Sequence[Any], progress: Progress
) -> list[Heard]:
    """What was heard in the end; waits until all have all, or long enough."""
    wanted = plan.viewers * len(pins)
    task = progress.add_task("refills", total=wanted)
    until = time.monotonic() + REFILL_S
    while True:
        heard = [load.ask("heard") for load in loads]
        count = sum(len(each.stamps.get(card, ())) for each in heard for card, *_ in pins)
        progress.update(task, completed=count)
        if count >= wanted or time.monotonic() > until:
            return heard
        time.sleep(POLL_S)


# -- words and figures ---------------------------------------------------------------------------


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "hawker bench cards", description=(__doc__ or "").split("\n")[0]
    )
    add = parser.add_argument
    add("--viewers", type=_number(int, 1, 5000), default=1000, help="default %(default)s")
    add("--cards", type=_number(int, 1, CARDS_MAX), default=CARDS_MAX, help="default %(default)s")
    add("--every", type=_number(float, 0.1, 60), default=2.0, metavar="S", help="%(default)s")
    add("--loss", type=_number(float, 0, 50), default=5.0, metavar="PERCENT", help="%(default)s")
    add("--seed", type=int, default=1, help="default %(default)s")
    add("--joins-per-s", type=_number(float, 1, 1000), default=JOINS_PER_S, help="%(default)s")
    add("--processes", type=_number(int, 1, 64), default=1, metavar="N", help="of viewers; 1")
    add("--workers", type=_number(int, 1, 16), default=1, metavar="N", help="of the server; 1")
    add("--json", type=Path, metavar="FILE", help="save all that was measured")
    return parser.parse_args(argv)


def _number(
    kind: type[int] | type[float], least: float, most: float
) -> Callable[[str], int | float]:
    def parse(text: str) -> int | float:
        value = kind(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text} is not from {least} to {most}")
        return value

    return parse


def _conditions(plan: Plan, core: int | None, others: set[int]) -> dict[str, str]:
    pinned = "not pinned" if core is None else f"core {core}"
    rest = ", ".join(map(str, sorted(others))) or "any"
    bits = FRAME_BYTES * 8 * FRAMES_PER_S
    return {
        "cards": f"{plan.cards}, one every {plan.every_s:g} s after the last one's answer",
        "loss": f"{plan.loss:.0%} each way, seed {plan.seed}, in the viewers' process",
        "picture": f"{FRAMES_PER_S} frames/s of {FRAME_BYTES:,} bytes, {bits / 1000:g} kbit/s",
        "workers": str(plan.workers),
        "server": f"{pinned}, its loop's callbacks timed; publisher and viewers on core {rest}",
        "viewers": f"{plan.viewers:,} WHEP sessions with data channels, in {plan.processes} processes",
        "time": "POST leaves to the kernel's stamp of the datagram that completes the card",
        "bounds": f"p99 {P99_MS:g} ms, nothing missing after the refills",
    }
