"""The relay's wire: what serializes parses back, and nothing malformed raises but ProtocolError."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediaserver.errors import ProtocolError
from mediaserver.hub.relay import frames, wire
from mediaserver.media import Packet, Track

VIDEO = Track("video", "h264", 90_000, b"\x01\x42\xc0\x1f", 1280, 720)
AUDIO = Track("audio", "opus", 48_000, b"OpusHead", channels=2)
MESSAGES: list[wire.Message] = [
    wire.Hello(),
    wire.Watch(),
    wire.Subscribe(3, "show", True, ("audio",)),
    wire.Publish(4, "show", "opus"),
    wire.Close(4),
    wire.Change("online", "show", (VIDEO, AUDIO)),
    wire.NewTrack(7, 1, AUDIO),
    wire.Media(7, 1, -312, -312, 1_700_000_000_123, True, b"\xfc" * 400),
    wire.Ended(7, "removed"),
    wire.Description(7, True, 2**32 - 1, 1_700_000_000_123, (VIDEO,)),
    wire.KeyframeWanted(7),
    wire.Wanted(7, True),
    wire.Bitrate(7, 2_500_000),
    wire.Noticed(7, "LadderOverloaded", "warning", "slow", "慢", "wait", "等"),
    wire.Measured(7, "loudness_lufs", -16.25),
]
_64_bits = st.integers(-(2**63), 2**63 - 1)


def frame(*fields: object) -> bytes:
    body: bytes = msgpack.packb(fields)
    return len(body).to_bytes(4, "big") + body


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_parses_back(message: wire.Message) -> None:
    assert wire.MessageReader().feed(wire.serialize(message)) == [message]


def test_messages_come_out_however_the_bytes_are_cut() -> None:
    stream = b"".join(wire.serialize(message) for message in MESSAGES)
    for size in (1, 2, 3, 5, 7, 64, len(stream)):
        reader = wire.MessageReader()
        messages = []
        for begin in range(0, len(stream), size):
            messages += reader.feed(stream[begin : begin + size])
        assert messages == MESSAGES


@given(_64_bits, _64_bits, _64_bits, st.booleans(), st.binary(max_size=300))
def test_a_packet_arrives_exactly_as_it_was(
    pts: int, dts: int, wallclock_ms: int, keyframe: bool, payload: bytes
) -> None:
    packet = Packet(VIDEO, pts, dts, wallclock_ms, keyframe, payload)
    track, media = wire.MessageReader().feed(wire.PacketWriter(1).serialize(packet))
    assert isinstance(track, wire.NewTrack)
    assert isinstance(media, wire.Media)
    reader = wire.PacketReader()
    reader.track(track)
    assert reader.packet(media) == packet


def test_a_track_is_sent_once_per_change() -> None:
    writer, reader = wire.PacketWriter(1), wire.MessageReader()
    changed = Track("audio", "opus", 48_000, b"OpusHead", channels=1)
    kinds = []
    for track in (VIDEO, AUDIO, VIDEO, AUDIO, changed, changed, VIDEO):
        packet = Packet(track, 0, 0, 0, True, b"")
        kinds += [type(message).__name__ for message in reader.feed(writer.serialize(packet))]
    media = ["Media"]
    track_and_media = ["NewTrack", "Media"]
    assert kinds == 2 * track_and_media + 2 * media + track_and_media + 2 * media


def test_all_packets_of_a_track_share_one_track() -> None:
    writer, reader = wire.PacketWriter(1), wire.PacketReader()
    messages = wire.MessageReader().feed(
        b"".join(writer.serialize(Packet(AUDIO, n, n, n, True, b"")) for n in range(3))
    )
    packets = []
    for message in messages:
        if isinstance(message, wire.NewTrack):
            reader.track(message)
        elif isinstance(message, wire.Media):
            packets.append(reader.packet(message))
    assert packets[0].track is packets[1].track is packets[2].track


def test_a_packet_of_an_untold_track_is_refused() -> None:
    with pytest.raises(ProtocolError):
        wire.PacketReader().packet(wire.Media(0, 1, 0, 0, 0, True, b""))


def test_a_packet_costs_little_more_than_its_payload() -> None:
    writer = wire.PacketWriter(1)
    packet = Packet(AUDIO, 2**40, 2**40, 1_700_000_000_000, True, bytes(240))
    writer.serialize(packet)
    assert len(writer.serialize(packet)) <= 240 + 40


TRACK = ["audio", "aac", 48_000, b"\x11\x90", 0, 0, 2]
MALFORMED = {
    "length zero": bytes(4),
    "longer than a frame may be": (frames.MAX_FRAME_BYTES + 1).to_bytes(4, "big"),
    "not msgpack": b"\0\0\0\1\xc1",
    "cut off inside": b"\0\0\0\2\x93\x01",
    "trailing bytes": b"\0\0\0\3\x91\x01\x01",
    "nested too deep": b"\0\0\x08\x00" + b"\x91" * 2048,
    "no text": b"\0\0\0\5\x92\x08\xa2\xff\xff",
    "not an array": frame()[:4] + b"\xc0",
    "empty": frame(),
    "a map": b"\0\0\0\4\x91\x81\x01\x02",
    "an extension": b"\0\0\0\4\x91\xd4\x01\x02",
    "array longer than any of ours": b"\0\0\0\5\xdd\xff\xff\xff\xff",
    "number unknown": frame(len(MESSAGES)),
    "number negative": frame(-1),
    "number no integer": frame("watch"),
    "number a boolean": frame(True),
    "a field too few": frame(2, 1, "show", True),
    "a field too many": frame(1, 1),
    "channel negative": frame(4, -1),
    "channel too high": frame(4, wire.MAX_CHANNEL),
    "channel a boolean": frame(4, True),
    "stream no string": frame(2, 1, b"show", True, []),
    "kind unknown": frame(2, 1, "show", True, ["subtitle"]),
    "kind an array": frame(2, 1, "show", True, [["audio"]]),
    "kinds no array": frame(2, 1, "show", True, "audio"),
    "change unknown": frame(5, "renamed", "show", []),
    "track cut off": frame(6, 1, 0, TRACK[:-1]),
    "track of another kind": frame(6, 1, 0, ["text", *TRACK[1:]]),
    "track of another codec": frame(6, 1, 0, ["audio", "vorbis", *TRACK[2:]]),
    "track without a clock": frame(6, 1, 0, [*TRACK[:2], 0, *TRACK[3:]]),
    "track without config": frame(6, 1, 0, [*TRACK[:3], None, *TRACK[4:]]),
    "track number too high": frame(6, 1, wire.MAX_TRACKS, TRACK),
    "payload a string": frame(7, 1, 0, 0, 0, 0, True, "payload"),
    "keyframe no boolean": frame(7, 1, 0, 0, 0, 0, 1, b""),
    "time no integer": frame(7, 1, 0, 0.5, 0, 0, True, b""),
    "an RTP base of more than 32 bits": frame(9, 1, True, 2**32, 0, []),
    "no bitrate": frame(12, 1, 0),
    "a bitrate beyond any": frame(12, 1, wire.MAX_BITS_PER_S + 1),
    "severity unknown": frame(13, 1, "Slow", "fatal", "", "", "", ""),
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_what_is_malformed_is_a_protocol_error(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        wire.MessageReader().feed(data)


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    for body in (data, len(data).to_bytes(4, "big") + data):
        try:
            wire.MessageReader().feed(body)
        except ProtocolError:
            continue


_values = st.recursive(
    st.none()
    | st.booleans()
    | _64_bits
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=8),
    max_leaves=12,
)


@given(st.integers(0, len(MESSAGES) - 1), st.lists(_values, max_size=8))
def test_no_fields_raise_anything_else(number: int, fields: list[object]) -> None:
    try:
        wire.MessageReader().feed(frame(number, *fields))
    except ProtocolError:
        return


def test_a_message_longer_than_a_frame_is_not_sent() -> None:
    with pytest.raises(ValueError, match="bytes"):
        wire.serialize(wire.Media(0, 0, 0, 0, 0, True, bytes(frames.MAX_FRAME_BYTES)))
