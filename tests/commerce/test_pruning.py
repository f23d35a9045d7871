"""Old events are forgotten a little at a time, never what is still to be told; numbers go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import cast

import msgpack
import pytest

from commerce.changes import Changes
from commerce.pruning import BUYER_EVENTS_KEPT, EVENTS_AT_ONCE, EVENTS_KEPT, PrunableStore, Pruning
from overlay.event_log import EventLog, last_seq
from overlay.events import Event, Message, unpack
from tests.commerce.conftest import Open
from tests.commerce.shop import Clock

KEPT_MS = 30 * 86_400_000


@pytest.fixture
async def store(open_store: Open) -> AsyncIterator[PrunableStore]:
    store = await open_store()
    yield cast(PrunableStore, store)
    await store.close()


async def tell(store: PrunableStore, stream: str, count: int, now_ms: int) -> None:
    changes = Changes(now_ms)
    for number in range(count):
        changes.tell(stream, "order.updated", order=f"ord_{number}")
    await changes.commit(store)


def pruning(store: PrunableStore, clock: Clock, floors: Mapping[str, int] | None = None) -> Pruning:
    async def told() -> Mapping[str, int]:
        return floors or {}

    return Pruning(store, KEPT_MS, floors=told, now_ms=clock)


async def first(store: PrunableStore, stream: str) -> int:
    return (await store.events(stream, 0, 1))[0][0]


async def test_what_is_old_goes_and_what_is_young_stays(store: PrunableStore) -> None:
    clock = Clock()
    await tell(store, "room/a", 300, clock())
    clock.pass_s(KEPT_MS / 1000 + 1)
    await tell(store, "room/a", EVENTS_KEPT, clock())
    assert await pruning(store, clock).sweep() == 300
    assert await first(store, "room/a") == 301
    assert await store.commit("on", events=[("room/a", b"")]) == {"room/a": 301 + EVENTS_KEPT}


async def test_the_latest_stay_however_old_they_are(store: PrunableStore) -> None:
    clock = Clock()
    await tell(store, "room/a", EVENTS_KEPT + 5, clock())
    clock.pass_s(10 * KEPT_MS / 1000)
    assert await pruning(store, clock).sweep() == 5
    assert await pruning(store, clock).sweep() == 0
    assert await first(store, "room/a") == 6


async def test_a_buyer_who_comes_back_is_told_on_under_the_next_number(
    store: PrunableStore,
) -> None:
    clock = Clock()
    await tell(store, "buyer/b", 5, clock())
    clock.pass_s(KEPT_MS / 1000 + 1)
    assert await pruning(store, clock).sweep() == 5
    heard: list[int] = []
    told = asyncio.Event()

    async def deliver(messages: Sequence[Message]) -> None:
        heard.extend(message.event.sseq or 0 for message in messages)
        told.set()

    log = EventLog(store, "buyer/b", read=read_own, deliver=deliver, kept=16)
    await log.open()
    assert log.after(3) is None
    await tell(store, "buyer/b", 1, clock())
    log.committed(6)
    await told.wait()
    assert (heard, log.seq) == ([6], 6)
    log.close()


async def read_own(seq: int, body: bytes) -> Event:
    return unpack(body, sseq=seq)


async def test_nothing_goes_that_somebody_has_still_to_tell(store: PrunableStore) -> None:
    clock = Clock()
    await tell(store, "shop", EVENTS_KEPT + 500, clock())
    clock.pass_s(KEPT_MS / 1000 + 1)
    assert await pruning(store, clock, {"shop": 0}).sweep() == 0
    assert await pruning(store, clock, {"shop": 70}).sweep() == 70
    assert await first(store, "shop") == 71


async def test_the_audit_log_is_kept_whole(store: PrunableStore) -> None:
    clock = Clock()
    entries = [("audit", msgpack.packb({"at_ms": 0}))] * (EVENTS_KEPT + 50)
    await store.commit("entries", events=entries)
    clock.pass_s(KEPT_MS)
    assert await pruning(store, clock).sweep() == 0


async def test_a_sweep_is_bounded_and_the_next_goes_on(store: PrunableStore) -> None:
    clock = Clock()
    for _ in range(3):
        await tell(store, "shop", EVENTS_AT_ONCE, clock())
    clock.pass_s(KEPT_MS / 1000 + 1)
    sweeping = pruning(store, clock)
    assert [await sweeping.sweep() for _ in range(3)] == [EVENTS_AT_ONCE] * 2 + [0]


async def test_more_streams_than_one_sweep_are_gone_round(
    store: PrunableStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("commerce.pruning.STREAMS_AT_ONCE", 3)
    clock = Clock()
    for number in range(7):
        await tell(store, f"buyer/{number}", BUYER_EVENTS_KEPT + 1, clock())
    clock.pass_s(KEPT_MS / 1000 + 1)
    sweeping = pruning(store, clock)
    assert [await sweeping.sweep() for _ in range(4)] == [3, 3, 1, 0]


async def test_a_log_that_was_pruned_is_followed_and_asks_for_a_fresh_hello(
    store: PrunableStore,
) -> None:
    """`after` returns None for what is no longer kept: the session then sends `hello`."""
    clock = Clock()
    await tell(store, "room/a", EVENTS_KEPT + 400, clock())
    clock.pass_s(KEPT_MS / 1000 + 1)
    await pruning(store, clock).sweep()

    async def read(seq: int, body: bytes) -> Event:
        return unpack(body, seq=seq)

    async def deliver(messages: object) -> None:
        raise AssertionError("nothing is new")

    log = EventLog(store, "room/a", read=read, deliver=deliver, kept=512)
    await log.open()
    assert log.seq == EVENTS_KEPT + 400
    assert log.after(399) is None
    assert len(log.after(log.seq - 512) or ()) == 512
    assert await last_seq(store, "room/a", 1) == EVENTS_KEPT + 400
    log.close()
