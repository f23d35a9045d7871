"""Reservations of one hot SKU: orders/s of the desk and over HTTP, both stores, beside plain Lua.

Five hundred buyers reserve one piece, and the next as soon as they are answered; an answer comes when
the order is durable. In-process it is the order desk itself with all it does: catalogue, prices,
limits, Idempotency-Key, indexes and events. Over HTTP they are real servers on one store, with a kept
connection and a viewer token for each buyer, and rate limits set aside. Plain Lua is the script that
flash sales are commonly built on, by buyers who do nothing else. With --rate they come at that rate
instead, and the answer's time counts from when they came. Each runs with 1, 2 and 4 processes,
on a store of its own, in turns. Then a small stock is sold out at the same pace, and must sell exactly.
Data lies below the working directory: what is measured is its disk. Exits with 1 if a sale was inexact.
"""

from __future__ import annotations

import argparse
import contextlib
import secrets
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import machine, report
from benchmarks.loads import Load
from benchmarks.process import cpu_s
from benchmarks.reserving import desk, http, lua, redis
from benchmarks.reserving.buyers import WARM_UP_S, Stretch, together
from benchmarks.reserving.figures import Sample, as_json, show
from benchmarks.server import Server, serving
from overlay.tokens import Tokens

PLENTY = 100_000_000
SELL_OUT_S = 60.0  # at most; it ends when nothing is left
SET_ASIDE = ("limits.orders_per_minute=100000000", "limits.posts_per_minute=100000000")


@dataclass(frozen=True, slots=True)
class Plan:
    """`stock` is what is sold out; `kinds` are of KINDS; `rate` in orders/s, 0 as fast as answered."""

    kinds: Sequence[str]
    processes: Sequence[int]
    buyers: int
    rounds: int
    seconds: float
    stock: int
    rate: float


@dataclass(frozen=True, slots=True)
class Stage:
    """What buys, how a SKU is made and read, and whose CPU counts beside the buyers' own."""

    loads: Sequence[Load]
    make: Callable[[int], str]
    left: Callable[[str], tuple[int, int]]
    others: Sequence[int]
    counts_load: bool
    redis: int | None = None


def main(argv: Sequence[str]) -> int:
    options = _options(argv)
    plan = Plan(
        options.kinds,
        options.processes,
        options.buyers,
        options.rounds,
        options.seconds,
        options.stock,
        options.rate,
    )
    facts = {**machine.describe(("aiohttp", "msgpack", "uvloop")), **_conditions(plan)}
    console = report.console()
    report.show_facts(console, f"reserve, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC", facts)
    columns = TextColumn("{task.description:<36}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress:
        samples = run(plan, progress)
    show(console, samples)
    if options.json is not None:
        report.save(options.json, as_json(facts, samples))
    return 0 if all(each.exact for each in samples) else 1


def run(plan: Plan, progress: Progress) -> list[Sample]:
    """All rounds, everything in turns."""
    wanted = [(kind, processes) for processes in plan.processes for kind in plan.kinds]
    task = progress.add_task("", total=plan.rounds * len(wanted))
    samples: list[Sample] = []
    for _ in range(plan.rounds):
        for kind, processes in wanted:
            progress.update(task, description=f"{KINDS[kind][0]}, {processes} processes")
            with (
                tempfile.TemporaryDirectory(prefix="hawker-bench-", dir=Path.cwd()) as directory,
                KINDS[kind][1](plan, processes, Path(directory)) as stage,
            ):
                samples.append(measure(plan, kind, processes, stage))
            progress.advance(task)
    return samples


def measure(plan: Plan, kind: str, processes: int, stage: Stage) -> Sample:
    """A stretch with plenty of stock, then the sell-out."""
    sku = stage.make(PLENTY)
    warm = _stretch(stage, sku, WARM_UP_S)
    before = [cpu_s(pid) for pid in stage.others]
    done = _stretch(stage, sku, plan.seconds, plan.rate)
    others_s = sum(cpu_s(pid) - was for pid, was in zip(stage.others, before, strict=True))
    _, reserved = stage.left(sku)
    rare = stage.make(plan.stock)
    sold_out = _stretch(stage, rare, SELL_OUT_S)
    return Sample(
        kind=kind,
        title=KINDS[kind][0],
        processes=processes,
        seconds=done.seconds,
        sold=done.sold,
        answers_ms=sorted(done.answers_ms),
        cpu_s=others_s + ((done.user_s + done.system_s) if stage.counts_load else 0.0),
        commits=done.commits,
        transactions=done.transactions,
        exact=reserved == warm.sold + done.sold
        and sold_out.sold == plan.stock
        and stage.left(rare) == (0, plan.stock),
    )


def _stretch(stage: Stage, sku: str, seconds: float, rate: float = 0.0) -> Stretch:
    for load in stage.loads:
        load.ask(f"go {seconds} {sku} {rate / len(stage.loads)}")
    return together([load.ask("done") for load in stage.loads])


# -- what is measured ----------------------------------------------------------------------------


@contextlib.contextmanager
def _desks(plan: Plan, processes: int, directory: Path) -> Iterator[Stage]:
    with _loads(desk.run, plan, processes, f"sqlite:{directory}/hawker.db") as loads:
        yield _by_load(loads)


@contextlib.contextmanager
def _redis_desks(plan: Plan, processes: int, directory: Path) -> Iterator[Stage]:
    with (
        redis.serving(directory) as (url, pid),
        _loads(desk.run, plan, processes, url) as loads,
    ):
        yield _by_load(loads, pid)


@contextlib.contextmanager
def _plain_lua(plan: Plan, processes: int, directory: Path) -> Iterator[Stage]:
    with (
        redis.serving(directory) as (url, pid),
        _loads(lua.library, plan, processes, url) as loads,
    ):
        yield _by_load(loads, pid)


@contextlib.contextmanager
def _bare_lua(plan: Plan, processes: int, directory: Path) -> Iterator[Stage]:
    with redis.serving(directory) as (url, pid), _loads(lua.bare, plan, processes, url) as loads:
        yield _by_load(loads, pid)


@contextlib.contextmanager
def _http(plan: Plan, processes: int, directory: Path) -> Iterator[Stage]:
    with _over_http(plan, processes, f"sqlite:{directory}/hawker.db") as stage:
        yield stage


@contextlib.contextmanager
def _http_redis(plan: Plan, processes: int, directory: Path) -> Iterator[Stage]:
    with redis.serving(directory) as (url, pid), _over_http(plan, processes, url, pid) as stage:
        yield stage


KINDS: dict[str, tuple[str, Any]] = {
    "lua": ("plain Lua", _plain_lua),
    "bare-lua": ("plain Lua, bare", _bare_lua),
    "redis": ("Redis", _redis_desks),
    "sqlite": ("SQLite", _desks),
    "http-redis": ("HTTP, Redis", _http_redis),
    "http-sqlite": ("HTTP, SQLite", _http),
}


@contextlib.contextmanager
def _loads(run: Any, plan: Plan, processes: int, where: str) -> Iterator[list[Load]]:
    shares = [plan.buyers // processes + (n < plan.buyers % processes) for n in range(processes)]
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Load(run, where, share)) for share in shares]


def _by_load(loads: Sequence[Load], *others: int) -> Stage:
    return Stage(
        loads,
        make=lambda pieces: str(loads[0].ask(f"stock {pieces}")),
        left=lambda sku: tuple(loads[0].ask(f"left {sku}")),
        others=others,
        counts_load=True,
    )


@contextlib.contextmanager
def _over_http(plan: Plan, processes: int, store: str, *others: int) -> Iterator[Stage]:
    secret = secrets.token_urlsafe(32)
    tokens = [Tokens(secret).issue(desk.ROOM, f"viewer-{n}").token for n in range(plan.buyers)]
    settings = (f"store.url={store}", f"auth.viewer_secret={secret}", *SET_ASIDE)
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(serving(*settings)) for _ in range(processes)]
        servers[0].api("POST", "/v1/rooms", {"id": desk.ROOM, "title": "Hall"})
        load = stack.enter_context(Load(http.run, [each.url for each in servers], tokens))
        yield Stage(
            [load],
            make=lambda pieces: _make(servers[0], pieces),
            left=lambda sku: _left(servers[0], sku),
            others=[*(each.pid for each in servers), *others],
            counts_load=False,
        )


def _make(server: Server, pieces: int) -> str:
    sku = {"price": desk.PRICE.to_json(), "stock": pieces}
    product = server.api("POST", "/v1/products", {"title": "Cup", "skus": [sku]})
    return str(product["skus"][0]["sku"])


def _left(server: Server, sku: str) -> tuple[int, int]:
    stock = server.api("GET", f"/v1/skus/{sku}/stock")
    return int(stock["available"]), int(stock["reserved"])


# -- words ---------------------------------------------------------------------------------------


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "hawker bench reserve", description=(__doc__ or "").split("\n")[0]
    )
    kinds = [kind for kind in KINDS if redis.installed() or "sqlite" in kind]
    parser.add_argument(
        "--kinds", type=_some_of(kinds), default=kinds, help=f"default {','.join(kinds)}"
    )
    parser.add_argument("--processes", type=_counts, help="default 1,2,4")
    parser.add_argument("--buyers", type=_positive(int), help="default 500")
    parser.add_argument("--rounds", type=_positive(int), help="default 3; the median counts")
    parser.add_argument("--seconds", type=_positive(float), help="each stretch; default 2")
    parser.add_argument("--rate", type=_positive(float), default=0.0, help="orders/s in all")
    parser.add_argument("--stock", type=_positive(int), help="what is sold out; default 2000")
    parser.add_argument("--quick", action="store_true", help="20 buyers, 1 process, 1 round, 0.2 s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="save all that was measured")
    options = parser.parse_args(argv)
    usual: dict[str, Any] = {"processes": [1, 2, 4], "buyers": 500, "rounds": 3, "seconds": 2.0}
    quick: dict[str, Any] = {"processes": [1], "buyers": 20, "rounds": 1, "seconds": 0.2}
    for name, value in (quick if options.quick else usual).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    options.stock = options.stock or (50 if options.quick else 2000)
    return options


def _some_of(kinds: Sequence[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        wanted = text.split(",")
        for kind in wanted:
            if kind not in kinds:
                raise argparse.ArgumentTypeError(f"{kind} is none of {', '.join(kinds)}")
        return wanted

    return parse


def _counts(text: str) -> list[int]:
    return [_positive(int)(part) for part in text.split(",")]


def _positive(kind: Any) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        value = kind(text)
        if value <= 0:
            raise argparse.ArgumentTypeError(f"{text} is not above zero")
        return value

    return parse


def _conditions(plan: Plan) -> dict[str, str]:
    pace = f", {plan.rate:,.0f} orders/s by chance" if plan.rate else ""
    facts = {
        "work": f"{plan.buyers} buyers of one SKU, one piece each time, answered when durable{pace}",
        "SQLite": "WAL, synchronous=FULL; a transaction is one fsync",
        "Redis": f"{redis.version()}, appendfsync always, loopback"
        if redis.installed()
        else f"{redis.PROGRAM} is not installed, so it is left out, and plain Lua with it",
        "plain Lua": "5 keys, one EVALSHA for each reservation, a connection for each buyer, by "
        f"redis-py {metadata.version('redis')}; bare: without any library",
        "HTTP": "hawker serve, one load process, kept connections, no rate limits",
        "figures": f"median of {plan.rounds} x {plan.seconds:g} s, everything in turns",
        "CPU": "user + system of what serves: buyers' processes in-process, servers over HTTP; Redis",
    }
    return facts
