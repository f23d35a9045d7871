"""`hawker bench buys`: a few hundred buys over lines that are cut come to one order each."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import buys
from benchmarks.ledger.places import PLACES


@pytest.mark.parametrize("store", PLACES)
def test_cut_buys_are_done_once(store: str, tmp_path: Path) -> None:
    saved = tmp_path / "buys.json"
    options = ["--buys", "250", "--cuts", "5", "--store", store, "--json", str(saved)]
    code = buys.main(options)
    (result,) = json.loads(saved.read_text())["results"]
    assert code == 0, result
    assert result["cuts"] == 5
    assert result["by_http"] > 0
    assert result["by_channel"] > 100
