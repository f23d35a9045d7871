"""The timeline: publisher timestamps to media time, media time to UTC."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediaserver.hub.timeline import Timeline
from mediaserver.media import Track

VIDEO = Track("video", "h264", 90_000, b"avcC", 1280, 720)
AAC = Track("audio", "aac", 48_000, b"\x11\x90", channels=2)
AAC_44 = Track("audio", "aac", 44_100, b"\x12\x10", channels=2)
OPUS = Track("audio", "opus", 48_000, b"OpusHead", channels=2)
NOW = 1000.0
UTC_MS = 1_700_000_000_000.0


def rtmp() -> Timeline:
    timeline = Timeline(NOW, UTC_MS)
    timeline.begin(1000)
    return timeline


def rtp() -> Timeline:
    timeline = Timeline(NOW, UTC_MS)
    timeline.begin(None)
    return timeline


def placed(timeline: Timeline, track: Track, timestamp: int, arrival: float) -> int:
    result = timeline.place(track, timestamp, 0, arrival)
    assert result is not None
    return result[0]


def test_media_time_begins_with_the_first_packet() -> None:
    timeline = rtmp()
    assert placed(timeline, VIDEO, 71_000, NOW) == 0
    assert placed(timeline, AAC, 71_010, NOW) == 480
    assert placed(timeline, VIDEO, 71_040, NOW + 0.04) == 3600


def test_no_media_time_is_below_zero_though_the_second_track_came_first_by_its_stamp() -> None:
    timeline = rtp()
    assert placed(timeline, OPUS, 1_000, NOW) == 0
    assert placed(timeline, VIDEO, 9_000_000, NOW - 0.003) == 0
    assert placed(timeline, VIDEO, 9_003_000, NOW + 0.03) == 3000


def test_presentation_follows_decoding_by_the_composition_offset() -> None:
    timeline = rtmp()
    assert timeline.place(VIDEO, 5, 80, NOW) == (0, 7200)
    assert timeline.place(VIDEO, 45, 0, NOW) == (3600, 3600)


@pytest.mark.parametrize("rate", [1000, None])
def test_a_32_bit_wrap_is_no_jump(rate: int | None) -> None:
    timeline = Timeline(NOW, UTC_MS)
    timeline.begin(rate)
    ticks = (rate or VIDEO.clock_rate) // 10
    first = 2**32 - 5 * ticks
    for number in range(20):
        raw = (first + number * ticks) & 0xFFFFFFFF
        assert placed(timeline, VIDEO, raw, NOW + number / 10) == number * 9000
    assert timeline.jumps == 0


def test_a_publisher_that_returns_goes_on_at_the_media_time_that_has_passed() -> None:
    timeline = rtmp()
    for number in range(50):
        placed(timeline, VIDEO, 1000 + number * 40, NOW + number * 0.04)
    timeline.begin(1000)
    assert placed(timeline, VIDEO, 7, NOW + 12.0) == 12 * 90_000
    assert timeline.jumps == 0


def test_a_publisher_that_returns_at_once_is_placed_after_what_was_sent() -> None:
    timeline = rtmp()
    for number in range(50):  # faster than real time: 2 s of media in no time
        placed(timeline, VIDEO, number * 40, NOW)
    timeline.begin(1000)
    assert placed(timeline, VIDEO, 0, NOW + 0.001) == pytest.approx(2.0 * 90_000, abs=1)


def test_a_publisher_may_return_with_another_sample_rate() -> None:
    timeline = rtmp()
    placed(timeline, AAC, 0, NOW)
    placed(timeline, AAC, 3_600_000, NOW + 3600)
    timeline.begin(1000)
    assert placed(timeline, AAC_44, 0, NOW + 3610) == 3610 * 44_100
    assert timeline.dropped == 0


def test_a_step_back_is_closed_and_counted() -> None:
    timeline = rtmp()
    for number in range(10):
        placed(timeline, VIDEO, 60_000 + number * 40, NOW + number * 0.04)
    assert placed(timeline, VIDEO, 0, NOW + 0.4) == 36_000
    assert placed(timeline, VIDEO, 40, NOW + 0.44) == 39_600
    assert timeline.jumps == 1


def test_a_step_forward_that_the_wall_clock_does_not_explain_is_closed() -> None:
    timeline = rtmp()
    placed(timeline, VIDEO, 0, NOW)
    assert placed(timeline, VIDEO, 500_000, NOW + 0.04) == 3600
    assert timeline.jumps == 1


def test_a_pause_of_the_publisher_is_no_jump() -> None:
    timeline = rtmp()
    placed(timeline, VIDEO, 0, NOW)
    assert placed(timeline, VIDEO, 10_000, NOW + 10) == 900_000
    assert timeline.jumps == 0


def test_a_source_faster_than_real_time_is_left_as_it_is() -> None:
    timeline = rtmp()
    for number in range(1000):
        assert placed(timeline, VIDEO, number * 40, NOW + number * 0.004) == number * 3600
    assert timeline.jumps == 0


@pytest.mark.parametrize("track", [AAC, AAC_44], ids=["48 kHz", "44.1 kHz"])
def test_milliseconds_are_put_back_on_the_grid_of_aac_frames(track: Track) -> None:
    timeline = rtmp()
    for number in range(5000):
        exact_s = number * 1024 / track.clock_rate
        assert placed(timeline, track, round(exact_s * 1000), NOW + exact_s) == number * 1024


def test_a_missing_aac_frame_stays_missing() -> None:
    timeline = rtmp()
    frames = [0, 1, 2, 4, 5]
    dts = [placed(timeline, AAC, round(frame * 64 / 3), NOW + frame / 47) for frame in frames]
    assert dts[:3] == [0, 1024, 2048]
    assert dts[3] == pytest.approx(4096, abs=48)
    assert dts[4] - dts[3] == 1024


def test_the_clock_of_a_publisher_is_followed_where_it_counts_samples_wrongly() -> None:
    """Audio said to be 48 kHz that comes at 48.05: timestamps rule, the grid gives way."""
    timeline = rtmp()
    for number in range(3000):
        true_s = number * 1024 / 48_050
        dts = placed(timeline, AAC, round(true_s * 1000), NOW + true_s)
        assert abs(dts / 48_000 - true_s) < 0.004


def test_two_rtp_clocks_are_tied_by_sender_reports() -> None:
    timeline = rtp()
    placed(timeline, VIDEO, 900_000, NOW)
    placed(timeline, OPUS, 7_000, NOW + 0.200)  # it belongs 50 ms after the picture
    timeline.align("video", 900_000, 5000.0)
    timeline.align("audio", 7_000, 5000.050)
    assert placed(timeline, OPUS, 7_000 + 48_000, NOW + 1.2) == pytest.approx(1.05 * 48_000, abs=1)
    assert placed(timeline, VIDEO, 900_000 + 90_000, NOW + 1.0) == 90_000


def layer(timeline: Timeline, name: str, timestamp: int, arrival: float, shown: bool) -> int:
    return timeline.place_layer(f"video/{name}", VIDEO, timestamp, arrival, shown=shown)


def test_layers_of_one_picture_are_tied_by_sender_reports() -> None:
    timeline = rtp()
    assert layer(timeline, "q", 1_000, NOW, True) == 0
    layer(timeline, "f", 700_000, NOW + 0.080, False)  # the same picture, which took longer to come
    timeline.align("video/q", 1_000, 5000.0)
    timeline.align("video/f", 700_000, 5000.0)
    assert layer(timeline, "q", 91_000, NOW + 1.0, True) == 90_000
    assert layer(timeline, "f", 790_000, NOW + 1.08, False) == 90_000


def test_layers_that_take_turns_in_a_stream_never_go_back_and_lose_nothing() -> None:
    timeline = rtp()
    assert layer(timeline, "q", 0, NOW, True) == 0
    assert layer(timeline, "q", 3_000, NOW + 0.033, True) == 3_000
    assert layer(timeline, "f", 50_000, NOW + 0.020, True) == 3_001  # by its arrival 1,800
    assert layer(timeline, "f", 53_000, NOW + 0.053, True) == 4_800
    assert timeline.dropped == 0


def test_renditions_of_a_next_publisher_go_on_after_all_there_was() -> None:
    timeline = rtp()
    layer(timeline, "f", 0, NOW, True)
    last = layer(timeline, "h", 90_000 * 5, NOW + 5, False)
    timeline.begin(None)
    assert layer(timeline, "h", 7, NOW + 5, False) > last
    assert layer(timeline, "f", 9, NOW + 5, True) > last


def test_sender_reports_from_before_a_jump_are_forgotten() -> None:
    timeline = rtp()
    placed(timeline, VIDEO, 0, NOW)
    placed(timeline, OPUS, 0, NOW)
    timeline.align("video", 0, 5000.0)
    timeline.align("audio", 0, 5000.0)
    placed(timeline, VIDEO, 50_000_000, NOW + 1)
    assert timeline.jumps == 1
    timeline.align("audio", 48_000, 5001.0)  # the video report of before says nothing any more
    assert placed(timeline, OPUS, 48_000, NOW + 1) == 48_000


def test_utc_of_media_time_is_true_to_the_first_arrival() -> None:
    timeline = rtmp()
    placed(timeline, VIDEO, 123_456, NOW + 3)
    assert timeline.epoch_ms == pytest.approx(UTC_MS + 3000)


def test_utc_follows_a_crystal_that_is_100_ppm_fast() -> None:
    timeline = rtmp()
    for number in range(4 * 3600):
        true_s = number / 4
        dts = placed(timeline, VIDEO, round(true_s * 1000 * 1.0001), NOW + true_s)
    error_ms = timeline.epoch_ms + dts / 90 - (UTC_MS + true_s * 1000)
    assert dts / 90 - true_s * 1000 > 300  # the crystal alone is this far off by now
    assert abs(error_ms) < 5


def test_a_late_burst_moves_no_clock() -> None:
    timeline = rtmp()
    for number in range(250):
        placed(timeline, VIDEO, number * 40, NOW + number * 0.04)
    epoch_ms = timeline.epoch_ms
    for number in range(250, 300):  # held up for two seconds, then all at once
        placed(timeline, VIDEO, number * 40, NOW + 12)
    for number in range(300, 550):
        placed(timeline, VIDEO, number * 40, NOW + number * 0.04)
    assert timeline.epoch_ms == pytest.approx(epoch_ms, abs=0.01)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([VIDEO, AAC, AAC_44, OPUS]),
            st.integers(0, 2**32 - 1),
            st.floats(0, 5),
            st.booleans(),
        ),
        max_size=40,
    ),
    st.sampled_from([1000, None]),
)
def test_media_time_never_goes_back_whatever_a_publisher_sends(
    packets: list[tuple[Track, int, float, bool]], rate: int | None
) -> None:
    timeline = Timeline(NOW, UTC_MS)
    timeline.begin(rate)
    arrival = NOW
    last_s: dict[str, float] = {}
    for track, timestamp, pause_s, returns in packets:
        arrival += pause_s
        if returns:
            timeline.begin(rate)
        result = timeline.place(track, timestamp, 0, arrival)
        if result is not None:
            dts_s = result[0] / track.clock_rate
            assert dts_s > last_s.get(track.kind, -1e9) - 1e-4  # one tick of another rate
            last_s[track.kind] = dts_s
