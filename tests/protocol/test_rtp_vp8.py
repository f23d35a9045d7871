"""VP8 in RTP: descriptors with all they may hold, and what other stacks make of frames."""

from __future__ import annotations

import aiortc.codecs.vpx
import pytest

from mediaserver.errors import ProtocolError
from mediaserver.protocol import rtp_video, rtp_vp8, vp8
from mediaserver.protocol.rtp_vp8 import Descriptor
from mediaserver.protocol.vpcc import VpConfig
from tests.protocol import encoded

KEYFRAME = bytes.fromhex("500100 9d012a 4001 b400 0047") + bytes(40)


@pytest.mark.parametrize(
    ("payload", "descriptor"),
    [
        ("10aa", Descriptor(1, True, False)),
        ("00aa", Descriptor(1, False, False)),
        ("11aa", Descriptor(1, False, False)),  # the start of the second partition
        ("30aa", Descriptor(1, True, True)),
        ("908011", Descriptor(3, True, False, 0x11)),
        ("90809234", Descriptor(4, True, False, 0x1234)),
        ("90e0 9234 56 a0", Descriptor(6, True, False, 0x1234, 0x56, 2)),
        ("90f0 11 56 bf", Descriptor(5, True, False, 0x11, 0x56, 2, 31)),
        ("9010 1f", Descriptor(3, True, False, key_index=31)),
    ],
)
def test_descriptors_are_read(payload: str, descriptor: Descriptor) -> None:
    assert Descriptor.parse(bytes.fromhex(payload)) == descriptor
    assert Descriptor.parse(bytes.fromhex(payload) + b"frame") == descriptor


@pytest.mark.parametrize("payload", ["", "90", "9080", "908091", "90e01156", "9010"])
def test_descriptors_that_are_cut_off_are_the_peers_error(payload: str) -> None:
    with pytest.raises(ProtocolError):
        Descriptor.parse(bytes.fromhex(payload))
    if payload:
        with pytest.raises(ProtocolError):
            rtp_vp8.depacketizer().feed(bytes.fromhex(payload), True, 1)


def test_a_descriptor_without_data_is_the_peers_error() -> None:
    with pytest.raises(ProtocolError):
        rtp_vp8.depacketizer().feed(b"\x90\x80\x11", True, 1)


def test_aiortcs_payloads_are_read_and_ours_by_aiortc() -> None:
    depacketizer = rtp_vp8.depacketizer()
    for number, packet in enumerate(encoded.packets("vp8")):
        theirs = aiortc.codecs.vpx.Vp8Encoder._packetize(packet.payload, 0x7FF0 + number)
        frames = []
        for index, payload in enumerate(theirs):
            marker = index == len(theirs) - 1
            frames += depacketizer.feed(payload, marker, packet.pts)
        [frame] = frames
        assert (frame.payload, frame.keyframe) == (packet.payload, packet.keyframe)
        ours = [aiortc.codecs.vpx.vp8_depayload(p.payload) for p in rtp_vp8.packetize(packet, 900)]
        assert b"".join(ours) == packet.payload


def test_partitions_and_temporal_layers_are_one_frame() -> None:
    depacketizer = rtp_vp8.depacketizer()
    payload = encoded.packets("vp8")[1].payload
    thirds = [payload[:100], payload[100:5000], payload[5000:]]
    assert depacketizer.feed(bytes.fromhex("90e0 9234 56 a0") + thirds[0], False, 1) == []
    assert depacketizer.feed(bytes.fromhex("80e0 9234 56 a0") + thirds[1], False, 1) == []
    [frame] = depacketizer.feed(bytes.fromhex("91e0 9234 56 a0") + thirds[2], True, 1)
    assert (frame.payload, frame.damaged) == (payload, False)


def test_a_frame_without_its_beginning_is_damaged() -> None:
    depacketizer = rtp_vp8.depacketizer()
    [late] = depacketizer.feed(b"\x00" + KEYFRAME, True, 1)
    assert (late.damaged, late.keyframe, late.track) == (True, False, None)
    depacketizer.feed(b"\x10" + KEYFRAME, False, 2)
    [twice] = depacketizer.feed(b"\x10" + KEYFRAME, True, 2)
    assert twice.damaged


def test_a_keyframe_tells_its_size_and_profile() -> None:
    assert vp8.keyframe_size(KEYFRAME) == (320, 180)
    track = vp8.video_track(KEYFRAME)
    assert (track.codec, track.width, track.height) == ("vp8", 320, 180)
    assert VpConfig.parse(track.config) == VpConfig(0, 0)
    scaled = KEYFRAME[:7] + bytes((KEYFRAME[7] | 0xC0,)) + KEYFRAME[8:]
    assert vp8.keyframe_size(scaled) == (320, 180)


@pytest.mark.parametrize(
    "frame",
    [KEYFRAME[:9], KEYFRAME[:3] + b"\x9d\x01\x2b" + KEYFRAME[6:], KEYFRAME[:6] + bytes(8), b"\x50"],
)
def test_keyframes_that_are_none_are_the_peers_error(frame: bytes) -> None:
    with pytest.raises(ProtocolError):
        vp8.keyframe_size(frame)
    depacketizer = rtp_video.depacketizer("vp8")
    with pytest.raises(ProtocolError):
        depacketizer.feed(b"\x10" + frame, True, 1)
    [frame_after] = depacketizer.feed(b"\x10" + KEYFRAME, True, 2)
    assert frame_after.track is not None
