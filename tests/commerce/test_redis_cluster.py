"""The store in a Cluster of three primaries: a slot that moves, a primary that dies, under load."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from commerce.errors import OutcomeUnknown, StoreUnavailable
from commerce.store import RedisStore
from commerce.store import redis as store_module
from tests.commerce.redis_load import Load, check_kept
from tests.commerce.redis_server import RedisServer

SLOTS = 16_384
NODE_TIMEOUT_MS = 500
SETTLED_S = 15.0


class Cluster:
    """Three primaries; `replica` is one of that which holds the shop, `home`."""

    def __init__(self, directory: Path) -> None:
        self.servers = [
            RedisServer(
                directory / str(number),
                cluster_enabled="yes",
                cluster_node_timeout=str(NODE_TIMEOUT_MS),
                repl_diskless_sync_delay="0",
            )
            for number in range(4)
        ]
        *self.primaries, self.replica = self.servers

    @property
    def url(self) -> str:
        places = ",".join(f"127.0.0.1:{server.port}" for server in self.primaries)
        return f"redis+cluster://{places}"

    def start(self) -> None:
        for number, server in enumerate(self.servers):
            server.start()
            server.ask("CLUSTER", "SET-CONFIG-EPOCH", str(number + 1))
        first, *others = self.servers
        bounds = [0, SLOTS // 3, 2 * SLOTS // 3, SLOTS]
        for server, low, high in zip(self.primaries, bounds[:-1], bounds[1:], strict=True):
            server.ask("CLUSTER", "ADDSLOTSRANGE", str(low), str(high - 1))
        for server in others:
            server.ask("CLUSTER", "MEET", "127.0.0.1", str(first.port))
        self.slot = int(first.ask("CLUSTER", "KEYSLOT", "{hawker}:item"))
        self.home = next(
            server
            for server, low, high in zip(self.primaries, bounds[:-1], bounds[1:], strict=True)
            if low <= self.slot < high
        )
        known = self.id(self.home)
        until(lambda: known in self.replica.ask("CLUSTER", "NODES"))
        self.replica.ask("CLUSTER", "REPLICATE", known)
        until(lambda: "master_link_status:up" in self.replica.ask("INFO", "replication"))
        for server in self.servers:
            until(lambda server=server: "cluster_state:ok" in server.ask("CLUSTER", "INFO"))

    def id(self, server: RedisServer) -> str:
        return server.ask("CLUSTER", "MYID")

    def move_slot(self, target: RedisServer) -> None:
        """As redis-cli does it: open the slot on both sides, take its keys over, tell everybody."""
        source, slot = self.home, str(self.slot)
        target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", self.id(source))
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", self.id(target))
        while keys := source.ask("CLUSTER", "GETKEYSINSLOT", slot, "2").split():
            place = ("127.0.0.1", str(target.port), "", "0", "5000")
            source.ask("MIGRATE", *place, "KEYS", *keys)
            time.sleep(0.05)  # so that commits meet the slot in two halves
        for server in (target, source, *self.primaries):
            server.ask("CLUSTER", "SETSLOT", slot, "NODE", self.id(target))
        self.home = target

    def kill(self) -> None:
        for server in self.servers:
            server.kill()


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SETTLED_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    cluster = Cluster(tmp_path)
    try:
        await asyncio.to_thread(cluster.start)
        yield cluster
    finally:
        cluster.kill()


async def test_a_slot_moves_under_load_and_back_and_no_commit_is_lost_or_refused(
    cluster: Cluster,
) -> None:
    store = await RedisStore.open(cluster.url)
    load = Load(store)
    start = cluster.home
    other = next(server for server in cluster.primaries if server is not start)
    for target in (other, start):
        await load.until(300)
        await asyncio.to_thread(cluster.move_slot, target)
        await load.until(300)
    await load.stop()
    assert not load.refused
    await check_kept(store, load)
    assert (await store.commit("last", events=[("told", b"x")]))["told"] > 1200
    await store.close()


async def test_a_primary_is_killed_under_load_and_what_was_acknowledged_is_on_its_replica(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await RedisStore.open(cluster.url, replicas=1)
    load = Load(store)
    await load.until(500)
    await asyncio.to_thread(cluster.home.kill)
    took_over = "role:master"
    await asyncio.to_thread(until, lambda: took_over in cluster.replica.ask("INFO", "replication"))
    monkeypatch.setattr(store_module, "REPLICAS_MS", 50)
    with pytest.raises(OutcomeUnknown):  # it has no replica yet
        await store.commit("alone", adds={"alone": (1, 0)})
    with pytest.raises(OutcomeUnknown):
        await store.settle()
    await asyncio.to_thread(cluster.home.start)  # comes back as a replica
    while True:
        try:
            assert await store.commit("alone", adds={"alone": (1, 0)}) == {}
        except OutcomeUnknown:
            continue
        break
    assert (await store.load(["alone"]))["alone"][0] == b"1"
    await store.settle()
    await load.until(100)
    await load.stop()
    assert all(isinstance(each, OutcomeUnknown | StoreUnavailable) for each in load.refused)
    await check_kept(store, load)
    await store.close()
