"""H.264 in RTP: equal sizes for the batch sender, and access units back out of any losses."""

from __future__ import annotations

import random

import aiortc.codecs.h264
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediaserver.errors import ProtocolError
from mediaserver.protocol import rtp
from mediaserver.protocol.rtp_h264 import AccessUnit, Depacketizer, packetize
from mediaserver.protocol.rtp_payload import MAX_PADDING_BYTES, RtpPayload

MAX = 1200
SPS = bytes.fromhex("6742c01fd9005005bb0110000003001000000303c0f1832480")
PPS = bytes.fromhex("68cb83cb20")
SEI = b"\x06\x05" + bytes(range(40))


def coded_slice(size: int, kind: int = 1, *, first: bool = True) -> bytes:
    """A slice NAL unit of `size` bytes, the first of its picture or a later one."""
    body = random.Random(size).randbytes(size - 2)
    return bytes((0x60 | kind, 0x88 if first else 0x40)) + body


def without_padding(packet: RtpPayload) -> bytes:
    header = rtp.serialize_header(96, packet.marker, 0, 0, 1, packet.padding)
    return rtp.parse(header + packet.payload).payload


def feed_all(depacketizer: Depacketizer, packets: list[RtpPayload], ts: int) -> list[AccessUnit]:
    units = []
    for packet in packets:
        units += depacketizer.feed(without_padding(packet), packet.marker, ts)
    return units


def runs(packets: list[RtpPayload]) -> list[list[int]]:
    """Payload sizes as the sender groups them: a larger packet, or one after a shorter, begins."""
    groups: list[list[int]] = []
    for packet in packets:
        size = len(packet.payload)
        if groups and size <= groups[-1][0] and groups[-1][-1] == groups[-1][0]:
            groups[-1].append(size)
        else:
            groups.append([size])
    return groups


def test_a_small_slice_is_one_packet_as_it_is() -> None:
    nal = coded_slice(500)
    assert packetize([nal], MAX) == [RtpPayload(nal, False, True)]
    assert packetize([coded_slice(MAX)], MAX)[0].payload == coded_slice(MAX)


def test_a_large_slice_becomes_equal_fragments_without_padding() -> None:
    nal = coded_slice(10_000, 5)
    packets = packetize([nal], MAX)
    sizes = [len(packet.payload) for packet in packets]
    assert len(packets) == 9
    assert set(sizes[:-1]) == {1113}  # 9,999 bytes in nine, and two of FU-A
    assert sizes[-1] <= 1113
    assert not any(packet.padding for packet in packets)
    assert [packet.marker for packet in packets] == [False] * 8 + [True]
    assert [packet.payload[:2].hex() for packet in packets] == (["7c85"] + ["7c05"] * 7 + ["7c45"])


def test_slices_of_about_one_size_are_one_run() -> None:
    nals = [coded_slice(size, first=index == 0) for index, size in enumerate((2600, 2700, 2500))]
    packets = packetize(nals, MAX)
    assert runs(packets) == [[902] * 8 + [packets[-1].payload.__len__()]]
    assert len(packets[-1].payload) < 902
    assert not packets[-1].padding
    assert feed_all(Depacketizer(), packets, 1) == [AccessUnit(1, nals, False)]


def test_padding_is_spread_where_one_fragment_cannot_take_it() -> None:
    # 2 × 1100 against 2 × 900: 400 bytes are missing, 200 in either fragment.
    nals = [coded_slice(2201), coded_slice(1801, first=False), coded_slice(2201, first=False)]
    packets = packetize(nals, MAX)
    assert runs(packets) == [[1102] * 6]
    assert [packet.padding for packet in packets] == [False, False, True, True, False, False]
    assert feed_all(Depacketizer(), packets, 1) == [AccessUnit(1, nals, False)]


def test_a_slice_that_lacks_too_much_keeps_its_own_even_size() -> None:
    nals = [coded_slice(2 * 1198 + 1), coded_slice(1401, first=False)]
    packets = packetize(nals, MAX)
    assert [len(packet.payload) for packet in packets] == [1200, 1200, 702, 702]
    assert not any(packet.padding for packet in packets)


def test_a_slice_that_fits_one_packet_is_padded_up_to_the_others() -> None:
    nals = [coded_slice(1000), coded_slice(900, first=False), coded_slice(950, first=False)]
    packets = packetize(nals, MAX)
    assert [len(packet.payload) for packet in packets] == [1000, 1000, 950]
    assert [packet.padding for packet in packets] == [False, True, False]
    assert without_padding(packets[1]) == nals[1]


def test_parameter_sets_go_together_and_apart_from_slices() -> None:
    nals = [SPS, PPS, SEI, coded_slice(3000, 5)]
    packets = packetize(nals, MAX)
    assert packets[0].payload == (
        b"\x78" + len(SPS).to_bytes(2, "big") + SPS + len(PPS).to_bytes(2, "big") + PPS
    )
    assert packets[1] == RtpPayload(SEI, False, False)
    assert len(packets) == 5
    assert feed_all(Depacketizer(), packets, 1) == [AccessUnit(1, nals, False)]


def test_one_parameter_set_goes_alone_and_too_many_go_singly() -> None:
    assert packetize([PPS], MAX) == [RtpPayload(PPS, False, True)]
    assert [packet.payload for packet in packetize([SPS, PPS], 28)] == [SPS, PPS]
    assert feed_all(Depacketizer(), packetize([SPS, PPS], 10), 1) == [
        AccessUnit(1, [SPS, PPS], False)
    ]


def test_what_rtp_cannot_carry_is_left_out() -> None:
    nal = coded_slice(100)
    assert packetize([b"", b"\x18abc", b"\x00a", b"\x1ca", memoryview(nal)], MAX) == [
        RtpPayload(nal, False, True)
    ]
    assert packetize([], MAX) == []
    assert packetize([b"\x18"], MAX) == []


def test_aiortc_reads_what_we_write() -> None:
    nals = [SPS, PPS, SEI, coded_slice(2600, 5), coded_slice(2500, 5, first=False)]
    stream = b"".join(
        aiortc.codecs.h264.H264PayloadDescriptor.parse(without_padding(packet))[1]
        for packet in packetize(nals, MAX)
    )
    assert stream == b"".join(b"\0\0\0\1" + nal for nal in nals)


@given(
    st.lists(st.tuples(st.sampled_from((1, 5, 6, 7, 8)), st.integers(2, 9000)), max_size=8),
    st.integers(100, 1400),
)
def test_any_access_unit_comes_back_and_runs_are_as_few_as_its_slices(
    shapes: list[tuple[int, int]], max_payload: int
) -> None:
    nals = [coded_slice(size, kind) for kind, size in shapes]
    packets = packetize(nals, max_payload)
    assert all(0 < len(packet.payload) <= max_payload for packet in packets)
    assert [packet.marker for packet in packets] == [False] * (len(packets) - 1) + [True] * bool(
        packets
    )
    units = feed_all(Depacketizer(), packets, 7)
    assert units == ([AccessUnit(7, nals, False)] if nals else [])
    # A NAL unit makes one run of its own, and at most ends the one before.
    assert len(runs(packets)) <= 2 * len(nals)


def test_equal_slices_of_any_size_are_one_run() -> None:
    for size in range(1300, 6000, 97):
        nals = [coded_slice(size, first=index == 0) for index in range(4)]
        packets = packetize(nals, MAX)
        assert len(runs(packets)) == 1
        wasted = sum(len(packet.payload) - len(without_padding(packet)) for packet in packets)
        assert wasted <= 4 * (len(packets) - 1)


# --- back


def test_each_access_unit_comes_out_at_its_marker() -> None:
    depacketizer = Depacketizer()
    first, second = coded_slice(100), coded_slice(3000)
    assert depacketizer.feed(first, True, 1) == [AccessUnit(1, [first], False)]
    packets = packetize([second], MAX)
    for packet in packets[:-1]:
        assert depacketizer.feed(packet.payload, False, 2) == []
    assert depacketizer.feed(packets[-1].payload, True, 2) == [AccessUnit(2, [second], False)]


def test_without_markers_the_next_timestamp_ends_an_access_unit() -> None:
    depacketizer = Depacketizer()
    first, second = coded_slice(100), coded_slice(120)
    assert depacketizer.feed(first, False, 1) == []
    assert depacketizer.feed(second, True, 2) == [
        AccessUnit(1, [first], False),
        AccessUnit(2, [second], False),
    ]


def test_a_lost_fragment_drops_its_nal_unit_and_marks_the_rest() -> None:
    intact, broken = coded_slice(3000), coded_slice(3001, first=False)
    packets = packetize([intact, broken], MAX)
    lost = len(packets) - 2
    depacketizer = Depacketizer()
    units = []
    for index, packet in enumerate(packets):
        if index != lost:
            units += depacketizer.feed(
                without_padding(packet), packet.marker, 1, gap=index == lost + 1
            )
    assert units == [AccessUnit(1, [intact], True)]
    assert feed_all(depacketizer, packets, 2) == [AccessUnit(2, [intact, broken], False)]


@pytest.mark.parametrize("lost", range(9))
def test_any_one_lost_packet_of_a_picture_marks_it(lost: int) -> None:
    packets = packetize([coded_slice(3000), coded_slice(3000, first=False)], 800)
    assert len(packets) >= 8
    depacketizer = Depacketizer()
    before = coded_slice(50)
    depacketizer.feed(before, True, 1)
    units: list[AccessUnit] = []
    gap = False
    for index, packet in enumerate(packets):
        if index == lost:
            gap = True
            continue
        units += depacketizer.feed(without_padding(packet), packet.marker, 2, gap=gap)
        gap = False
    units += depacketizer.feed(before, True, 3, gap=gap)
    pictures = [unit for unit in units if unit.timestamp == 2]
    assert [unit.damaged for unit in pictures] == [lost < len(packets)]
    assert units[-1] == AccessUnit(3, [before], False)


def test_a_loss_before_the_first_slice_of_a_picture_does_not_mark_it() -> None:
    sets = packetize([SPS, PPS], MAX)[0].payload
    fragment = packetize([coded_slice(3000, 5)], MAX)[0].payload
    for start in (coded_slice(50), SPS, SEI, b"\x09\x10", sets):
        depacketizer = Depacketizer()
        depacketizer.feed(coded_slice(9), True, 1)
        [unit] = depacketizer.feed(start, True, 2, gap=True)
        assert not unit.damaged
    for start in (coded_slice(50, first=False), b"\x41", fragment[:2]):
        depacketizer = Depacketizer()
        [unit] = depacketizer.feed(start, True, 2, gap=True)
        assert unit.damaged


def test_a_lost_end_marks_the_picture_before() -> None:
    depacketizer = Depacketizer()
    packets = packetize([coded_slice(3000)], MAX)
    depacketizer.feed(packets[0].payload, False, 1)
    following = coded_slice(60)
    assert depacketizer.feed(following, True, 2, gap=True) == [
        AccessUnit(1, [], True),
        AccessUnit(2, [following], False),
    ]


def test_fragments_without_a_start_or_an_end_are_dropped() -> None:
    packets = packetize([coded_slice(3000)], MAX)
    joined_late = Depacketizer()
    assert joined_late.feed(packets[1].payload, False, 1) == []
    assert joined_late.feed(packets[2].payload, True, 1) == [AccessUnit(1, [], True)]
    no_end = Depacketizer()
    no_end.feed(packets[0].payload, False, 1)
    single = coded_slice(30, first=False)
    assert no_end.feed(single, True, 1) == [AccessUnit(1, [single], True)]
    begun_twice = Depacketizer()
    begun_twice.feed(packets[0].payload, False, 1)
    assert feed_all(begun_twice, packets, 1) == [AccessUnit(1, [coded_slice(3000)], True)]


def test_padding_packets_carry_a_loss_to_the_next() -> None:
    depacketizer = Depacketizer()
    assert depacketizer.feed(b"", False, 1, gap=True) == []
    [unit] = depacketizer.feed(coded_slice(40, first=False), True, 2)
    assert unit.damaged
    open_unit = Depacketizer()
    open_unit.feed(coded_slice(40), False, 1)
    assert open_unit.feed(b"", False, 99) == []
    assert open_unit.feed(coded_slice(41, first=False), True, 1)[0].damaged is False


def test_reserved_types_are_ignored() -> None:
    depacketizer = Depacketizer()
    for kind in (0, 30, 31):
        assert depacketizer.feed(bytes((kind, 1, 2)), False, 1) == []
    assert depacketizer.feed(coded_slice(20), True, 1) == [AccessUnit(1, [coded_slice(20)], False)]


@pytest.mark.parametrize(
    "payload",
    [
        b"\x19abc",  # STAP-B
        b"\x1aabcdef",  # MTAP16
        b"\x1babcdef",  # MTAP24
        b"\x1d\x81abc",  # FU-B
        b"\x7c",  # FU-A without its header
        b"\x7c\x80a",  # FU-A of type 0
        b"\x7c\x9ca",  # FU-A of an FU-A
        b"\x78\x00",
        b"\x78\x00\x05abcd",
        b"\x78\x00\x00",
    ],
)
def test_malformed_payloads_are_the_peers_error_and_damage_the_picture(payload: bytes) -> None:
    depacketizer = Depacketizer()
    depacketizer.feed(coded_slice(20), False, 1)
    with pytest.raises(ProtocolError):
        depacketizer.feed(payload, False, 1)
    [unit] = depacketizer.feed(coded_slice(30, first=False), True, 1)
    assert unit.damaged


def test_an_access_unit_is_bounded_in_bytes() -> None:
    depacketizer = Depacketizer()
    depacketizer.feed(b"\x7c\x85" + bytes(60_000), False, 1)
    with pytest.raises(ProtocolError):
        for _ in range(100):
            depacketizer.feed(b"\x7c\x05" + bytes(60_000), False, 1)
    again = Depacketizer()
    with pytest.raises(ProtocolError):
        for _ in range(100):
            again.feed(b"\x65" + bytes(60_000), False, 1)


def test_an_access_unit_is_bounded_in_nal_units() -> None:
    depacketizer = Depacketizer()
    aggregate = b"\x18" + b"\x00\x01\x06" * 400
    for _ in range(10):
        depacketizer.feed(aggregate, False, 1)
    with pytest.raises(ProtocolError):
        depacketizer.feed(aggregate, False, 1)


def test_noise_raises_nothing_but_protocol_errors_and_stays_bounded() -> None:
    chance = random.Random(6184)
    packets = packetize([SPS, PPS, SEI, coded_slice(4000, 5), coded_slice(90)], 600)
    depacketizer = Depacketizer()
    units = 0
    for _ in range(10_000):
        data = bytearray(without_padding(chance.choice(packets)))
        for _ in range(chance.randint(0, 3)):
            data[chance.randrange(min(len(data), 12))] = chance.randrange(256)
        data = data[: chance.randrange(len(data) + 1)] if chance.random() < 0.2 else data
        try:
            units += len(
                depacketizer.feed(
                    bytes(data),
                    chance.random() < 0.2,
                    chance.randrange(3),
                    gap=chance.random() < 0.1,
                )
            )
        except ProtocolError:
            continue
    assert units


def test_memoryviews_are_taken_too() -> None:
    nal = coded_slice(3000, 5)
    sample = memoryview(b"\0\0\0\0" + nal)[4:]
    packets = packetize([memoryview(SPS), memoryview(PPS), sample], MAX)
    assert all(isinstance(packet.payload, bytes) for packet in packets)
    assert feed_all(Depacketizer(), packets, 1) == [AccessUnit(1, [SPS, PPS, nal], False)]


def test_the_largest_padding_is_one_bytes_worth() -> None:
    nals = [coded_slice(1000), coded_slice(1000 - 255, first=False), coded_slice(10, first=False)]
    packets = packetize(nals, MAX)
    assert [len(packet.payload) for packet in packets] == [1000, 1000, 10]
    assert packets[1].payload[-1] == MAX_PADDING_BYTES
    assert without_padding(packets[1]) == nals[1]
