"""`hawker bench join` in a small form, and what its figures rest on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import benchmarks
from benchmarks import join
from benchmarks.join import VARIANTS, WARM_UP_VIEWERS, Result, Sample


def test_it_is_found_by_its_name() -> None:
    assert benchmarks.available()["join"].startswith("What a viewer's joining costs the server")


@pytest.mark.timeout(120)
def test_a_quick_run_joins_everybody_at_both_servers_and_costs_less_than_aiortc(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = tmp_path / "join.json"
    assert join.main(["--quick", "--viewers", "16", "--json", str(saved)]) == 0
    result = json.loads(saved.read_text("utf-8"))
    assert [each["variant"] for each in result["samples"]] == list(VARIANTS)
    cpu_ms, kib = result["cpu_ms"], result["kib"]
    assert 0 < cpu_ms["hawker"] < cpu_ms["aiortc"]
    assert 0 < cpu_ms["hawker_media"] < cpu_ms["aiortc_media"]
    assert kib["hawker"] < kib["aiortc"]
    printed = capsys.readouterr().out
    assert "joins/s" in printed
    assert "x Hawker's CPU" in printed


@pytest.mark.parametrize("wrong", [["--viewers", "0"], ["--rounds", "-1"], ["--round"], ["fast"]])
def test_a_wrong_option_is_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refusal:
        join.main(wrong)
    assert refusal.value.code == 2
    assert "hawker bench join" in capsys.readouterr().err


def test_what_those_already_there_cost_is_taken_off_and_the_median_counts() -> None:
    idle_cpu_per_s = 0.001
    idle_s = idle_cpu_per_s * (WARM_UP_VIEWERS + 50) * 2.0
    samples = [
        Sample("hawker", 100, 2.0, cpu_s + idle_s, idle_cpu_per_s, 100 << 17)
        for cpu_s in (0.2, 0.9, 0.3)
    ]
    result = Result(samples)
    assert result.all("hawker", lambda each: each.cpu_ms) == pytest.approx([2.0, 9.0, 3.0])
    assert result.median("hawker", lambda each: each.cpu_ms) == pytest.approx(3.0)
    assert samples[0].kib == 128
