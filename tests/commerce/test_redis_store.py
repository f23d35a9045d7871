"""What the store in Redis promises beyond the seam: it lasts, it finds its way back, it is bounded."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from commerce.errors import OutcomeUnknown, StoreUnavailable
from commerce.ids import utc_ms
from commerce.store import BelowFloor, RedisStore
from commerce.store import redis as store_module
from commerce.store.redis import WAITING_LIMIT, probe
from commerce.store.redis_url import parse
from tests.commerce.redis_load import Load, check_kept
from tests.commerce.redis_server import RedisServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """One to be killed."""
    server = RedisServer(tmp_path / "redis")
    server.start()
    yield server
    server.kill()


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[RedisStore]:
    store = await RedisStore.open(redis_url)
    yield store
    await store.close()


async def test_what_was_acknowledged_is_there_after_kill_9_and_all_or_nothing(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    store = await RedisStore.open(server.url)
    load = Load(store)
    for _ in range(3):
        await load.until(200)
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        await load.until(200)
    await load.stop()
    await check_kept(store, load)
    assert not load.refused  # each came back within the time that a commit is tried for
    assert load.acknowledged == sorted(set(load.acknowledged), key=load.acknowledged.index)
    lines = [each.levelno for each in caplog.records if each.name == "hawker.store"]
    assert lines == [logging.ERROR, logging.WARNING] * (len(lines) // 2)
    assert len(lines) >= 6
    await store.close()


async def test_a_redis_that_is_away_is_said_in_time_and_it_works_again_when_it_is_back(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "DEADLINE_S", 0.2)
    store = await RedisStore.open(server.url)
    await store.commit("1", adds={"n": (1, 0)})
    server.kill()
    with pytest.raises(StoreUnavailable) as refused:
        await store.load(["n"])
    assert refused.value.status == 503
    for number in range(3):  # the first may have been sent into the connection that was going
        with pytest.raises(StoreUnavailable):
            await store.commit(f"away {number}", adds={"n": (1, 0)})
    server.start()
    await store.commit("2", adds={"n": (1, 0)})
    assert (await store.load(["n"]))["n"][0] == b"2"
    await store.close()


async def test_a_commit_whose_answer_is_lost_is_asked_for_again_and_done_once(
    redis_server: RedisServer, store: RedisStore
) -> None:
    async def lose_connections() -> None:
        for _ in range(20):
            await asyncio.to_thread(redis_server.ask, "CLIENT", "KILL", "TYPE", "normal")

    async def commit(number: int) -> None:
        for step in range(20):
            id = f"{number}.{step}"
            await store.commit(id, adds={"n": (1, 0)}, events=[("e", id.encode())])

    await asyncio.gather(lose_connections(), *(commit(number) for number in range(20)))
    assert (await store.load(["n"]))["n"][0] == b"400"
    assert len({body for _, body in await store.events("e", 0, 1000)}) == 400


async def test_a_redis_that_hangs_leaves_the_outcome_unknown_and_a_retry_tells_it(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "DEADLINE_S", 0.3)
    monkeypatch.setattr(store_module, "COMMITTING_LANES", 1)  # it is connected
    monkeypatch.setattr("commerce.store.redis_link.ANSWER_S", 0.2)
    monkeypatch.setattr("commerce.store.redis_link.DIAL_S", 0.2)
    store = await RedisStore.open(server.url)
    await store.commit("stock", adds={"stock": (1, 0)})
    server.signal(signal.SIGSTOP)
    with pytest.raises(OutcomeUnknown):
        await store.commit("buy", adds={"stock": (-1, 0)})
    server.signal(signal.SIGCONT)
    assert await store.commit("buy", adds={"stock": (-1, 0)}) == {}
    assert (await store.load(["stock"]))["stock"][0] == b"0"
    with pytest.raises(BelowFloor):
        await store.commit("buy another", adds={"stock": (-1, 0)})
    await store.close()


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("appendonly", "no"),
        ("appendfsync", "everysec"),
        ("maxmemory-policy", "allkeys-lru"),
    ],
)
async def test_a_redis_that_may_forget_is_refused_unless_that_is_allowed(
    tmp_path: Path, setting: str, value: str
) -> None:
    server = RedisServer(tmp_path, **{setting: value})
    server.start()
    try:
        safe = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}
        with pytest.raises(
            StoreUnavailable, match=f"set {setting} {safe[setting]}; or store.allow"
        ):
            await RedisStore.open(server.url)
        assert setting in await probe(server.url, allow_unsafe=False)
        assert not await probe(server.url, allow_unsafe=True)
        assert server.ask("DBSIZE") == "0"
        await (await RedisStore.open(server.url, allow_unsafe=True)).close()
    finally:
        server.kill()


async def test_what_is_secret_in_the_url_is_in_no_message(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    place = redis_server.url.removeprefix("redis://")
    for url in (
        f"redis://me:s3cret@{place}",
        "redis://me:s3cret@127.0.0.1:1",
        "redis://:s3cret@:x",
    ):
        with pytest.raises(StoreUnavailable) as refused:
            await RedisStore.open(url)
        assert "s3cret" not in f"{refused.value.detail} {await probe(url, allow_unsafe=False)}"
    assert "s3cret" not in f"{caplog.text} {parse('redis://:s3cret@h')!r}"


def test_urls_are_read_with_their_defaults() -> None:
    assert str(parse("redis://h")) == "redis://h:6379"
    assert str(parse("rediss://me:pa%2Fss@h:1/2?shop=north")) == "rediss://h:1/2?shop=north"
    assert parse("rediss://me:pa%2Fss@h").password == "pa/ss"
    assert parse("redis+cluster://a:1,b,[::1]:3").nodes == (("a", 1), ("b", 6379), ("::1", 3))
    assert str(parse("redis+cluster://[::1]:3")) == "redis+cluster://[::1]:3"


@pytest.mark.parametrize(
    "url",
    [
        "http://h",
        "redis://",
        "redis://h:x",
        "redis://h/a",
        "redis+cluster://h/1",
        "redis://h?a=1",
        "redis://h?shop=",
        "redis://h?shop={a}",
        "redis://h,:3",
        "redis://[::1",
        "redis://h#f",
    ],
)
def test_what_is_no_url_of_a_store_is_refused(url: str) -> None:
    with pytest.raises(ValueError):
        parse(url)


async def test_two_shops_share_a_redis_and_nothing_else(redis_url: str) -> None:
    north = await RedisStore.open(f"{redis_url}?shop=north")
    south = await RedisStore.open(f"{redis_url}?shop=south")
    await north.commit("1", writes={"a": b"n"}, events=[("e", b"n")])
    assert await south.commit("1", writes={"b": b"s"}, events=[("e", b"s")]) == {"e": 1}
    assert (await south.load(["a"]))["a"] == (None, 0)
    await north.close()
    await south.close()


async def test_a_format_of_a_newer_program_and_a_shop_that_moved_are_refused(
    redis_server: RedisServer, redis_url: str
) -> None:
    redis_server.ask("HSET", "{hawker}:mark", "schema", "99", "records", "1")
    with pytest.raises(StoreUnavailable, match="newer"):
        await RedisStore.open(redis_url)
    redis_server.ask("HSET", "{hawker}:mark", "schema", "1", "moved", "elsewhere")
    with pytest.raises(StoreUnavailable, match="moved to elsewhere"):
        await RedisStore.open(redis_url)


async def test_a_redis_that_is_full_does_nothing_and_says_so(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "DEADLINE_S", 0.1)
    store = await RedisStore.open(server.url)
    server.ask("CONFIG", "SET", "maxmemory", "1mb")
    with pytest.raises(StoreUnavailable, match="maxmemory") as refused:
        await store.commit("1", writes={"a": b"x"}, events=[("e", b"x")])
    assert refused.value.code == "store_unavailable"
    assert await store.load(["a"]) == {"a": (None, 0)}
    server.ask("CONFIG", "SET", "maxmemory", "0")
    assert await store.commit("1", writes={"a": b"x"}, events=[("e", b"x")]) == {"e": 1}
    await store.close()


async def test_only_so_many_requests_may_wait(store: RedisStore) -> None:
    waiting = [asyncio.ensure_future(store.load(["a"])) for _ in range(WAITING_LIMIT + 5)]
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert len([each for each in outcomes if isinstance(each, StoreUnavailable)]) == 5
    assert await store.load(["a"]) == {"a": (None, 0)}


async def test_closing_finishes_what_was_asked_and_refuses_what_comes_later(
    redis_url: str,
) -> None:
    store = await RedisStore.open(redis_url)
    commits = [asyncio.ensure_future(store.commit(f"{n}", adds={"n": (1, 0)})) for n in range(600)]
    await asyncio.sleep(0)
    for commit in commits[::2]:
        commit.cancel()  # who gives up disturbs nobody
    await store.close()
    await asyncio.gather(*commits[1::2])
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.load(["n"])
    await store.close()


async def test_old_commit_ids_are_forgotten_and_recent_ones_are_not(
    redis_server: RedisServer, redis_url: str
) -> None:
    store = await RedisStore.open(redis_url, commit_ids_kept=100)
    await store.commit("old", adds={"n": (1, 0)})
    await asyncio.gather(*(store.commit(f"{n}") for n in range(500)))
    await store.commit("recent", adds={"n": (1, 0)})
    await store.commit("old", adds={"n": (1, 0)})
    await store.commit("recent", adds={"n": (1, 0)})
    assert (await store.load(["n"]))["n"][0] == b"3"
    assert redis_server.ask("HLEN", "{hawker}:done") == "100"
    assert redis_server.ask("LLEN", "{hawker}:log") == "100"
    await store.close()


async def test_commit_ids_are_forgotten_by_age(redis_server: RedisServer, redis_url: str) -> None:
    store = await RedisStore.open(redis_url, commit_id_kept_ms=-1)
    for step in range(3):
        await store.commit("1", adds={"n": (1, 0)})
        assert (await store.load(["n"]))["n"][0] == b"%d" % (step + 1)
    await store.close()


async def test_the_time_is_that_of_the_server(store: RedisStore) -> None:
    await store.commit("1")
    assert abs(store.now_ms() - utc_ms()) < 1000  # here it is the same machine


async def test_streams_are_told_by_name_and_their_oldest_events_forgotten(
    store: RedisStore,
) -> None:
    await store.commit("1", events=[("b", b"1"), ("a", b"1"), ("b", b"2"), ("c", b"1")])
    assert await store.streams("", 2) == [("a", 1), ("b", 2)]
    assert await store.streams("b", 2) == [("c", 1)]
    assert await store.streams("c", 2) == []
    assert await store.forget_events("b", 1) == 1
    assert await store.forget_events("b", 9) == 1
    assert await store.commit("2", events=[("b", b"3")]) == {"b": 3}
    assert await store.events("b", 0, 10) == [(3, b"3")]
