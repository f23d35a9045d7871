"""`hawker bench kills`: twenty real kills, of the server and of Redis, lose and double nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import kills


@pytest.mark.parametrize(("store", "number"), [("sqlite", 8), ("redis", 12)])
def test_kills_under_load_lose_nothing(store: str, number: int, tmp_path: Path) -> None:
    saved = tmp_path / "kills.json"
    code = kills.main(["--kills", str(number), "--store", store, "--json", str(saved)])
    (result,) = json.loads(saved.read_text())["results"]
    assert code == 0, result
    assert sum(result["kills"].values()) == number
    assert result["asked_again"] > 0
    assert result["reckoning"]["confirmed"] > 0
