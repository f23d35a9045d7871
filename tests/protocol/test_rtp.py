"""RTP: headers both ways, header extensions, padding, and numbers that wrap."""

from __future__ import annotations

import random

import aiortc.rtp
import pytest
from aiortc.rtcrtpparameters import RTCRtpHeaderExtensionParameters, RTCRtpParameters
from hypothesis import given
from hypothesis import strategies as st

from mediaserver.errors import ProtocolError
from mediaserver.protocol import rtcp_transport_cc, rtp

MID, LEVEL, RID = 4, 1, 10
EXTENSION = rtp.serialize_extensions({MID: b"1", LEVEL: b"\x7f", RID: b"hi"})
FULL = (
    bytes.fromhex("b2ea fffe 00015f90 deadbeef 00000001 00000002")  # V P X, two CSRCs, marker
    + EXTENSION
    + b"payload"
    + b"\0\0\3"
)


def test_a_plain_packet_is_twelve_bytes_and_its_payload() -> None:
    header = rtp.serialize_header(106, True, 65535, 4_294_967_295, 0xDEADBEEF)
    assert header == bytes.fromhex("80ea ffff ffffffff deadbeef")
    packet = rtp.parse(header + b"abc")
    assert packet == rtp.RtpPacket(106, True, 65535, 4_294_967_295, 0xDEADBEEF, b"abc")
    assert packet.extension(MID) is None
    assert packet.extensions() == {}


def test_csrcs_extension_and_padding_are_taken_off() -> None:
    packet = rtp.parse(FULL)
    assert packet.payload == b"payload"
    assert (packet.payload_type, packet.marker) == (106, True)
    assert (packet.sequence, packet.timestamp, packet.ssrc) == (65534, 90_000, 0xDEADBEEF)
    assert packet.extensions() == {MID: b"1", LEVEL: b"\x7f", RID: b"hi"}
    assert packet.extension(RID) == b"hi"
    assert packet.extension(2) is None
    assert rtp.header_length(FULL) == 12 + 8 + len(EXTENSION)


def test_aiortc_reads_what_we_write() -> None:
    data = rtp.serialize_header(96, True, 7, 8, 9, padding=True, extension=EXTENSION) + b"xyz\0\0\3"
    mapping = aiortc.rtp.HeaderExtensionsMap()
    mapping.configure(
        aiortc.RTCRtpParameters(
            headerExtensions=[
                aiortc.RTCRtpHeaderExtensionParameters(
                    id=MID, uri="urn:ietf:params:rtp-hdrext:sdes:mid"
                )
            ]
        )
    )
    packet = aiortc.rtp.RtpPacket.parse(data, mapping)
    assert (packet.payload_type, packet.marker, packet.sequence_number) == (96, 1, 7)
    assert (packet.timestamp, packet.ssrc, packet.payload) == (8, 9, b"xyz")
    assert packet.extensions.mid == "1"


@given(
    st.integers(0, 127),
    st.booleans(),
    st.integers(0, 0xFFFF),
    st.integers(0, 0xFFFF_FFFF),
    st.integers(0, 0xFFFF_FFFF),
    st.binary(max_size=40),
    st.dictionaries(st.integers(1, 255), st.binary(max_size=40), max_size=6),
)
def test_what_is_written_is_read_back(
    payload_type: int,
    marker: bool,
    sequence: int,
    timestamp: int,
    ssrc: int,
    payload: bytes,
    extensions: dict[int, bytes],
) -> None:
    block = rtp.serialize_extensions(extensions)
    header = rtp.serialize_header(payload_type, marker, sequence, timestamp, ssrc, extension=block)
    packet = rtp.parse(header + payload)
    assert (packet.payload_type, packet.marker) == (payload_type, marker)
    assert (packet.sequence, packet.timestamp, packet.ssrc) == (sequence, timestamp, ssrc)
    assert packet.payload == payload
    assert packet.extensions() == extensions
    assert all(packet.extension(number) == value for number, value in extensions.items())


@pytest.mark.parametrize(
    ("values", "profile"),
    [
        ({1: b"a", 14: b"x" * 16}, rtp.ONE_BYTE_PROFILE),
        ({15: b"a"}, rtp.TWO_BYTE_PROFILE),
        ({1: b""}, rtp.TWO_BYTE_PROFILE),
        ({1: b"x" * 17}, rtp.TWO_BYTE_PROFILE),
        ({255: b"x" * 255}, rtp.TWO_BYTE_PROFILE),
    ],
)
def test_the_one_byte_form_is_used_where_it_can_be(values: dict[int, bytes], profile: int) -> None:
    packet = rtp.parse(
        rtp.serialize_header(0, False, 0, 0, 0, False, rtp.serialize_extensions(values))
    )
    assert packet.extension_profile == profile
    assert packet.extensions() == values


@pytest.mark.parametrize(
    "values",
    [
        {3: b"\x12\x34"},
        {3: b"\x12\x34", MID: b"0"},
        {MID: b"0", 3: b"\x12\x34"},
        {3: b"\x12\x34", 20: b"two-byte form"},
    ],
)
def test_an_extension_of_two_bytes_is_read_wherever_it_stands(values: dict[int, bytes]) -> None:
    header = rtp.serialize_header(96, False, 0, 0, 0, False, rtp.serialize_extensions(values))
    packet = rtp.parse(header + b"x")
    assert packet.extension_u16(3) == 0x1234
    assert packet.extension_u16(5) is None
    assert packet.extension_u16(MID) is None
    assert rtp.parse(rtp.serialize_header(96, False, 0, 0, 0)).extension_u16(3) is None


def test_aiortcs_transport_wide_number_is_read() -> None:
    ids = aiortc.rtp.HeaderExtensionsMap()
    ids.configure(
        RTCRtpParameters(
            headerExtensions=[
                RTCRtpHeaderExtensionParameters(id=3, uri=rtcp_transport_cc.EXTENSION)
            ]
        )
    )
    packet = aiortc.rtp.RtpPacket(payload_type=96, payload=b"x")
    packet.extensions.transport_sequence_number = 65_000
    assert rtp.parse(packet.serialize(ids)).extension_u16(3) == 65_000


@pytest.mark.parametrize(
    ("profile", "data", "read"),
    [
        (0xBEDE, "00 10 61 00", {1: b"a"}),  # padding between elements
        (0xBEDE, "10 61 f0 10", {1: b"a"}),  # id 15 stops
        (0xBEDE, "10 61 01 10", {1: b"a"}),  # id 0 with a length stops
        (0xBEDE, "10 61 2f 62", {1: b"a"}),  # an element cut short
        (0x1000, "01 01 61 00", {1: b"a"}),
        (0x100F, "01 00 02 00", {1: b"", 2: b""}),  # application bits
        (0x1000, "01 01 61 02", {1: b"a"}),
        (0x1000, "01 05 61 62", {}),
        (0x4242, "10 61 00 00", {}),  # a profile of somebody else's
    ],
)
def test_extensions_are_read_up_to_what_is_wrong(
    profile: int, data: str, read: dict[int, bytes]
) -> None:
    block = bytes.fromhex(data)
    packet = rtp.parse(
        rtp.serialize_header(
            0,
            False,
            0,
            0,
            0,
            extension=profile.to_bytes(2, "big") + (len(block) // 4).to_bytes(2, "big") + block,
        )
    )
    assert packet.extensions() == read
    assert all(packet.extension(number) == read.get(number) for number in range(1, 16))


def test_only_the_header_may_not_be_cut() -> None:
    start = rtp.header_length(FULL)
    for end in range(start):
        with pytest.raises(ProtocolError):
            rtp.parse(FULL[:end])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(12),  # version 0
        bytes.fromhex("c0600001 00000000 00000000"),  # version 3
        bytes.fromhex("a0600001 00000000 00000000"),  # padding, but nothing there
        bytes.fromhex("a0600001 00000000 00000000 00"),  # padding of 0
        bytes.fromhex("a0600001 00000000 00000000 616263 05"),  # more padding than payload
        bytes.fromhex("8f600001 00000000 00000000"),  # fifteen CSRCs missing
        bytes.fromhex("90600001 00000000 00000000 bede ffff"),
    ],
)
def test_what_is_no_packet_is_the_peers_error(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        rtp.parse(data)


def test_a_packet_of_padding_alone_has_no_payload() -> None:
    header = rtp.serialize_header(96, False, 1, 2, 3, padding=True)
    assert rtp.parse(header + bytes(254) + b"\xff").payload == b""


def test_sequence_numbers_go_on_at_the_wrap() -> None:
    unwrapper = rtp.SequenceUnwrapper()
    fed = [65533, 65535, 65534, 0, 65532, 2, 1]
    assert [unwrapper.unwrap(number) for number in fed] == [
        65533,
        65535,
        65534,
        65536,
        65532,
        65538,
        65537,
    ]
    assert unwrapper.highest == 65538


def test_many_wraps_are_counted() -> None:
    unwrapper = rtp.SequenceUnwrapper()
    for expected in range(0, 300_000, 997):
        assert unwrapper.unwrap(expected & 0xFFFF) == expected


def test_a_packet_from_before_the_first_is_below_it() -> None:
    unwrapper = rtp.SequenceUnwrapper()
    assert unwrapper.unwrap(1) == 1
    assert unwrapper.unwrap(65535) == -1
    assert unwrapper.highest == 1


@given(st.integers(0, 1 << 40), st.integers(-0x8000, 0x7FFF))
def test_extend_finds_the_nearest(reference: int, distance: int) -> None:
    assert rtp.extend((reference + distance) & 0xFFFF, reference) == reference + distance


@given(st.integers(0, 1 << 60), st.integers(-0x8000_0000, 0x7FFF_FFFF))
def test_extend_timestamp_finds_the_nearest(reference: int, distance: int) -> None:
    ticks = (reference + distance) & 0xFFFF_FFFF
    assert rtp.extend_timestamp(ticks, reference) == reference + distance


def test_noise_raises_nothing_but_protocol_errors() -> None:
    chance = random.Random(3550)
    for _ in range(10_000):
        data = bytearray(FULL)
        for _ in range(chance.randint(1, 6)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        data = data[: chance.randrange(len(data) + 1)]
        try:
            packet = rtp.parse(bytes(data))
        except ProtocolError:
            continue
        found = packet.extensions()
        assert all(packet.extension(number) is not None for number in found)
        assert len(packet.payload) < len(data)
