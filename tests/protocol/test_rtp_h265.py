"""H.265 in RTP: aggregation, fragments and parameter sets."""

from __future__ import annotations

import pytest

from mediaserver.errors import ProtocolError
from mediaserver.media import Packet
from mediaserver.protocol import h264, h265, rtp_h265
from mediaserver.protocol.h265 import HevcConfig
from tests.protocol import encoded

TRACK = encoded.packets("h265")[0].track
CONFIG = HevcConfig.parse(TRACK.config)
[VPS], [SPS], [PPS] = CONFIG.vps, CONFIG.sps, CONFIG.pps
IDR = b"\x26\x01\xac\x00" + bytes(range(200)) * 10
TRAIL = b"\x02\x01\xd0" + bytes(range(100))
LATER_SLICE = b"\x02\x01\x40" + bytes(range(100))


def aggregate(*nals: bytes) -> bytes:
    return b"\x60\x01" + b"".join(len(nal).to_bytes(2, "big") + nal for nal in nals)


def sample(*nals: bytes) -> bytes:
    return h264.join_length_prefixed(nals)


def test_a_keyframe_begins_with_its_parameter_sets_in_one_payload() -> None:
    packet = Packet(TRACK, 0, 0, 0, True, sample(IDR))
    payloads = rtp_h265.packetize(packet, 1100)
    assert payloads[0].payload == aggregate(VPS, SPS, PPS)
    assert [each.payload[:3].hex() for each in payloads[1:]] == ["620193", "620153"]
    assert len(payloads[1].payload) == len(payloads[2].payload)
    small = [each.payload for each in rtp_h265.packetize(packet, len(SPS))]
    assert small[:3] == [VPS, SPS, PPS]


def test_slices_are_padded_to_one_size_and_the_last_is_not() -> None:
    nals = [TRAIL[:3] + bytes(size) for size in (1000, 900, 950)]
    payloads = rtp_h265.packetize(Packet(TRACK, 0, 0, 0, False, sample(*nals)), 1100)
    assert [len(each.payload) for each in payloads] == [1003, 1003, 953]
    assert [each.padding for each in payloads] == [False, True, False]


def test_what_is_for_a_decoder_is_told_from_what_is_for_the_track() -> None:
    depacketizer = rtp_h265.depacketizer()
    delimiter, filler, sei = b"\x46\x01\x50", b"\x4c\x01\xff\x80", b"\x4e\x01\x05abc"
    depacketizer.feed(delimiter, False, 1)
    depacketizer.feed(aggregate(VPS, SPS, PPS, sei), False, 1)
    depacketizer.feed(filler, False, 1)
    [frame] = depacketizer.feed(IDR, True, 1)
    assert frame.payload == sample(sei, IDR)
    assert frame.track == TRACK
    [after] = depacketizer.feed(TRAIL, True, 2)
    assert (after.keyframe, after.track) == (False, None)


@pytest.mark.parametrize(("kind", "keyframe"), [(1, False), (9, False), (16, True), (21, True)])
def test_random_access_points_are_keyframes(kind: int, *, keyframe: bool) -> None:
    [frame] = rtp_h265.depacketizer().feed(bytes((kind << 1, 1, 0x80)) + b"abc", True, 1)
    assert (frame.keyframe, frame.track) == (keyframe, None)


@pytest.mark.parametrize(
    ("payload", "damaged"),
    [
        (TRAIL, False),
        (LATER_SLICE, True),
        (aggregate(VPS, SPS), False),
        (aggregate(LATER_SLICE), True),
        (b"\x62\x01\x81\xd0ab", False),
        (b"\x62\x01\x81\x40ab", True),
        (b"\x62\x01\x01\xd0ab", True),
    ],
)
def test_a_loss_before_the_first_slice_does_not_mark_the_picture(
    payload: bytes, *, damaged: bool
) -> None:
    depacketizer = rtp_h265.depacketizer()
    depacketizer.feed(TRAIL, True, 1)
    depacketizer.feed(payload, False, 2, gap=True)
    if payload[0] == 0x62:
        depacketizer.feed(b"\x62\x01\x41abc", False, 2)
    [frame] = depacketizer.feed(TRAIL, True, 2)
    assert frame.damaged == damaged


@pytest.mark.parametrize(
    "payload",
    [
        b"\x02",
        b"\x02\x01",
        b"\x62\x01\x81",  # a fragment of nothing
        b"\x62\x01\xb0ab",  # of an aggregate
        b"\x64\x01\x00\x00abc",  # PACI
        b"\x60\x01\x00",
        b"\x60\x01\x00\x09abc",
        b"\x60\x01\x00\x00",
        b"\x60\x01\x00\x02\x02\x01",
    ],
)
def test_malformed_payloads_are_the_peers_error_and_damage_the_picture(payload: bytes) -> None:
    depacketizer = rtp_h265.depacketizer()
    depacketizer.feed(TRAIL, False, 1)
    with pytest.raises(ProtocolError):
        depacketizer.feed(payload, False, 1)
    [frame] = depacketizer.feed(LATER_SLICE, True, 1)
    assert frame.damaged


def test_an_access_unit_is_bounded_in_nal_units() -> None:
    depacketizer = rtp_h265.depacketizer()
    with pytest.raises(ProtocolError):
        for _ in range(20):
            depacketizer.feed(aggregate(*[TRAIL[:4]] * 100), False, 1)


def test_reserved_types_are_ignored() -> None:
    depacketizer = rtp_h265.depacketizer()
    assert depacketizer.feed(bytes((60 << 1, 1)) + b"abc", False, 1) == []
    [frame] = depacketizer.feed(TRAIL, True, 1)
    assert frame.payload == sample(TRAIL)


def test_parameter_sets_that_do_not_parse_leave_keyframes_without_a_track() -> None:
    depacketizer = rtp_h265.depacketizer()
    with pytest.raises(ProtocolError):
        depacketizer.feed(aggregate(VPS, SPS[:8], PPS, IDR), True, 1)
    [frame] = depacketizer.feed(IDR, True, 2)
    assert (frame.keyframe, frame.track) == (True, None)


def test_the_configuration_is_read_back() -> None:
    assert CONFIG.serialize() == TRACK.config
    assert (TRACK.width, TRACK.height) == encoded.SIZE
    assert h265.codec_string(TRACK.config).startswith("hvc1.1.6.L")
    for end in range(len(TRACK.config)):
        with pytest.raises(ProtocolError):
            HevcConfig.parse(TRACK.config[:end])
    assert HevcConfig.parse(TRACK.config + b"more") == CONFIG
    with pytest.raises(ProtocolError):
        HevcConfig((), (SPS,), (PPS,)).serialize()


def test_the_codecs_name_has_tier_space_and_constraints() -> None:
    record = bytearray(TRACK.config)
    record[1] = 0x40 | 0x20 | 2  # space A, high tier, Main 10
    record[2:6] = bytes.fromhex("20000000")
    record[6:12] = bytes.fromhex("b00000000000")
    record[12] = 153
    assert h265.codec_string(bytes(record)) == "hvc1.A2.4.H153.B0"


def test_an_sps_that_is_cut_off_is_the_peers_error() -> None:
    for end in range(20):
        with pytest.raises(ProtocolError):
            h265.parse_sps(SPS[:end])
    sps = h265.parse_sps(SPS)
    assert (sps.bit_depth_luma, sps.chroma_format_idc, sps.temporal_layers) == (8, 1, 1)
