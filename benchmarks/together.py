"""Fan-out while the shop is busy: the time of a send pass under chat and orders, and packets lost.

One real server, `hawker serve` in a process of its own. Its viewers watch one stream by WHEP and count
what they get; in every second stretch buyers order over HTTP and viewers chat over WebSocket, all from
processes of their own. Quiet and busy stretches take turns in one run, so that a busy machine disturbs
both alike, and the median of the stretches counts.

A pass is what the sender does before it gives the loop back: a frame, or a piece of one, to all
viewers. It is timed in the server by the CPU time of its thread, which a neighbour on the same core does
not change, and by the wall clock, which holds what everybody else did meanwhile.

Exits with 1 when a packet was lost.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import machine, report
from benchmarks.crowd import Received, watch
from benchmarks.loads import Load
from benchmarks.publisher import publish
from benchmarks.server import Server, serving
from benchmarks.shoppers import Done, Wanted, shop
from benchmarks.together_figures import (
    CHAT_PER_VIEWER_S,
    KINDS,
    Kind,
    Plan,
    Result,
    Stretch,
    as_json,
    conditions,
    show,
)

ROOM = "show"
SKU = "bench-1"
BUYERS = 50
STOCK = 100_000_000
SETTLE_S = 0.5  # between two stretches, and after the last packet
WARM_UP_S = 1.0
UNLIMITED = (
    *(f"limits.{what}_per_minute=10000000" for what in ("posts", "orders")),
    "chat.slow_mode_s=0",
    "transcode.enabled=false",
)
PASSES = "hawker_rtp_send_passes_total"
PASS_S = "hawker_rtp_send_pass_seconds_total"
PASS_CPU_S = "hawker_rtp_send_pass_cpu_seconds_total"
PACKETS = "hawker_rtp_packets_sent_total"
SERVER_CPU_S = "process_cpu_seconds_total"


def main(argv: Sequence[str]) -> int:
    plan, saved = _options(argv)
    facts = {**machine.describe(), **conditions(plan)}
    console = report.console()
    report.show_facts(console, f"together, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC", facts)
    columns = TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn()
    try:
        with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress:
            result = run(plan, progress)
    except (OSError, EOFError) as error:  # also a TimeoutError: a machine that is far too busy
        console.print(f"the run broke off: {type(error).__name__}: {error}", highlight=False)
        return 1
    show(console, plan, result)
    if saved is not None:
        report.save(saved, as_json(facts, result))
    return 1 if result.lost else 0


def run(plan: Plan, progress: Progress) -> Result:
    """Start everything, measure in turns, and count at the end."""
    task = progress.add_task("starts", total=2 * plan.rounds + 1)
    with serving(*UNLIMITED) as server:
        key, wanted = _prepare(server, plan)
        with contextlib.ExitStack() as stack:
            publisher = stack.enter_context(contextlib.ExitStack())
            publisher.enter_context(Load(publish, f"{server.rtmp}/{key}"))
            server.wait_until_live(ROOM)
            whep = f"{server.url}/whep/{ROOM}"
            crowd = stack.enter_context(Load(watch, whep, plan.viewers, plan.data))
            shoppers = stack.enter_context(Load(shop, server.url, wanted))
            measuring = Measuring(server, crowd, shoppers)
            measuring.stretch("busy", WARM_UP_S)
            progress.advance(task)
            stretches = []
            for number in range(plan.rounds):
                for kind in KINDS:
                    progress.update(task, description=f"round {number + 1}: {kind}")
                    stretches.append(measuring.stretch(kind, plan.seconds))
                    progress.advance(task)
            publisher.close()
            time.sleep(SETTLE_S)
            sent = server.metrics()[PACKETS]
            return Result(stretches, int(sent), crowd.ask("count"))


class Measuring:
    """Takes the figures of one stretch after the other."""

    def __init__(self, server: Server, crowd: Load, shoppers: Load) -> None:
        self._server = server
        self._crowd = crowd
        self._shoppers = shoppers

    def stretch(self, kind: Kind, seconds: float) -> Stretch:
        time.sleep(SETTLE_S)
        if kind == "busy":
            self._shoppers.ask("go")
        crowd, before = self._crowd.ask("count"), self._server.metrics()
        began_at, waited_s = time.monotonic(), self._server.waited_s()
        time.sleep(seconds)
        waited_s = self._server.waited_s() - waited_s
        waited = waited_s / (time.monotonic() - began_at)
        after, took_s = self._server.metrics(), time.monotonic() - began_at
        played = self._crowd.ask("count")
        done = self._shoppers.ask("rest") if kind == "busy" else None
        settled = self._crowd.ask("count")
        grown = {name: value - before.get(name, 0.0) for name, value in after.items()}
        return Stretch(
            kind,
            took_s,
            int(grown[PASSES]),
            grown[PASS_S] / grown[PASSES] * 1e6,
            grown[PASS_CPU_S] / grown[PASSES] * 1e6,
            int(grown[PACKETS]),
            grown[PASS_CPU_S] / grown[PACKETS] * 1e6,
            grown[SERVER_CPU_S] / took_s,
            waited,
            (played.cpu_s - crowd.cpu_s) / took_s,
            settled.lost - crowd.lost,
            _heard(crowd, settled, done),
            done,
        )


def _heard(before: Received, after: Received, done: Done | None) -> float | None:
    """The share of the lines said that came to the viewers of the picture."""
    if done is None or not done.said or not after.events:
        return None
    return (after.chat_lines - before.chat_lines) / (done.said * after.viewers)


def _prepare(server: Server, plan: Plan) -> tuple[str, Wanted]:
    """A room whose bag holds the one product that all buy; its stream key, and the load."""
    key = server.api("POST", "/v1/rooms", {"id": ROOM, "title": "Show"})["stream_key"]
    price = {"amount": 1990, "currency": "CNY"}
    sku = {"sku": SKU, "price": price, "stock": STOCK}
    product = server.api("POST", "/v1/products", {"title": "Tea cup", "skus": [sku]})
    server.api("POST", f"/v1/rooms/{ROOM}/bag", {"product_id": product["id"]})
    chatters = max(1, round(plan.chat_per_s / CHAT_PER_VIEWER_S))
    buyers = [_token(server, f"buyer-{number}") for number in range(BUYERS)]
    talkers = [_token(server, f"chatter-{number}") for number in range(chatters)]
    return key, Wanted(plan.orders_per_s, plan.chat_per_s, SKU, ROOM, buyers, talkers)


def _token(server: Server, sub: str) -> str:
    return str(server.api("POST", "/v1/viewer-tokens", {"room": ROOM, "sub": sub})["token"])


# -- words ---------------------------------------------------------------------------------------


def _options(argv: Sequence[str]) -> tuple[Plan, Path | None]:
    parser = argparse.ArgumentParser(
        "hawker bench together", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--viewers", type=_positive(int), default=100, help="default %(default)s")
    parser.add_argument("--rounds", type=_positive(int), help="default 5; the median counts")
    parser.add_argument("--seconds", type=_positive(float), help="each stretch; default 5")
    parser.add_argument(
        "--orders", type=_positive(float), default=500, help="a second; %(default)s"
    )
    parser.add_argument("--chat", type=_positive(float), default=200, help="a second; %(default)s")
    parser.add_argument("--no-data", action="store_true", help="viewers without data channels")
    parser.add_argument("--quick", action="store_true", help="2 rounds of 1 s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="save all that was measured")
    given = parser.parse_args(argv)
    rounds = given.rounds or (2 if given.quick else 5)
    seconds = given.seconds or (1.0 if given.quick else 5.0)
    plan = Plan(given.viewers, rounds, seconds, given.orders, given.chat, not given.no_data)
    return plan, given.json


def _positive(kind: type[int] | type[float]) -> Callable[[str], float]:
    def parse(text: str) -> float:
        value = kind(text)
        if value <= 0:
            raise argparse.ArgumentTypeError(f"{text} is not above zero")
        return value

    return parse
