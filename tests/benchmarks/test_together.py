"""`hawker bench together` in a small form, and what its figures rest on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

import benchmarks
from benchmarks import together
from benchmarks.crowd import Received, Tally
from benchmarks.loads import Commands, Load
from benchmarks.together_figures import Kind, Result, Stretch
from mediaserver.protocol.rtp import RtpPacket


def test_it_is_found_by_its_name() -> None:
    assert benchmarks.available()["together"].startswith("Fan-out while the shop is busy")


@pytest.mark.timeout(120)
def test_a_small_run_loses_nothing_and_counts_what_was_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = tmp_path / "together.json"
    small = ["--quick", "--viewers", "4", "--orders", "20", "--chat", "20"]
    assert together.main([*small, "--json", str(saved)]) == 0
    result = json.loads(saved.read_text("utf-8"))
    assert result["packets"]["sent"] == result["packets"]["received"] > 4 * 9 * 30 * 2
    assert result["packets"]["lost"] == 0
    assert [each["kind"] for each in result["stretches"]] == ["quiet", "busy"] * 2
    for stretch in result["stretches"]:
        assert 0 < stretch["pass_cpu_us"] <= stretch["pass_us"] * 1.5
        assert stretch["passes"] > 15
        done = stretch["done"]
        assert (done is None) == (stretch["kind"] == "quiet")
        if done is not None:
            assert done["statuses"] == {"201": sum(done["statuses"].values())}
            assert done["statuses"]["201"] >= 15
            assert done["heard"] == done["said"] * 2  # by the two who chat
            assert stretch["heard"] > 0
    assert "busy / quiet" in capsys.readouterr().out


@pytest.mark.parametrize("wrong", [["--viewers", "0"], ["--orders", "-1"], ["--round"], ["fast"]])
def test_a_wrong_option_is_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refusal:
        together.main(wrong)
    assert refusal.value.code == 2
    assert "hawker bench together" in capsys.readouterr().err


def tallied(sequences: Sequence[int]) -> Tally:
    tally = Tally()
    for sequence in sequences:
        tally.on_rtp(RtpPacket(96, False, sequence, 0, 1, b""), False)
    return tally


@pytest.mark.parametrize(
    ("sequences", "lost"),
    [
        ([5], 0),
        ([5, 6, 7], 0),
        ([5, 7, 9], 2),
        ([65_534, 65_535, 0, 1], 0),  # the 16 bits wrap
        ([65_534, 1], 2),
        ([], 0),
    ],
)
def test_a_viewer_counts_the_numbers_that_did_not_come(sequences: list[int], lost: int) -> None:
    assert tallied(sequences).lost == lost


def stretch(kind: Kind, pass_cpu_us: float) -> Stretch:
    return Stretch(
        kind, 1.0, 100, 2 * pass_cpu_us, pass_cpu_us, 900, 1.0, 0.5, 0.0, 0.5, 0, None, None
    )


def test_growth_is_of_the_medians_and_a_packet_that_nobody_got_is_lost_too() -> None:
    figures = [("quiet", 100.0), ("busy", 150.0), ("quiet", 900.0), ("busy", 120.0)]
    figures += [("quiet", 50.0), ("busy", 8000.0)]
    stretches = [stretch(kind, us) for kind, us in figures]  # type: ignore[arg-type]
    received = Received(1, 990, 0, 0, 0, 0, 0, 0.0)
    assert Result(stretches, 990, received).growth(lambda each: each.pass_cpu_us) == 1.5
    assert Result(stretches, 990, received).lost == 0
    assert Result(stretches, 1000, received).lost == 10


async def echo(commands: Commands, greeting: str) -> None:
    commands.answer(greeting)
    while True:
        commands.answer((await commands.next()).upper())


def test_a_load_answers_in_order_and_ends_with_its_pipe() -> None:
    with Load(echo, "ready") as load:
        assert [load.ask(each) for each in ("go", "rest")] == ["GO", "REST"]
        process = load._process
        assert process.is_alive()
    with pytest.raises(ValueError, match="closed"):
        process.is_alive()
