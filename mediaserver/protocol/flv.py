"""FLV tag bodies, what RTMP carries as media (Adobe Flash Video File Format 10.1, §E.4.2, §E.4.3).

H.264 and AAC are taken; anything else, Enhanced RTMP too, is refused in words that name the setting
to change. On the way in, access units are put in the form that `Packet` promises: lengths of four
bytes, parameter sets in the Track, no delimiters or filler. A keyframe is a picture that a decoder
can start from (IDR); the tag's own mark is also set on others.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from mediaserver.errors import ProtocolError
from mediaserver.media import Track
from mediaserver.protocol import h264
from mediaserver.protocol.aac import audio_track

SEQUENCE_HEADER = 0
DATA = 1  # NAL units, or one raw AAC frame
END_OF_SEQUENCE = 2

_KEY_FRAME, _INTER_FRAME, _COMMAND_FRAME = 1, 2, 5
_AVC, _AAC = 7, 10
_AAC_FLAGS = 0x0F  # 44 kHz, 16 bits, stereo: fixed for AAC, the config has the truth
_EX_VIDEO_HEADER = 0x80
_EX_AUDIO = 9

_VIDEO_CODECS = {
    2: "Sorenson H.263",
    3: "Screen Video",
    4: "VP6",
    5: "VP6",
    6: "Screen Video 2",
    12: "HEVC",  # this and the next are not in the standard, but in use
    13: "AV1",
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
    13: "Opus",  # not in the standard either
    14: "MP3",
}
_FOUR_CCS = {
    b"avc1": "H.264",
    b"hvc1": "HEVC",
    b"vvc1": "VVC",
    b"av01": "AV1",
    b"vp08": "VP8",
    b"vp09": "VP9",
    b"mp4a": "AAC",
    b"Opus": "Opus",
    b"fLaC": "FLAC",
    b".mp3": "MP3",
    b"ac-3": "AC-3",
    b"ec-3": "E-AC-3",
}
_CHOOSE_H264 = "in OBS choose an H.264 encoder such as x264 in Settings, Output, Video Encoder"
_CHOOSE_AAC = "in OBS choose AAC in Settings, Output, Audio Encoder"

_DROPPED = frozenset({h264.NAL_AUD, h264.NAL_FILLER, h264.NAL_SPS, h264.NAL_PPS})
_SPS_ID_AT = 4  # after the NAL header, profile, constraints and level (H.264 §7.3.2.1.1)
_PPS_ID_AT = 1  # after the NAL header (§7.3.2.2)
_MAX_ID_ZEROS = 8  # an id is below 256


@dataclass(slots=True)
class VideoTag:
    """A VIDEODATA of H.264: `composition_ms` is presentation minus decode time, signed 24 bits."""

    packet_type: int
    keyframe: bool
    composition_ms: int
    data: bytes

    @classmethod
    def parse(cls, body: bytes) -> VideoTag | None:
        """Read a tag's body; None for a command frame; raises ProtocolError."""
        if not body:
            raise ProtocolError("an empty video tag")
        if body[0] & _EX_VIDEO_HEADER:
            name = _FOUR_CCS.get(body[1:5], "an unknown codec")
            raise ProtocolError(f"video by Enhanced RTMP ({name}) is not supported: {_CHOOSE_H264}")
        frame_type, codec = body[0] >> 4, body[0] & 0x0F
        if frame_type == _COMMAND_FRAME:
            return None
        if codec != _AVC:
            name = _VIDEO_CODECS.get(codec, f"codec {codec}")
            raise ProtocolError(f"{name} video is not supported: {_CHOOSE_H264}")
        if len(body) < 5:
            raise ProtocolError("a video tag is cut short")
        composition_ms = int.from_bytes(body[2:5], "big", signed=True)
        return cls(body[1], frame_type == _KEY_FRAME, composition_ms, body[5:])

    def serialize(self) -> bytes:
        """The tag's body."""
        frame_type = _KEY_FRAME if self.keyframe else _INTER_FRAME
        composition = self.composition_ms.to_bytes(3, "big", signed=True)
        return (
            struct.pack(">BB3s", frame_type << 4 | _AVC, self.packet_type, composition) + self.data
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
        if codec == _EX_AUDIO:
            name = _FOUR_CCS.get(body[1:5], "an unknown codec")
            raise ProtocolError(f"audio by Enhanced RTMP ({name}) is not supported: {_CHOOSE_AAC}")
        if codec != _AAC:
            name = _AUDIO_CODECS.get(codec, f"codec {codec}")
            raise ProtocolError(f"{name} audio is not supported: {_CHOOSE_AAC}")
        if len(body) < 2:
            raise ProtocolError("an audio tag is cut short")
        return cls(body[1], body[2:])

    def serialize(self) -> bytes:
        """The tag's body."""
        return bytes((_AAC << 4 | _AAC_FLAGS, self.packet_type)) + self.data


@dataclass(slots=True)
class Frame:
    """One access unit or audio frame, in the form of `Packet.payload`."""

    track: Track
    keyframe: bool
    composition_ms: int
    payload: bytes


class FlvDemuxer:
    """Tag bodies in, frames out; frames before their configuration are dropped."""

    def __init__(self) -> None:
        self.video_track: Track | None = None
        self.audio_track: Track | None = None
        self._length_size = 4
        self._sps: tuple[bytes, ...] = ()
        self._pps: tuple[bytes, ...] = ()

    def video(self, body: bytes) -> Frame | None:
        """The access unit in a video tag, if there is one; raises ProtocolError."""
        tag = VideoTag.parse(body)
        if tag is None or not tag.data:
            return None
        if tag.packet_type == DATA:
            return self._access_unit(tag)
        if tag.packet_type == SEQUENCE_HEADER:
            config = h264.AvcConfig.parse(tag.data)
            self._length_size = config.length_size
            self._set_video(config.sps, config.pps)
        return None

    def audio(self, body: bytes) -> Frame | None:
        """The AAC frame in an audio tag, if there is one; raises ProtocolError."""
        tag = AudioTag.parse(body)
        if not tag.data:
            return None
        if tag.packet_type == SEQUENCE_HEADER:
            if self.audio_track is None or self.audio_track.config != tag.data:
                self.audio_track = audio_track(tag.data)
        elif tag.packet_type == DATA and self.audio_track is not None:
            return Frame(self.audio_track, True, 0, tag.data)
        return None

    def _access_unit(self, tag: VideoTag) -> Frame | None:
        nals = h264.split_length_prefixed(tag.data, self._length_size)
        types = [nal[0] & 0x1F for nal in nals]
        if not _DROPPED.isdisjoint(types):
            self._take_parameter_sets(nals, types)
            nals = [
                nal for nal, nal_type in zip(nals, types, strict=True) if nal_type not in _DROPPED
            ]
        if self.video_track is None or not nals:
            return None
        payload = h264.join_length_prefixed(nals)
        return Frame(self.video_track, h264.NAL_IDR in types, tag.composition_ms, payload)

    def _take_parameter_sets(self, nals: list[h264.Nal], types: list[int]) -> None:
        sps, pps = self._sps, self._pps
        for nal, nal_type in zip(nals, types, strict=True):
            if nal_type == h264.NAL_SPS:
                sps = _with_set(sps, bytes(nal), _SPS_ID_AT)
            elif nal_type == h264.NAL_PPS:
                pps = _with_set(pps, bytes(nal), _PPS_ID_AT)
        if sps and pps:
            self._set_video(sps, pps)

    def _set_video(self, sps: tuple[bytes, ...], pps: tuple[bytes, ...]) -> None:
        if (sps, pps) != (self._sps, self._pps):
            self.video_track = h264.video_track(sps, pps)
            self._sps, self._pps = sps, pps


def _with_set(sets: tuple[bytes, ...], new: bytes, id_at: int) -> tuple[bytes, ...]:
    if new in sets:
        return sets
    by_id = {_parameter_set_id(each, id_at): each for each in sets}
    by_id[_parameter_set_id(new, id_at)] = new
    return tuple(by_id.values())


def _parameter_set_id(nal: bytes, id_at: int) -> int:
    bits = int.from_bytes(nal[id_at : id_at + 4].ljust(4, b"\x00"), "big")
    zeros = 32 - bits.bit_length()
    if zeros > _MAX_ID_ZEROS:
        raise ProtocolError("a parameter set with an id out of range")
    return (bits >> (31 - 2 * zeros)) - 1
