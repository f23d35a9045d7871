"""Whatever bytes come, every parser reads or refuses them; `hawker bench fuzz` goes on at length."""

from __future__ import annotations

import pytest

from benchmarks.fuzzing import PARSERS, fuzz

INPUTS = 100_000  # for all parsers of one format together
# tested beside the rest of what they promise, on as many inputs and by the same mutations
ELSEWHERE = {"rtmp", "flv", "mpegts", "adts", "pes"}
FORMATS = sorted({name.split()[0] for name in PARSERS} - ELSEWHERE)


@pytest.mark.parametrize("format", FORMATS)
def test_damaged_input_is_read_or_refused(format: str) -> None:
    parsers = [parser for name, parser in PARSERS.items() if name.split()[0] == format]
    for parser in parsers:
        for seed in parser.seeds:
            parser.parse(seed)
        outcome = fuzz(parser, INPUTS // len(parsers), 1)
        assert outcome.refused < outcome.inputs
