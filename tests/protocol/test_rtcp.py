"""RTCP: reports and feedback both ways, compounds, and what must not pass."""

from __future__ import annotations

import random

import aiortc.rtp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediaserver.errors import ProtocolError
from mediaserver.protocol import rtcp
from mediaserver.protocol.rtcp import (
    Bye,
    Fir,
    Nack,
    Pli,
    ReceiverReport,
    Remb,
    ReportBlock,
    Sdes,
    SenderReport,
)

BLOCK = ReportBlock(0x1111, 255, -3, 0x0001_FFFF, 90, 0x5678_9ABC, 65_536)
OTHER_BLOCK = ReportBlock(0xFFFF_FFFF, 0, 0x7F_FFFF, 0xFFFF_FFFF, 0, 0, 0)
SENDER_REPORT = SenderReport(0xABCD, 0xE5D7_1234_8000_0000, 90_000, 1000, 1_200_000, [BLOCK])
RECEIVER_REPORT = ReceiverReport(7, [BLOCK, OTHER_BLOCK])

# What Chromium 156 sends: reports with SDES, reduced size feedback, and transport-cc.
TRANSPORT_CC = bytes.fromhex("8fcd0006 00000001 00001111 00010004 00026a00 20040102 03040000")
WRITTEN = [
    rtcp.serialize_sender_report(SENDER_REPORT, "hawker"),
    rtcp.serialize_receiver_report(RECEIVER_REPORT),
    rtcp.serialize_sdes(1, "a"),
    rtcp.serialize_bye([1, 2], "done"),
    rtcp.serialize_nack(1, 2, [65_534, 65_535, 0, 5, 14, 15, 200]),
    rtcp.serialize_pli(1, 2),
    rtcp.serialize_fir(1, 2, 255),
    rtcp.serialize_remb(1, 2_500_000, [10, 11]),
]


def test_a_sender_report_goes_with_its_name() -> None:
    data = rtcp.serialize_sender_report(SENDER_REPORT, "hawker")
    assert rtcp.parse(data) == [SENDER_REPORT, Sdes({0xABCD: "hawker"})]
    report, sdes = aiortc.rtp.RtcpPacket.parse(data)
    assert isinstance(report, aiortc.rtp.RtcpSrPacket)
    assert report.sender_info.ntp_timestamp == SENDER_REPORT.ntp
    assert report.sender_info.rtp_timestamp == 90_000
    assert report.sender_info.octet_count == 1_200_000
    assert isinstance(sdes, aiortc.rtp.RtcpSdesPacket)
    assert sdes.chunks[0].items == [(1, b"hawker")]


def test_a_receiver_report_carries_signed_losses() -> None:
    data = rtcp.serialize_receiver_report(RECEIVER_REPORT)
    assert rtcp.parse(data) == [RECEIVER_REPORT]
    [report] = aiortc.rtp.RtcpPacket.parse(data)
    assert isinstance(report, aiortc.rtp.RtcpRrPacket)
    assert [block.packets_lost for block in report.reports] == [-3, 0x7F_FFFF]
    assert report.reports[0].highest_sequence == 0x0001_FFFF
    assert rtcp.parse(rtcp.serialize_receiver_report(ReceiverReport(9))) == [ReceiverReport(9)]


@pytest.mark.parametrize("cname", ["", "a", "ab", "abc", "abcd", "直播", "x" * 255])
def test_names_of_every_length_end_on_a_boundary(cname: str) -> None:
    data = rtcp.serialize_sdes(3, cname)
    assert len(data) % 4 == 0
    assert rtcp.parse(data) == [Sdes({3: cname})]


def test_several_chunks_and_items_are_read() -> None:
    # NAME, then a CNAME that ends on a boundary, so four nulls follow; a CNAME alone; nothing.
    chunks = (
        b"\0\0\0\1"
        + b"\2\2ab"
        + b"\1\2cd"
        + bytes(4)
        + b"\0\0\0\2"
        + b"\1\1z\0"
        + b"\0\0\0\3"
        + bytes(4)
    )
    data = bytes((0x83, rtcp.SDES)) + (len(chunks) // 4).to_bytes(2, "big") + chunks
    assert rtcp.parse(data) == [Sdes({1: "cd", 2: "z"})]


def test_a_goodbye_may_say_why() -> None:
    assert rtcp.parse(rtcp.serialize_bye([1])) == [Bye([1])]
    assert rtcp.parse(rtcp.serialize_bye([1, 2], "taken over")) == [Bye([1, 2], "taken over")]
    assert rtcp.parse(rtcp.serialize_bye([])) == [Bye([])]


@pytest.mark.parametrize(
    ("sequences", "size"),
    [
        ([100], 16),
        ([100, 101, 116], 16),
        ([100, 117], 20),
        ([65_535, 0, 1, 15], 16),
        ([65_520, 65_535, 0], 16),
        ([5, 3], 20),
        ([], 12),
    ],
)
def test_a_nack_counts_on_over_the_wrap(sequences: list[int], size: int) -> None:
    data = rtcp.serialize_nack(1, 2, sequences)
    assert rtcp.parse(data) == [Nack(1, 2, sequences)]
    assert len(data) == size


def test_all_bits_of_a_nack_are_read_in_order() -> None:
    data = bytes.fromhex("81cd0003 00000001 00000002 ffffffff")
    expected = [65_535, *range(16)]
    assert rtcp.parse(data) == [Nack(1, 2, expected)]


@given(st.integers(0, 0xFFFF), st.lists(st.integers(0, 0x7FF), unique=True, max_size=80))
def test_any_losses_come_back_as_they_were(first: int, distances: list[int]) -> None:
    lost = [(first + distance) & 0xFFFF for distance in sorted(distances)]
    assert rtcp.parse(rtcp.serialize_nack(1, 2, lost)) == [Nack(1, 2, lost)]


def test_requests_for_a_picture_are_read() -> None:
    assert rtcp.parse(rtcp.serialize_pli(1, 2)) == [Pli(1, 2)]
    assert rtcp.parse(rtcp.serialize_fir(1, 2, 255)) == [Fir(1, [(2, 255)])]
    [pli] = aiortc.rtp.RtcpPacket.parse(rtcp.serialize_pli(1, 2))
    assert isinstance(pli, aiortc.rtp.RtcpPsfbPacket)
    assert (pli.fmt, pli.ssrc, pli.media_ssrc) == (1, 1, 2)


@pytest.mark.parametrize("bitrate", [0, 1, 262_143, 262_144, 2_500_000, 10**9, 1 << 62])
def test_a_bitrate_keeps_eighteen_bits(bitrate: int) -> None:
    data = rtcp.serialize_remb(1, bitrate, [10, 11])
    [remb] = rtcp.parse(data)
    assert isinstance(remb, Remb)
    assert remb.ssrcs == [10, 11]
    assert 0 <= bitrate - remb.bitrate <= bitrate / 2**17
    [theirs] = aiortc.rtp.RtcpPacket.parse(data)
    assert isinstance(theirs, aiortc.rtp.RtcpPsfbPacket)
    assert aiortc.rtp.unpack_remb_fci(theirs.fci) == (remb.bitrate, [10, 11])


def test_other_applications_messages_are_left_out() -> None:
    assert rtcp.parse(bytes.fromhex("8fce0004 00000001 00000000") + b"ABCD" + bytes(4)) == []
    assert rtcp.parse(bytes.fromhex("8fce0002 00000001 00000000")) == []


def test_a_compound_is_read_in_order_and_unknown_parts_are_stepped_over() -> None:
    application = bytes.fromhex("80cc0002 00000001") + b"test"
    extended = bytes.fromhex("80cf0001 00000001")
    slice_loss = bytes.fromhex("82ce0003 00000001 00000002 00000000")
    data = (
        rtcp.serialize_receiver_report(ReceiverReport(1))
        + TRANSPORT_CC
        + application
        + extended
        + slice_loss
        + rtcp.serialize_remb(1, 1_000_000, [2])
        + rtcp.serialize_nack(1, 2, [3])
    )
    assert rtcp.parse(data) == [
        ReceiverReport(1),
        Remb(1, 1_000_000 >> 2 << 2, [2]),
        Nack(1, 2, [3]),
    ]


def test_padding_is_taken_off_the_last_packet_only() -> None:
    nack = bytes.fromhex("a1cd0004 00000001 00000002 00050000 00000004")
    assert rtcp.parse(nack) == [Nack(1, 2, [5])]
    with pytest.raises(ProtocolError):
        rtcp.parse(nack + rtcp.serialize_pli(1, 2))


@pytest.mark.parametrize("data", WRITTEN)
def test_only_the_whole_packet_is_one(data: bytes) -> None:
    first = 4 + 4 * int.from_bytes(data[2:4], "big")
    for end in range(len(data)):
        if end != first:  # a compound may end after its first packet
            with pytest.raises(ProtocolError):
                rtcp.parse(data[:end])
    for trailing in (b"\0", b"\0\0\0", bytes(4)):
        with pytest.raises(ProtocolError):
            rtcp.parse(data + trailing)


@pytest.mark.parametrize(
    "data",
    [
        "",
        "81c90001 00000001",  # a report without its block
        "81c80006" + "00" * 24,
        "80c80005" + "00" * 20,  # a sender report without its octet count
        "81ca0001 00000001",  # an SDES chunk without an end
        "81ca0002 00000001 01ff6161",  # an item longer than its chunk
        "82ca0002 00000001 00000000",  # a chunk missing
        "81ca0002 00000001 01026161",  # no null after the item
        "82cb0001 00000001",  # a goodbye of two with one
        "81cb0002 00000001 09616161",  # its reason cut short
        "81cd0001 00000001",  # a NACK without a source
        "81ce0001 00000001",
        "84ce0003 00000001 00000000 00000002",  # half a FIR entry
        "8fce0004 00000001 00000000 52454d42 02000001",  # a REMB without its sources
        "a1cd0003 00000001 00000002 00000000",  # padding of none
        "a1cd0003 00000001 00000002 00000003",  # not a multiple of four
        "a1cd0003 00000001 00000002 00000010",  # longer than the packet
        "01cd0003 00000001 00000002 00000000",  # version 0
        "a0c90000",  # padding where nothing is
    ],
)
def test_malformed_packets_are_the_peers_error(data: str) -> None:
    with pytest.raises(ProtocolError):
        rtcp.parse(bytes.fromhex(data))


def test_rtcp_is_told_from_rtp_by_its_second_byte() -> None:
    assert all(rtcp.is_rtcp(data) for data in [*WRITTEN, TRANSPORT_CC])
    for payload_type in (0, 35, 63, 96, 127):
        for marker in (0, 0x80):
            assert not rtcp.is_rtcp(bytes((0x80, payload_type | marker)) + bytes(10))
    assert not rtcp.is_rtcp(b"\x80\xc8")


def test_ntp_time_counts_from_1900_and_survives_2036() -> None:
    assert rtcp.ntp_from_utc_ms(0) == 2_208_988_800 << 32
    assert rtcp.ntp_from_utc_ms(1500) == (2_208_988_801 << 32) + (1 << 31)
    for utc_ms in (0, 1_795_000_000_123, 2_085_978_496_000, 3_000_000_000_000):
        assert abs(rtcp.utc_ms_from_ntp(rtcp.ntp_from_utc_ms(utc_ms)) - utc_ms) < 0.01
    assert rtcp.compact_ntp(0x1234_5678_9ABC_DEF0) == 0x5678_9ABC


def test_the_round_trip_is_what_neither_side_waited() -> None:
    sent = rtcp.ntp_from_utc_ms(1_795_000_000_000)
    now = rtcp.ntp_from_utc_ms(1_795_000_000_250)
    block = ReportBlock(1, 0, 0, 0, 0, rtcp.compact_ntp(sent), round(0.2 * 65536))
    trip = rtcp.round_trip_s(block, now)
    assert trip == pytest.approx(0.05, abs=0.001)
    assert rtcp.round_trip_s(block, sent) == 0.0  # a delay longer than the time that passed
    assert rtcp.round_trip_s(ReportBlock(1, 0, 0, 0, 0, 0, 0), now) is None


@pytest.mark.parametrize(
    "write",
    [
        lambda: rtcp.serialize_sdes(1, "x" * 256),
        lambda: rtcp.serialize_bye([1], "x" * 256),
        lambda: rtcp.serialize_bye(range(32)),
        lambda: rtcp.serialize_receiver_report(ReceiverReport(1, [BLOCK] * 32)),
    ],
)
def test_what_does_not_fit_its_field_is_our_bug(write: object) -> None:
    assert callable(write)
    with pytest.raises(ValueError, match="most 255|five bits"):
        write()


def test_noise_raises_nothing_but_protocol_errors() -> None:
    chance = random.Random(4585)
    whole = [*WRITTEN, TRANSPORT_CC, b"".join(WRITTEN)]
    for _ in range(10_000):
        data = bytearray(chance.choice(whole))
        for _ in range(chance.randint(1, 6)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        if chance.random() < 0.2:
            data = data[: chance.randrange(len(data) + 1)]
        try:
            rtcp.parse(bytes(data))
        except ProtocolError:
            continue


def test_random_bodies_behind_good_headers_raise_nothing_but_protocol_errors() -> None:
    chance = random.Random(5104)
    read = 0
    for _ in range(10_000):
        words = chance.randint(0, 8)
        first = 0x80 | chance.choice((0, 0x20)) | chance.choice((0, 1, 2, 4, 15, 31))
        header = bytes((first, chance.randint(200, 207))) + words.to_bytes(2, "big")
        try:
            read += len(rtcp.parse(header + chance.randbytes(4 * words)))
        except ProtocolError:
            continue
    assert read
