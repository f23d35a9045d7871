"""`hawker bench whip_ingest` in a small form, and what its figures rest on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import benchmarks
from benchmarks import whip_ingest
from benchmarks.whip_ingest import Result, Sample
from benchmarks.whip_load import (
    BITRATE_BPS,
    FRAMES_OF_SOUND_PER_S,
    FRAMES_PER_S,
    SOUND_BYTES,
    pictures,
)
from benchmarks.whip_servers import TAKERS


def test_it_is_found_by_its_name() -> None:
    assert benchmarks.available()["whip_ingest"].startswith("What WHIP publishers of 600 kbit/s")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("server", list(TAKERS))
def test_a_server_takes_every_packet_that_its_publishers_send(server: str, tmp_path: Path) -> None:
    if missing := TAKERS[server].missing():
        pytest.skip(f"{TAKERS[server].title}: {missing}")
    TAKERS[server].prepare(tmp_path)
    sample = whip_ingest.measure(server, 3, 1.0, tmp_path)
    assert sample.lost == 0
    assert sample.rtp_packets >= 3 * 80
    assert 0 < sample.us_per_packet < 2000


@pytest.mark.timeout(120)
def test_a_small_run_shows_who_is_there_and_names_who_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # where go and C compilers are not
    saved = tmp_path / "whip.json"
    assert whip_ingest.main(["--quick", "--publishers", "2", "--json", str(saved)]) == 0
    result = json.loads(saved.read_text("utf-8"))
    assert set(result["missing"]) == {"pion", "hawker_compiled"}
    assert set(result["per_core"]["hawker"]) == set(result["per_core"]["hawker_serve"]) == {"2"}
    printed = capsys.readouterr().out
    assert "publishers of 600 kbit/s on one core" in printed
    assert "Pion v3 was left out: no Go compiler" in printed


@pytest.mark.parametrize("wrong", [["--publishers", "0"], ["--servers", "x"], ["--round"], ["x"]])
def test_a_wrong_option_is_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refusal:
        whip_ingest.main(wrong)
    assert refusal.value.code == 2
    assert "hawker bench whip_ingest" in capsys.readouterr().err


def test_a_core_takes_as_many_as_its_second_takes_in_and_the_median_counts() -> None:
    samples = [Sample("pion", 10, 6600, 60.0, 1, 1, cpu_s, 6.0, 0.1) for cpu_s in (0.2, 0.9, 0.3)]
    result = Result(samples, {})
    assert result.per_core("pion", 10) == pytest.approx(200)
    assert result.us_per_packet("pion", 10) == pytest.approx(0.3 / 6600 * 1e6)


def test_what_is_sent_is_the_rate_that_is_named() -> None:
    keyframe, *others = pictures()
    sizes = {sum(len(payload.payload) for payload in frame) for frame in others}
    assert {len(frame) for frame in others} == {2} and len(keyframe) == 3
    video_bps = max(sizes) * 8 * FRAMES_PER_S
    sound_bps = SOUND_BYTES * 8 * FRAMES_OF_SOUND_PER_S
    assert video_bps + sound_bps == pytest.approx(BITRATE_BPS, rel=0.01)
