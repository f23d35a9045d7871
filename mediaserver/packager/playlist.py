"""HLS playlists as text (RFC 8216bis §4).

A playlist is rendered once per update, for all viewers. After each URI stands QUERY_MARK, a byte that
no playlist holds: a viewer who gave its token in the query gets it there on every URI
(`with_query`), the others get nothing in its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from mediaserver.packager.segment import Segment

VERSION = 7  # EXT-X-MAP outside I-frame playlists wants 6, fragmented MP4 by custom 7
QUERY_MARK = "\x00"
AUDIO_GROUP = "audio"


@dataclass(frozen=True, slots=True)
class Variant:
    """EXT-X-STREAM-INF (§4.4.6.2); bandwidths in bit/s, with the audio rendition's."""

    uri: str
    bandwidth: int
    average_bandwidth: int
    codecs: tuple[str, ...]
    resolution: tuple[int, int] | None = None
    frame_rate: float | None = None


@dataclass(frozen=True, slots=True)
class AudioRendition:
    """EXT-X-MEDIA of TYPE=AUDIO (§4.4.6.1)."""

    uri: str
    channels: int


def media_playlist(target_s: int, segments: Sequence[Segment], *, ended: bool) -> bytes:
    """The playlist of these segments, at least one."""
    first = segments[0]
    lines = [
        "#EXTM3U",
        f"#EXT-X-VERSION:{VERSION}",
        f"#EXT-X-TARGETDURATION:{target_s}",
        f"#EXT-X-MEDIA-SEQUENCE:{first.sequence}",
    ]
    if discontinuities := first.discontinuity - first.new_discontinuities:
        lines.append(f"#EXT-X-DISCONTINUITY-SEQUENCE:{discontinuities}")
    if all(segment.independent for segment in segments):
        lines.append("#EXT-X-INDEPENDENT-SEGMENTS")
    init_name = None
    for segment in segments:
        lines += ["#EXT-X-DISCONTINUITY"] * segment.new_discontinuities
        if segment.init_name != init_name or segment.new_discontinuities:
            init_name = segment.init_name
            lines.append(f'#EXT-X-MAP:URI="{init_name}{QUERY_MARK}"')
        lines += (
            f"#EXT-X-PROGRAM-DATE-TIME:{date_time(segment.wallclock_ms)}",
            f"#EXTINF:{segment.duration_s:.5f},",
            segment.name + QUERY_MARK,
        )
    if ended:
        lines.append("#EXT-X-ENDLIST")
    return "\n".join((*lines, "")).encode()


def multivariant_playlist(variants: Sequence[Variant], audio: AudioRendition | None) -> bytes:
    """The multivariant playlist; with `audio`, every variant plays with that one rendition."""
    lines = ["#EXTM3U", f"#EXT-X-VERSION:{VERSION}"]
    if audio is not None:
        lines.append(
            f'#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="{AUDIO_GROUP}",NAME="Audio",DEFAULT=YES,'
            f'AUTOSELECT=YES,CHANNELS="{audio.channels}",URI="{audio.uri}{QUERY_MARK}"'
        )
    for variant in variants:
        attributes = [
            f"BANDWIDTH={variant.bandwidth}",
            f"AVERAGE-BANDWIDTH={variant.average_bandwidth}",
            f'CODECS="{",".join(variant.codecs)}"',
        ]
        if variant.resolution is not None:
            attributes.append("RESOLUTION={}x{}".format(*variant.resolution))
        if variant.frame_rate is not None:
            attributes.append(f"FRAME-RATE={variant.frame_rate:.3f}")
        if audio is not None:
            attributes.append(f'AUDIO="{AUDIO_GROUP}"')
        lines += ("#EXT-X-STREAM-INF:" + ",".join(attributes), variant.uri + QUERY_MARK)
    return "\n".join((*lines, "")).encode()


def with_query(playlist: bytes, query: str) -> bytes:
    """A rendered playlist with `query`, like "?token=abc" or "", after every URI."""
    return playlist.replace(QUERY_MARK.encode(), query.encode())


def date_time(utc_ms: float) -> str:
    """EXT-X-PROGRAM-DATE-TIME's form of a UTC time in ms (§4.4.4.6)."""
    whole_s, ms = divmod(round(utc_ms), 1000)
    return f"{datetime.fromtimestamp(whole_s, UTC):%Y-%m-%dT%H:%M:%S}.{ms:03d}Z"
