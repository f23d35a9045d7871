"""Viewers that join and leave in every way that viewers do, some of them rudely, so many at once."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import aiohttp

from benchmarks.loads import Commands
from benchmarks.visitor import Visitor
from benchmarks.webrtc_client import Refused
from mediaserver.rtc.dtls import Certificate, Certificates
from overlay.events import Request, serialize_request

AT_ONCE = 16
CYCLES_PER_S = 100  # so that as many are under way, or being missed, in one stretch as in another
HALFWAY_S = 0.2  # after which who does not finish the handshake is gone
SDP = {"Content-Type": "application/sdp"}


@dataclass(frozen=True, slots=True)
class Place:
    """Where to watch, and with what."""

    http: aiohttp.ClientSession
    url: str  # …/whep/room
    certificate: Certificate

    def absolute(self, resource: str) -> str:
        return self.url.partition("/whep/")[0] + resource


@dataclass(slots=True)
class Counts:
    """Cycles that have ended, by kind, and what went wrong in those that failed."""

    done: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        return self.done.total() + self.failed.total()


class Pace:
    """Turns that come evenly; what a busy machine has missed is not made up for."""

    def __init__(self, per_s: float) -> None:
        self._every_s = 1 / per_s
        self._due = 0.0

    async def turn(self) -> None:
        now = asyncio.get_running_loop().time()
        self._due = max(self._due + self._every_s, now)
        await asyncio.sleep(self._due - now)


async def say_goodbye(place: Place) -> None:
    visitor = Visitor(place.certificate)
    await visitor.watch(place.http, place.url, data=False)
    await visitor.seen()
    await visitor.close()


async def follow_events(place: Place) -> None:
    visitor = await _following(place)
    like = serialize_request(Request(1, "like", {"n": 1}), "msgpack")
    assert visitor.channels is not None
    visitor.channels.send(0, like)
    await visitor.heard("reply")
    await visitor.close()


async def delete(place: Place) -> None:
    visitor = Visitor(place.certificate)
    await visitor.watch(place.http, place.url, data=False)
    await visitor.seen()
    await _delete(place, visitor.resource)
    await visitor.close()


async def delete_at_once(place: Place) -> None:
    await _delete(place, await _offer(place))


async def only_offer(place: Place) -> None:
    await _offer(place)


async def only_check(place: Place) -> None:
    await _halfway(Visitor(place.certificate, drop=lambda data: True), place)


async def only_say_hello(place: Place) -> None:
    """A ClientHello, whose answer is not looked at."""
    await _halfway(Visitor(place.certificate, drop=lambda data: 20 <= data[0] < 64), place)


async def vanish(place: Place) -> None:
    visitor = Visitor(place.certificate)
    await visitor.watch(place.http, place.url, data=False)
    await visitor.seen()
    await visitor.vanish()


async def vanish_from_events(place: Place) -> None:
    await (await _following(place)).vanish()


Cycle: TypeAlias = Callable[[Place], Awaitable[None]]

CYCLES: dict[str, Cycle] = {
    "watches, says goodbye": say_goodbye,
    "follows events, sends one, says goodbye": follow_events,
    "watches, DELETE": delete,
    "DELETE before the handshake": delete_at_once,
    "offers, never seen": only_offer,
    "checks, no handshake": only_check,
    "ClientHello, no more": only_say_hello,
    "watches, leaves silently": vanish,
    "follows events, leaves silently": vanish_from_events,
}
# Of 20 cycles six each are the first two, three the third, four the next four, and one leaves silently.
_OFTEN, _BROKEN, _SILENT = list(CYCLES)[:3], list(CYCLES)[3:7], list(CYCLES)[7:]
POLITE = [*(_OFTEN[:2] * 2 + _OFTEN[2:]) * 3, *_BROKEN]
EVERYBODY = [*POLITE, _SILENT[0], *POLITE, _SILENT[1]]


async def churn(commands: Commands, url: str) -> None:
    """On `run N` begin N cycles, on `polite N` without silent ones; `count` says how many have ended."""
    certificate = Certificates().current()
    commands.answer("ready")
    counts, running = Counts(), None
    try:
        while True:
            command, _, number = (await commands.next()).partition(" ")
            if number:
                counts = Counts()
                kinds = itertools.cycle(EVERYBODY if command == "run" else POLITE)
                cycles = itertools.islice(kinds, int(number))
                running = asyncio.create_task(_run(cycles, url, certificate, counts))
            commands.answer(counts)
    finally:
        if running is not None:
            running.cancel()


async def _run(kinds: Iterator[str], url: str, certificate: Certificate, counts: Counts) -> None:
    async with aiohttp.ClientSession() as http, asyncio.TaskGroup() as group:
        place, pace = Place(http, url, certificate), Pace(CYCLES_PER_S)
        for _ in range(AT_ONCE):
            group.create_task(_one_after_the_other(kinds, pace, place, counts))


async def _one_after_the_other(
    kinds: Iterator[str], pace: Pace, place: Place, counts: Counts
) -> None:
    for kind in kinds:
        await pace.turn()
        try:
            await CYCLES[kind](place)
        except (Refused, OSError, aiohttp.ClientError) as error:  # also a TimeoutError
            counts.failed[f"{kind}: {type(error).__name__} {error}"] += 1
        else:
            counts.done[kind] += 1


async def _following(place: Place) -> Visitor:
    visitor = Visitor(place.certificate)
    await visitor.watch(place.http, place.url)
    await visitor.heard("hello")
    return visitor


async def _halfway(visitor: Visitor, place: Place) -> None:
    try:
        async with asyncio.timeout(HALFWAY_S):
            await visitor.watch(place.http, place.url, data=False)
    except TimeoutError:
        await visitor.vanish()
    else:
        await visitor.vanish()
        raise ConnectionError("connected, which it should not")


async def _offer(place: Place) -> str:
    """An offer that nothing follows; returns its session's path."""
    offer = Visitor(place.certificate).offer()
    async with place.http.post(place.url, data=offer, headers=SDP) as reply:
        reply.raise_for_status()
        return reply.headers["Location"]


async def _delete(place: Place, resource: str) -> None:
    async with place.http.delete(place.absolute(resource)) as reply:
        reply.raise_for_status()
