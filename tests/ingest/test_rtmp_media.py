"""What an RTMP publication holds: tracks of video as renditions, and sound that can't be taken."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from mediaserver.hub import Hub, Publication, Reader
from mediaserver.ingest.rtmp_media import RtmpMedia
from mediaserver.media import Packet
from mediaserver.protocol.flv import DATA, SEQUENCE_HEADER, VideoTag
from mediaserver.protocol.flv_audio import CONFIG_WAIT
from mediaserver.protocol.flv_enhanced import (
    CODED_FRAMES,
    SEQUENCE_START,
    TrackTag,
    serialize_video,
    serialize_video_tracks,
)
from mediaserver.protocol.h264 import AvcConfig, join_length_prefixed
from mediaserver.protocol.rtmp import Message
from mediaserver.protocol.rtmp.messages import AUDIO, VIDEO
from tests.protocol import encoded
from tests.protocol.rtmp_client import (
    AAC_FRAME,
    AAC_HEADER,
    AVC_HEADER,
    IDR,
    IDR_TAG,
    PPS,
    SLICE,
    SLICE_TAG,
    SPS,
)

SPS_360 = bytes.fromhex("6742c01eda0280bfe5c04400000300040000030320f1722a")  # 640x360
PPS_360 = bytes.fromhex("68ce3c80")
CONFIG_120, CONFIG_360 = (
    AvcConfig((sps,), (pps,)).serialize() for sps, pps in ((SPS, PPS), (SPS_360, PPS_360))
)
IDR_DATA, SLICE_DATA = join_length_prefixed([IDR]), join_length_prefixed([SLICE])


class Show:
    """A publication, the hub's names, and what has come of it."""

    def __init__(self) -> None:
        self.hub = Hub(grace_s=0.01)
        self.publication: Publication = self.hub.publish(
            "show", protocol="rtmp", clock_rate=1000, on_close=lambda reason: None
        )
        self.media = RtmpMedia(self.publication)
        self._readers: dict[str, Reader] = {}
        self.hub.listen(lambda change, stream: self._watch(stream.name))

    def video(self, timestamp_ms: int, *bodies: bytes) -> None:
        for body in bodies:
            self.media.write(Message(VIDEO, 1, timestamp_ms, body), 100 + timestamp_ms / 1000)

    def audio(self, timestamp_ms: int, body: bytes) -> None:
        self.media.write(Message(AUDIO, 1, timestamp_ms, body), 100 + timestamp_ms / 1000)

    @property
    def written(self) -> dict[str, list[Packet]]:
        """What went to each stream."""
        return {name: list(reader._queue) for name, reader in self._readers.items()}

    def _watch(self, name: str) -> None:
        stream = self.hub.get(name)
        if stream is not None and name not in self._readers:
            self._readers[name] = stream.subscribe()


@pytest.fixture
async def show() -> AsyncIterator[Show]:
    show = Show()
    yield show
    show.hub.drain()


def start(number: int, config: bytes) -> bytes:
    return serialize_video(TrackTag(SEQUENCE_START, b"avc1", config, number), 1)


def frame(number: int, data: bytes, composition_ms: int = 0) -> bytes:
    return serialize_video(TrackTag(CODED_FRAMES, b"avc1", data, number, composition_ms), 1)


async def test_further_tracks_are_renditions_named_by_height_and_number(show: Show) -> None:
    header = VideoTag(SEQUENCE_HEADER, True, 0, CONFIG_360).serialize()
    show.video(0, header, start(1, CONFIG_120))
    show.video(0, IDR_TAG, frame(1, IDR_DATA))
    show.video(40, SLICE_TAG, frame(1, SLICE_DATA))
    assert sorted(show.written) == ["show", "show/120p-1"]
    whole, small = show.written["show"], show.written["show/120p-1"]
    assert [(each.dts, each.keyframe) for each in small] == [(0, True), (3600, False)]
    assert [each.wallclock_ms for each in whole] == [each.wallclock_ms for each in small]
    assert (whole[0].track.height, small[0].track.height) == (360, 120)
    show.publication.close("gone")
    assert sorted(show.hub.streams) == ["show"]


async def test_the_largest_picture_is_the_stream_itself(show: Show) -> None:
    show.video(0, AVC_HEADER, start(2, CONFIG_360))
    show.video(0, IDR_TAG, frame(2, IDR_DATA))
    assert [each.track.height for each in show.written["show"]] == [360]
    assert [each.track.height for each in show.written["show/120p-0"]] == [120]


async def test_a_larger_track_of_another_codec_does_not_stand_in_for_the_default_one(
    show: Show,
) -> None:
    hevc = encoded.packets("h265")[0]
    show.video(0, AVC_HEADER)
    show.video(0, serialize_video(TrackTag(SEQUENCE_START, b"hvc1", hevc.track.config, 1), 1))
    show.video(0, IDR_TAG)
    show.video(0, serialize_video(TrackTag(CODED_FRAMES, b"hvc1", hevc.payload, 1), 1))
    assert [each.track.codec for each in show.written["show"]] == ["h264"]
    assert [each.track.codec for each in show.written["show/178p-1"]] == ["h265"]


async def test_several_tracks_may_come_in_one_message(show: Show) -> None:
    tracks = ((0, CONFIG_360, IDR_DATA), (1, CONFIG_120, IDR_DATA))
    starts = [TrackTag(SEQUENCE_START, b"avc1", config, number) for number, config, _ in tracks]
    frames = [TrackTag(CODED_FRAMES, b"avc1", data, number) for number, _, data in tracks]
    show.video(0, serialize_video_tracks(starts, 1), serialize_video_tracks(frames, 1))
    assert {name: len(found) for name, found in show.written.items()} == {
        "show": 1,
        "show/120p-1": 1,
    }


async def test_a_rendition_begins_with_a_keyframe_and_two_of_one_height_are_two(
    show: Show,
) -> None:
    show.video(0, start(0, CONFIG_360), start(1, CONFIG_120), start(2, CONFIG_120))
    for number in (0, 1, 2):
        show.video(0, frame(number, IDR_DATA if number else SLICE_DATA))
    show.video(40, frame(3, SLICE_DATA), frame(1, SLICE_DATA))
    assert sorted(show.written) == ["show", "show/120p-1", "show/120p-2"]
    assert [each.keyframe for each in show.written["show/120p-1"]] == [True, False]


async def test_b_frames_of_a_further_track_have_their_display_times(show: Show) -> None:
    show.video(0, start(0, CONFIG_360), start(1, CONFIG_120))
    for index, composition_ms in enumerate((40, 120, 40, 0)):
        data = SLICE_DATA if index else IDR_DATA
        show.video(index * 40, frame(0, data, composition_ms), frame(1, data, composition_ms))
    whole, small = show.written["show"], show.written["show/120p-1"]
    assert [(each.dts, each.pts) for each in whole] == [(each.dts, each.pts) for each in small]
    stream = show.hub.get("show/120p-1")
    assert stream is not None
    assert stream.reordered


async def test_sound_that_cannot_be_taken_is_told_the_host_and_the_picture_goes_on(
    show: Show,
) -> None:
    show.video(0, AVC_HEADER)
    for index in range(3):
        show.audio(index * 20, b"\x2f" + bytes(100))
    show.video(40, IDR_TAG)
    notices = show.publication.stream.notices
    assert list(notices) == ["AudioNotTaken"]
    assert "MP3 audio" in notices["AudioNotTaken"].text["en"]
    assert "MP3" in notices["AudioNotTaken"].text["zh"]
    assert len(show.written["show"]) == 1


@pytest.mark.parametrize(
    ("metadata", "channels"),
    [
        ({"audiosamplerate": 44100.0, "stereo": True}, 2),
        ({"audiosamplerate": 44100.0, "stereo": False}, 1),
        ({"audiosamplerate": 44100.0, "audiochannels": 2.0}, 2),
    ],
)
async def test_aac_without_its_configuration_is_what_the_metadata_says(
    show: Show, metadata: dict[str, float], channels: int
) -> None:
    show.media.expect({})
    show.media.expect({"audiosamplerate": "44100", "stereo": 1.0})
    show.media.expect(dict(metadata))
    for index in range(CONFIG_WAIT):
        show.audio(index * 23, AAC_FRAME)
    [packet] = show.written["show"]
    assert (packet.track.clock_rate, packet.track.channels) == (44_100, channels)


async def test_sound_and_picture_have_one_zero(show: Show) -> None:
    show.video(5000, AVC_HEADER)
    show.audio(5000, AAC_HEADER)
    show.video(5000, IDR_TAG)
    show.audio(5010, AAC_FRAME)
    assert [each.media_time_ms for each in show.written["show"]] == [0, 10]
    body = VideoTag(DATA, False, 40, SLICE_DATA).serialize()
    show.video(5040, body)
    assert show.written["show"][-1].media_time_ms == 80
