"""Playlists as text."""

from __future__ import annotations

from mediaserver.packager.playlist import (
    AudioRendition,
    Variant,
    date_time,
    media_playlist,
    multivariant_playlist,
    with_query,
)
from mediaserver.packager.segment import Segment


def segment(number: int, **changed: object) -> Segment:
    made = Segment(
        sequence=number,
        name=f"v1_{number}.m4s",
        init_name="v1_init0.mp4",
        wallclock_ms=1_790_000_000_000 + 2000 * number,
        independent=True,
        discontinuity=0,
        new_discontinuities=0,
        duration_s=2.0,
    )
    for name, value in changed.items():
        setattr(made, name, value)
    return made


def test_a_media_playlist_reads_like_this() -> None:
    segments = [
        segment(7),
        segment(8, duration_s=1.98333),
        segment(9, init_name="v1_init1.mp4", discontinuity=1, new_discontinuities=1),
    ]
    assert with_query(media_playlist(2, segments, ended=False), "").decode().splitlines() == [
        "#EXTM3U",
        "#EXT-X-VERSION:7",
        "#EXT-X-TARGETDURATION:2",
        "#EXT-X-MEDIA-SEQUENCE:7",
        "#EXT-X-INDEPENDENT-SEGMENTS",
        '#EXT-X-MAP:URI="v1_init0.mp4"',
        "#EXT-X-PROGRAM-DATE-TIME:2026-09-21T14:13:34.000Z",
        "#EXTINF:2.00000,",
        "v1_7.m4s",
        "#EXT-X-PROGRAM-DATE-TIME:2026-09-21T14:13:36.000Z",
        "#EXTINF:1.98333,",
        "v1_8.m4s",
        "#EXT-X-DISCONTINUITY",
        '#EXT-X-MAP:URI="v1_init1.mp4"',
        "#EXT-X-PROGRAM-DATE-TIME:2026-09-21T14:13:38.000Z",
        "#EXTINF:2.00000,",
        "v1_9.m4s",
    ]


def test_the_discontinuity_sequence_counts_the_tags_that_have_left() -> None:
    tagged = segment(5, discontinuity=3, new_discontinuities=1)
    lines = media_playlist(2, [tagged, segment(6, discontinuity=3)], ended=False).splitlines()
    assert b"#EXT-X-DISCONTINUITY-SEQUENCE:2" in lines
    assert lines.count(b"#EXT-X-DISCONTINUITY") == 1
    later = media_playlist(2, [segment(6, discontinuity=3)], ended=False).splitlines()
    assert b"#EXT-X-DISCONTINUITY-SEQUENCE:3" in later
    assert b"#EXT-X-DISCONTINUITY" not in later


def test_a_rendition_that_missed_discontinuities_counts_them_all() -> None:
    segments = [segment(0), segment(1, discontinuity=2, new_discontinuities=2)]
    assert media_playlist(2, segments, ended=False).count(b"#EXT-X-DISCONTINUITY\n") == 2


def test_independence_is_promised_only_while_it_holds() -> None:
    dependent = [segment(0), segment(1, independent=False)]
    assert b"INDEPENDENT" not in media_playlist(2, dependent, ended=False)
    assert b"INDEPENDENT" in media_playlist(2, [segment(2)], ended=False)


def test_a_playlist_that_has_ended_says_so_at_its_end() -> None:
    assert media_playlist(2, [segment(0)], ended=True).endswith(b"\n#EXT-X-ENDLIST\n")
    assert b"ENDLIST" not in media_playlist(2, [segment(0)], ended=False)


def test_a_query_is_put_after_every_uri_and_nowhere_else() -> None:
    text = with_query(media_playlist(2, [segment(0), segment(1)], ended=False), "?token=a")
    assert text.count(b"?token=a") == 3
    assert b'URI="v1_init0.mp4?token=a"\n' in text
    assert b"\nv1_1.m4s?token=a\n" in text
    variant = Variant("video.m3u8", 1, 1, ("avc1.42E01F",))
    index = with_query(
        multivariant_playlist([variant], AudioRendition("audio.m3u8", 2)), "?token=a"
    )
    assert b'URI="audio.m3u8?token=a"\n' in index
    assert index.endswith(b"\nvideo.m3u8?token=a\n")
    assert b"\x00" not in text + index


def test_a_multivariant_playlist_reads_like_this() -> None:
    variant = Variant(
        "video.m3u8", 2_500_000, 2_000_000, ("avc1.64001F", "mp4a.40.2"), (1280, 720), 29.97
    )
    text = with_query(multivariant_playlist([variant], AudioRendition("audio.m3u8", 2)), "")
    assert text.decode().splitlines() == [
        "#EXTM3U",
        "#EXT-X-VERSION:7",
        '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="Audio",DEFAULT=YES,AUTOSELECT=YES,'
        'CHANNELS="2",URI="audio.m3u8"',
        '#EXT-X-STREAM-INF:BANDWIDTH=2500000,AVERAGE-BANDWIDTH=2000000,CODECS="avc1.64001F,'
        'mp4a.40.2",RESOLUTION=1280x720,FRAME-RATE=29.970,AUDIO="audio"',
        "video.m3u8",
    ]


def test_without_a_picture_only_the_audio_is_described() -> None:
    text = multivariant_playlist([Variant("audio.m3u8", 130_000, 128_000, ("mp4a.40.2",))], None)
    assert text.count(b"#EXT-X-MEDIA") == 0
    assert b'BANDWIDTH=130000,AVERAGE-BANDWIDTH=128000,CODECS="mp4a.40.2"\n' in text


def test_a_date_is_utc_with_milliseconds() -> None:
    assert date_time(1_790_000_000_000) == "2026-09-21T14:13:20.000Z"
    assert date_time(1_790_000_000_999.6) == "2026-09-21T14:13:21.000Z"
    assert date_time(1_790_000_000_045.4) == "2026-09-21T14:13:20.045Z"
