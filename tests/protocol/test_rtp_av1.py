"""AV1 in RTP: OBU elements, fragments and sequence headers."""

from __future__ import annotations

import random

import pytest

from mediaserver.errors import ProtocolError
from mediaserver.media import Packet
from mediaserver.protocol import av1, rtp_av1
from mediaserver.protocol.rtp_pictures import PictureDepacketizer
from mediaserver.protocol.rtp_video import CodedFrame
from tests.protocol import encoded

SEQUENCE = av1.without_size(
    bytes.fromhex("0a0b000000043cfecc4af90040")  # 320 × 180, profile 0, level 2.0
)
KEY = b"\x30\x10" + bytes(range(100))
INTER = b"\x30\x30" + bytes(range(50))
DELIMITER = b"\x10"


def sized(*obus: bytes) -> bytes:
    return b"".join(map(av1.with_size, obus))


def feed(*payloads: bytes, depacketizer: PictureDepacketizer | None = None) -> CodedFrame:
    depacketizer = depacketizer or rtp_av1.depacketizer()
    frames = []
    for index, payload in enumerate(payloads):
        frames += depacketizer.feed(payload, index == len(payloads) - 1, 1)
    [frame] = frames
    return frame


def element(obu: bytes) -> bytes:
    return av1.write_leb128(len(obu)) + obu


@pytest.mark.parametrize(
    "payload",
    [
        b"\x00" + element(SEQUENCE) + element(KEY),  # W 0: every element has its length
        b"\x28" + element(SEQUENCE) + KEY,  # W 2, N
        b"\x38" + element(DELIMITER) + element(SEQUENCE) + KEY,
        b"\x28" + element(av1.with_size(SEQUENCE)) + av1.with_size(KEY),  # sizes where none belong
        b"\x00" + element(SEQUENCE) + b"\0" + element(KEY),  # an empty element
    ],
)
def test_elements_come_out_with_sizes_and_without_delimiters(payload: bytes) -> None:
    frame = feed(payload)
    assert frame.payload == sized(SEQUENCE, KEY)
    assert (frame.keyframe, frame.damaged) == (True, False)
    assert frame.track is not None
    assert (frame.track.codec, frame.track.width, frame.track.height) == ("av1", 320, 180)


def test_fragments_are_joined_over_any_number_of_payloads() -> None:
    frame = feed(b"\x68" + element(SEQUENCE) + KEY[:10], b"\xd0" + KEY[10:20], b"\x90" + KEY[20:])
    assert (frame.payload, frame.damaged) == (sized(SEQUENCE, KEY), False)
    both = feed(b"\x50" + KEY[:10], b"\xa0" + element(KEY[10:]) + INTER)
    assert both.payload == sized(KEY, INTER)


def test_fragments_without_beginning_or_end_are_dropped() -> None:
    late = feed(b"\xa0" + element(KEY[10:]) + INTER)
    assert (late.payload, late.damaged, late.keyframe) == (sized(INTER), True, False)
    no_end = feed(b"\x60" + element(SEQUENCE) + KEY[:20])
    assert (no_end.payload, no_end.damaged, no_end.track) == (sized(SEQUENCE), True, None)
    begun_again = feed(b"\x50" + KEY[:20], b"\x10" + INTER)
    assert (begun_again.payload, begun_again.damaged) == (sized(INTER), True)


def test_a_key_frame_without_a_sequence_header_is_no_point_to_begin() -> None:
    assert not feed(b"\x10" + KEY).keyframe
    assert not feed(b"\x20" + element(SEQUENCE) + INTER).keyframe
    hidden = b"\x30\x00" + KEY[2:]
    assert not feed(b"\x20" + element(SEQUENCE) + hidden).keyframe


def test_a_tile_group_does_not_begin_a_temporal_unit() -> None:
    for obu, damaged in ((b"\x20abc", True), (INTER, False)):
        depacketizer = rtp_av1.depacketizer()
        depacketizer.feed(b"\x10" + INTER, True, 1)
        [frame] = depacketizer.feed(b"\x10" + obu, True, 2, gap=True)
        assert frame.damaged == damaged


def test_the_track_stays_until_the_sequence_header_changes() -> None:
    depacketizer = rtp_av1.depacketizer()
    payload = b"\x28" + element(SEQUENCE) + KEY
    first = feed(payload, depacketizer=depacketizer).track
    assert feed(payload, depacketizer=depacketizer).track is first
    header = bytearray(SEQUENCE)
    header[-1] ^= 0x01
    other = feed(b"\x28" + element(bytes(header)) + KEY, depacketizer=depacketizer).track
    assert other is not first


@pytest.mark.parametrize(
    "payload",
    [
        b"\x10",  # nothing
        b"\x00",
        b"\x00\x05abc",  # an element cut off
        b"\x20\x05abc",
        b"\x00" + b"\x80" * 8,  # a length without end
        b"\x30\x01\x30",  # two elements fewer than it says
    ],
)
def test_malformed_payloads_are_the_peers_error_and_damage_the_unit(payload: bytes) -> None:
    depacketizer = rtp_av1.depacketizer()
    depacketizer.feed(b"\x10" + INTER, False, 1)
    with pytest.raises(ProtocolError):
        depacketizer.feed(payload, False, 1)
    [frame] = depacketizer.feed(b"\x10" + INTER, True, 1)
    assert frame.damaged


def test_obus_are_bounded_in_number() -> None:
    depacketizer = rtp_av1.depacketizer()
    with pytest.raises(ProtocolError):
        for _ in range(10):
            depacketizer.feed(b"\x00" + element(INTER[:3]) * 100, False, 1)
    with pytest.raises(ProtocolError):
        av1.split_temporal_unit(sized(INTER) * (av1.MAX_OBUS + 1))


def test_a_keyframe_without_a_sequence_header_gets_the_tracks() -> None:
    track = av1.video_track(av1.with_size(SEQUENCE))
    for payload in (sized(KEY), sized(SEQUENCE, KEY), sized(DELIMITER, KEY)):
        [sent] = rtp_av1.packetize(Packet(track, 0, 0, 0, True, payload), 1100)
        assert sent.payload == b"\x28" + element(SEQUENCE) + KEY
    [other] = rtp_av1.packetize(Packet(track, 0, 0, 0, False, sized(DELIMITER, INTER)), 1100)
    assert other.payload == b"\x10" + INTER


def test_any_temporal_unit_comes_back() -> None:
    chance = random.Random(1)
    track = av1.video_track(av1.with_size(SEQUENCE))
    for _ in range(400):
        count, most = chance.randint(1, 12), chance.randint(20, 400)
        obus = [b"\x30\x30" + chance.randbytes(chance.randrange(1500)) for _ in range(count)]
        packet = Packet(track, 0, 0, 0, False, sized(*obus))
        payloads = [each.payload for each in rtp_av1.packetize(packet, most)]
        assert max(map(len, payloads)) <= most
        frame = feed(*payloads)
        assert (frame.payload, frame.damaged) == (packet.payload, False)


def test_numbers_of_any_length_are_read_back() -> None:
    for number in (0, 1, 127, 128, 16_383, 16_384, 1 << 32):
        data = av1.write_leb128(number)
        assert av1.read_leb128(b"x" + data + b"y", 1) == (number, 1 + len(data))
        for end in range(len(data)):
            with pytest.raises(ProtocolError):
                av1.read_leb128(data[:end], 0)


def test_the_configuration_says_what_the_sequence_header_does() -> None:
    track = encoded.packets("av1")[0].track
    config = av1.Av1Config.parse(track.config)
    assert config.serialize() == track.config
    assert (config.header.width, config.header.height) == encoded.SIZE
    assert (config.header.profile, config.header.bit_depth) == (0, 8)
    assert (config.header.subsampling_x, config.header.subsampling_y) == (1, 1)
    assert av1.codec_string(track.config).startswith("av01.0.0")
    for record in (b"", track.config[:4], b"\x01" + track.config[1:], track.config[:-1]):
        with pytest.raises(ProtocolError):
            av1.Av1Config.parse(record)


def test_a_sequence_header_that_is_cut_off_is_the_peers_error() -> None:
    for end in range(len(SEQUENCE) - 2):
        with pytest.raises(ProtocolError):
            av1.parse_sequence_header(SEQUENCE[:end])
    assert av1.parse_sequence_header(SEQUENCE + bytes(5)).width == 320
