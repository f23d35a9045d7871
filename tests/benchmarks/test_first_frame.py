"""`hawker bench first_frame` in a small form, and what its figures rest on."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

import benchmarks
from benchmarks import chromium, film, first_frame
from benchmarks.first_frame import Join, Result
from mediaserver.protocol.h264 import split_annex_b

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="uvloop")


def test_it_is_found_by_its_name() -> None:
    assert benchmarks.available()["first_frame"].startswith("How long a viewer in Chromium waits")


@pytest.mark.timeout(120)
@pytest.mark.skipif(chromium.find() is None, reason="Chromium is not installed")
def test_a_browser_sees_the_picture_again_and_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = tmp_path / "first_frame.json"
    first_frame.main(["--joins", "3", "--json", str(saved)])
    result = json.loads(saved.read_text("utf-8"))
    assert [each["failure"] for each in result["joins"]] == [""] * 3
    for each in result["joins"]:
        assert 0 < each["answered_ms"] < each["shown_ms"]
    assert "first frame" in capsys.readouterr().out


def test_without_a_browser_it_says_so_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(FileNotFoundError):
        first_frame.main(["--joins", "1", "--chromium", "/nowhere/chromium"])


def test_percentiles_are_of_those_who_saw_it_and_a_failure_is_no_pass() -> None:
    joins = [Join(1.0, 2.0, float(ms)) for ms in range(1, 41)]
    result = Result(joins)
    assert result.percentile(lambda each: each.shown_ms, 50) == 20
    assert result.percentile(lambda each: each.shown_ms, 95) == 38
    assert result.percentile(lambda each: each.shown_ms, 100) == 40
    assert result.passed
    assert not Result([*joins, Join(failure="WHEP 503")]).passed
    assert not Result([*joins, *(Join(1.0, 2.0, 301.0) for _ in range(3))]).passed


def test_the_film_is_one_group_of_pictures_that_begins_with_a_keyframe() -> None:
    kinds = [nal[0] & 0x1F for nal in split_annex_b(film.encode())]
    assert kinds[:2] == [7, 8]
    assert kinds.count(5) == 1
    assert kinds.count(1) == film.GOP_FRAMES - 1
