"""What an RTMP publication's messages hold, on its way to the hub: pictures, sound, further tracks.

Of several tracks of video (Enhanced RTMP, OBS's multitrack video) the largest picture is the stream
itself, the others are renditions of it, named by height and number: `show/480p-1` (`show/480p` is one
that is made here). Which is the largest is settled at the first picture, for encoders send every
sequence header before it; tracks of another codec than the default one can't stand in for it.
"""

from __future__ import annotations

from collections.abc import Mapping

from mediaserver.hub import Notice, Publication, Stream
from mediaserver.media import Track
from mediaserver.protocol import amf0
from mediaserver.protocol.flv import FlvDemuxer, Frame
from mediaserver.protocol.rtmp import Message
from mediaserver.protocol.rtmp.messages import VIDEO

_NOT_CHOSEN = -1


class RtmpMedia:
    """The media of one publication; `write` is a hot path."""

    def __init__(self, publication: Publication) -> None:
        self._publication = publication
        self._demuxer = FlvDemuxer()
        self._shown = _NOT_CHOSEN  # the number of the track that is the stream itself
        self._renditions: dict[int, Stream] = {}

    def write(self, message: Message, arrival: float) -> None:
        """A message of picture or sound; raises ProtocolError."""
        if message.type_id != VIDEO:
            self._write_sound(message, arrival)
            return
        for frame in self._demuxer.video(message.payload):
            if frame.number == self._shown or self._choose() == frame.number:
                self._publication.write(
                    frame.track,
                    message.timestamp,
                    frame.payload,
                    keyframe=frame.keyframe,
                    composition=frame.composition_ms,
                    arrival=arrival,
                )
            else:
                self._write_layer(frame, message.timestamp, arrival)

    def expect(self, metadata: Mapping[str, amf0.Value]) -> None:
        """What the encoder says of itself (onMetaData)."""
        rate, stereo = metadata.get("audiosamplerate"), metadata.get("stereo")
        channels = metadata.get("audiochannels", 2.0 if stereo is True else 1.0)
        if isinstance(rate, float) and isinstance(channels, float) and 0 < rate < 1e6:
            self._demuxer.expect_audio(round(rate), 1 if channels == 1 else 2)

    def _write_sound(self, message: Message, arrival: float) -> None:
        frames = self._demuxer.audio(message.payload)
        for frame in frames:
            self._publication.write(
                frame.track, message.timestamp, frame.payload, keyframe=True, arrival=arrival
            )
        if not frames and self._demuxer.refused_audio:
            self._publication.stream.notice(audio_not_taken(self._demuxer.refused_audio))

    def _choose(self) -> int:
        if self._shown == _NOT_CHOSEN:
            tracks = self._demuxer.video_tracks
            codec = tracks[0].codec if 0 in tracks else None
            able = [number for number in tracks if codec in (None, tracks[number].codec)]
            self._shown = max(able, key=lambda number: (_pixels(tracks[number]), -number))
        return self._shown

    def _write_layer(self, frame: Frame, timestamp: int, arrival: float) -> None:
        rendition = self._renditions.get(frame.number)
        if rendition is None:
            if not frame.keyframe:
                return
            suffix = f"{frame.track.height}p-{frame.number}"
            rendition = self._publication.rendition(suffix, frame.track)
            self._renditions[frame.number] = rendition
        self._publication.write_layer(
            f"video/{frame.number}",
            frame.track,
            timestamp,
            frame.payload,
            keyframe=frame.keyframe,
            composition=frame.composition_ms,
            arrival=arrival,
            rendition=rendition,
        )


def audio_not_taken(reason: str) -> Notice:
    """The sound is left out; `reason` names what it is."""
    return Notice(
        "AudioNotTaken",
        "error",
        {
            "en": f"The sound can't be taken ({reason}): viewers see the picture without sound.",
            "zh": f"无法接收音频（{reason}）：观众只能看到画面，没有声音。",
        },
        {
            "en": "In OBS: Settings, Output, Audio Encoder: choose AAC, 48 kHz, stereo, then start "
            "streaming again.",
            "zh": "在 OBS 中：设置 → 输出 → 音频编码器选择 AAC（48 kHz，立体声），然后重新开始推流。",
        },
    )


def _pixels(track: Track) -> int:
    return track.width * track.height
