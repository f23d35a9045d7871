"""What the SQLite store promises beyond the seam: it lasts, it is private, it is bounded."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from commerce.errors import StoreUnavailable
from commerce.store import INDEX_END, SqliteStore
from commerce.store.migrations import SCHEMA
from commerce.store.sqlite import WAITING_LIMIT
from commerce.store.sqlite_file import PRUNE_EVERY

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
ACKNOWLEDGED_BEFORE_KILL = 200


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "hawker.db"


def start(program: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(HERE / program), *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )


def commit_until_killed(path: Path, round: int) -> list[str]:
    """The ids that a program had acknowledged when it was killed."""
    with start("committer.py", str(path), str(round)) as program:
        assert program.stdout is not None
        lines = [program.stdout.readline() for _ in range(ACKNOWLEDGED_BEFORE_KILL)]
        program.send_signal(signal.SIGKILL)
        lines += program.stdout.readlines()
    assert program.returncode == -signal.SIGKILL
    return [line.strip() for line in lines if line.endswith("\n")]


async def test_what_was_acknowledged_is_there_after_kill_9_and_all_or_nothing(path: Path) -> None:
    acknowledged: list[str] = []
    for round in range(3):
        acknowledged += await asyncio.to_thread(commit_until_killed, path, round)
    store = await SqliteStore.open(path)
    kept = await store.scan("all", "", INDEX_END, 1_000_000)
    items = await store.load(kept)
    told = await store.events("told", 0, 1_000_000)
    count = (await store.load(["count"]))["count"][0]
    await store.close()
    assert len(acknowledged) >= 3 * ACKNOWLEDGED_BEFORE_KILL
    assert set(acknowledged) <= set(kept)
    assert all(value == b"x" * 200 for value, _ in items.values())
    assert count == b"%d" % len(kept)
    assert [seq for seq, _ in told] == list(range(1, len(kept) + 1))
    assert sorted(body.decode() for _, body in told) == sorted(kept)


async def test_a_full_disk_refuses_and_loses_nothing_and_works_again_when_there_is_room(
    path: Path,
) -> None:
    def run() -> str:
        with start("small_disk.py", str(path)) as program:
            return program.communicate(timeout=60)[0]

    seen = json.loads(await asyncio.to_thread(run))
    assert seen["refused"]["status"] == 503
    assert seen["refused"]["code"] in ("store_unavailable", "outcome_unknown")
    assert len(seen["acknowledged"]) > 2
    store = await SqliteStore.open(path)
    loaded = await store.load([*seen["acknowledged"], seen["refused"]["key"]])
    await store.close()
    assert loaded.pop(seen["refused"]["key"]) == (None, 0)
    assert all(value is not None for value, _ in loaded.values())


async def test_the_file_and_its_log_are_readable_by_their_owner_only(path: Path) -> None:
    store = await SqliteStore.open(path)
    await store.commit("1", writes={"a": b"x"})
    modes = {each.name: each.stat().st_mode & 0o777 for each in path.parent.iterdir()}
    await store.close()
    assert modes == {"hawker.db": 0o600, "hawker.db-wal": 0o600, "hawker.db-shm": 0o600}


async def test_a_file_of_a_newer_program_is_refused_by_name(path: Path) -> None:
    await (await SqliteStore.open(path)).close()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE schema_version SET version = ?", [SCHEMA[-1].to + 1])
    connection.commit()
    connection.close()
    with pytest.raises(StoreUnavailable, match=rf"hawker.db: .*newer.*schema {SCHEMA[-1].to + 1}"):
        await SqliteStore.open(path)


async def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("these are my notes, not a database\n" * 50)
    with pytest.raises(StoreUnavailable, match="hawker.db"):
        await SqliteStore.open(path)
    assert path.read_text().startswith("these are my notes")


async def test_a_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match="hawker.db"):
        await SqliteStore.open(tmp_path / "file" / "hawker.db")


async def test_two_processes_may_share_the_file(path: Path) -> None:
    first, second = await SqliteStore.open(path), await SqliteStore.open(path)

    async def count(store: SqliteStore) -> None:
        for n in range(100):
            await store.commit(f"{n}", adds={"n": (1, 0)}, events=[("e", b"x")])

    await asyncio.gather(count(first), count(second))
    assert (await first.load(["n"]))["n"][0] == b"100"
    assert len(await second.events("e", 0, 200)) == 100
    await first.close()
    await second.close()


async def test_only_so_many_requests_may_wait(path: Path) -> None:
    store = await SqliteStore.open(path)
    waiting = [asyncio.ensure_future(store.load(["a"])) for _ in range(WAITING_LIMIT + 5)]
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    refused = [each for each in outcomes if isinstance(each, StoreUnavailable)]
    assert len(refused) == 5
    assert refused[0].headers["Retry-After"] == "1"
    assert await store.load(["a"]) == {"a": (None, 0)}
    await store.close()


async def test_closing_finishes_what_was_asked_and_refuses_what_comes_later(path: Path) -> None:
    store = await SqliteStore.open(path)
    commits = [asyncio.ensure_future(store.commit(f"{n}", adds={"n": (1, 0)})) for n in range(600)]
    await asyncio.sleep(0)
    await store.close()
    await asyncio.gather(*commits)
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.load(["n"])
    await store.close()
    assert "hawker-store" not in [thread.name for thread in threading.enumerate()]
    store = await SqliteStore.open(path)
    assert (await store.load(["n"]))["n"][0] == b"600"
    await store.close()


async def test_a_caller_that_gives_up_disturbs_nobody(path: Path) -> None:
    store = await SqliteStore.open(path)
    commits = [asyncio.ensure_future(store.commit(f"{n}", adds={"n": (1, 0)})) for n in range(50)]
    await asyncio.sleep(0)
    for commit in commits[::2]:
        commit.cancel()
    outcomes = await asyncio.gather(*commits, return_exceptions=True)
    assert outcomes[1::2] == [{}] * 25
    assert (await store.load(["n"]))["n"][0] == b"50"
    await store.close()


async def test_old_commit_ids_are_forgotten_and_recent_ones_are_not(path: Path) -> None:
    store = await SqliteStore.open(path, commit_ids_kept=100)
    await store.commit("old", adds={"n": (1, 0)})
    await asyncio.gather(*(store.commit(f"{n}") for n in range(2 * PRUNE_EVERY)))
    await store.commit("recent", adds={"n": (1, 0)})
    await store.commit("old", adds={"n": (1, 0)})
    await store.commit("recent", adds={"n": (1, 0)})
    assert (await store.load(["n"]))["n"][0] == b"3"
    await store.close()


async def test_commit_ids_are_forgotten_by_age_and_versions_still_never_come_twice(
    path: Path,
) -> None:
    store = await SqliteStore.open(path, commit_id_kept_ms=-1)
    await asyncio.gather(*(store.commit(f"{n}", writes={"a": b"x"}) for n in range(PRUNE_EVERY)))
    seen = (await store.load(["a"]))["a"][1]
    await store.commit("0", writes={"a": b"y"})
    await store.close()
    store = await SqliteStore.open(path)
    value, version = (await store.load(["a"]))["a"]
    assert value == b"y"
    assert version > seen
    await store.close()
