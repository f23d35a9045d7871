"""The ingest doctor: what it finds in a stream, and what it says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from mediaserver.api.ingest import describe
from mediaserver.hub import Hub, Notice
from mediaserver.ingest.doctor import Doctor, notices
from mediaserver.media import Codec, Track
from tests.protocol import encoded

AAC = Track("audio", "aac", 48_000, b"\x11\x90", channels=2)


@dataclass
class Surgery:
    """A publisher, whose packets and clock the test gives, and the doctor who looks at them."""

    codec: Codec = "h264"
    hub: Hub = field(default_factory=Hub)
    now: float = 100.0
    told: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.doctor = Doctor(self.hub, bitrate_kbps=1000, tell=self._hear, clock=lambda: self.now)
        self.publication = self.hub.publish(
            "show", protocol="rtmp", clock_rate=1000, on_close=lambda reason: None
        )
        self.track = encoded.packets(self.codec)[0].track
        self._began_at = self.now
        self.doctor.look()

    def run(
        self,
        seconds: float,
        *,
        fps: float = 30,
        gop_s: float = 2.0,
        frame_bytes: int = 3000,
        audio: bool = True,
        video: bool = True,
        audio_rate: float = 1.0,
    ) -> None:
        """Publish in real time, looked at once a second; sound counts `audio_rate` too fast."""
        for _ in range(round(seconds)):
            begun_ms = round((self.now - self._began_at) * 1000)
            for frame in range(round(fps) if video else 0):
                at_ms = begun_ms + round(frame * 1000 / fps)
                keyframe = frame == 0 and round(begun_ms / 1000) % round(gop_s) == 0
                self._write(self.track, at_ms, bytes(frame_bytes), keyframe)
            for frame in range(40 if audio else 0):
                at_ms = round((begun_ms + frame * 25) * audio_rate)
                self._write(AAC, at_ms, bytes(200), True)
            self.now += 1.0
            self.doctor.look()

    def codes(self) -> set[str]:
        return set(self.publication.stream.notices)

    def document(self) -> dict[str, Any]:
        return describe("show", self.hub, self.doctor)

    def _write(self, track: Track, at_ms: int, payload: bytes, keyframe: bool) -> None:
        arrival = self._began_at + at_ms / 1000
        self.publication.write(track, at_ms, payload, keyframe=keyframe, arrival=arrival)

    def _hear(self, room: str, notice: Notice) -> None:
        self.told.append((room, notice.code))


@pytest.fixture
async def surgery() -> AsyncIterator[Surgery]:
    made = Surgery()
    yield made
    made.doctor.close()
    made.hub.drain()


async def test_a_good_stream_gets_no_notice_and_its_figures(surgery: Surgery) -> None:
    surgery.run(15)
    assert not surgery.codes()
    quality = surgery.document()["quality"]
    assert quality["frame_rate"] == 30
    assert quality["keyframe_interval_s"] == pytest.approx(2, abs=0.1)
    assert quality["video_bps"] == pytest.approx(720_000, rel=0.01)
    assert quality["audio_bps"] == 64_000
    assert quality["frames"] == 450
    assert not surgery.told


@pytest.mark.parametrize(
    ("code", "wrong"),
    [
        ("LongKeyFrameInterval", {"gop_s": 10.0}),
        ("BitrateOverLimit", {"frame_bytes": 6000}),
        ("FrameDrops", {"fps": 20}),
        ("NoAudio", {"audio": False}),
        ("NoVideo", {"video": False}),
        ("AvDrift", {"audio_rate": 1.012}),
    ],
)
async def test_what_is_wrong_is_found_and_told_once(
    surgery: Surgery, code: str, wrong: dict[str, Any]
) -> None:
    surgery.run(20, **wrong)
    assert surgery.codes() == {code}
    assert surgery.told == [("show", code)]
    (notice,) = surgery.document()["notices"]
    assert set(notice["text"]) == set(notice["fix"]) == {"en", "zh"}


async def test_who_comes_again_is_examined_anew(surgery: Surgery) -> None:
    surgery.run(12, gop_s=10.0)
    assert surgery.codes() == {"LongKeyFrameInterval"}
    surgery.publication.close("connection lost")
    surgery.now += 5
    surgery.doctor.look()
    surgery.publication = surgery.hub.publish(
        "show", protocol="whip", clock_rate=1000, on_close=lambda reason: None
    )
    surgery.run(6)
    assert not surgery.codes()
    assert surgery.document()["quality"]["outages"] == 1
    assert 4 <= surgery.document()["quality"]["away_s"] <= 6


async def test_who_sends_keyframes_on_request_may_send_few(surgery: Surgery) -> None:
    surgery.publication.on_keyframe_request = lambda: None
    surgery.run(15, gop_s=10.0)
    assert not surgery.codes()


async def test_a_colour_format_that_browsers_lack_is_told(surgery: Surgery) -> None:
    config = bytearray(surgery.track.config)
    config[1] = 122  # High 4:2:2
    surgery.track = replace(surgery.track, config=bytes(config))
    surgery.run(2)
    assert surgery.codes() == {"UnusualPixelFormat"}


@pytest.mark.parametrize("codec", ["h264", "h265", "vp8", "vp9", "av1"])
async def test_the_ingest_document_names_every_codec_and_its_size(codec: Codec) -> None:
    surgery = Surgery(codec)
    surgery.run(2)
    document = surgery.document()
    assert document["codecs"] == {"video": codec, "audio": "aac"}
    assert document["resolution"] == "{}x{}".format(*encoded.SIZE)
    assert document["frame_rate"] == (30.0 if codec == "h264" else None)
    expected = {"vp8": {"NoHlsForVp8"}, "h265": {"NotEveryBrowser"}}.get(codec, set())
    assert surgery.codes() == expected
    surgery.doctor.close()
    surgery.hub.drain()


@pytest.mark.parametrize(
    ("lufs", "words"),
    [(-30.4, "up by 14 dB"), (-9.0, "down by 7 dB"), (-12.2, None), (-23.5, None)],
)
async def test_who_is_too_quiet_or_too_loud_is_told_how_far_to_move_the_fader(
    surgery: Surgery, lufs: float, words: str | None
) -> None:
    surgery.publication.stream.measured.update(loudness_lufs=lufs, loudness_now_lufs=lufs)
    surgery.run(14)
    assert not surgery.codes()
    surgery.run(2)
    assert surgery.codes() == ({"LoudnessOff"} if words else set())
    assert surgery.document()["quality"]["loudness_lufs"] == lufs
    if words:
        assert words in surgery.document()["notices"][0]["fix"]["en"]


async def test_what_was_said_of_the_loudness_is_taken_back_when_it_is_mended(
    surgery: Surgery,
) -> None:
    measured = surgery.publication.stream.measured
    measured.update(loudness_lufs=-30.0, loudness_now_lufs=-30.0)
    surgery.run(16)
    measured["loudness_lufs"] = -23.8  # still near the edge
    surgery.run(1)
    assert surgery.codes() == {"LoudnessOff"}
    measured["loudness_lufs"] = -18.0
    surgery.run(1)
    assert not surgery.codes()
    assert surgery.told == [("show", "LoudnessOff")]


async def test_a_muted_microphone_is_told_and_forgotten_when_it_is_heard(surgery: Surgery) -> None:
    measured = surgery.publication.stream.measured
    measured.update(loudness_lufs=-70.0, loudness_now_lufs=-70.0)
    surgery.run(10)
    assert not surgery.codes()
    surgery.run(10)
    assert surgery.codes() == {"SilentAudio"}
    measured["loudness_now_lufs"] = -20.0
    surgery.run(1)
    assert not surgery.codes()


async def test_without_a_measurement_nothing_is_said_of_the_loudness(surgery: Surgery) -> None:
    surgery.run(20)
    assert surgery.document()["quality"]["loudness_lufs"] is None
    assert not surgery.codes()


def test_every_notice_has_words_and_a_remedy_in_both_languages() -> None:
    fixed = [value for value in vars(notices).values() if isinstance(value, Notice)]
    made = [
        notices.long_keyframe_interval(8.33),
        notices.bitrate_over_limit(25_000, 20_000),
        notices.frame_drops(21.4, 30.0),
        notices.av_drift(-140.0),
        notices.loudness_off(-31.4, -16.0),
        notices.loudness_off(-8.2, -16.0),
    ]
    assert len(fixed) >= 7
    for notice in (*fixed, *made):
        assert set(notice.text) == set(notice.fix) == {"en", "zh"}
        assert all([*notice.text.values(), *notice.fix.values()])
        assert "{" not in "".join([*notice.text.values(), *notice.fix.values()])
