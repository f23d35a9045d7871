"""`hawker bench overload` with a few viewers, and what its verdict rests on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

import benchmarks
from benchmarks import overload
from benchmarks.overload import Phase

IDLE = Phase(False, 0, 1000, 0, 2.0, 1.0, 10.0, 20.0, 0.1, 0.0, 0.0)
BUSY = replace(IDLE, overloaded=True, rooms_told=2, p99_ms=14.0)


def test_it_is_found_by_its_name() -> None:
    assert benchmarks.available()["overload"].startswith("Whether viewers get a stream later")


@pytest.mark.timeout(120)
def test_the_ladder_is_overloaded_and_no_packet_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overload, "SETTLE_S", 1.0)
    monkeypatch.setattr(overload, "ROOMS", 2)
    saved = tmp_path / "overload.json"
    overload.main(["--viewers", "3", "--seconds", "1", "--runs", "1", "--json", str(saved)])
    idle, busy = json.loads(saved.read_text("utf-8"))["phases"]
    assert (idle["overloaded"], busy["overloaded"]) == (False, True)
    assert idle["lost"] == busy["lost"] == 0
    assert idle["packets"] > 0 and idle["p99_ms"] > 0
    assert busy["children_share"] > idle["children_share"]


@pytest.mark.parametrize(
    ("phases", "missed"),
    [
        ([IDLE, BUSY], []),
        ([IDLE, replace(BUSY, p99_ms=16.0)], ["p99 is 6.0 ms later"]),
        ([IDLE, replace(BUSY, lost=1)], ["packets are lost"]),
        ([IDLE, replace(BUSY, rooms_told=0)], ["nothing was overloaded"]),
    ],
)
def test_the_verdict_names_what_is_missed(phases: list[Phase], missed: list[str]) -> None:
    assert overload._show(Console(quiet=True), phases) == missed


@pytest.mark.parametrize("wrong", [["--viewers", "0"], ["--seconds", "0"], ["more"]])
def test_a_wrong_option_is_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refusal:
        overload.main(wrong)
    assert refusal.value.code == 2
    assert "hawker bench overload" in capsys.readouterr().err
