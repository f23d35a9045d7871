"""One stream's HLS: packets in, playlists and segments by name out.

`session` goes into every segment name and is another for every muxer, so that no cache ever mixes two
runs of a server or two shows of a room.
"""

from __future__ import annotations

from collections.abc import Callable

from mediaserver.media import Packet
from mediaserver.packager.playlist import AudioRendition, Variant, multivariant_playlist
from mediaserver.packager.rendition import HlsSettings, Rendition
from mediaserver.packager.segmenter import Segmenter
from mediaserver.packager.video_codecs import VIDEO_CODECS
from mediaserver.protocol import aac, h264

INDEX = "index.m3u8"
VIDEO = "video.m3u8"
AUDIO = "audio.m3u8"
AUDIO_GRACE_SEGMENTS = 3  # of video, in which audio that was announced (a bridge's) has to come
FRAME_RATE_TOLERANCE = 0.02  # measured against the SPS: RTMP rounds, encoders hesitate


class Muxer:
    """Playlists and segments of a live stream, until `end` and after."""

    def __init__(self, session: str, settings: HlsSettings, discontinuity: int = 0) -> None:
        """`discontinuity` is the number that the playlists begin with."""
        self.ended = False
        # other renditions of the stream, given the codecs and the bit/s of its sound
        self.more: Callable[[tuple[str, ...], int], tuple[Variant, ...]] = lambda codecs, bps: ()
        self._segmenter = Segmenter(session, settings, discontinuity)
        self._audio_expected = False
        self._index: bytes | None = None
        self._index_of: tuple[object, ...] = ()

    def write(self, packet: Packet) -> None:
        """Take the next packet of a track; what HLS cannot carry is left out."""
        if self.ended:
            return
        if packet.track.codec == "opus":
            self._audio_expected = True  # from a bridge, as AAC
        self._segmenter.write(packet)

    @property
    def wants_keyframe(self) -> bool:
        """Whether a keyframe would end the open segment, or let the first one begin."""
        return self._segmenter.wants_keyframe

    def expect_requests(self) -> None:
        """Say that the publisher sends keyframes when asked."""
        self._segmenter.target.expect_requests()

    def flush(self) -> None:
        """End the open segments: the publisher is gone, at least for now."""
        if not self.ended:
            self._segmenter.flush()

    def end(self) -> None:
        """No more packets will come: the playlists say so."""
        self.flush()
        self.ended = True
        for rendition in (self._segmenter.video, self._segmenter.audio):
            if rendition is not None:
                rendition.end()

    def playlist(self, name: str) -> bytes | None:
        """A playlist as rendered, marks for the query included; None if there is none (yet)."""
        video, audio = self._segmenter.video, self._segmenter.audio
        if name == INDEX:
            return self._multivariant(video, audio)
        rendition = {VIDEO: video, AUDIO: audio}.get(name)
        return rendition.playlist if rendition is not None else None

    def segment(self, name: str) -> bytes | None:
        """The bytes of a segment or initialization segment."""
        rendition = self._segmenter.audio if name.startswith("a") else self._segmenter.video
        return rendition.storage.get(name) if rendition is not None else None

    @property
    def discontinuity(self) -> int:
        """How many breaks the stream has had."""
        return self._segmenter.discontinuity

    def _multivariant(self, video: Rendition | None, audio: Rendition | None) -> bytes | None:
        more = self._more(audio) if video is not None and video.playlist is not None else ()
        state = (video and video.playlist, audio and audio.playlist, more)
        if self._index is None or state != self._index_of:
            self._index, self._index_of = self._render(video, audio, more), state
        return self._index

    def _more(self, audio: Rendition | None) -> tuple[Variant, ...]:
        if audio is None or audio.playlist is None:
            return self.more((), 0)
        return self.more((_codec(audio),), _peak(audio))

    def _render(
        self, video: Rendition | None, audio: Rendition | None, more: tuple[Variant, ...]
    ) -> bytes | None:
        ready = [each for each in (video, audio) if each is not None and each.playlist is not None]
        if not ready:
            return None
        audio_missing = ready == [video] and (audio is not None or self._audio_expected)
        if audio_missing and len(ready[0].storage.listed) < AUDIO_GRACE_SEGMENTS:
            return None
        uri = VIDEO if ready[0] is video else AUDIO
        sound = AudioRendition(AUDIO, ready[1].track.channels) if len(ready) == 2 else None
        return multivariant_playlist([_variant(uri, *ready), *more], sound)


def _variant(uri: str, *renditions: Rendition) -> Variant:
    main = renditions[0]
    video = main.name == "video"
    return Variant(
        uri=uri,
        bandwidth=sum(_peak(rendition) for rendition in renditions),
        average_bandwidth=sum(_average(rendition) for rendition in renditions),
        codecs=tuple(_codec(rendition) for rendition in renditions),
        resolution=(main.track.width, main.track.height) if video else None,
        frame_rate=_frame_rate(main) if video else None,
    )


def _codec(rendition: Rendition) -> str:
    track = rendition.track
    name = VIDEO_CODECS[track.codec].name if track.kind == "video" else aac.codec_string
    return name(track.config)


def _peak(rendition: Rendition) -> int:
    """The largest bit rate of a listed segment (RFC 8216bis §4.4.6.2)."""
    return round(max(segment.bits_per_s for segment in rendition.storage.listed))


def _average(rendition: Rendition) -> int:
    listed = rendition.storage.listed
    seconds = sum(segment.duration_s for segment in listed)
    return round(sum(len(segment.data) for segment in listed) * 8 / seconds)


def _frame_rate(rendition: Rendition) -> float:
    """Frames/s as measured, or as H.264's SPS says where the two agree."""
    listed = rendition.storage.listed
    seconds = sum(segment.duration_s for segment in listed)
    measured = sum(segment.samples for segment in listed) / seconds
    if rendition.track.codec != "h264":
        return measured
    said = h264.parse_sps(h264.AvcConfig.parse(rendition.track.config).sps[0]).frame_rate
    if said is not None and abs(measured - said) <= FRAME_RATE_TOLERANCE * said:
        return said
    return measured
