"""`hawker bench servers` in a small form with every peer that is installed, and what it rests on."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

import benchmarks
from benchmarks import servers
from benchmarks.loads import Load
from benchmarks.peers.cost import Cost
from benchmarks.peers.feeds import RtpStream, feed_rtp, nals
from benchmarks.peers.viewers import Seen, Viewer, Witness
from benchmarks.picture import GOP_FRAMES, Picture
from benchmarks.servers import PEERS, Mode, ProofFailed, Result, Sample
from mediaserver.protocol import rtp, sdp
from mediaserver.rtc.dtls import Certificates

SEEN = Seen(1, 4, 4, 900, 0, 0, 910, 0, 25, 0, 0.1)
READ_BYTES = 2048


def test_it_is_found_by_its_name() -> None:
    assert benchmarks.available()["servers"].startswith("Whole servers side by side")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("server", list(PEERS))
def test_a_server_sends_every_packet_of_the_stream_to_viewers_who_decrypt_it(
    server: str, tmp_path: Path
) -> None:
    if missing := PEERS[server].missing():
        pytest.skip(f"{PEERS[server].title}: {missing}")
    PEERS[server].prepare(tmp_path)
    plan = servers.Plan([server], viewers=3, rounds=1, seconds=1.0)
    sample = servers.measure(server, "live", plan, tmp_path)
    assert sample.arrived == sample.published >= 3 * 9 * 25
    assert sample.lost == 0
    assert sample.seen.gcm == 3
    assert sample.seen.right >= 25
    assert sample.seen.wrong == sample.seen.undecryptable == 0
    assert 0 < sample.us_per_packet < 1000


@pytest.mark.timeout(120)
def test_a_small_run_shows_both_modes_and_names_who_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "RATES", (60,))
    monkeypatch.setattr(servers, "STEP_S", 0.5)
    monkeypatch.setenv("PATH", str(tmp_path))  # where neither go nor janus is
    saved = tmp_path / "servers.json"
    assert servers.main(["--quick", "--viewers", "3", "--json", str(saved)]) == 0
    result = json.loads(saved.read_text("utf-8"))
    assert set(result["missing"]) == {"compiled", "pion", "janus"}
    assert result["times_hawker"] == {"live": {"hawker": 1.0}, "saturated": {"hawker": 1.0}}
    live, saturated = result["samples"]
    assert live["arrived"] == live["published"]
    assert 0.9 < saturated["arrived"] / saturated["published"] < 1.2
    assert saturated["seen"]["dropped"] > 0  # its viewers stood still
    printed = capsys.readouterr().out
    assert "CPU per sent packet, saturated" in printed
    assert "apt-get install golang-go golang-github-pion-webrtc.v3-dev" in printed
    assert "apt-get install janus" in printed


@pytest.mark.parametrize("wrong", [["--viewers", "0"], ["--servers", "nginx"], ["--round"], ["x"]])
def test_a_wrong_option_is_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refusal:
        servers.main(wrong)
    assert refusal.value.code == 2
    assert "hawker bench servers" in capsys.readouterr().err


def sample(server: str, mode: Mode, cpu_s: float) -> Sample:
    return Sample(server, mode, 30, 1000, 1000, 0, cpu_s, 0.0, 1.0, SEEN)


def test_a_ratio_is_of_the_medians() -> None:
    figures = [("hawker", 0.004), ("hawker", 0.002), ("hawker", 0.9)]
    figures += [("pion", 0.008), ("pion", 0.001), ("pion", 0.09)]
    result = Result([sample(server, "live", cpu_s) for server, cpu_s in figures], {}, [])
    assert result.servers == []  # nobody has run saturated
    assert result.us_per_packet("pion", "live") == pytest.approx(8.0)
    assert result.ratio("pion", "live") == pytest.approx(2.0)
    assert Result(result.of("pion", "live"), {}, []).ratio("pion", "live") is None


@pytest.mark.parametrize(
    "seen",
    [
        replace(SEEN, gcm=3),
        replace(SEEN, undecryptable=1),
        replace(SEEN, wrong=1),
        replace(SEEN, right=0),
    ],
)
def test_viewers_without_gcm_or_with_other_frames_are_no_proof(seen: Seen) -> None:
    servers._prove("pion", SEEN)
    with pytest.raises(ProofFailed, match="pion"):
        servers._prove("pion", seen)


def packets(frames: Sequence[int]) -> list[rtp.RtpPacket]:
    """Frames as a peer gets them."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        stream, received = RtpStream(ours), []
        for frame in frames:
            stream.send(frame, frame / 30)
            theirs.setblocking(False)
            while True:
                try:
                    received.append(rtp.parse(theirs.recv(READ_BYTES)))
                except BlockingIOError:
                    break
    return received


def test_a_witness_knows_the_frames_published_and_takes_none_with_a_gap() -> None:
    whole, other = Witness(), Witness()
    stream = packets([0, 1, 2])
    assert len(nals(Picture(), 0)) == 3
    assert len(stream) == 9 * 3 + 1  # parameter sets ahead of the keyframe
    for packet in stream:
        whole.on_rtp(packet)
    assert (whole.right, whole.wrong) == (3, 0)
    for packet in stream[:12] + stream[13:]:
        other.on_rtp(packet)
    assert (other.right, other.wrong) == (2, 0)
    last = stream[-1]
    forged = replace(last, payload=last.payload[:-1] + b"\xff\xff")
    for packet in [*stream[:-1], forged]:
        other.on_rtp(packet)
    assert other.wrong == 1


def test_a_feed_answers_with_the_packets_that_it_sent() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(5)
        with Load(feed_rtp, sock.getsockname()) as feed:
            assert feed.ask("100") == 0
            sequences = [rtp.parse(sock.recv(READ_BYTES)).sequence for _ in range(100)]
            published = feed.ask("0")
            assert published >= 100
            sequences += [rtp.parse(sock.recv(READ_BYTES)).sequence for _ in range(published - 100)]
            assert feed.ask("0") == published
    assert sequences == list(range(published))
    assert published < 9 * 100 * GOP_FRAMES


def test_a_cost_is_that_of_all_threads_and_of_the_children() -> None:
    burn = "import sys, time\nend=time.process_time()+0.2\nwhile time.process_time()<end: pass\n"
    nested = (
        "import subprocess, sys\n"
        f"subprocess.Popen([sys.executable, '-c', {burn!r} + 'sys.stdin.read()'])\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", nested + "sys.stdin.read()"], stdin=subprocess.PIPE
    ) as parent:
        assert parent.stdin is not None
        until = time.monotonic() + 20
        while Cost.of(parent.pid).cpu_s < 0.2 and time.monotonic() < until:
            os.sched_yield()
        cost = Cost.of(parent.pid)
        parent.stdin.close()
    assert 0.2 <= cost.cpu_s < 2
    assert (cost - cost).cpu_s == 0
    with pytest.raises(OSError, match="No such file"):
        Cost.of(parent.pid)


def test_an_answer_to_janus_takes_its_track_and_nothing_else() -> None:
    async def answer() -> str:
        viewer = Viewer(Certificates().current(), None)
        offer = sdp.parse(
            viewer.offer().replace("a=mid:0", "a=mid:v").replace("BUNDLE 0", "BUNDLE v")
        )
        text = viewer.answer(offer)
        viewer._path.close()
        return text

    told = sdp.parse(asyncio.run(answer()))
    assert [(each.mid, each.direction, each.setup) for each in told.medias] == [
        ("v", "recvonly", "active")
    ]
    assert list(told.medias[0].payloads) == [96]
    assert told.medias[0].usable
