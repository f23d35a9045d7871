"""`hawker bench reserve` in its quick form."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from benchmarks import reserve
from benchmarks.reserving import redis
from benchmarks.reserving.buyers import Stretch, reserving, together


def test_a_quick_run_sells_exactly_what_is_there_by_every_way(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert redis.installed(), "redis-server is wanted: run .ci/setup"
    monkeypatch.chdir(tmp_path)
    saved = tmp_path / "reserve.json"
    kinds = "lua,bare-lua,redis,sqlite,http-sqlite"
    assert reserve.main(["--quick", "--kinds", kinds, "--json", str(saved)]) == 0
    result = json.loads(saved.read_text("utf-8"))
    assert list(result["per_s"]) == [f"{kind} 1" for kind in kinds.split(",")]
    for sample in result["samples"]:
        assert sample["exact"] and sample["sold"] > 0, sample
        assert 0 < sample["p50_ms"] <= sample["p99_ms"]
        assert sample["cpu_us"] > 0
    (embedded,) = [each for each in result["samples"] if each["kind"] == "sqlite"]
    assert 0 < embedded["transactions"] <= embedded["commits"] < embedded["sold"]
    assert "Reservations of one SKU" in capsys.readouterr().out


async def test_at_a_rate_an_answer_counts_from_when_its_buyer_came() -> None:
    async def slow(buyer: int, key: str) -> bool:
        await asyncio.sleep(0.05)
        return True

    done = await reserving(slow, 1, 0.5, "run", rate=100.0)  # five times as many as he is answered
    assert 1 < done.sold < 50
    assert done.answers_ms[-1] > 2 * done.answers_ms[0] > 0


def test_processes_at_the_same_time_count_as_one() -> None:
    whole = together([Stretch(1.0, [1.0], 1, 0.5, 0.1, 2, 1), Stretch(2.0, [2.0, 3.0])])
    assert whole == Stretch(2.0, [1.0, 2.0, 3.0], 1, 0.5, 0.1, 2, 1)
    assert whole.sold == 3


@pytest.mark.parametrize(
    "wrong", [["--kinds", "oracle"], ["--processes", "1,0"], ["--round"], ["x"]]
)
def test_a_wrong_option_is_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refusal:
        reserve.main(wrong)
    assert refusal.value.code == 2
    assert "hawker bench reserve" in capsys.readouterr().err
