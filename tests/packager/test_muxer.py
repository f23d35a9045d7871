"""What a muxer serves by name."""

from __future__ import annotations

import re

import pytest

from mediaserver.media import Packet
from mediaserver.packager.muxer import AUDIO, INDEX, VIDEO, Muxer
from mediaserver.packager.playlist import with_query
from mediaserver.packager.rendition import HlsSettings
from mediaserver.protocol.opus import opus_track
from tests.packager.encoding import Encode, at, encode
from tests.packager.reading import playlist
from tests.packager.streams import aac_track, audio, interleaved, mux, video


def index(muxer: Muxer) -> str:
    text = muxer.playlist(INDEX)
    assert text is not None
    return with_query(text, "").decode()


def attribute(text: str, name: str) -> str:
    found = re.search(rf"[:,]{name}=(\"[^\"]*\"|[^,\n]*)", text)
    assert found
    return found[1].strip('"')


def test_the_index_describes_what_is_in_the_segments() -> None:
    muxer = mux(encode(Encode(6, fps=25, b_frames=2)))
    text = index(muxer)
    assert attribute(text, "RESOLUTION") == "160x96"
    assert attribute(text, "FRAME-RATE") == "25.000"
    assert re.fullmatch(r"avc1\.[0-9A-F]{6},mp4a\.40\.2", attribute(text, "CODECS"))
    assert attribute(text, "CHANNELS") == "2"
    assert text.splitlines()[-1] == VIDEO
    rates = []
    for name in (VIDEO, AUDIO):
        entries = playlist(muxer, name).entries
        sizes = [len(muxer.segment(entry.uri) or b"") * 8 for entry in entries]
        seconds = [entry.duration_s for entry in entries]
        peak = max(size / s for size, s in zip(sizes, seconds, strict=True))
        rates.append((peak, sum(sizes) / sum(seconds)))
    assert int(attribute(text, "BANDWIDTH")) == pytest.approx(sum(r[0] for r in rates), abs=2)
    average = int(attribute(text, "AVERAGE-BANDWIDTH"))
    assert average == pytest.approx(sum(r[1] for r in rates), abs=2)
    assert average <= int(attribute(text, "BANDWIDTH"))


def test_the_frame_rate_is_the_measured_one_where_the_sps_is_wrong() -> None:
    assert attribute(index(mux(video(0, 6, fps=20))), "FRAME-RATE") == "20.000"


def test_nothing_is_served_before_both_renditions_have_a_segment() -> None:
    muxer = Muxer("0123", HlsSettings())
    for packet in interleaved(video(0, 5), audio(0, 5), audio_lag_s=0.5):
        before = (muxer.playlist(INDEX), muxer.playlist(VIDEO), muxer.playlist(AUDIO))
        assert (before[0] is None) == (before[1] is None or before[2] is None)
        muxer.write(packet)
    assert muxer.playlist(INDEX) is not None


def opus(seconds: float) -> list[Packet]:
    track = opus_track(2)
    return [at(track, n * 960, n * 960, b"\xfc", keyframe=True) for n in range(round(seconds * 50))]


def test_the_audio_of_a_bridge_is_waited_for_but_not_for_ever() -> None:
    served_after_s = []
    muxer = Muxer("0123", HlsSettings())
    for packet in interleaved(opus(10), video(0, 10)):
        muxer.write(packet)
        if muxer.playlist(INDEX) is not None:
            served_after_s.append(packet.dts / packet.track.clock_rate)
    assert served_after_s[0] == 6
    assert "#EXT-X-MEDIA" not in index(muxer)
    bridged = mux(interleaved(opus(10), video(0, 10), audio(0.5, 9.5), audio_lag_s=0.2))
    assert "#EXT-X-MEDIA" in index(bridged)


def test_audio_alone_is_a_variant_of_its_own() -> None:
    text = index(mux(audio(0, 9, track=aac_track(44_100, 1))))
    assert text.splitlines()[-1] == AUDIO
    assert attribute(text, "CODECS") == "mp4a.40.2"
    assert "RESOLUTION" not in text
    assert "#EXT-X-MEDIA:" not in text


def test_a_playlist_is_rendered_once_per_segment() -> None:
    muxer = mux(interleaved(video(0, 5), audio(0, 5)), end=False)
    for name in (INDEX, VIDEO, AUDIO):
        assert muxer.playlist(name) is muxer.playlist(name)
    before = muxer.playlist(INDEX)
    for packet in interleaved(video(5, 3), audio(5, 3)):
        muxer.write(packet)
    assert muxer.playlist(INDEX) is not before


def test_names_are_of_this_muxer_alone() -> None:
    packets = interleaved(video(0, 5), audio(0, 5))
    names = []
    for session in ("one", "two"):
        muxer = Muxer(session, HlsSettings())
        for packet in packets:
            muxer.write(packet)
        entries = playlist(muxer, VIDEO).entries + playlist(muxer, AUDIO).entries
        names.append({entry.uri for entry in entries} | {entry.init for entry in entries})
    assert names[0].isdisjoint(names[1])


def test_unknown_names_are_none() -> None:
    muxer = mux(interleaved(video(0, 5), audio(0, 5)))
    for name in ("", "master.m3u8", "v0123_99.m4s", "a0123_99.m4s", "../index.m3u8"):
        assert muxer.playlist(name) is None
        assert muxer.segment(name) is None
    empty = Muxer("0123", HlsSettings())
    assert empty.playlist(INDEX) is empty.playlist(VIDEO) is empty.playlist(AUDIO) is None
    assert empty.segment("v0123_0.m4s") is None


def test_the_playlist_slides_and_its_sequence_counts_what_left() -> None:
    muxer = mux(interleaved(video(0, 60), audio(0, 60)), HlsSettings(window_s=10), end=False)
    for name in (VIDEO, AUDIO):
        entries = playlist(muxer, name).entries
        assert 5 <= len(entries) <= 6
        assert entries[0].sequence >= 23
        assert entries[0].uri.endswith(f"_{entries[0].sequence}.m4s")
        assert all(muxer.segment(entry.uri) for entry in entries)
        assert muxer.segment(entries[0].uri.replace(f"_{entries[0].sequence}", "_0")) is None
