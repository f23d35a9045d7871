"""`hawker load` in a small form against a real server, and what its figures rest on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import signal
import socket
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from benchmarks.load import main
from benchmarks.load.figures import Figures, Histogram
from benchmarks.load.hls import parse_media
from benchmarks.load.line import ASK_AFTER_S, GIVE_UP_S, MISSING_MAX, Line
from benchmarks.load.options import ADMIN_TOKEN, parse
from benchmarks.load.plot import Curve, Panel, svg
from benchmarks.load.stamped_loop import HeadLoop
from benchmarks.server import POLL_S, Server, serving
from mediaserver.protocol import rtcp

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="uvloop")

SSRC, RATE = 7, 90_000


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving("transcode.enabled=false") as server:
        yield server


@pytest.mark.timeout(120)
def test_a_small_load_plays_buys_and_chats_and_nothing_fails(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(ADMIN_TOKEN, server.admin_token)
    saved, plot = tmp_path / "load.json", tmp_path / "load.svg"
    people = ["--publishers", "1", "--viewers", "3", "--buyers", "3", "--chatters", "2"]
    files = ["--json", str(saved), "--plot", str(plot)]
    code = main(["--url", server.url, *people, "--seconds", "3", *files])
    result = json.loads(saved.read_text("utf-8"))
    assert result["failures"] == []
    assert code == 0
    counts, ms = result["counts"], result["ms"]
    assert counts["connected"] == 3 + 2 + 2  # by WHEP, of the buyers one, and by WebSocket
    assert counts["packets"] > 4 * 9 * 30
    assert counts["lost"] == 0
    assert counts["decrypted"] >= 4
    assert counts["orders"] == counts["payments"] == ms["order"]["count"] >= 3
    assert counts["lines_heard"] >= counts["lines_said"] >= 2
    assert ms["join"]["count"] == 4
    assert 0 < ms["join"]["p50"] <= ms["join"]["p99"] <= ms["join"]["highest"]
    assert ms["jitter"]["count"] > 30
    assert server.metrics()["hawker_rtp_packets_sent_total"] >= counts["packets"]
    assert ElementTree.parse(plot).getroot().tag.endswith("svg")
    assert "nothing failed" in capsys.readouterr().out


@pytest.mark.timeout(120)
def test_what_a_relay_loses_is_mended_by_asking_again_and_ctrl_c_ends_with_the_table(
    server: Server, tmp_path: Path
) -> None:
    token, saved = tmp_path / "token", tmp_path / "load.json"
    token.write_text(server.admin_token, "ascii")
    command = [sys.executable, "-m", "mediaserver", "load", "--url", server.url, "--seconds", "60"]
    command += ["--admin-token-file", str(token), "--viewers", "3", "--loss", "5"]
    command += ["--processes", "1", "--json", str(saved)]
    before = server.metrics()["hawker_rtp_packets_sent_total"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while server.metrics()["hawker_rtp_packets_sent_total"] < before + 1000:
            assert process.poll() is None
            time.sleep(POLL_S)
        process.send_signal(signal.SIGINT)
        printed, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert b"nothing failed" in printed
    result = json.loads(saved.read_text("utf-8"))
    assert result["interrupted"]
    counts = result["counts"]
    assert 0 < counts["recovered"] <= counts["lost_to_viewers"] < counts["to_viewers"] / 5
    assert counts["to_node"] > 0 < result["relay_cpu_s"]
    assert b"relay lost to viewers, of 5.0% each way" in printed


def test_a_url_where_nobody_answers_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        assert main(["--url", url]) == 1
    line = capsys.readouterr().err
    assert line.startswith(f"hawker load: {url} does not answer: ")
    assert line.count("\n") == 1


def test_without_the_admin_token_it_wants_a_room_and_one_that_is_live(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(ADMIN_TOKEN, raising=False)
    assert main(["--url", server.url]) == 1
    assert "HAWKER_ADMIN_TOKEN" in capsys.readouterr().err
    assert main(["--url", server.url, "--room", "nowhere"]) == 1
    assert "404" in capsys.readouterr().err
    server.api("POST", "/v1/rooms", {"id": "quiet", "title": "Quiet"})
    assert main(["--url", server.url, "--room", "quiet"]) == 1
    assert "room quiet is not live" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        ["--url", "here"],
        ["--url", "http://a", "--viewers", "-1"],
        ["--url", "http://a", "--loss", "95"],
        ["--url", "http://a", "--json", "/nowhere/at/all"],
        ["--url", "http://a", "--admin-token-file", "/nowhere"],
        ["--url", "http://a", "--publishers", "0", "--viewers", "0"],
    ],
)
def test_a_wrong_option_is_refused_in_one_line(
    wrong: Sequence[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refusal:
        parse(wrong, {})
    assert refusal.value.code == 2
    line = capsys.readouterr().err
    assert line.startswith("hawker load: ")
    assert line.count("\n") == 1


def new_line() -> Line:
    line = Line(SSRC, RATE)
    assert line.take(65_530, 0.0)
    return line


def test_a_run_that_follows_is_counted_at_once_and_one_behind_a_gap_once_the_gap_is_noted() -> None:
    line = new_line()
    assert line.run(65_531, 9)  # the 16 bits wrap
    assert line.packets == 10
    assert not line.run(5, 2)  # 4 is missing
    assert not line.leap(4, 1.0)  # nothing is missing before it
    assert line.leap(5, 1.0)
    assert line.run(5, 2)
    assert line.packets == 12
    assert line.due(1.001 + ASK_AFTER_S) == [4]


def test_more_than_a_viewer_may_miss_is_not_noted_one_by_one() -> None:
    line = new_line()
    assert not line.leap((65_531 + MISSING_MAX + 1) & 0xFFFF, 1.0)
    assert line.missing == {}


def test_what_is_missing_is_asked_for_and_mended_or_given_up() -> None:
    line = new_line()
    assert line.take(65_535, 1.0)
    assert line.due(1.0) == []
    missing = [65_531, 65_532, 65_533, 65_534]
    asked_at = 1.001 + ASK_AFTER_S
    assert line.due(asked_at) == missing
    assert line.due(asked_at) == []  # not again at once
    assert line.take(65_532, 1.02)
    assert not line.take(65_532, 1.02)
    assert line.due(1.001 + GIVE_UP_S) == []
    assert (line.packets, line.recovered, line.lost) == (3, 1, 3)


def test_a_report_tells_of_the_gap_and_of_the_last_sender_report() -> None:
    line = new_line()
    line.take(65_533, 1.0)
    ntp = rtcp.ntp_from_utc_ms(1_700_000_000_000)
    line.on_sender_report(rtcp.SenderReport(SSRC, ntp, 1000, 0, 0), 1.0)
    block = line.report(1.5)
    assert (block.fraction_lost, block.cumulative_lost) == (2 * 256 // 4, 2)
    assert (block.last_sr, block.delay_since_last_sr) == (rtcp.compact_ntp(ntp), 65536 // 2)
    assert line.report(2.0).fraction_lost == 0
    media_ms = line.media_utc_ms((1000 - 90) & 0xFFFFFFFF)
    assert media_ms == pytest.approx(1_700_000_000_000 - 1, abs=0.01)


def test_jitter_is_zero_for_frames_that_come_as_evenly_as_they_were_taken() -> None:
    line = new_line()
    changes = [line.arrived(frame * 3000, 100 + frame / 30) for frame in range(10)]
    assert changes[0] is None
    assert changes[1:] == [pytest.approx(0, abs=0.001)] * 9
    assert line.arrived(9 * 3000, 101.0) is None  # the same frame
    assert line.arrived(10 * 3000, 100 + 10 / 30 + 0.016) == pytest.approx(16, abs=0.001)
    assert line.jitter == pytest.approx(0.016 * RATE / 16, rel=0.01)


def test_a_percentile_is_true_to_one_percent_and_histograms_add_up() -> None:
    source = random.Random(1)
    measured = sorted(source.expovariate(1 / 20) for _ in range(5000))
    whole, part = Histogram(), Histogram()
    for number, ms in enumerate(measured):
        (whole if number % 2 else part).add(ms)
    whole.merge(part)
    assert whole.count == 5000
    for percent in (50, 95, 99):
        assert whole.percentile(percent) == pytest.approx(measured[50 * percent - 1], rel=0.011)
    assert whole.percentile(100) == pytest.approx(measured[-1], rel=0.011)
    assert Histogram().percentile(50) is None


def test_figures_of_two_processes_add_up() -> None:
    one, other = Figures(), Figures()
    for each in (one, other):
        each.counts["packets"] += 5
        each.errors["whep 503"] += 1
        each.time("join", 10.0)
    one.add(other)
    assert (one.counts["packets"], one.errors["whep 503"]) == (10, 2)
    assert one.times["join"].count == 2
    assert other.times["join"].count == 1


def test_a_media_playlist_is_read_as_a_player_does() -> None:
    text = (
        "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXT-X-MEDIA-SEQUENCE:12\n"
        '#EXT-X-MAP:URI="init.mp4"\n#EXTINF:2.00000,\na.m4s\n#EXTINF:1.50000,\nb.m4s\n'
    )
    playlist = parse_media(text)
    assert playlist is not None
    assert (playlist.target_s, playlist.init, playlist.ended) == (3.0, "init.mp4", False)
    assert [(each.sequence, each.uri, each.duration_s) for each in playlist.segments] == [
        (12, "a.m4s", 2.0),
        (13, "b.m4s", 1.5),
    ]
    assert parse_media("#EXTM3U\n") is None


def test_a_plot_is_well_formed_and_holds_its_curves_within_the_scale() -> None:
    curve = Curve("p50 <ms>", "red", [(0.0, 1.0), (1.0, None), (2.0, 7.3)])
    picture = svg([Panel("delay & more", "ms", [curve])], 2.0)
    root = ElementTree.fromstring(picture)
    texts = [each.text for each in root.iter() if each.text]
    assert "delay & more" in texts
    assert "p50 <ms>" in texts
    assert "10 ms" in texts


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's stamps are Linux's")
def test_the_loop_hands_over_datagrams_sent_at_once_in_one_read_with_the_kernels_stamp() -> None:
    class Reader:
        def __init__(self) -> None:
            self.reads: list[tuple[bytes, int, int, int]] = []

        def connection_made(self, transport: object) -> None:
            pass

        def run_received(self, head: memoryview, length: int, size: int, stamp_ns: int) -> None:
            self.reads.append((bytes(head[:size]), length, size, stamp_ns))
            done.set()

    async def receive() -> None:
        theirs, ours = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        for each in (theirs, ours):
            each.bind(("127.0.0.1", 0))
            each.setblocking(False)
        ours.connect(theirs.getsockname())
        theirs.connect(ours.getsockname())
        running = asyncio.get_running_loop()
        transport, _ = await running.create_datagram_endpoint(lambda: reader, sock=ours)
        before_ns = time.time_ns()
        segments = [b"a" * 1000, b"a" * 1000, b"b" * 500]
        theirs.sendmsg(segments, [(17, 103, (1000).to_bytes(2, "little"))])
        async with asyncio.timeout(5):
            await done.wait()
        transport.close()
        theirs.close()
        (first, length, size, stamp_ns) = reader.reads[0]
        assert (first, length, size) == (b"a" * 1000, 2500, 1000)
        assert before_ns <= stamp_ns <= time.time_ns()

    reader, done = Reader(), asyncio.Event()
    with asyncio.Runner(loop_factory=HeadLoop) as runner:
        runner.run(receive())
