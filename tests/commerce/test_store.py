"""What every store promises, in one body of tests; each store joins by a factory (conftest.py)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from commerce.store import INDEX_END, BelowFloor, Conflict, Store
from tests.commerce.conftest import Open


@pytest.fixture
async def store(open_store: Open) -> AsyncIterator[Store]:
    store = await open_store()
    yield store
    await store.close()


async def value(store: Store, key: str) -> bytes | None:
    return (await store.load([key]))[key][0]


async def version(store: Store, key: str) -> int:
    return (await store.load([key]))[key][1]


async def test_what_was_committed_is_loaded_with_a_version(store: Store) -> None:
    await store.commit("1", writes={"a": b"x", "b": b"", "c": b"\x00\xff"})
    loaded = await store.load(["a", "b", "c", "missing"])
    assert {key: item[0] for key, item in loaded.items()} == {
        "a": b"x",
        "b": b"",
        "c": b"\x00\xff",
        "missing": None,
    }
    assert loaded["a"][1] > 0
    assert loaded["missing"] == (None, 0)


async def test_loading_nothing_is_nothing(store: Store) -> None:
    assert await store.load([]) == {}


async def test_a_commit_survives_reopening(open_store: Open) -> None:
    store = await open_store()
    seqs = await store.commit(
        "1",
        writes={"a": b"x"},
        adds={"n": (5, 0)},
        index={("by", "a"): "s"},
        events=[("e", b"1")],
    )
    await store.close()
    store = await open_store()
    assert await value(store, "a") == b"x"
    assert await value(store, "n") == b"5"
    assert await store.scan("by", "", INDEX_END, 10) == ["a"]
    assert await store.events("e", 0, 10) == [(1, b"1")]
    assert await store.commit("1", writes={"a": b"y"}) == seqs
    assert await value(store, "a") == b"x"
    await store.close()


async def test_every_write_gives_a_new_version_and_none_comes_twice(store: Store) -> None:
    seen = [await version(store, "a")]
    for step, content in enumerate([b"x", b"x", None, b"x"]):
        await store.commit(f"c{step}", writes={"a": content})
        seen.append(await version(store, "a"))
    assert seen[0] == seen[3] == 0
    written = [seen[1], seen[2], seen[4]]
    assert written == sorted(set(written))


async def test_a_read_of_a_changed_key_is_a_conflict_and_nothing_is_done(store: Store) -> None:
    await store.commit("1", writes={"a": b"old"})
    seen = await version(store, "a")
    await store.commit("2", writes={"a": b"new"})
    with pytest.raises(Conflict) as caught:
        await store.commit(
            "3",
            reads={"a": seen},
            writes={"a": b"mine", "b": b"mine"},
            adds={"n": (1, 0)},
            index={("by", "b"): "s"},
            events=[("e", b"mine")],
        )
    assert caught.value.key == "a"
    assert caught.value.version == await version(store, "a")
    assert await value(store, "a") == b"new"
    assert await store.load(["b", "n"]) == {"b": (None, 0), "n": (None, 0)}
    assert await store.scan("by", "", INDEX_END, 10) == []
    assert await store.events("e", 0, 10) == []


async def test_version_zero_means_the_key_must_not_be_there(store: Store) -> None:
    await store.commit("1", reads={"a": 0}, writes={"a": b"first"})
    with pytest.raises(Conflict):
        await store.commit("2", reads={"a": 0}, writes={"a": b"second"})
    assert await value(store, "a") == b"first"


async def test_a_key_deleted_and_made_again_conflicts_with_who_read_it_before(
    store: Store,
) -> None:
    await store.commit("1", writes={"a": b"x"})
    seen = await version(store, "a")
    await store.commit("2", writes={"a": None})
    assert await value(store, "a") is None
    await store.commit("3", writes={"a": b"x"})
    with pytest.raises(Conflict):
        await store.commit("4", reads={"a": seen}, writes={"a": b"y"})


async def test_a_refused_commit_may_be_tried_again_under_its_id(store: Store) -> None:
    with pytest.raises(Conflict):
        await store.commit("1", reads={"a": 7}, writes={"b": b"x"})
    await store.commit("1", reads={"a": 0}, writes={"b": b"x"})
    assert await value(store, "b") == b"x"


async def test_a_counter_counts_down_to_its_floor_and_says_what_it_holds(store: Store) -> None:
    await store.commit("1", adds={"stock": (3, 0)})
    await store.commit("2", adds={"stock": (-2, 0)})
    with pytest.raises(BelowFloor) as caught:
        await store.commit("3", adds={"stock": (-2, 0)}, writes={"order": b"x"})
    assert (caught.value.key, caught.value.value) == ("stock", 1)
    assert await value(store, "stock") == b"1"
    assert await value(store, "order") is None
    await store.commit("4", adds={"stock": (-1, 0)})
    assert await value(store, "stock") == b"0"


async def test_a_floor_may_be_negative_and_a_counter_may_be_written(store: Store) -> None:
    await store.commit("1", writes={"n": b"-3"})
    await store.commit("2", adds={"n": (-2, -5)})
    assert await value(store, "n") == b"-5"
    with pytest.raises(BelowFloor):
        await store.commit("3", adds={"n": (-1, -5)})


async def test_a_repeated_commit_gets_the_first_answer_and_changes_nothing(store: Store) -> None:
    await store.commit("0", events=[("room", b"before")])
    first = await store.commit("1", adds={"n": (1, 0)}, events=[("room", b"x"), ("other", b"y")])
    await store.commit("2", events=[("room", b"after")])
    again = await store.commit("1", adds={"n": (1, 0)}, events=[("room", b"x"), ("other", b"y")])
    assert first == again == {"room": 2, "other": 1}
    assert await value(store, "n") == b"1"
    assert [seq for seq, _ in await store.events("room", 0, 10)] == [1, 2, 3]


async def test_the_same_commit_twice_at_once_is_done_once(store: Store) -> None:
    answers = await asyncio.gather(
        *(store.commit("1", adds={"n": (1, 0)}, events=[("e", b"x")]) for _ in range(20))
    )
    assert answers == [{"e": 1}] * 20
    assert await value(store, "n") == b"1"


async def test_events_count_from_one_without_gaps_in_each_stream(store: Store) -> None:
    assert await store.commit("1", events=[("a", b"1"), ("b", b"1"), ("a", b"2")]) == {
        "a": 2,
        "b": 1,
    }
    with pytest.raises(Conflict):
        await store.commit("2", reads={"k": 9}, events=[("a", b"never")])
    await store.commit("3", events=[("a", b"3")])
    assert await store.events("a", 0, 10) == [(1, b"1"), (2, b"2"), (3, b"3")]
    assert await store.events("a", 1, 1) == [(2, b"2")]
    assert await store.events("a", 3, 10) == []
    assert await store.events("none", 0, 10) == []


async def test_scan_goes_by_sort_then_key_from_low_to_below_high(store: Store) -> None:
    places = {"k1": "b", "k2": "a", "k4": "c", "k3": "b", "k5": "d", "k6": "ä"}
    await store.commit("1", index={("i", key): sort for key, sort in places.items()})
    await store.commit("2", index={("other", "k9"): "b"})
    assert await store.scan("i", "", INDEX_END, 10) == ["k2", "k1", "k3", "k4", "k5", "k6"]
    assert await store.scan("i", "b", "d", 10) == ["k1", "k3", "k4"]
    assert await store.scan("i", "b", "d", 2) == ["k1", "k3"]
    assert await store.scan("i", "e", "f", 10) == []
    assert await store.scan("none", "", INDEX_END, 10) == []


async def test_a_page_begins_behind_the_last_sort_of_the_one_before(store: Store) -> None:
    sorts = ["a", "a\x01", "ab", "b"]
    await store.commit("1", index={("i", f"k{n}"): sort for n, sort in enumerate(sorts)})
    assert await store.scan("i", "a\0", INDEX_END, 10) == ["k1", "k2", "k3"]
    assert await store.scan("i", "", "ab\0", 10) == ["k0", "k1", "k2"]
    assert await store.scan("i", "b\0", INDEX_END, 10) == []


async def test_a_key_has_one_place_in_an_index_and_can_leave_it(store: Store) -> None:
    await store.commit("1", index={("i", "k"): "a", ("j", "k"): "a"})
    await store.commit("2", index={("i", "k"): "z"})
    assert await store.scan("i", "a", "b", 10) == []
    assert await store.scan("i", "z", INDEX_END, 10) == ["k"]
    await store.commit("3", index={("i", "k"): None, ("i", "never there"): None})
    assert await store.scan("i", "", INDEX_END, 10) == []
    assert await store.scan("j", "", INDEX_END, 10) == ["k"]


async def test_a_limit_below_one_is_a_bug(store: Store) -> None:
    with pytest.raises(ValueError, match="limit"):
        await store.scan("i", "", INDEX_END, 0)
    with pytest.raises(ValueError, match="limit"):
        await store.events("e", 0, -1)


async def test_a_thousand_buyers_at_once_sell_exactly_the_stock(store: Store) -> None:
    await store.commit("stock", writes={"stock": b"300"})

    async def buy(buyer: int) -> bool:
        order = f"order/{buyer:04}"
        try:
            await store.commit(
                f"buy {buyer}",
                adds={"stock": (-1, 0)},
                writes={order: b"x"},
                index={("orders", order): order},
                events=[("room", order.encode())],
            )
        except BelowFloor:
            return False
        return True

    sold = await asyncio.gather(*(buy(each) for each in range(1000)))
    assert sum(sold) == 300
    assert await value(store, "stock") == b"0"
    orders = await store.scan("orders", "", INDEX_END, 1000)
    assert orders == [f"order/{buyer:04}" for buyer in range(1000) if sold[buyer]]
    events = await store.events("room", 0, 1000)
    assert [seq for seq, _ in events] == list(range(1, 301))
    assert sorted(body.decode() for _, body in events) == orders


async def test_writers_that_load_and_retry_lose_no_update(store: Store) -> None:
    async def append(writer: int) -> None:
        attempt = 0
        while True:
            held, seen = (await store.load(["list"]))["list"]
            attempt += 1
            try:
                await store.commit(
                    f"{writer}.{attempt}",
                    reads={"list": seen},
                    writes={"list": (held or b"") + bytes([writer])},
                )
            except Conflict:
                continue
            return

    await asyncio.gather(*(append(writer) for writer in range(30)))
    assert sorted(await value(store, "list") or b"") == list(range(30))


async def test_one_commits_bug_spoils_none_that_was_folded_with_it(store: Store) -> None:
    await store.commit("text", writes={"text": b"not a number"})
    outcomes = await asyncio.gather(
        store.commit("1", writes={"a": b"x"}),
        store.commit("2", writes={"never": b"x"}, adds={"text": (1, 0)}),
        store.commit("3", writes={"never": b"x"}, adds={"huge": (2**60, 0)}),
        store.commit("4", writes={"b": b"x", "\ud800": b"x"}),
        store.commit("5", writes={"c": b"x"}),
        store.load(["a"]),
        store.events("e", 0, 2**70),
        return_exceptions=True,
    )
    good = [outcome for outcome in outcomes if not isinstance(outcome, Exception)]
    assert outcomes[0] == outcomes[4] == {}
    assert len(good) == 3
    assert isinstance(outcomes[1], ValueError)
    assert isinstance(outcomes[2], ValueError)
    assert [await value(store, key) for key in ("a", "never", "b", "c")] == [
        b"x",
        None,
        None,
        b"x",
    ]
