"""The run: prepare the node, start the clients, look at them once a second, and say what it came to."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from rich.console import Console
from rich.live import Live

from benchmarks import machine, report
from benchmarks.load import options, player, show
from benchmarks.load.figures import Figures
from benchmarks.load.relay import relay
from benchmarks.load.scene import CannotLoad, prepare, wait_until_live
from benchmarks.load.share import Plan, Scene, Share
from benchmarks.load.show import Moment, Result
from benchmarks.loads import Load
from benchmarks.sinks import PROCESSES

LOOK_S = 1.0


class Client(Load):
    """A client process; unlike other loads it has a loop that stamps datagrams."""

    def __init__(self, share: Share) -> None:
        self._control, theirs = PROCESSES.Pipe()
        self._process = PROCESSES.Process(target=player.play, args=(theirs, share), daemon=True)
        self._process.start()
        theirs.close()


def main(argv: Sequence[str]) -> int:
    plan = options.parse(argv)
    console = Console(highlight=False)
    try:
        result = _load(plan, Console(stderr=True, highlight=False))
    except CannotLoad as error:
        print(f"hawker load: {error}", file=sys.stderr)
        return 1
    except (EOFError, BrokenPipeError, TimeoutError) as error:
        print(f"hawker load: a client process broke: {type(error).__name__}", file=sys.stderr)
        return 1
    facts = {"node": plan.url, **machine.describe()}
    report.show_facts(console, f"load, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC", facts)
    console.print(show.end_table(result))
    if plan.json is not None:
        report.save(plan.json, show.as_json(facts, result))
    if plan.plot is not None:
        plan.plot.write_text(show.plot(result), "utf-8")
    return 1 if result.failures else 0


def _load(plan: Plan, console: Console) -> Result:
    """Raises CannotLoad, or EOFError and TimeoutError of a client that died."""
    scene = prepare(plan)
    with _interrupted() as interrupted, contextlib.ExitStack() as stack:
        relays = [stack.enter_context(Load(relay, plan.loss, plan.seed))] if plan.loss else []
        port = relays[0].ask("port") if relays else None
        clients = [stack.enter_context(each) for each in _clients(plan, scene, port)]
        wait_until_live(plan, scene, interrupted)
        for client in clients:
            client.ask("join")
        with Live(console=console, transient=True, auto_refresh=False) as live:
            moments, total = _watch(plan, [*clients, *relays], interrupted, live)
        last = Figures()
        for client in clients:
            last.add(client.ask("leave"))
        for each in relays:
            last.add(each.ask("figures"))
    last.add_times(total.times)
    return Result(plan, moments, last, interrupted.is_set())


def _watch(
    plan: Plan, loads: Sequence[Load], interrupted: threading.Event, live: Live
) -> tuple[list[Moment], Figures]:
    """Look once a second until the time is over; what was seen, and the times of all of it."""
    moments: list[Moment] = []
    total, began_at = Figures(), time.monotonic()
    while not interrupted.is_set() and (now_s := time.monotonic() - began_at) < plan.seconds:
        interrupted.wait(min(LOOK_S, plan.seconds - now_s))
        figures = Figures()
        for load in loads:
            figures.add(load.ask("figures"))
        total.add_times(figures.times)
        moments.append(Moment(time.monotonic() - began_at, figures))
        live.update(show.live_table(plan, moments, total), refresh=True)
    return moments, total


def _clients(plan: Plan, scene: Scene, relay_port: int | None) -> list[Client]:
    return [Client(Share(plan, scene, number, relay_port)) for number in range(plan.processes)]


@contextlib.contextmanager
def _interrupted() -> Iterator[threading.Event]:
    """Set by the first Ctrl-C, which ends the run in order; a second one ends it at once."""
    interrupted = threading.Event()
    before = signal.getsignal(signal.SIGINT)

    def interrupt(*_: object) -> None:
        signal.signal(signal.SIGINT, before)
        interrupted.set()

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)
