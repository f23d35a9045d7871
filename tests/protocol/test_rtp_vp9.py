"""VP9 in RTP: both modes of reference, spatial layers and superframes."""

from __future__ import annotations

import pytest

from mediaserver.errors import ProtocolError
from mediaserver.media import Packet
from mediaserver.protocol import rtp_vp9, vp9, vpcc
from mediaserver.protocol.rtp_vp9 import Descriptor
from mediaserver.protocol.vpcc import VpConfig
from tests.protocol import encoded

KEYFRAME = bytes.fromhex("824983420013f00b30")  # 320 × 180, profile 0
INTER = bytes.fromhex("8600408000")


def descriptor(text: str) -> Descriptor:
    return Descriptor.parse(bytes.fromhex(text))


def test_the_shortest_descriptors_are_read() -> None:
    assert descriptor("0c") == Descriptor(1, True, True, False, None, None, None, None)
    assert descriptor("40") == Descriptor(1, False, False, True, None, None, None, None)


def test_picture_ids_of_both_lengths_are_read() -> None:
    assert (descriptor("8c11").picture_id, descriptor("8c11").length) == (0x11, 2)
    assert (descriptor("8c9234").picture_id, descriptor("8c9234").length) == (0x1234, 3)


def test_layers_have_a_tl0picidx_in_non_flexible_mode_alone() -> None:
    non_flexible = descriptor("ac11 43 07")
    assert (non_flexible.temporal_layer, non_flexible.spatial_layer) == (2, 1)
    assert non_flexible.length == 4
    assert descriptor("bc11 43").length == 3


def test_flexible_mode_has_up_to_three_references() -> None:
    assert descriptor("dc11 02").length == 3
    assert descriptor("dc11 03 05 08").length == 5
    with pytest.raises(ProtocolError):
        descriptor("dc11 03 05 09 02")


def test_a_scalability_structure_tells_the_topmost_size() -> None:
    alone = descriptor("0e 10 0140 00b4")
    assert (alone.size, alone.length) == ((320, 180), 6)
    layers = descriptor("0e 38 0140 00b4 0280 0168 02 04 01 28 01 02")
    assert (layers.size, layers.length) == ((640, 360), 16)
    assert descriptor("0e 00").size is None


@pytest.mark.parametrize(
    "text",
    ["", "8c", "8c92", "ac11", "dc11", "dc1103", "0e", "0e10", "0e100140", "0e0801", "0e080104"],
)
def test_descriptors_that_are_cut_off_are_the_peers_error(text: str) -> None:
    with pytest.raises(ProtocolError):
        Descriptor.parse(bytes.fromhex(text) or b"")


def test_spatial_layers_of_a_picture_become_one_superframe() -> None:
    depacketizer = rtp_vp9.depacketizer()
    # the structure: two layers with sizes, a group of one picture with one reference
    head = bytes.fromhex("ae 11 00 07 38 0140 00b4 0280 0168 01 04 01")
    assert depacketizer.feed(head + KEYFRAME, False, 1) == []
    assert depacketizer.feed(bytes.fromhex("a8 11 03 07") + INTER[:3], False, 1) == []
    [frame] = depacketizer.feed(bytes.fromhex("a4 11 03 07") + INTER[3:], True, 1)
    assert vp9.split_superframe(frame.payload) == [KEYFRAME, INTER]
    assert (frame.keyframe, frame.damaged) == (True, False)
    assert frame.track is not None
    assert (frame.track.width, frame.track.height) == (640, 360)


def test_a_superframe_within_a_layer_is_taken_apart_before_layers_are_joined() -> None:
    depacketizer = rtp_vp9.depacketizer()
    hidden = vp9.join_superframe([KEYFRAME, INTER])
    assert depacketizer.feed(bytes.fromhex("2c 00 07") + hidden, False, 1) == []
    [frame] = depacketizer.feed(bytes.fromhex("2c 02 07") + INTER, True, 1)
    assert vp9.split_superframe(frame.payload) == [KEYFRAME, INTER, INTER]


def test_a_lost_layer_marks_the_picture() -> None:
    for lost in range(3):
        depacketizer = rtp_vp9.depacketizer()
        payloads = [
            bytes.fromhex("2c 00 07") + KEYFRAME,
            bytes.fromhex("28 02 07") + INTER,
            bytes.fromhex("24 02 07") + INTER,
        ]
        frames = []
        gap = False
        for index, payload in enumerate(payloads):
            if index == lost:
                gap = True
                continue
            frames += depacketizer.feed(payload, index == 2, 1, gap=gap)
            gap = False
        frames += depacketizer.feed(bytes.fromhex("2c 00 07") + KEYFRAME, True, 2, gap=gap)
        assert [frame.damaged for frame in frames] == [True, False]


def test_too_many_layer_frames_are_the_peers_error() -> None:
    depacketizer = rtp_vp9.depacketizer()
    with pytest.raises(ProtocolError):
        for _ in range(vp9.MAX_SUPERFRAME_FRAMES + 1):
            depacketizer.feed(b"\x0c" + INTER, False, 1)


def test_keyframes_tell_their_size_before_the_frame() -> None:
    packet = encoded.packets("vp9")[0]
    first = rtp_vp9.packetize(packet, 500)[0].payload
    assert Descriptor.parse(first).size == encoded.SIZE
    assert not Descriptor.parse(first).predicted
    later = rtp_vp9.packetize(encoded.packets("vp9")[1], 500)[0].payload
    assert Descriptor.parse(later).size is None
    assert Descriptor.parse(later).predicted


def test_no_payload_of_a_keyframe_is_a_descriptor_alone() -> None:
    track = encoded.packets("vp9")[0].track
    for size in range(1, 60):
        payloads = rtp_vp9.packetize(Packet(track, 0, 0, 0, True, bytes(size)), 20)
        parsed = [Descriptor.parse(each.payload) for each in payloads]
        lengths = [len(p.payload) - d.length for p, d in zip(payloads, parsed, strict=True)]
        assert sum(lengths) == size
        assert all(length > 0 for length in lengths)


def test_superframes_are_split_and_joined() -> None:
    frames = [b"\x82" * 300, b"\x86" * 5, b"\x86" * 70_000]
    assert vp9.split_superframe(vp9.join_superframe(frames)) == frames
    assert vp9.split_superframe(b"\x82ab") == [b"\x82ab"]
    assert vp9.split_superframe(b"") == [b""]
    with pytest.raises(ProtocolError):
        vp9.join_superframe([b"a"] * 9)
    with pytest.raises(ProtocolError):
        vp9.split_superframe(b"ab" + bytes.fromhex("c1 05 05 c1"))


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("82498342 0013f00b30", (0, 320, 180, 8, 1)),
        ("92498342 8013f00b30", (2, None, None, 12, 1)),
        ("92498342 0013f00b30", (2, None, None, 10, 1)),
    ],
)
def test_uncompressed_headers_are_read(header: str, expected: tuple[object, ...]) -> None:
    keyframe = vp9.parse_keyframe(bytes.fromhex(header))
    assert keyframe is not None
    assert (keyframe.profile, keyframe.bit_depth, keyframe.chroma_subsampling) == (
        expected[0],
        expected[3],
        expected[4],
    )
    if expected[1]:
        assert (keyframe.width, keyframe.height) == expected[1:3]


@pytest.mark.parametrize("data", ["", "02", "82498343", "8249", "b8"])
def test_headers_that_are_none_are_the_peers_error(data: str) -> None:
    with pytest.raises(ProtocolError):
        vp9.parse_keyframe(bytes.fromhex(data))


def test_frames_that_show_or_predict_are_no_keyframes() -> None:
    assert vp9.parse_keyframe(INTER) is None
    assert vp9.parse_keyframe(b"\x88") is None


def test_the_configuration_names_the_codec() -> None:
    config = VpConfig(2, 31, 10, 1, True, 9, 16, 9)
    assert VpConfig.parse(config.serialize()) == config
    assert vpcc.codec_string(config.serialize()) == "vp09.02.31.10"
    with pytest.raises(ProtocolError):
        VpConfig.parse(config.serialize()[:7])


@pytest.mark.parametrize(
    ("size", "level"),
    [
        ((160, 90), 10),
        ((1280, 720), 31),
        ((1920, 1080), 40),
        ((3840, 2160), 50),
        ((16384, 8704), 62),
    ],
)
def test_levels_follow_from_the_size(size: tuple[int, int], level: int) -> None:
    assert vp9.level_of(*size) == level
