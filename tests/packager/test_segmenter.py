"""Where segments begin, and what is in them."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mediaserver.media import Packet
from mediaserver.packager import segmenter
from mediaserver.packager.audio import RESYNC_S
from mediaserver.packager.muxer import AUDIO, VIDEO, Muxer
from mediaserver.packager.rendition import HlsSettings
from mediaserver.protocol.opus import opus_track
from mediaserver.protocol.silence import silent_frame
from tests.packager.boxes import read_boxes
from tests.packager.encoding import EPOCH_MS, Encode, at, encode
from tests.packager.reading import Read, playlist, read_both, read_playlist, read_rendition
from tests.packager.streams import (
    aac_track,
    audio,
    interleaved,
    moved,
    mux,
    video,
    video_track,
)

FRAME_S = Fraction(1024, 48_000)
SILENCE = silent_frame(aac_track())


def starts(segments: list[Read]) -> list[float]:
    return [float(segment.start_s) for segment in segments]


def heard(segments: list[Read]) -> list[bytes]:
    """Payloads that are not filled-in silence."""
    return [each for segment in segments for each in segment.payloads if each != SILENCE]


def seen(segments: list[Read]) -> list[bytes]:
    return [each for segment in segments for each in segment.payloads]


def payloads(packets: list[Packet], kind: str) -> list[bytes]:
    return [packet.payload for packet in packets if packet.track.kind == kind]


# Cuts


@pytest.mark.parametrize("b_frames", [0, 2])
def test_every_packet_of_an_encode_comes_out_at_its_time(b_frames: int) -> None:
    packets = encode(Encode(7, gop=30, b_frames=b_frames))
    pictures, sound = read_both(mux(packets))
    wanted = [packet for packet in packets if packet.track.kind == "video"]
    assert seen(pictures) == payloads(packets, "video")
    assert [pts for each in pictures for pts in each.pts] == [packet.pts for packet in wanted]
    first = pictures[0].pts[0]
    wanted = [p for p in packets if p.track.kind == "audio" and p.pts * 15 >= first * 8]
    assert heard(sound) == [packet.payload for packet in wanted]
    placed = [pts for each in sound for pts in each.pts]
    assert placed[: len(wanted)] == [packet.pts for packet in wanted]


def test_a_segment_begins_at_the_first_keyframe_after_its_planned_length() -> None:
    for gop_s, length_s in ((0.5, 2.0), (1.0, 2.0), (1.5, 3.0), (2.0, 2.0), (4.0, 4.0)):
        segments = read_rendition(mux(video(0, 13, gop_s=gop_s)), VIDEO)
        assert starts(segments) == [number * length_s for number in range(len(segments))]
        assert all(segment.samples[0].sync for segment in segments)


def test_a_keyframe_a_little_early_ends_the_segment_too() -> None:
    keyframes = {round(number * 1.96 * 90_000) // 3000 * 3000 for number in range(5)}
    packets = [replace(p, keyframe=p.dts in keyframes) for p in video(0, 8)]
    durations = [entry.duration_s for entry in playlist(mux(packets), VIDEO).entries]
    assert all(1.9 < duration_s < 2 for duration_s in durations[:-1])


def test_audio_is_cut_where_the_picture_is() -> None:
    pictures, sound = read_both(mux(interleaved(video(0, 9), audio(-0.021, 9))))
    assert len(pictures) == len(sound) == 5
    for picture, tone in zip(pictures, sound, strict=True):
        assert 0 <= tone.start_s - picture.start_s < FRAME_S
        assert abs(tone.entry.utc_ms - (EPOCH_MS + tone.start_s * 1000)) <= 1


@pytest.mark.parametrize("lag_s", [-2.5, -0.3, 0.3, 0.9])
def test_audio_that_runs_ahead_or_lags_is_cut_alike(lag_s: float) -> None:
    packets = interleaved(video(0, 9), audio(0, 9), audio_lag_s=lag_s)
    even = interleaved(video(0, 9), audio(0, 9))
    for wanted, got in zip(read_both(mux(even)), read_both(mux(packets)), strict=True):
        assert [segment.payloads for segment in got] == [segment.payloads for segment in wanted]


def test_the_date_of_a_segment_is_that_of_its_first_picture() -> None:
    packets = encode(Encode(6, b_frames=2))
    by_pts = {p.pts: p.wallclock_ms for p in packets if p.track.kind == "video"}
    for segment in read_rendition(mux(packets), VIDEO):
        assert abs(segment.entry.utc_ms - by_pts[min(segment.pts)]) <= 1


def test_media_before_time_zero_is_kept() -> None:
    pictures, sound = read_both(mux(interleaved(video(-0.8, 5), audio(-0.8, 5))))
    assert pictures[0].start_s == Fraction(-8, 10)
    assert sound[0].start_s == Fraction(-8, 10)


def test_a_stream_without_audio_and_one_without_video_work() -> None:
    silent = mux(video(0, 7))
    assert len(read_rendition(silent, VIDEO)) == 4
    assert silent.playlist(AUDIO) is None
    dark = mux(audio(0, 9))
    assert [e.duration_s for e in playlist(dark, AUDIO).entries][:2] == [2.00533, 2.00533]
    assert heard(read_rendition(dark, AUDIO)) == payloads(audio(0, 9), "audio")
    assert dark.playlist(VIDEO) is None


def test_packets_before_the_first_keyframe_are_left_out() -> None:
    packets = interleaved(video(0, 6)[10:], audio(0, 6))
    pictures, sound = read_both(mux(packets))
    assert pictures[0].start_s == 1
    assert 0 <= sound[0].start_s - 1 < FRAME_S


def test_opus_is_left_out() -> None:
    opus = [at(opus_track(2), n * 960, n * 960, b"\xfc", keyframe=True) for n in range(300)]
    muxer = mux(interleaved(video(0, 6), opus))
    assert muxer.playlist(AUDIO) is None
    assert len(read_rendition(muxer, VIDEO)) == 3


# EXT-X-TARGETDURATION


def irregular(keyframes_s: list[float], seconds: float) -> list[Packet]:
    numbers = {round(each * 30) for each in keyframes_s}
    return [replace(p, keyframe=n in numbers) for n, p in enumerate(video(0, seconds))]


def test_the_target_is_the_first_gop_when_that_is_longer() -> None:
    text = playlist(mux(video(0, 40, gop_s=250 / 30)), VIDEO)
    assert text.target_s == 9
    assert text.independent


def test_a_longer_gop_later_is_cut_within_the_target_and_no_independence_is_promised() -> None:
    muxer = mux(interleaved(irregular([0, 2, 4, 12, 14], 40), audio(0, 40)), end=False)
    text = playlist(muxer, VIDEO)
    assert text.target_s == 2
    assert not text.independent
    pictures, sound = read_both(muxer)
    assert [each.start_s for each in pictures if each.samples[0].sync] == [0, 2, 4, 12, 14]
    assert all(each.end_s - each.start_s < 2.5 for each in pictures)
    assert seen(pictures)[:900] == payloads(video(0, 40), "video")[:900]
    for picture, tone in zip(pictures, sound, strict=False):
        assert 0 <= tone.start_s - picture.start_s < FRAME_S


def test_independence_is_promised_again_when_the_long_gop_has_left_the_list() -> None:
    muxer = mux(irregular([0, 2, 4, *range(9, 60, 2)], 60), HlsSettings(window_s=8))
    assert playlist(muxer, VIDEO).independent


def test_a_first_gop_without_end_is_cut_at_the_longest_target() -> None:
    text = playlist(mux(irregular([0], 40)), VIDEO)
    assert text.target_s == 12
    assert [entry.duration_s for entry in text.entries][:3] == pytest.approx([12.4] * 3, abs=0.04)


def test_the_target_leaves_room_for_the_interval_that_the_encoder_says_it_may_leave() -> None:
    """A scene cut made the first GOP short; x264's own limit is 250 frames, here at 25/s."""
    what = Encode(30, fps=25, gop=250, keyframes=frozenset({0, 66, 316, 566}), audio=False)
    text = playlist(mux(encode(what)), VIDEO)
    assert text.target_s == 10
    assert text.independent
    assert [entry.duration_s for entry in text.entries] == pytest.approx([2.64, 10, 10, 7.36])


def test_keyframes_forced_by_the_clock_speak_louder_than_the_encoders_limit() -> None:
    what = Encode(9, gop=250, keyframes=frozenset(range(0, 270, 60)), audio=False)
    text = playlist(mux(encode(what)), VIDEO)
    assert text.target_s == 2
    assert {entry.duration_s for entry in text.entries[:-1]} == {2}


def test_a_segment_ends_early_when_the_next_keyframe_may_come_too_late() -> None:
    """An interval of two seconds with scene cuts: nothing is cut in the middle of a GOP."""
    keyframes = [0, 2, 4, 5.8, 7.8, 8.5, 9, 11, 13]
    text = playlist(mux(irregular(keyframes, 15)), VIDEO)
    assert text.target_s == 2
    assert text.independent
    assert sum(entry.duration_s for entry in text.entries) == pytest.approx(15)


def test_a_keyframe_is_wanted_before_the_first_and_when_a_segment_is_due() -> None:
    frames = [replace(p, keyframe=n in (20, 85)) for n, p in enumerate(video(0, 6))]
    muxer, wanted = Muxer("0123", HlsSettings()), []
    for frame in frames:
        muxer.write(frame)
        wanted.append(muxer.wants_keyframe)
    assert wanted == [n < 20 or 20 + 57 <= n < 85 or n >= 85 + 57 for n in range(180)]


def test_a_publisher_that_is_asked_for_keyframes_has_room_to_answer() -> None:
    frames = irregular([0, 2, 4.5, 6.6, 9.3], 12)
    muxer = Muxer("0123", HlsSettings())
    muxer.expect_requests()
    for frame in frames:
        muxer.write(frame)
    text = playlist(muxer, VIDEO)
    assert text.target_s == 3
    assert text.independent


def test_the_target_never_changes() -> None:
    muxer = Muxer("0123", HlsSettings())
    targets = set()
    for packet in interleaved(irregular([0, 3, 5, 20, 21, 22, 50], 60), audio(0, 60)):
        muxer.write(packet)
        for name in (VIDEO, AUDIO):
            if muxer.playlist(name) is not None:
                targets.add(playlist(muxer, name).target_s)
    assert targets == {3}


def test_a_segment_is_cut_before_it_outgrows_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segmenter, "MAX_SEGMENT_BYTES", 10_000)
    segments = read_rendition(mux(video(0, 10, size=500)), VIDEO)
    assert all(sum(map(len, segment.payloads)) <= 10_000 for segment in segments)
    assert len(seen(segments)) == 300


# The audio grid


def contiguous(segments: list[Read]) -> bool:
    ends = [segment.end_s for segment in segments]
    durations = {sample.duration for segment in segments for sample in segment.samples}
    return durations == {1024} and ends[:-1] == [segment.start_s for segment in segments[1:]]


@pytest.mark.parametrize("sample_rate", [44_100, 48_000])
def test_rounded_timestamps_come_out_on_the_sample_grid(sample_rate: int) -> None:
    """RTMP's: milliseconds, here truncated, then turned into ticks."""
    exact = audio(0, 20, track=aac_track(sample_rate))
    rounded = [replace(p, pts=p.pts * 1000 // sample_rate * sample_rate // 1000) for p in exact]
    _, sound = read_both(mux(interleaved(video(0, 20), rounded)))
    assert contiguous(sound)
    assert heard(sound) == payloads(exact, "audio")


def test_jitter_below_the_threshold_moves_nothing() -> None:
    jitter = int(RESYNC_S * 48_000) - 1
    shaken = [
        replace(p, pts=p.pts + (jitter if n % 2 else -jitter) * (n > 0))
        for n, p in enumerate(audio(0, 10))
    ]
    _, sound = read_both(mux(interleaved(video(0, 10), shaken)))
    assert contiguous(sound)


def test_a_hole_is_bridged_by_silence_and_the_sound_stays_in_sync() -> None:
    late = 48_000 // 2  # half a second is missing from 3 s on
    frames = audio(0, 9)
    packets = interleaved(video(0, 9), frames[:141] + moved(frames[141:], late))
    _, sound = read_both(mux(packets))
    samples = [(pts, s) for each in sound for pts, s in zip(each.pts, each.samples, strict=True)]
    bridge = [(pts, s) for pts, s in samples if s.payload == SILENCE]
    assert len([pts for pts, _ in bridge if pts < 6 * 48_000]) == late // 1024
    assert {s.payload: pts for pts, s in samples}[frames[141].payload] == 141 * 1024 + late
    ends = [pts + s.duration for pts, s in samples]
    assert ends[:-1] == [pts for pts, _ in samples[1:]]  # no hole, no overlap


def test_what_overlaps_is_dropped_and_the_sound_stays_in_sync() -> None:
    frames = audio(0, 9)
    overlapping = {p.payload: moved([p], -10 * 1024)[0] for p in frames[141:]}
    packets = [overlapping.get(p.payload, p) for p in interleaved(video(0, 9), frames)]
    _, sound = read_both(mux(packets))
    assert frames[141].payload not in heard(sound)
    by_payload = {s: p for each in sound for p, s in zip(each.pts, each.payloads, strict=True)}
    # Frame 150 is now due where 140 was; within the tolerance one frame early is taken.
    taken = [n for n in range(141, 160) if frames[n].payload in by_payload]
    assert taken[0] == 150
    assert abs(by_payload[frames[155].payload] - (155 - 10) * 1024) <= RESYNC_S * 48_000


def test_a_layout_without_silence_leaves_a_hole_of_the_right_length() -> None:
    frames = audio(0, 9, track=aac_track(channels=6))
    packets = interleaved(video(0, 9), frames[:141] + moved(frames[141:], 24_000))
    _, sound = read_both(mux(packets))
    assert heard(sound) == payloads([p for p in packets if p.pts < 9 * 48_000], "audio")
    by_payload = {s: p for each in sound for p, s in zip(each.pts, each.payloads, strict=True)}
    assert by_payload[frames[141].payload] == 141 * 1024 + 24_000


def test_a_muted_publisher_stops_no_player() -> None:
    sounding = audio(0, 3) + audio(20.0053, 6)
    muxer = mux(interleaved(video(0, 26), sounding), end=False)
    pictures, sound = read_both(muxer)
    assert len(sound) >= len(pictures) - 1
    assert heard(sound)[: len(audio(0, 3))] == payloads(audio(0, 3), "audio")
    by_payload = {s: p for each in sound for p, s in zip(each.pts, each.payloads, strict=True)}
    first = audio(20.0053, 6)[0]
    assert abs(by_payload[first.payload] - first.pts) <= RESYNC_S * 48_000
    for picture, tone in zip(pictures, sound, strict=False):
        assert abs(tone.start_s - picture.start_s) < FRAME_S
    muted = mux(interleaved(video(0, 26), audio(0, 3)), end=False)
    assert len(playlist(muted, AUDIO).entries) >= len(playlist(muted, VIDEO).entries) - 2


def test_audio_that_comes_later_begins_with_the_segment_it_comes_in() -> None:
    pictures, sound = read_both(mux(interleaved(video(0, 20), audio(9, 11))))
    assert sound[0].start_s == 8
    assert pictures[-len(sound)].start_s == 8
    by_payload = {s: p for each in sound for p, s in zip(each.pts, each.payloads, strict=True)}
    assert by_payload[audio(9, 1)[0].payload] == 9 * 48_000


# Discontinuities


def discontinuities(segments: list[Read]) -> list[int]:
    return [segment.entry.discontinuity for segment in segments]


def test_another_picture_size_is_a_discontinuity_of_both_with_nothing_lost() -> None:
    """WebRTC publishers change size with the bandwidth, in the middle of a GOP if they like."""
    wide = video_track(320, 192)
    packets = interleaved(video(0, 5.5), video(5.5, 6, track=wide), audio(0, 11.5))
    pictures, sound = read_both(mux(packets))
    assert seen(pictures) == payloads(packets, "video")
    assert heard(sound) == payloads(packets, "audio")
    assert contiguous(sound)
    assert discontinuities(pictures) == discontinuities(sound) == [0, 0, 0, 1, 1, 1]
    assert pictures[3].start_s == 5.5
    assert pictures[3].entry.init != pictures[2].entry.init
    assert sound[3].entry.init == sound[2].entry.init


def test_a_new_publication_of_the_same_configuration_goes_on_seamlessly() -> None:
    again = replace(video_track())
    packets = interleaved(
        video(0, 5.5), video(5.5, 6, track=again), audio(0, 5.5), audio(5.5, 6, track=aac_track())
    )
    pictures, sound = read_both(mux(packets))
    assert discontinuities(pictures) == [0] * len(pictures)
    assert len({segment.entry.init for segment in pictures + sound}) == 2
    assert seen(pictures) == payloads(packets, "video")


def test_a_new_publication_is_waited_for_until_its_keyframe() -> None:
    again = video(5.5, 6, track=replace(video_track()))[10:]
    pictures, sound = read_both(mux(interleaved(video(0, 5.5), again, audio(0, 11.5))))
    assert pictures[3].start_s == 6.5
    assert discontinuities(pictures) == discontinuities(sound) == [0, 0, 0, 1, 1, 1]
    assert 0 <= sound[3].start_s - Fraction(13, 2) < FRAME_S


def test_another_audio_configuration_waits_for_the_next_keyframe() -> None:
    mono = aac_track(44_100, 1)
    packets = interleaved(video(0, 12), audio(0, 5.5), audio(5.5, 6.5, track=mono))
    pictures, sound = read_both(mux(packets))
    assert seen(pictures) == payloads(packets, "video")
    changed = [segment for segment in sound if segment.entry.discontinuity == 1]
    assert 0 <= changed[0].start_s - 6 < Fraction(1024, 44_100)
    assert {segment.rate for segment in changed} == {44_100}
    assert discontinuities(pictures) == discontinuities(sound)
    assert sound[len(sound) - len(changed) - 1].payloads[-1] == SILENCE


def test_a_gap_is_a_discontinuity_of_both() -> None:
    packets = interleaved(video(0, 5), audio(0, 5), video(20, 5), audio(19, 6))
    pictures, sound = read_both(mux(packets))
    assert discontinuities(pictures) == discontinuities(sound) == [0, 0, 0, 1, 1, 1]
    assert starts(pictures) == [0, 2, 4, 20, 22, 24]
    assert 0 <= sound[3].start_s - 20 < FRAME_S
    assert sound[2].end_s <= 5 + FRAME_S
    assert pictures[3].entry.utc_ms - pictures[0].entry.utc_ms == 20_000


def test_a_short_gap_is_a_long_frame() -> None:
    frames = [p for p in video(0, 8) if not 3 <= p.dts / 90_000 < 4]
    pictures = read_rendition(mux(frames), VIDEO)
    assert set(discontinuities(pictures)) == {0}
    assert max(s.duration for segment in pictures for s in segment.samples) == 90_000 + 3000


def test_after_a_flush_all_that_came_is_listed_and_the_return_is_a_discontinuity() -> None:
    muxer = mux(interleaved(video(0, 5), audio(0, 5)), end=False)
    assert len(playlist(muxer, VIDEO).entries) == 2
    muxer.flush()
    pictures, sound = read_both(muxer)
    assert starts(pictures) == [0, 2, 4]
    assert seen(pictures) == payloads(video(0, 5), "video")
    assert heard(sound) == payloads(audio(0, 5), "audio")
    muxer.flush()
    assert len(playlist(muxer, VIDEO).entries) == 3
    for packet in interleaved(video(7, 5), audio(7, 5)):
        muxer.write(packet)
    muxer.end()
    pictures, sound = read_both(muxer)
    assert discontinuities(pictures) == discontinuities(sound) == [0, 0, 0, 1, 1, 1]
    assert playlist(muxer, VIDEO).ended
    assert playlist(muxer, AUDIO).ended


def test_after_the_end_nothing_is_written() -> None:
    muxer = mux(video(0, 5))
    for packet in video(5, 5):
        muxer.write(packet)
    muxer.flush()
    assert len(playlist(muxer, VIDEO).entries) == 3


# Who leads


def test_audio_goes_on_when_the_picture_stops_and_the_picture_comes_back() -> None:
    packets = interleaved(video(0, 5), audio(0, 30), video(20, 10))
    pictures, sound = read_both(mux(packets))
    assert heard(sound)[:1200] == payloads(audio(0, 30), "audio")[:1200]
    before = [segment for segment in sound if segment.end_s < 20]
    assert len(before) > 7
    returned = [segment for segment in pictures if segment.start_s >= 20]
    assert returned[0].start_s == 20
    with_it = [
        each for each in sound if each.entry.discontinuity == returned[0].entry.discontinuity
    ]
    assert 0 <= with_it[0].start_s - 20 < FRAME_S


def test_a_picture_that_comes_to_an_audio_stream_is_cut_together_with_it() -> None:
    pictures, sound = read_both(mux(interleaved(audio(0, 20), video(10, 10))))
    assert heard(sound) == payloads(audio(0, 20), "audio")
    together = [each for each in sound if each.entry.discontinuity == 1]
    assert [0 <= s.start_s - p.start_s < FRAME_S for p, s in zip(pictures, together, strict=True)]


def test_an_audio_stream_that_pauses_goes_on_after_a_discontinuity() -> None:
    sound = read_rendition(mux(audio(0, 9) + audio(15, 6)), AUDIO)
    assert heard(sound) == payloads(audio(0, 9) + audio(15, 6), "audio")
    assert max(discontinuities(sound)) == 1


# Parts


def test_a_segment_can_be_several_fragments_of_bounded_length() -> None:
    packets = encode(Encode(6))
    muxer = mux(packets, HlsSettings(part_ms=200))
    whole = mux(packets)
    for name in (VIDEO, AUDIO):
        parted, single = read_rendition(muxer, name), read_rendition(whole, name)
        assert [segment.payloads for segment in parted] == [each.payloads for each in single]
        assert starts(parted) == starts(single)
    entry = playlist(muxer, VIDEO).entries[0]
    boxes = read_boxes(muxer.segment(entry.uri) or b"")
    assert [box.kind for box in boxes] == ["moof", "mdat"] * 10
    numbers = [int.from_bytes(b.find("mfhd").body[4:], "big") for b in boxes if b.kind == "moof"]
    assert numbers == list(range(1, 11))


# Anything that a hub may hand on


PUBLICATION = st.fixed_dictionaries(
    {
        "pause_s": st.sampled_from([0.0, 0.04, 0.7, 2.0, 3.5, 12.0]),
        "video_s": st.sampled_from([0.0, 0.5, 4.0, 9.0]),
        "audio_s": st.sampled_from([0.0, 1.0, 4.0, 9.0]),
        "gop_s": st.sampled_from([0.3, 1.0, 2.0, 5.0]),
        "cut_frames": st.integers(0, 40),
        "wide": st.booleans(),
        "rate": st.sampled_from([44_100, 48_000]),
        "channels": st.sampled_from([1, 2, 6]),
        "lag_s": st.sampled_from([-4.0, -0.5, 0.0, 0.5, 4.0]),
        "flush": st.booleans(),
    }
)


@settings(max_examples=200)
@given(st.lists(PUBLICATION, min_size=1, max_size=4), st.sampled_from([0, 200]))
def test_whatever_comes_the_playlists_obey_the_standard(
    publications: list[dict[str, float]], part_ms: int
) -> None:
    muxer = Muxer("0123", HlsSettings(part_ms=part_ms))
    now_s, targets = 0.0, set()
    sequences = {VIDEO: -1, AUDIO: -1}
    for each in publications:
        now_s += each["pause_s"]
        track = replace(video_track(320, 192) if each["wide"] else video_track())
        pictures = video(now_s, each["video_s"], gop_s=each["gop_s"], track=track)
        tones = audio(
            now_s,
            each["audio_s"],
            track=replace(aac_track(int(each["rate"]), int(each["channels"]))),
        )
        packets = interleaved(pictures[int(each["cut_frames"]) :], tones, audio_lag_s=each["lag_s"])
        now_s += max(each["video_s"], each["audio_s"])
        for packet in packets:
            muxer.write(packet)
        if each["flush"]:
            muxer.flush()
        for name in (VIDEO, AUDIO):
            text = muxer.playlist(name)
            if text is not None:
                read = read_playlist(text.replace(b"\0", b""))
                targets.add(read.target_s)
                assert read.entries[-1].sequence >= sequences[name]
                sequences[name] = read.entries[-1].sequence
    muxer.end()
    assert len(targets) <= 1
    for name in (VIDEO, AUDIO):
        if muxer.playlist(name) is not None:
            segments = read_rendition(muxer, name)
            if name == VIDEO:
                assert len(seen(segments)) == len(set(seen(segments)))
