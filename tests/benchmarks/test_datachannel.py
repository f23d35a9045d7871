"""`hawker bench datachannel` in its quick form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import datachannel
from benchmarks.talkers.listeners import Ear, Tally


def test_a_quick_run_delivers_everything_for_less_cpu_than_aiortc(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = tmp_path / "datachannel.json"
    assert datachannel.main(["--quick", "--json", str(saved)]) == 0
    result = json.loads(saved.read_text("utf-8"))
    assert len(result["samples"]) == 2 * 2 * 2  # variants, channels, modes
    for sample in result["samples"]:
        assert sample["said"] == sample["delivered"] > 0, sample
    assert result["times_hawker"]["saturated"]["0"]["aiortc"] >= 1.5
    printed = capsys.readouterr().out
    assert "CPU per delivered message, saturated" in printed
    assert "CPU per delivered message, steady" in printed


@pytest.mark.parametrize("wrong", [["--viewers", "0"], ["--seconds", "-1"], ["--round"], ["fast"]])
def test_a_wrong_option_is_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refusal:
        datachannel.main(wrong)
    assert refusal.value.code == 2
    assert "hawker bench datachannel" in capsys.readouterr().err


class Channel:
    def __init__(self, ordered: bool) -> None:
        self.ordered = ordered


def ear(ordered: bool) -> Ear:
    channel: Any = Channel(ordered)
    return Ear(Tally(), channel)


def test_listeners_notice_what_comes_out_of_order_or_twice() -> None:
    reliable, live = ear(ordered=True), ear(ordered=False)
    for each in (reliable, live):
        each.on_message("00000001...")
        each.on_message("00000002...")
        assert each.tally.heard == 2 and not each.tally.wrong
    live.on_message("00000009...")
    live.on_message("00000007...")
    live.on_message("00000007...")
    assert live.tally.wrong == "7 came twice"
    reliable.on_message("00000004...")
    assert reliable.tally.wrong == "4 came where 3 was due"
