"""`hawker bench churn` with 300 cycles, and what its verdict rests on."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

import benchmarks
from benchmarks import churn
from benchmarks.churn import Plan, Rest, Result
from benchmarks.churn_load import CYCLES, EVERYBODY, POLITE, Counts
from benchmarks.process import cpu_s, footprint


def test_it_is_found_by_its_name() -> None:
    assert benchmarks.available()["churn"].startswith("Viewers that join and leave")


@pytest.mark.timeout(180)
def test_300_viewers_of_every_kind_come_and_go_and_nothing_of_them_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = tmp_path / "churn.json"
    status = churn.main(["--quick", "--cycles", "300", "--json", str(saved)])
    captured = capsys.readouterr()
    assert status == 0, captured.out
    result = json.loads(saved.read_text("utf-8"))
    assert result["left"] == {}
    assert result["failed"] == {}
    assert set(result["done"]) == set(CYCLES)
    assert sum(result["done"].values()) == 300
    assert [each["cycles"] for each in result["rests"]] == [0, 300]
    assert all(each["sessions"] == 0 for each in result["rests"])
    assert result["rests"][-1]["took_s"] > 20  # the silent ones were there, and were noticed
    assert "Left: nothing" in captured.out
    assert "stretch 1 of 1: " in captured.err  # progress


@pytest.mark.parametrize("wrong", [["--cycles", "0"], ["--stretches", "-1"], ["--cycle"], ["300"]])
def test_a_wrong_option_is_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refusal:
        churn.main(wrong)
    assert refusal.value.code == 2
    assert "hawker bench churn" in capsys.readouterr().err


def test_a_plan_spreads_its_cycles_over_the_stretches_behind_the_warm_up() -> None:
    assert Plan(10, 4, 2, patient=True).parts == [2, 3, 3, 2, 2]


def test_one_in_twenty_leaves_silently_and_nobody_in_polite_company() -> None:
    silent = {kind for kind in CYCLES if "silently" in kind}
    assert sum(kind in silent for kind in EVERYBODY) * 20 == len(EVERYBODY)
    assert set(EVERYBODY) == set(CYCLES)
    assert set(POLITE) == set(CYCLES) - silent


FIRST = Rest(
    cycles=0,
    rss_bytes=100_000_000,
    sessions=0,
    sockets=7,
    descriptors=21,
    threads=5,
    tasks=12,
    took_s=30.0,
    cycles_s=10.0,
    cpu_s=5.0,
)


def verdict(last: Rest, counts: Counts | None = None) -> Result:
    return Result([FIRST, replace(FIRST, rss_bytes=10**9, threads=99), last], counts or Counts())


def test_what_came_and_went_again_between_the_first_rest_and_the_last_is_no_leak() -> None:
    assert verdict(replace(FIRST, rss_bytes=104_900_000, threads=4)).passed


@pytest.mark.parametrize("name", ["sessions", "sockets", "descriptors", "threads", "tasks"])
def test_one_more_of_anything_at_the_last_rest_is_a_leak(name: str) -> None:
    result = verdict(replace(FIRST, **{name: getattr(FIRST, name) + 1}))
    assert result.left() == {name: 1}
    assert not result.passed


def test_five_percent_more_memory_or_one_refused_viewer_fails_the_run() -> None:
    grown = verdict(replace(FIRST, rss_bytes=105_000_000))
    assert grown.growth == pytest.approx(0.05)
    assert not grown.passed
    assert not verdict(FIRST, Counts(failed=Counter({"watches: Refused": 1}))).passed


def test_a_footprint_counts_sockets_other_descriptors_and_threads() -> None:
    ended = threading.Event()
    before = footprint(os.getpid())
    thread = threading.Thread(target=ended.wait)
    thread.start()
    with socket.socket() as _, open(os.devnull, "rb") as _, bytearray_of(64 << 20):
        after = footprint(os.getpid())
    ended.set()
    thread.join()
    assert after.sockets == before.sockets + 1
    assert after.descriptors == before.descriptors + 2
    assert after.threads == before.threads + 1
    assert after.rss_bytes - before.rss_bytes > 48 << 20


def bytearray_of(size: int) -> memoryview:
    return memoryview(bytearray(os.urandom(4096)) * (size // 4096))


def test_the_cpu_of_a_process_is_what_it_says_of_itself() -> None:
    before, own = cpu_s(os.getpid()), time.process_time()
    while time.process_time() < own + 0.05:
        pass
    used = cpu_s(os.getpid()) - before
    assert 0.05 <= used < 0.06
