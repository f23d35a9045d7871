"""The audit log on a real store: an entry for each act, in the act's own commit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from commerce.store import BelowFloor, Conflict, SqliteStore, Store
from overlay.audit import Actor, AuditedStore, AuditLog, acting
from overlay.followed_store import FollowedStore

ALICE = Actor("alice", "host", "cards.pin", {"room": "shop", "card": "crd_1"})
NOW_MS = 1_800_000_000_000


@pytest.fixture
async def kept(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = await SqliteStore.open(tmp_path / "hawker.db")
    yield store
    await store.close()


@pytest.fixture
def store(kept: SqliteStore) -> AuditedStore:
    return AuditedStore(kept, lambda: NOW_MS)


@pytest.fixture(autouse=True)
async def _nobody_acts_at_first() -> None:
    acting.set(None)


async def names(store: Store) -> list[str]:
    return [entry.by for entry in (await AuditLog(store).page(limit=200))[0]]


async def test_an_act_has_its_entry_in_the_same_commit(store: AuditedStore) -> None:
    acting.set(ALICE)
    seqs = await store.commit("c1", writes={"card": b"1"}, events=[("room/shop", b"pinned")])
    assert seqs == {"room/shop": 1, "audit": 1}
    (entry,), following = await AuditLog(store).page()
    assert (entry.by, entry.role, entry.act, entry.target) == (
        "alice",
        "host",
        "cards.pin",
        {"room": "shop", "card": "crd_1"},
    )
    assert (entry.at_ms, entry.seq, following) == (NOW_MS, 1, None)
    assert entry.id.startswith("evt_")


@pytest.mark.parametrize(
    "written",
    [
        {"writes": {"key": b"1"}},
        {"writes": {"key": None}},
        {"adds": {"count": (1, 0)}},
        {"index": {("index", "key"): "sort"}},
        {"events": [("shop", b"event")]},
    ],
    ids=lambda written: next(iter(written)),
)
async def test_whatever_is_written_has_an_entry(
    store: AuditedStore, written: Mapping[str, object]
) -> None:
    acting.set(ALICE)
    await store.commit("c1", **written)  # type: ignore[arg-type]
    assert await names(store) == ["alice"]


async def test_a_commit_that_writes_nothing_has_none(store: AuditedStore) -> None:
    acting.set(ALICE)
    await store.commit("c1", reads={"key": 0})
    assert await names(store) == []


async def test_while_nobody_acts_there_is_none(store: AuditedStore) -> None:
    assert await store.commit("c1", writes={"key": b"1"}) == {}
    assert await names(store) == []


async def test_a_refused_act_has_none(store: AuditedStore) -> None:
    await store.commit("c0", writes={"key": b"0"})
    acting.set(ALICE)
    with pytest.raises(Conflict):
        await store.commit("c1", reads={"key": 0}, writes={"key": b"1"})
    with pytest.raises(BelowFloor):
        await store.commit("c2", adds={"count": (-1, 0)})
    assert await names(store) == []


async def test_a_commit_that_is_sent_again_has_one(store: AuditedStore) -> None:
    acting.set(ALICE)
    first = await store.commit("c1", writes={"key": b"1"})
    assert await store.commit("c1", writes={"key": b"1"}) == first
    assert await names(store) == ["alice"]


async def test_two_who_act_at_once_are_told_apart(store: AuditedStore) -> None:
    async def act(name: str) -> None:
        acting.set(Actor(name, "host", "cards.pin", {}))
        for number in range(5):
            await store.commit(f"{name}-{number}", writes={f"{name}-{number}": b"1"})

    async with asyncio.TaskGroup() as group:
        for name in ("alice", "bob"):
            group.create_task(act(name))
    assert sorted(await names(store)) == ["alice"] * 5 + ["bob"] * 5


async def test_a_task_begun_by_whoever_hears_of_the_commit_is_in_no_ones_name(
    kept: SqliteStore,
) -> None:
    followed = FollowedStore(kept)
    store = AuditedStore(followed, lambda: NOW_MS)
    relays = []

    def relay(seqs: Mapping[str, int]) -> None:
        if "shop" in seqs:
            commit = store.commit(f"relay-{seqs['shop']}", events=[("room/shop", b"told")])
            relays.append(asyncio.get_running_loop().create_task(commit))

    followed.followers.append(relay)
    acting.set(ALICE)
    await store.commit("c1", events=[("shop", b"event")])
    assert await relays[0] == {"room/shop": 1}
    assert await names(store) == ["alice"]
    assert acting.get() == ALICE


async def test_a_record_is_one_entry_whoever_acts(store: AuditedStore) -> None:
    acting.set(ALICE)
    await AuditLog(store, lambda: NOW_MS).record("bob", "finance", "login", {})
    (entry,), _ = await AuditLog(store).page()
    assert (entry.by, entry.role, entry.act, entry.target) == ("bob", "finance", "login", {})


@pytest.mark.parametrize("count", [0, 1, 2, 9, 10, 11, 23])
async def test_pages_go_from_the_newest_to_the_oldest(store: AuditedStore, count: int) -> None:
    log = AuditLog(store)
    for number in range(count):
        await log.record(f"person-{number}", "host", "login", {})
    seen, before = [], None
    for _ in range(count + 1):
        entries, before = await log.page(before=before, limit=5)
        seen += [entry.by for entry in entries]
        if before is None:
            break
    assert seen == [f"person-{number}" for number in reversed(range(count))]


async def test_what_is_new_does_not_move_the_pages_under_way(store: AuditedStore) -> None:
    log = AuditLog(store)
    for number in range(6):
        await log.record(f"person-{number}", "host", "login", {})
    _, before = await log.page(limit=3)
    await log.record("newcomer", "host", "login", {})
    entries, _ = await log.page(before=before, limit=3)
    assert [entry.by for entry in entries] == ["person-2", "person-1", "person-0"]


@pytest.mark.parametrize("before", [1, 2, 10**15])
async def test_a_strange_number_to_begin_before_is_no_error(
    store: AuditedStore, before: int
) -> None:
    await AuditLog(store).record("alice", "host", "login", {})
    entries, following = await AuditLog(store).page(before=before)
    assert len(entries) == (1 if before == 2 else 0)
    assert following is None
