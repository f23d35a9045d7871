"""Whoever follows a store hears of each commit with events, after it is done, and of no other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from commerce.store import BelowFloor, SqliteStore
from overlay.followed_store import FollowedStore


async def test_followers_hear_how_far_each_log_has_come(tmp_path: Path) -> None:
    store = FollowedStore(await SqliteStore.open(tmp_path / "hawker.db"))
    heard: list[Mapping[str, int]] = []
    store.followers.append(heard.append)
    assert await store.commit("1", events=[("a", b"1"), ("a", b"2"), ("b", b"3")]) == {
        "a": 2,
        "b": 1,
    }
    await store.commit("2", writes={"key": b"value"}, index={("by", "key"): "s"})
    with pytest.raises(BelowFloor):
        await store.commit("3", adds={"left": (-1, 0)}, events=[("a", b"4")])
    assert heard == [{"a": 2, "b": 1}]
    assert (await store.load(["key"]))["key"][0] == b"value"
    assert await store.scan("by", "", "z", 10) == ["key"]
    assert await store.events("a", 1, 10) == [(2, b"2")]
    await store.close()
