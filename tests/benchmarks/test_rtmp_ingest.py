"""`hawker bench rtmp_ingest` in a small form, and what its figures rest on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import benchmarks
from benchmarks import rtmp_ingest
from benchmarks.rtmp_ingest import Result, Sample
from benchmarks.rtmp_load import BITRATE_BPS, GOP_FRAMES, LOOP_PICTURES, SAMPLE_RATE, moments
from benchmarks.rtmp_servers import TAKERS
from mediaserver.media import AAC_FRAME_SAMPLES
from mediaserver.protocol.rtmp.chunk_stream import ChunkReader, Message
from mediaserver.protocol.rtmp.messages import VIDEO
from tests.protocol.rtmp_client import EncoderChunks

LOOP_S = 51.2


def test_it_is_found_by_its_name() -> None:
    assert benchmarks.available()["rtmp_ingest"].startswith("What RTMP publishers of 600 kbit/s")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("server", ["hawker", "nginx_rtmp"])
def test_a_server_takes_every_message_that_its_publishers_send(server: str, tmp_path: Path) -> None:
    if missing := TAKERS[server].missing():
        pytest.skip(f"{TAKERS[server].title}: {missing}")
    TAKERS[server].prepare(tmp_path)
    sample = rtmp_ingest.measure(server, 3, 1.0, tmp_path)
    assert not sample.lost
    assert sample.messages >= 3 * 50
    assert 0 < sample.us_per_message < 2000


@pytest.mark.timeout(120)
def test_a_small_run_shows_who_is_there_and_names_who_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # where neither nginx nor node is
    saved = tmp_path / "rtmp.json"
    assert rtmp_ingest.main(["--quick", "--publishers", "2", "--json", str(saved)]) == 0
    result = json.loads(saved.read_text("utf-8"))
    assert set(result["missing"]) == {"nginx_rtmp", "node_media_server"}
    assert set(result["per_core"]["hawker"]) == {"2"}
    printed = capsys.readouterr().out
    assert "publishers of 600 kbit/s on one core" in printed
    assert "nginx-rtmp was left out: no nginx" in printed


@pytest.mark.parametrize("wrong", [["--publishers", "0"], ["--servers", "x"], ["--round"], ["x"]])
def test_a_wrong_option_is_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refusal:
        rtmp_ingest.main(wrong)
    assert refusal.value.code == 2
    assert "hawker bench rtmp_ingest" in capsys.readouterr().err


def test_a_core_takes_as_many_as_its_second_takes_in_and_the_median_counts() -> None:
    samples = [Sample("x", 10, 4380, 60.0, 0, 0, cpu_s, 6.0, 0.1) for cpu_s in (0.2, 0.9, 0.3)]
    result = Result(samples, {})
    assert result.per_core("x", 10) == pytest.approx(200)
    assert result.us_per_message("x", 10) == pytest.approx(0.3 / 4380 * 1e6)


def test_what_is_sent_is_the_rate_that_is_named() -> None:
    loop = moments()
    pictures = sum(moment.picture for moment in loop)
    assert pictures == LOOP_PICTURES == LOOP_S * 30
    assert len(loop) - pictures == LOOP_S * SAMPLE_RATE / AAC_FRAME_SAMPLES
    sent_bits = sum(len(moment.data) for moment in loop) * 8
    assert sent_bits / LOOP_S == pytest.approx(BITRATE_BPS, rel=0.02)
    assert [moment.due_s for moment in loop] == sorted(moment.due_s for moment in loop)


def test_the_chunks_are_those_of_encoders_with_a_keyframe_every_so_often() -> None:
    reader, start = ChunkReader(), EncoderChunks()
    reader.chunk_bytes = 4096
    for chunk_stream in (4, 6):
        reader.receive(start.write(chunk_stream, Message(VIDEO, 1, 0, b"header")))
    found = [each for moment in moments() for each in reader.receive(moment.data)]
    pictures = [each for each in found if each.type_id == VIDEO]
    assert [n for n, each in enumerate(pictures) if each.payload[0] == 0x17] == list(
        range(0, LOOP_PICTURES, GOP_FRAMES)
    )
    assert pictures[-1].timestamp == round(LOOP_S * 1000)
