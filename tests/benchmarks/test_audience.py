"""`hawker bench audience` in a small form, and what its figures rest on."""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path
from typing import Any

import pytest

import benchmarks
from benchmarks import audience, stamps
from benchmarks.audience_figures import Step
from benchmarks.member import FRAMES_KEPT, Delays, FrameBook, Member
from benchmarks.meter import Hold
from benchmarks.picture import Picture
from benchmarks.webrtc_client import VIDEO_PAYLOAD_TYPE
from mediaserver.protocol.rtp_h264 import packetize
from mediaserver.rtc.dtls import Certificate

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="uvloop")

SSRC, MS = 7, 1_000_000


def test_it_is_found_by_its_name() -> None:
    assert benchmarks.available()["audience"].startswith("How many viewers of one 4 Mbit/s stream")


@pytest.mark.timeout(120)
@pytest.mark.skipif(sys.platform != "linux", reason="counts runs of datagrams as Linux reads them")
def test_a_small_run_measures_every_step_and_decrypts_a_sample(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = tmp_path / "audience.json"
    audience.main(["--viewers", "3,6", "--seconds", "2", "--data", "--json", str(saved)])
    steps = json.loads(saved.read_text("utf-8"))["steps"]
    assert [each["joined"] for each in steps] == [3, 6]
    for each in steps:
        assert each["packets_per_s"] > each["viewers"] * 200
        assert 0 < each["mean_ms"] <= each["highest_ms"]
        assert each["p50_ms"] <= each["p99_ms"]
        assert each["delayed"] > 0
        assert each["decrypted"] >= 30  # the first packet of each frame, by one viewer
        assert each["undecryptable"] == each["closed"] == 0
        assert each["holds"][0]["cpu_ms"] > 0
    printed = capsys.readouterr().out
    assert "Most viewers with all bounds kept" in printed


@pytest.mark.parametrize("wrong", [["--viewers", "5,3"], ["--viewers", "0"], ["--seconds", "0"]])
def test_a_wrong_option_is_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refusal:
        audience.main(wrong)
    assert refusal.value.code == 2
    assert "hawker bench audience" in capsys.readouterr().err


@pytest.mark.parametrize("frame_bytes", [500, 15_000])
def test_a_frame_tells_when_it_was_sent_in_its_first_packet_alone(frame_bytes: int) -> None:
    nal = Picture(frame_bytes, frame_bytes).nal(1)
    told = stamps.stamped(nal, 1_700_000_000_123_456_789)
    assert len(told) == len(nal)
    payloads = [bytes(each[0]) for each in packetize([told], 1_172)]
    assert stamps.sent_ns(payloads[0]) == 1_700_000_000_123_456_789
    assert [stamps.sent_ns(each) for each in payloads[1:]] == [None] * (len(payloads) - 1)
    assert stamps.sent_ns(nal) is None


def test_the_book_counts_what_came_of_dated_frames_since_the_beginning() -> None:
    book = FrameBook()
    book.since_ns = 100 * MS
    book.came(3000, 107 * MS, 9)  # before anybody knows when the frame was sent
    book.sent(3000, 101 * MS)
    book.came(3000, 111 * MS, 1)
    book.sent(0, 99 * MS)
    book.came(0, 150 * MS, 5)  # sent before the beginning
    book.came(6000, 150 * MS, 5)  # nobody dates it
    delays = book.settle()
    assert delays.count == 10
    assert delays.mean_ms == pytest.approx((9 * 6 + 10) / 10)
    assert delays.highest_ms == 10
    assert book.settle().count == 0


def test_the_book_keeps_the_latest_frames_only() -> None:
    book = FrameBook()
    book.since_ns = 0
    for frame in range(3 * FRAMES_KEPT):
        book.sent(frame, frame * MS)
        book.came(frame, (frame + 2) * MS, 1)
        book.came(-frame - 1, 0, 1)  # never dated
    delays = book.settle()
    assert delays.count == 3 * FRAMES_KEPT
    assert len(book._came) <= FRAMES_KEPT


def test_percentiles_are_true_to_a_tenth_of_a_millisecond() -> None:
    one, other = Delays(), Delays()
    for tenth in range(1000):
        (one if tenth % 2 else other).add(tenth * MS // 10 + 1)
    one.merge(other)
    assert one.percentile_ms(50) == pytest.approx(50, abs=0.11)
    assert one.percentile_ms(99) == pytest.approx(99, abs=0.11)
    assert one.percentile_ms(100) == pytest.approx(100, abs=0.11)
    assert Delays().percentile_ms(50) == 0


class Deaf(Member):
    """Decrypts nothing, as it has no keys."""

    def _decrypt(self, data: bytes, timestamp: int) -> bool:
        return True


async def test_a_viewer_counts_a_run_by_its_first_packet_and_notices_what_is_missing() -> None:
    viewer: Any = Deaf(Certificate.generateCertificate())
    viewer.srtp = object()

    def read(sequence: int, packets: int) -> None:
        head = struct.pack(">BBHII", 0x80, VIDEO_PAYLOAD_TYPE, sequence & 0xFFFF, 90, SSRC)
        head += bytes(1188)
        viewer.run_received(memoryview(head), 1200 * packets - 300, 1200, MS)

    read(65_530, 1)
    read(65_531, 9)  # the 16 bits wrap
    assert (viewer.packets, viewer.lost) == (10, 0)
    read(6, 2)
    assert (viewer.packets, viewer.lost) == (12, 2)
    read(5, 1)  # late
    assert (viewer.packets, viewer.lost) == (13, 1)
    read(8, 1)
    assert (viewer.packets, viewer.lost) == (14, 1)


def test_a_step_says_which_bounds_it_misses() -> None:
    kept: dict[str, Any] = dict.fromkeys(Step.__dataclass_fields__, 0)
    kept |= {"viewers": 158, "joined": 158, "delayed": 1, "mean_ms": 5.0, "p99_ms": 19.0}
    kept |= {"holds": [Hold("one", cpu_ms=1.9)], "failed": {}}
    assert Step(**kept).missed == []
    missed = kept | {"lost": 3, "p99_ms": 21.0, "holds": [Hold("one", cpu_ms=2.5)]}
    assert Step(**missed).missed == ["3 packets lost", "p99 over 20 ms", "loop held 2.5 ms"]
    many = kept | {"viewers": 500, "joined": 500, "p99_ms": 21.0}
    assert Step(**many).missed == []
