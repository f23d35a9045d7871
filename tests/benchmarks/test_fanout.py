"""`hawker bench fanout` in its quick form, and what its figures rest on."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time
from pathlib import Path

import pytest

from benchmarks import fanout, proof, runs, sinks
from benchmarks.meter import TimedLoop
from benchmarks.picture import Picture
from benchmarks.senders import Job
from benchmarks.senders.sendto import session
from mediaserver.protocol import rtp
from mediaserver.protocol.rtp_h264 import packetize

PAYLOAD_TYPE, SSRC = 102, 1


def test_a_quick_run_sends_valid_srtp_for_two_thirds_of_the_plain_ways_cpu(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = tmp_path / "fanout.json"
    assert fanout.main(["--quick", "--json", str(saved)]) == 0
    result = json.loads(saved.read_text("utf-8"))
    assert result["times_hawker"]["saturated"]["sendto"] >= 1.5  # 2.5 is the aim
    assert result["times_hawker"]["saturated"]["aiortc"] >= 1.5
    if "compiled" in runs.VARIANTS:
        assert result["times_hawker"]["saturated"]["compiled"] < 1  # half is the aim
        assert set(result["times_loop"]["saturated"]) == set(runs.VARIANTS)
    frames = proof.VIEWERS * proof.FRAMES
    assert all(count >= 9 * frames for count in result["proven"].values())
    for sample in result["samples"]:
        if sample["mode"] == "live":
            assert sample["received"] == sample["sent"], sample["variant"]
    printed = capsys.readouterr().out
    assert "CPU per sent packet, saturated" in printed
    assert "pylibsrtp + sendto" in printed


@pytest.mark.parametrize("wrong", [["--viewers", "0"], ["--seconds", "-1"], ["--round"], ["fast"]])
def test_a_wrong_option_is_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refusal:
        fanout.main(wrong)
    assert refusal.value.code == 2
    assert "hawker bench fanout" in capsys.readouterr().err


def srtp_of(picture: Picture, key: bytes, salt: bytes) -> list[bytes]:
    """The first frame as one viewer's datagrams."""
    protect = session(key, salt).protect
    return [
        protect(rtp.serialize_header(PAYLOAD_TYPE, marker, number, 0, SSRC, padding) + payload)
        for number, (payload, padding, marker) in enumerate(packetize([picture.nal(0)], 1188))
    ]


def test_the_proof_knows_a_frame_from_another_a_lost_packet_and_a_foreign_key() -> None:
    picture = Picture()
    viewer, other = runs.new_viewers([("127.0.0.1", 1), ("127.0.0.1", 2)])
    datagrams = srtp_of(picture, viewer.key, viewer.salt)
    assert proof.frames_of(viewer, datagrams) == [picture.nal(0)]
    assert picture.nal(0) != picture.nal(1)
    with pytest.raises(proof.ProofFailed, match="got 5 for 4"):
        proof.frames_of(viewer, datagrams[:4] + datagrams[5:])
    with pytest.raises(proof.ProofFailed):
        proof.frames_of(other, datagrams)


def test_readers_count_every_rtp_packet_and_nothing_else() -> None:
    rtp_packet, rtcp_packet = bytes((0x80, PAYLOAD_TYPE)) + bytes(10), bytes((0x80, 200)) + bytes(6)
    with (
        sinks.opened(3, read=True) as opened,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
    ):
        for address in opened.addresses:
            for data in (rtp_packet, rtcp_packet, rtp_packet):
                sock.sendto(data, address)
        assert opened.received() == 6


def test_a_sample_counts_the_packets_of_its_stretch_and_the_cpu_of_its_process() -> None:
    with sinks.opened(2, read=False) as opened:
        job = Job(runs.new_viewers(opened.addresses), Picture(), reading=False)
        before = os.times()
        sample = runs.measure("sendto", "live", job, 0.2)
        after = os.times()
    assert sample.frames == 6
    assert sample.packets == 6 * 9 * 2
    assert sample.sent > sample.packets  # the warm-up
    whole_s = after.user + after.system - before.user - before.system
    assert (
        0 < sample.us_per_packet * sample.packets / 1e6 <= whole_s + 0.02
    )  # the ticks of os.times


def test_the_timed_loop_names_what_held_it() -> None:
    def busy() -> None:
        until = time.thread_time() + 0.005
        while time.thread_time() < until:
            pass

    async def idle() -> None:
        asyncio.get_running_loop().call_soon(busy)
        await asyncio.sleep(0.01)

    loop = TimedLoop(limit_s=0.002)
    try:
        loop.run_until_complete(idle())
        longest = loop.holds()[0]
        assert longest.name.endswith("busy")
        assert (longest.calls, longest.over) == (1, 1)
        assert 5 <= longest.cpu_ms < 50
        assert loop.holds() == []
    finally:
        loop.close()
