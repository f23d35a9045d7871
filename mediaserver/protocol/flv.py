"""FLV tag bodies, what RTMP carries as media (Adobe Flash Video File Format 10.1, §E.4.2, §E.4.3).

`VideoTag` and `AudioTag` are those of H.264 and AAC as Adobe has them; what came later is in
`flv_enhanced.py`. `FlvDemuxer` takes all of them and gives frames in the form of `Packet`: H.264, HEVC,
AV1, VP9 and VP8, AAC and Opus. Other video is refused in words that name the setting to change; other
sound is left out, and `FlvDemuxer.refused_audio` says why. A keyframe is a picture that a decoder can
start from; the tag's own mark is also set on others.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from mediaserver.errors import ProtocolError
from mediaserver.media import Track
from mediaserver.protocol import flv_enhanced as enhanced
from mediaserver.protocol.flv_audio import AacTrack, AudioTrack, OpusTrack
from mediaserver.protocol.flv_tracks import VIDEO_TRACKS, VideoTrack

SEQUENCE_HEADER = 0
DATA = 1  # NAL units, or one raw AAC frame
END_OF_SEQUENCE = 2

MAX_VIDEO_TRACKS = 10  # as many as OBS has encoders; more are passed over

_KEY_FRAME, _INTER_FRAME, _COMMAND_FRAME = 1, 2, 5
_AVC, _HEVC, _AAC = 7, 12, 10  # HEVC is not in the standard, but many encoders write it so
_AAC_FLAGS = 0x0F  # 44 kHz, 16 bits, stereo: fixed for AAC, the config has the truth
_AVC1, _HVC1, _MP4A, _OPUS = b"avc1", b"hvc1", b"mp4a", b"Opus"
_AVC_DATA = frozenset({b"\x17\x01", b"\x27\x01"})  # how nearly all pictures begin
_AVC_HEADER_BYTES = 5
_AAC_DATA = b"\xaf\x01"

_VIDEO_CODECS = {
    2: "Sorenson H.263",
    3: "Screen Video",
    4: "VP6",
    5: "VP6",
    6: "Screen Video 2",
    13: "AV1",  # not in the standard either
}
_AUDIO_CODECS = {
    0: "PCM",
    1: "ADPCM",
    2: "MP3",
    3: "PCM",
    4: "Nellymoser",
    5: "Nellymoser",
    6: "Nellymoser",
    7: "G.711",
    8: "G.711",
    11: "Speex",
    13: "Opus",  # not in the standard
    14: "MP3",
}
_FOUR_CCS = {
    b"vvc1": "VVC",
    b"fLaC": "FLAC",
    b".mp3": "MP3",
    b"ac-3": "AC-3",
    b"ec-3": "E-AC-3",
}
_CHOOSE_VIDEO = "in OBS choose an H.264 encoder such as x264 in Settings, Output, Video Encoder"


@dataclass(slots=True)
class VideoTag:
    """A VIDEODATA of H.264, or HEVC: `composition_ms` is presentation minus decode time, 24 bits."""

    packet_type: int
    keyframe: bool
    composition_ms: int
    data: bytes
    four_cc: bytes = _AVC1

    @classmethod
    def parse(cls, body: bytes) -> VideoTag | None:
        """Read a tag's body; None for a command frame; raises ProtocolError."""
        if not body:
            raise ProtocolError("an empty video tag")
        frame_type, codec = body[0] >> 4, body[0] & 0x0F
        if frame_type == _COMMAND_FRAME:
            return None
        if codec not in (_AVC, _HEVC):
            name = _VIDEO_CODECS.get(codec, f"codec {codec}")
            raise ProtocolError(f"{name} video is not supported: {_CHOOSE_VIDEO}")
        if len(body) < 5:
            raise ProtocolError("a video tag is cut short")
        composition_ms = int.from_bytes(body[2:5], "big", signed=True)
        four_cc = _AVC1 if codec == _AVC else _HVC1
        return cls(body[1], frame_type == _KEY_FRAME, composition_ms, body[5:], four_cc)

    def serialize(self) -> bytes:
        """The tag's body."""
        frame_type = _KEY_FRAME if self.keyframe else _INTER_FRAME
        composition = self.composition_ms.to_bytes(3, "big", signed=True)
        codec = _AVC if self.four_cc == _AVC1 else _HEVC
        return (
            struct.pack(">BB3s", frame_type << 4 | codec, self.packet_type, composition) + self.data
        )


@dataclass(slots=True)
class AudioTag:
    """An AUDIODATA of AAC."""

    packet_type: int
    data: bytes

    @classmethod
    def parse(cls, body: bytes) -> AudioTag:
        """Read a tag's body; raises ProtocolError."""
        if not body:
            raise ProtocolError("an empty audio tag")
        codec = body[0] >> 4
        if codec != _AAC:
            name = _AUDIO_CODECS.get(codec, f"codec {codec}")
            raise ProtocolError(f"{name} audio, not AAC")
        if len(body) < 2:
            raise ProtocolError("an audio tag is cut short")
        return cls(body[1], body[2:])

    def serialize(self) -> bytes:
        """The tag's body."""
        return bytes((_AAC << 4 | _AAC_FLAGS, self.packet_type)) + self.data


@dataclass(slots=True)
class Frame:
    """One access unit or audio frame, in the form of `Packet.payload`.

    `number` is that of the encoder's track of video, 0 for its default one.
    """

    track: Track
    keyframe: bool
    composition_ms: int
    payload: bytes
    number: int = 0


class FlvDemuxer:
    """Tag bodies in, frames out; frames before their configuration are dropped."""

    def __init__(self) -> None:
        self.refused_audio = ""  # why the sound is left out, in words
        self._video: dict[int, tuple[bytes, VideoTrack]] = {}  # by number, with the codec
        self._avc: VideoTrack | None = None  # track 0, while it is H.264
        self._aac = AacTrack()
        self._audio: tuple[bytes, AudioTrack] = (_MP4A, self._aac)
        self._audio_number = -1  # of the first track of sound, the only one taken
        self._expected = (0, 0)

    @property
    def video_track(self) -> Track | None:
        """The default one."""
        return self.video_tracks.get(0)

    @property
    def video_tracks(self) -> dict[int, Track]:
        """All that are configured, by their number."""
        found = {number: each.track for number, (_, each) in self._video.items()}
        return {number: track for number, track in found.items() if track is not None}

    @property
    def audio_track(self) -> Track | None:
        return self._audio[1].track

    def expect_audio(self, sample_rate: int, channels: int) -> None:
        """What the encoder's metadata says of its sound, 0 where it does not."""
        self._expected = sample_rate, channels
        self._audio[1].expect(sample_rate, channels)

    def video(self, body: bytes) -> Sequence[Frame]:
        """The access units in a video tag; raises ProtocolError."""
        avc = self._avc
        if avc is not None and body[:2] in _AVC_DATA and len(body) > _AVC_HEADER_BYTES:
            coded = avc.frame(body, _AVC_HEADER_BYTES)  # the rest does this in more steps
            if coded is None or avc.track is None:
                return ()
            composition_ms = int.from_bytes(body[2:_AVC_HEADER_BYTES], "big", signed=True)
            return (Frame(avc.track, coded[0], composition_ms, coded[1]),)
        if body and body[0] & enhanced.EX_VIDEO:
            return self._enhanced_video(body)
        tag = VideoTag.parse(body)
        if tag is None or not tag.data:
            return ()
        return self._take_video(tag.packet_type, tag.four_cc, 0, tag.composition_ms, tag.data)

    def audio(self, body: bytes) -> Sequence[Frame]:
        """The frames of sound in an audio tag; raises ProtocolError."""
        aac = self._aac
        if aac.track is not None and body[:2] == _AAC_DATA and len(body) > 2 and body[2] != 0xFF:
            return (Frame(aac.track, True, 0, body[2:]),)  # the rest does this in more steps
        if not body:
            raise ProtocolError("an empty audio tag")
        codec = body[0] >> 4
        if codec == enhanced.EX_AUDIO:
            return self._enhanced_audio(body)
        if codec != _AAC:
            self.refused_audio = f"{_AUDIO_CODECS.get(codec, f'codec {codec}')} audio"
            return ()
        if len(body) < 2:
            raise ProtocolError("an audio tag is cut short")
        return self._take_audio(body[1], _MP4A, body, 2)

    def _enhanced_video(self, body: bytes) -> list[Frame]:
        frames: list[Frame] = []
        for tag in enhanced.parse_video(body):
            if tag.four_cc not in VIDEO_TRACKS and tag.packet_type != enhanced.METADATA:
                name = _FOUR_CCS.get(tag.four_cc, "an unknown codec")
                raise ProtocolError(f"{name} video is not supported: {_CHOOSE_VIDEO}")
            packet_type = DATA if tag.packet_type == enhanced.CODED_FRAMES_X else tag.packet_type
            if tag.data:
                frames += self._take_video(
                    packet_type, tag.four_cc, tag.number, tag.composition_ms, tag.data
                )
        return frames

    def _take_video(
        self, packet_type: int, four_cc: bytes, number: int, composition_ms: int, data: bytes
    ) -> Sequence[Frame]:
        if packet_type not in (SEQUENCE_HEADER, DATA):
            return ()
        entry = self._video.get(number)
        if entry is None or entry[0] != four_cc:
            if entry is None and len(self._video) == MAX_VIDEO_TRACKS:
                return ()
            entry = self._video[number] = (four_cc, VIDEO_TRACKS[four_cc]())
            if number == 0:
                self._avc = entry[1] if four_cc == _AVC1 else None
        coder = entry[1]
        if packet_type == SEQUENCE_HEADER:
            coder.configure(data)
            return ()
        coded = coder.frame(data)
        if coded is None or coder.track is None:
            return ()
        return (Frame(coder.track, coded[0], composition_ms, coded[1], number),)

    def _enhanced_audio(self, body: bytes) -> Sequence[Frame]:
        for tag in enhanced.parse_audio(body):
            if self._audio_number < 0:
                self._audio_number = tag.number
            if tag.number == self._audio_number:
                if tag.four_cc not in (_MP4A, _OPUS):
                    name = _FOUR_CCS.get(tag.four_cc, "an unknown codec")
                    self.refused_audio = f"{name} audio"
                    return ()
                return self._take_audio(tag.packet_type, tag.four_cc, tag.data, 0)
        return ()

    def _take_audio(
        self, packet_type: int, four_cc: bytes, body: bytes, start: int
    ) -> Sequence[Frame]:
        if len(body) <= start:
            return ()
        if four_cc != self._audio[0]:
            self._aac = AacTrack()
            self._audio = (four_cc, self._aac if four_cc == _MP4A else OpusTrack())
            self._audio[1].expect(*self._expected)
        coder = self._audio[1]
        try:
            if packet_type == SEQUENCE_HEADER:
                coder.configure(body[start:])
            elif packet_type == DATA:
                payload = coder.frame(body, start)
                if payload and coder.track is not None:
                    return (Frame(coder.track, True, 0, payload),)
        except ProtocolError as error:
            self.refused_audio = error.detail
        return ()
