"""`hawker bench fuzz`: what it finds, and how it says so."""

from __future__ import annotations

import pytest

from benchmarks import fuzz as bench
from benchmarks.fuzzing import PARSERS, Parser, Unexpected, fuzz


def test_a_short_run_over_all_parsers_passes(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["--inputs", "200"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in PARSERS)


def test_an_error_that_is_no_refusal_comes_with_its_input() -> None:
    def parse(data: bytes) -> object:
        return data.index(b"e") if len(data) > 3 else None

    with pytest.raises(Unexpected) as caught:
        fuzz(Parser("broken", (b"seed",), parse), 1000, 1)
    with pytest.raises(ValueError):
        parse(caught.value.data)


def test_the_same_seed_makes_the_same_inputs() -> None:
    seen: list[list[bytes]] = [[], []]
    for each in seen:
        fuzz(Parser("kept", (b"some bytes",), each.append), 50, 3)
    assert seen[0] == seen[1]
