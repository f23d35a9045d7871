"""Parameter sets, headers and the RTP payloads of every codec."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.fuzzing import bitstreams
from benchmarks.fuzzing.parser import Parser
from mediaserver.errors import ProtocolError
from mediaserver.media import VIDEO_CLOCK_RATE, Codec, Packet, Track
from mediaserver.protocol import av1, h264, h265, opus, rtp_video, vp8, vp9
from mediaserver.protocol.aac import AudioSpecificConfig

PAYLOAD_BYTES = 60  # so that frames come in several payloads
_ANNEX_B = b"".join(b"\0\0\0\1" + nal for nal in (bitstreams.SPS, bitstreams.PPS, bitstreams.IDR))
_HEVC_TRACK = h265.video_track(
    (bitstreams.HEVC_VPS,), (bitstreams.HEVC_SPS,), (bitstreams.HEVC_PPS,)
)


def _depacketize(codec: Codec) -> Callable[[bytes], object]:
    """A reader of payloads, each behind its length in one byte."""

    def parse(data: bytes) -> object:
        depacketizer, frames, at = rtp_video.depacketizer(codec), 0, 0
        while at < len(data):
            length, at = data[at] or 1, at + 1
            marker = at + length >= len(data)
            payload, at = data[at : at + length], at + length
            if not payload:
                break
            try:
                frames += len(depacketizer.feed(payload, marker, at))
            except ProtocolError:
                if marker:
                    raise
        return frames

    return parse


def _payloads(track: Track, frame: bytes) -> bytes:
    packet = Packet(track, 0, 0, 0, True, frame)
    cut = rtp_video.packetize(packet, PAYLOAD_BYTES)
    return b"".join(bytes((len(each.payload),)) + each.payload for each in cut)


def _opus(data: bytes) -> object:
    duration = opus.packet_duration(data)
    assert 120 <= duration <= 5760
    return duration


def _track(codec: Codec, config: bytes) -> Track:
    return Track("video", codec, VIDEO_CLOCK_RATE, config, width=320, height=180)


_FRAMES: dict[Codec, tuple[Track, bytes]] = {
    "h264": (_track("h264", bitstreams.AVC_CONFIG), h264.join_length_prefixed([bitstreams.IDR])),
    "h265": (_HEVC_TRACK, h264.join_length_prefixed([bitstreams.HEVC_IDR * 9])),
    "vp8": (_track("vp8", b""), bitstreams.VP8_KEYFRAME),
    "vp9": (_track("vp9", b""), bitstreams.VP9_KEYFRAME),
    "av1": (_track("av1", bitstreams.AV1_CONFIG), bitstreams.AV1_KEYFRAME),
}

PARSERS = (
    Parser("h264 sps", (bitstreams.SPS, bitstreams.HIGH_SPS), h264.parse_sps),
    Parser("h264 config", (bitstreams.AVC_CONFIG,), h264.AvcConfig.parse),
    Parser("h264 lengths", (bitstreams.AVC_KEYFRAME,), h264.split_length_prefixed),
    Parser("h264 start codes", (_ANNEX_B,), h264.split_annex_b),
    Parser("h265 sps", (bitstreams.HEVC_SPS,), h265.parse_sps),
    Parser("h265 config", (_HEVC_TRACK.config,), h265.HevcConfig.parse),
    Parser("vp8", (bitstreams.VP8_KEYFRAME,), vp8.video_track),
    Parser("vp9", (bitstreams.VP9_KEYFRAME,), vp9.parse_keyframe),
    Parser(
        "vp9 superframe",
        (vp9.join_superframe([bitstreams.VP9_KEYFRAME, b"\x86" * 9]),),
        vp9.split_superframe,
    ),
    Parser("av1 sequence", (bitstreams.AV1_SEQUENCE,), av1.parse_sequence_header),
    Parser("av1 units", (bitstreams.AV1_KEYFRAME,), av1.split_temporal_unit),
    Parser("av1 config", (bitstreams.AV1_CONFIG,), av1.Av1Config.parse),
    Parser("aac config", (bitstreams.AAC_CONFIG, b"\x2b\x92\x08\0"), AudioSpecificConfig.parse),
    Parser("opus head", (opus.OpusHead(2).serialize(),), opus.OpusHead.parse),
    Parser("opus", (bitstreams.OPUS_PACKET, b"\xff\x42\0", b"\x83\x02\1\2"), _opus),
    *(
        Parser(f"rtp {codec}", (_payloads(track, frame),), _depacketize(codec))
        for codec, (track, frame) in _FRAMES.items()
    ),
)
