"""The one seam of all video codecs: frames with their Track in, payloads with parameter sets out."""

from __future__ import annotations

import pytest

from mediaserver.errors import ProtocolError
from mediaserver.media import AAC_FRAME_SAMPLES, Packet, Track
from mediaserver.protocol import rtp, rtp_h264, rtp_video
from mediaserver.protocol.h264 import AvcConfig, join_length_prefixed, video_track
from mediaserver.protocol.rtp_video import CodedFrame, RtpPayload

MAX = 1200
SPS = bytes.fromhex("6742c01fd9005005bb0110000003001000000303c0f1832480")
PPS = bytes.fromhex("68cb83cb20")
AUD = b"\x09\xf0"
FILLER = b"\x0c\xff\xff\x80"
IDR = b"\x65\x88" + bytes(range(250)) * 12
P_SLICE = b"\x41\x9a" + bytes(range(200))


def packet(track: Track, payload: bytes, *, keyframe: bool) -> Packet:
    return Packet(track, 3000, 3000, 0, keyframe, payload)


def through(
    depacketizer: rtp_video.VideoDepacketizer, payloads: list[RtpPayload], timestamp: int
) -> list[CodedFrame]:
    frames = []
    for payload, padding, marker in payloads:
        header = rtp.serialize_header(96, marker, 0, 0, 1, padding)
        whole = rtp.parse(header + payload).payload
        frames += depacketizer.feed(whole, marker, timestamp, gap=False)
    return frames


def test_h264_frames_come_without_parameter_sets_delimiters_and_filler() -> None:
    depacketizer = rtp_video.depacketizer("h264")
    payloads = rtp_h264.packetize([AUD, SPS, PPS, IDR, FILLER], MAX)
    [frame] = through(depacketizer, payloads, 7)
    assert frame.payload == join_length_prefixed([IDR])
    assert (frame.timestamp, frame.keyframe, frame.damaged) == (7, True, False)
    assert frame.track is not None
    assert AvcConfig.parse(frame.track.config) == AvcConfig((SPS,), (PPS,))
    assert (frame.track.codec, frame.track.width, frame.track.height) == ("h264", 1280, 720)


def test_the_track_is_the_same_object_until_its_configuration_changes() -> None:
    depacketizer = rtp_video.depacketizer("h264")
    [first] = through(depacketizer, rtp_h264.packetize([SPS, PPS, IDR], MAX), 1)
    [between] = through(depacketizer, rtp_h264.packetize([P_SLICE], MAX), 2)
    [second] = through(depacketizer, rtp_h264.packetize([SPS, PPS, IDR], MAX), 3)
    [third] = through(depacketizer, rtp_h264.packetize([SPS, PPS + b"\x80", IDR], MAX), 4)
    assert (between.keyframe, between.track) == (False, None)
    assert second.track is first.track
    assert third.track is not None
    assert third.track is not first.track


def test_a_keyframe_before_its_parameter_sets_has_no_track() -> None:
    depacketizer = rtp_video.depacketizer("h264")
    [frame] = through(depacketizer, rtp_h264.packetize([PPS, IDR], MAX), 1)
    assert (frame.keyframe, frame.track) == (True, None)


def test_parameter_sets_that_do_not_parse_leave_keyframes_without_a_track() -> None:
    depacketizer = rtp_video.depacketizer("h264")
    through(depacketizer, rtp_h264.packetize([SPS, PPS, IDR], MAX), 1)
    with pytest.raises(ProtocolError):
        through(depacketizer, rtp_h264.packetize([b"\x67\x42\x00\x1f", IDR], MAX), 2)
    [frame] = through(depacketizer, rtp_h264.packetize([IDR], MAX), 3)
    assert frame.track is None


def test_an_access_unit_of_parameter_sets_alone_is_an_empty_frame() -> None:
    [frame] = through(rtp_video.depacketizer("h264"), rtp_h264.packetize([SPS, PPS], MAX), 1)
    assert (frame.payload, frame.keyframe) == (b"", False)


def test_parameter_sets_stand_before_keyframes_and_nowhere_else() -> None:
    track = video_track((SPS,), (PPS,))
    key = packet(track, join_length_prefixed([IDR]), keyframe=True)
    assert rtp_video.packetize(key, MAX) == rtp_h264.packetize([SPS, PPS, IDR], MAX)
    other = packet(track, join_length_prefixed([P_SLICE]), keyframe=False)
    assert rtp_video.packetize(other, MAX) == [RtpPayload(P_SLICE, False, True)]


def test_a_codec_that_is_no_video_in_rtp_is_refused() -> None:
    aac = Track("audio", "aac", 48_000, b"\x11\x90")
    with pytest.raises(ProtocolError):
        rtp_video.depacketizer("aac")
    with pytest.raises(ProtocolError):
        rtp_video.packetize(Packet(aac, AAC_FRAME_SAMPLES, 0, 0, True, b"a"), MAX)
