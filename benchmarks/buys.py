"""Buys over data channels that are cut at random, asked again over HTTP under the same key.

A real server with a live picture; viewers buy over the reliable data channel of their WebRTC session.
Some sessions end without a word in the middle of a buy, some of them deaf before that. Every buy must
come to one order, and every order that a buyer was told of must be there. Exits with 1 otherwise.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import machine, report
from benchmarks.ledger.buyers import HOT, PRICE, STOCKED
from benchmarks.ledger.channel_buyers import Book, ChannelBuyer
from benchmarks.ledger.places import PLACES, Place
from benchmarks.ledger.reckoning import Reckoning, reckon
from benchmarks.publisher import publish
from benchmarks.server import Server
from benchmarks.stage import ROOM, on_the_air, whep
from mediaserver.rtc.dtls import Certificates

BUYS = 100_000
CUTS = 1_000
SESSIONS = 40  # a session may send 20 messages a second
FRAME_BYTES = 600  # the picture is not what is measured
FRAMES_PER_S = 5
LOOK_S = 0.5
SETTINGS = ("limits.orders_per_minute=1000000", "limits.reservation_s=86400")


@dataclass(slots=True)
class Result:
    store: str
    book: Book
    took_s: float
    reckoning: Reckoning

    @property
    def passed(self) -> bool:
        answered = len(self.book.told) + self.book.refused == len(self.book.asked)
        return self.reckoning.passed and answered

    def as_json(self) -> dict[str, Any]:
        book = self.book
        return {
            "store": self.store,
            "buys": len(book.asked),
            "orders": len(book.told),
            "out_of_stock": book.refused,
            "by_channel": book.by_channel,
            "by_http": book.by_http,
            "cuts": book.cuts,
            "took_s": round(self.took_s, 1),
            "reckoning": self.reckoning.as_json(),
        }


def main(argv: Sequence[str]) -> int:
    options = _options(argv)
    names = [options.store] if options.store else list(PLACES)
    console = report.console()
    facts = {
        **machine.describe([]),
        "load": f"{options.buys:,} buys, {SESSIONS} sessions at once, {options.cuts:,} cut",
        "seed": f"{options.seed}",
        "stores": "SQLite: synchronous=FULL; Redis: appendonly, appendfsync always",
    }
    report.show_facts(console, f"buys, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC", facts)
    columns = TextColumn("{task.description:<30}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress:
        results = [
            asyncio.run(run(name, options.buys, options.cuts, options.seed, progress=progress))
            for name in names
        ]
    _show(console, results)
    if options.json is not None:
        found = [each.as_json() for each in results]
        report.save(options.json, {"facts": facts, "results": found})
    return 0 if all(each.passed for each in results) else 1


async def run(
    store: str,
    buys: int,
    cuts: int,
    seed: int,
    sessions: int = SESSIONS,
    progress: Progress | None = None,
) -> Result:
    """All the buys, and the reckoning."""
    book, began_s = Book(), time.monotonic()
    async with PLACES[store]() as place:
        await asyncio.to_thread(_on_the_air, place, book, buys, cuts, seed, sessions, progress)
        async with place.opened() as kept:
            limits = dict.fromkeys(STOCKED)
            found = await reckon(kept, STOCKED, limits, book.asked, book.told, sold_out=HOT)
    return Result(store, book, time.monotonic() - began_s, found)


def _on_the_air(
    place: Place,
    book: Book,
    buys: int,
    cuts: int,
    seed: int,
    sessions: int,
    progress: Progress | None,
) -> None:
    settings = (f"data.dir={place.folder}/data", f"store.url={place.url}", *SETTINGS)
    picture = FRAME_BYTES, FRAME_BYTES, FRAMES_PER_S
    with on_the_air(publish, *picture, settings=settings) as server:
        skus = [{"sku": sku, "price": PRICE, "stock": n} for sku, n in STOCKED.items()]
        server.api("POST", "/v1/products", {"title": "Cup", "skus": skus})
        asyncio.run(_buy_all(server, book, buys, cuts, seed, sessions, progress))


async def _buy_all(
    server: Server,
    book: Book,
    buys: int,
    cuts: int,
    seed: int,
    sessions: int,
    progress: Progress | None,
) -> None:
    dice, numbers = random.Random(seed), iter(range(buys))
    cut_at = frozenset(dice.sample(range(buys), min(cuts, buys)))
    certificate = Certificates().current()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        shopping = []
        for number in range(sessions):
            sub = f"buyer-{number}"
            token = server.api("POST", "/v1/viewer-tokens", {"room": ROOM, "sub": sub})["token"]
            buyer = ChannelBuyer(
                sub,
                token,
                (server.url, whep(server)),
                http,
                certificate,
                numbers,
                cut_at,
                book,
                random.Random(f"{seed} {number}"),
            )
            shopping.append(asyncio.create_task(buyer.shop()))
        watching = asyncio.create_task(_watch(book, buys, progress))
        try:
            await asyncio.gather(*shopping)
        finally:
            watching.cancel()


async def _watch(book: Book, buys: int, progress: Progress | None) -> None:
    if progress is None:
        return
    task = progress.add_task("buys", total=buys)
    while True:
        done = len(book.told) + book.refused
        progress.update(task, completed=done, description=f"buys, {book.cuts:,} cuts")
        await asyncio.sleep(LOOK_S)


def _show(console: Console, results: Sequence[Result]) -> None:
    columns = [
        "store",
        "buys",
        "by channel",
        "by HTTP",
        "cuts",
        "orders",
        "doubled",
        "lost",
        "buys/s",
    ]
    rows = []
    for each in results:
        book, found = each.book, each.reckoning
        figures = (len(book.asked), book.by_channel, book.by_http, book.cuts, len(book.told))
        faults = f"{found.doubled}", f"{found.lost}"
        rate = f"{len(book.asked) / each.took_s:,.0f}"
        rows.append([each.store, *(f"{figure:,}" for figure in figures), *faults, rate])
    report.show_table(console, "buys over cut lines", columns, rows)
    for each in results:
        if not each.passed:
            console.print(f"{each.store}: {each.as_json()}", style="red", markup=False)


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "hawker bench buys",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--buys", type=int, default=BUYS, help="on each store")
    parser.add_argument("--cuts", type=int, default=CUTS)
    parser.add_argument("--store", choices=list(PLACES), help="only this one")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(argv)
    if options.buys < 1 or options.cuts < 0:
        sys.exit("hawker bench buys: --buys is 1 or more, --cuts 0 or more")
    return options
