"""`hawker bench cards` in a small form, and what its figures rest on."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

import benchmarks
from benchmarks import cards
from benchmarks.listener import BEHIND_S, REORDERED_S, Numbers

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="uvloop")


def test_it_is_found_by_its_name() -> None:
    assert benchmarks.available()["cards"].startswith("How long a product card takes")


@pytest.mark.timeout(120)
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's stamps are Linux's")
def test_every_card_comes_to_every_viewer_though_a_fifth_is_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = tmp_path / "cards.json"
    few = ["--viewers", "8", "--cards", "3", "--every", "0.5", "--loss", "20"]
    cards.main([*few, "--json", str(saved)])
    result = json.loads(saved.read_text("utf-8"))
    assert (result["joined"], result["cards"], result["closed"]) == (8, 3, 0)
    assert result["missing"] == 0
    delays = result["delays"]
    assert delays["count"] == 24
    assert 0 < delays["p50"] <= delays["p99"] <= delays["p99.9"]
    assert "A card, from the POST to the viewer" in capsys.readouterr().out


@pytest.mark.parametrize("wrong", [["--cards", "21"], ["--viewers", "0"], ["--loss", "60"]])
def test_a_wrong_option_is_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refusal:
        cards.main(wrong)
    assert refusal.value.code == 2
    assert "hawker bench cards" in capsys.readouterr().err


def test_a_gap_is_asked_for_unless_it_fills_itself() -> None:
    numbers = Numbers()
    numbers.told(7, 0.0)
    assert (numbers.last, numbers.due_at) == (7, None)
    numbers.take(9, 1.0)
    assert (numbers.last, numbers.due_at) == (7, 1.0 + REORDERED_S)
    numbers.take(8, 1.01)
    assert (numbers.last, numbers.due_at) == (9, None)
    numbers.told(10, 2.0)
    assert (numbers.last, numbers.due_at) == (9, 2.0 + BEHIND_S)
    numbers.take(9, 2.1)  # a copy
    assert numbers.due_at == 2.0 + BEHIND_S
    numbers.take(10, 2.2)
    assert (numbers.last, numbers.due_at, numbers.beyond) == (10, None, set())
