"""`hawker bench ladder` with a second of film."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import benchmarks
from benchmarks import ladder


def test_it_is_found_by_its_name() -> None:
    assert benchmarks.available()["ladder"].startswith("What the ladder costs")


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="no ffmpeg to compare with")
def test_worker_and_ffmpeg_are_measured_on_one_film(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = tmp_path / "ladder.json"
    ladder.main(["--seconds", "1", "--runs", "1", "--ffmpeg", "ffmpeg", "--json", str(saved)])
    assert "every frame is in every rung" in capsys.readouterr().out
    runs = json.loads(saved.read_text("utf-8"))["runs"]
    assert list(runs[ladder.OURS][0]["frames"]) == ["720p", "480p", "360p"]
    assert all(cost["cpu_s"] > 0 for each in runs.values() for cost in each)


@pytest.mark.parametrize("wrong", [["--seconds", "0"], ["--runs", "0"], ["more"]])
def test_a_wrong_option_is_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refusal:
        ladder.main(wrong)
    assert refusal.value.code == 2
    assert "hawker bench ladder" in capsys.readouterr().err
