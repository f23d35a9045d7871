"""All video codecs in RTP: what real encoders make goes through whole, and losses are noticed."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from mediaserver.errors import ProtocolError
from mediaserver.media import Codec, Packet
from mediaserver.protocol import rtp, rtp_video
from mediaserver.protocol.rtp_payload import MAX_FRAME_BYTES
from mediaserver.protocol.rtp_video import CodedFrame, RtpPayload
from tests.protocol import encoded

CODECS: tuple[Codec, ...] = ("h264", "h265", "vp8", "vp9", "av1")
MAX = 1100


def without_padding(payload: RtpPayload) -> bytes:
    header = rtp.serialize_header(96, payload.marker, 0, 0, 1, payload.padding)
    return rtp.parse(header + payload.payload).payload


def feed_all(
    depacketizer: rtp_video.VideoDepacketizer, packet: Packet, *, lost: frozenset[int] = frozenset()
) -> list[CodedFrame]:
    frames = []
    gap = False
    for index, payload in enumerate(rtp_video.packetize(packet, MAX)):
        if index in lost:
            gap = True
            continue
        frames += depacketizer.feed(without_padding(payload), payload.marker, packet.pts, gap=gap)
        gap = False
    return frames


@pytest.mark.parametrize("codec", CODECS)
def test_what_an_encoder_makes_comes_back_with_its_track(codec: Codec) -> None:
    depacketizer = rtp_video.depacketizer(codec)
    tracks = []
    for packet in encoded.packets(codec):
        [frame] = feed_all(depacketizer, packet)
        assert frame.payload == packet.payload
        assert (frame.timestamp, frame.keyframe) == (packet.pts, packet.keyframe)
        assert not frame.damaged
        assert (frame.track is not None) == frame.keyframe
        tracks += [frame.track] if frame.track else []
    assert len(tracks) == 3
    assert all(before is after for before, after in pairwise(tracks))
    assert tracks[0] == encoded.packets(codec)[0].track
    assert (tracks[0].width, tracks[0].height) == encoded.SIZE


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("most", [150, 700, 1100, 1400])
def test_payloads_of_a_frame_are_of_one_size_but_the_last(codec: Codec, most: int) -> None:
    for packet in encoded.packets(codec)[1:10]:
        payloads = rtp_video.packetize(packet, most)
        sizes = [len(payload.payload) for payload in payloads]
        assert max(sizes) <= most
        assert len(set(sizes[:-1])) <= 1
        assert sizes[-1] <= sizes[0]
        assert [payload.marker for payload in payloads] == [False] * (len(sizes) - 1) + [True]


@pytest.mark.parametrize("codec", CODECS)
def test_payloads_are_as_few_as_can_be(codec: Codec) -> None:
    packet = encoded.packets(codec)[1]
    assert len(rtp_video.packetize(packet, MAX)) <= len(packet.payload) // (MAX - 20) + 1


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("lost", [0, 1, 5, -2, -1])
def test_a_frame_that_lost_a_payload_is_damaged_and_the_next_is_whole(
    codec: Codec, lost: int
) -> None:
    depacketizer = rtp_video.depacketizer(codec)
    first, second, third = encoded.packets(codec)[:3]
    feed_all(depacketizer, first)
    payloads = rtp_video.packetize(second, MAX)
    missing = lost % len(payloads)
    frames = feed_all(depacketizer, second, lost=frozenset({missing}))
    following = rtp_video.packetize(third, MAX)
    for index, payload in enumerate(following):
        gap = index == 0 and missing == len(payloads) - 1
        frames += depacketizer.feed(without_padding(payload), payload.marker, third.pts, gap=gap)
    assert [(frame.timestamp, frame.damaged) for frame in frames] == [
        (second.pts, True),
        (third.pts, False),
    ]
    assert frames[1].payload == third.payload


@pytest.mark.parametrize("codec", CODECS)
def test_a_whole_frame_lost_leaves_the_next_undamaged(codec: Codec) -> None:
    depacketizer = rtp_video.depacketizer(codec)
    first, _, third = encoded.packets(codec)[:3]
    feed_all(depacketizer, first)
    payloads = rtp_video.packetize(third, MAX)
    frames = []
    for index, payload in enumerate(payloads):
        frames += depacketizer.feed(
            without_padding(payload), payload.marker, third.pts, gap=index == 0
        )
    assert [(frame.payload, frame.damaged) for frame in frames] == [(third.payload, False)]


@pytest.mark.parametrize("codec", CODECS)
def test_without_a_marker_the_next_timestamp_ends_a_frame(codec: Codec) -> None:
    depacketizer = rtp_video.depacketizer(codec)
    frames = []
    for packet in encoded.packets(codec)[:4]:
        for payload in rtp_video.packetize(packet, MAX):
            frames += depacketizer.feed(without_padding(payload), False, packet.pts)
    assert [frame.payload for frame in frames] == [
        packet.payload for packet in encoded.packets(codec)[:3]
    ]
    assert not any(frame.damaged for frame in frames)


@pytest.mark.parametrize("codec", CODECS)
def test_an_empty_payload_is_a_probe_and_carries_a_loss_on(codec: Codec) -> None:
    depacketizer = rtp_video.depacketizer(codec)
    payloads = rtp_video.packetize(encoded.packets(codec)[0], MAX)
    assert depacketizer.feed(b"", False, 1, gap=True) == []
    frames = []
    for payload in payloads[-2:]:
        frames += depacketizer.feed(without_padding(payload), payload.marker, 2)
    assert [frame.damaged for frame in frames] == [True]


@pytest.mark.parametrize("codec", CODECS)
def test_a_frame_is_bounded(codec: Codec) -> None:
    depacketizer = rtp_video.depacketizer(codec)
    payloads = [without_padding(p) for p in rtp_video.packetize(encoded.packets(codec)[1], 60_000)]
    whole = rtp_video.packetize(encoded.packets(codec)[1], MAX)
    middle = without_padding(whole[1])
    depacketizer.feed(without_padding(whole[0]), False, 1)
    with pytest.raises(ProtocolError):
        for _ in range(2 * MAX_FRAME_BYTES // len(middle)):
            depacketizer.feed(middle, False, 1)
    [frame] = depacketizer.feed(payloads[0], True, 2)[-1:]
    assert frame.payload == encoded.packets(codec)[1].payload


@pytest.mark.parametrize("codec", CODECS)
def test_every_beginning_of_a_payload_is_a_frame_or_the_peers_error(codec: Codec) -> None:
    for packet in encoded.packets(codec)[:2]:
        for payload in rtp_video.packetize(packet, 120)[:3]:
            for end in range(len(payload.payload) + 1):
                depacketizer = rtp_video.depacketizer(codec)
                try:
                    frames = depacketizer.feed(payload.payload[:end], True, 1)
                except ProtocolError:
                    continue
                assert len(frames) == (end > 0)


@pytest.mark.parametrize("codec", CODECS)
def test_noise_raises_nothing_but_protocol_errors(codec: Codec) -> None:
    chance = random.Random(codec)
    payloads = [
        without_padding(payload)
        for packet in encoded.packets(codec)[:3]
        for payload in rtp_video.packetize(packet, 900)[:6]
    ]
    depacketizer = rtp_video.depacketizer(codec)
    frames = 0
    for _ in range(10_000):
        data = bytearray(chance.choice(payloads))
        for _ in range(chance.randint(0, 3)):
            data[chance.randrange(min(len(data), 40))] = chance.randrange(256)
        if chance.random() < 0.2:
            data = data[: chance.randrange(len(data) + 1)]
        try:
            frames += len(
                depacketizer.feed(
                    bytes(data),
                    chance.random() < 0.3,
                    chance.randrange(3),
                    gap=chance.random() < 0.1,
                )
            )
        except ProtocolError:
            continue
    assert frames > 1000


@pytest.mark.parametrize("codec", CODECS)
def test_packets_of_noise_are_packetized_or_the_peers_error(codec: Codec) -> None:
    chance = random.Random(codec)
    packet = encoded.packets(codec)[0]
    for _ in range(3_000):
        payload = chance.randbytes(chance.randrange(60))
        config = bytearray(packet.track.config)
        config[chance.randrange(len(config))] ^= 1 << chance.randrange(8)
        track = encoded.with_config(packet.track, bytes(config))
        try:
            rtp_video.packetize(Packet(track, 0, 0, 0, chance.random() < 0.5, payload), 30)
        except ProtocolError:
            continue


@pytest.mark.parametrize("codec", CODECS)
def test_an_empty_packet_of_no_keyframe_needs_no_payload(codec: Codec) -> None:
    track = encoded.packets(codec)[0].track
    assert rtp_video.packetize(Packet(track, 0, 0, 0, False, b""), MAX) == []
