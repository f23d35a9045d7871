"""A publisher's connection: the commands of real encoders, the key asked first, and every limit."""

from __future__ import annotations

import random
import struct
from itertools import pairwise

import pytest

from benchmarks.fuzzing import mutations
from mediaserver.errors import ProtocolError
from mediaserver.protocol import amf0
from mediaserver.protocol.rtmp import (
    Event,
    MetadataReceived,
    PublishEnded,
    PublishRequested,
    RtmpConnection,
    State,
    connection,
    messages,
)
from mediaserver.protocol.rtmp.chunk_stream import MAX_BUFFERED_BYTES, Message
from tests.protocol.rtmp_client import (
    AAC_FRAME,
    AAC_HEADER,
    AVC_HEADER,
    IDR_TAG,
    METADATA,
    SLICE_TAG,
    Encoder,
    answers,
    commands,
    slices,
    status_codes,
)

FUZZ_INPUTS = 100_000

MEDIA: list[Event] = [
    MetadataReceived(dict(METADATA)),
    Message(messages.VIDEO, 1, 0, AVC_HEADER),
    Message(messages.AUDIO, 1, 0, AAC_HEADER),
    Message(messages.VIDEO, 1, 0, IDR_TAG),
    Message(messages.AUDIO, 1, 10, AAC_FRAME),
    Message(messages.VIDEO, 1, 40, SLICE_TAG),
    Message(messages.AUDIO, 1, 50, AAC_FRAME),
]


def connect(now: float = 0) -> RtmpConnection:
    return RtmpConnection(now, bytes(1528))


def publishing(encoder: Encoder, now: float = 0) -> RtmpConnection:
    """A connection that publishes, its answers taken."""
    peer = connect(now)
    assert peer.receive_data(encoder.opening(), now) == [PublishRequested("live", "key")]
    assert peer.accept_publish() == []
    peer.data_to_send()
    return peer


def receive(peer: RtmpConnection, pieces: list[bytes]) -> list[Event]:
    """The events of these pieces, publishing accepted at once."""
    events: list[Event] = []
    for piece in pieces:
        events += peer.receive_data(piece, 0)
        if peer.state is State.REQUESTED:
            events += peer.accept_publish()
    return events


def amf(*values: amf0.Value) -> bytes:
    return amf0.serialize(values)


def session() -> bytes:
    encoder = Encoder()
    return encoder.opening() + encoder.media(frames=2) + encoder.closing()


def test_a_session_is_a_request_then_media_then_the_end() -> None:
    expected = [PublishRequested("live", "key"), *MEDIA, PublishEnded()]
    whole, bytewise = connect(), connect()
    assert receive(whole, [session()]) == expected
    assert receive(bytewise, [bytes((byte,)) for byte in session()]) == expected
    assert whole.data_to_send() == bytewise.data_to_send()
    for seed in range(100):
        assert receive(connect(), list(slices(session(), random.Random(seed)))) == expected


def test_the_answers_are_those_that_encoders_wait_for() -> None:
    peer = connect()
    receive(peer, [session()])
    sent = peer.data_to_send()
    control = [each for each in answers(sent) if each.type_id != messages.COMMAND_AMF0]
    assert [each.type_id for each in control] == [
        messages.WINDOW_ACKNOWLEDGEMENT_SIZE,
        messages.SET_PEER_BANDWIDTH,
        messages.USER_CONTROL,  # Stream Begin; Set Chunk Size is obeyed by the reader
    ]
    assert control[2].payload == bytes.fromhex("0000 00000001")
    connected, released, announced, created, started, ended = commands(sent)
    assert connected.name == "_result"
    information = connected.arguments[1]
    assert isinstance(information, dict)
    assert information["code"] == "NetConnection.Connect.Success"
    assert [each.transaction_id for each in (released, announced, created)] == [2, 3, 4]
    assert created.arguments == [None, 1]
    assert (started.name, ended.name) == ("onStatus", "onStatus")
    assert status_codes(sent) == ["NetStream.Publish.Start", "NetStream.Unpublish.Success"]


def properties(connect_object: dict[str, amf0.Value]) -> dict[str, amf0.Value]:
    """Those of the answer to a connect."""
    encoder = Encoder()
    peer = connect()
    peer.receive_data(encoder.handshake() + encoder.command("connect", connect_object), 0)
    found = commands(peer.data_to_send())[0].arguments[0]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(
    "asked",
    [
        {"fourCcList": ["av01", "hvc1"]},
        {"videoFourCcInfoMap": {"*": 4.0}},
        {"capsEx": 6.0},
    ],
)
def test_who_speaks_enhanced_rtmp_is_told_what_of_it_is_taken(asked: dict[str, amf0.Value]) -> None:
    told = properties({"app": "live", **asked})
    video, audio = ["avc1", "hvc1", "av01", "vp09", "vp08"], ["mp4a", "Opus"]
    assert told["fourCcList"] == video + audio
    assert told["videoFourCcInfoMap"] == dict.fromkeys(video, 5.0)
    assert told["audioFourCcInfoMap"] == dict.fromkeys(audio, 5.0)
    assert told["capsEx"] == 6.0


def test_who_does_not_is_told_none_of_it() -> None:
    assert set(properties({"app": "live"})) == {"fmsVer", "capabilities"}


def test_nothing_is_acted_on_until_publishing_is_accepted() -> None:
    encoder = Encoder()
    peer = connect()
    data = encoder.opening() + encoder.media(frames=2)
    assert peer.receive_data(data, 0) == [PublishRequested("live", "key")]
    assert "NetStream.Publish.Start" not in status_codes(peer.data_to_send())
    assert peer.receive_data(encoder.closing(), 0) == []
    assert peer.accept_publish() == [*MEDIA, PublishEnded()]


def test_a_refused_publisher_is_told_the_code_and_then_ignored() -> None:
    encoder = Encoder()
    peer = connect()
    peer.receive_data(encoder.opening("wrong") + encoder.media(), 0)
    peer.reject_publish("NetStream.Publish.Denied", "the key is not known")
    refusal = commands(peer.data_to_send())[-1]
    assert refusal.arguments[1] == {
        "level": "error",
        "code": "NetStream.Publish.Denied",
        "description": "NetStream.Publish.Denied: the key is not known",
    }
    assert peer.state is State.CLOSED
    assert peer.receive_data(encoder.media(), 0) == []
    assert peer.receive_data(b"\xff" * 100, 0) == []
    assert (peer.data_to_send(), peer.next_timeout(0)) == (b"", None)


def test_a_publication_can_be_ended_with_a_reason() -> None:
    encoder = Encoder()
    peer = publishing(encoder)
    peer.reject_publish("NetStream.Failed", "taken over")
    assert b"NetStream.Failed: taken over" in peer.data_to_send()
    assert peer.receive_data(encoder.media(), 0) == []


def test_accepting_what_was_not_asked_is_our_bug() -> None:
    for peer in (connect(), publishing(Encoder())):
        with pytest.raises(RuntimeError):
            peer.accept_publish()
    with pytest.raises(RuntimeError):
        connect().reject_publish("NetStream.Publish.Denied", "")


def test_the_key_ends_at_the_question_mark() -> None:
    encoder = Encoder()
    data = encoder.handshake() + encoder.connect("shop") + encoder.publish("k3y?token=a?b&c")
    assert connect().receive_data(data, 0) == [PublishRequested("shop", "k3y")]


def test_a_connection_may_publish_again() -> None:
    encoder = Encoder()
    peer = publishing(encoder)
    assert peer.receive_data(encoder.closing() + encoder.publish("other"), 0) == [
        PublishEnded(),
        PublishRequested("live", "other"),
    ]
    assert peer.accept_publish() == []
    assert peer.receive_data(encoder.video(7, SLICE_TAG), 0) == [
        Message(messages.VIDEO, 1, 7, SLICE_TAG)
    ]


def test_media_outside_a_publication_is_ignored() -> None:
    encoder = Encoder()
    peer = connect()
    opening = encoder.handshake() + encoder.connect() + encoder.media()
    assert peer.receive_data(opening, 0) == []
    encoder = Encoder()
    peer = publishing(encoder)
    assert peer.receive_data(encoder.closing() + encoder.media(), 0) == [PublishEnded()]


def test_unknown_commands_and_messages_are_ignored_without_an_answer() -> None:
    encoder = Encoder()
    peer = publishing(encoder)
    data = encoder.command("_checkbw", None) + encoder.command("\x00\n", None, {}, [])
    data += encoder.command("onStatus", None, {}) + encoder.command("_result", None)
    for type_id in (messages.ACKNOWLEDGEMENT, messages.SET_PEER_BANDWIDTH, 15, 16, 99, 255):
        data += encoder.message(type_id, b"\x00\x00\x10\x00\x02")
    data += encoder.message(messages.USER_CONTROL, bytes.fromhex("0003 00000001 00000bb8"))
    assert peer.receive_data(data, 0) == []
    assert peer.data_to_send() == b""


def test_a_ping_is_answered() -> None:
    encoder = Encoder()
    peer = publishing(encoder)
    peer.receive_data(encoder.message(messages.USER_CONTROL, b"\x00\x06\x12\x34\x56\x78"), 0)
    [pong] = answers(bytes(3073) + peer.data_to_send())
    assert pong == Message(messages.USER_CONTROL, 0, 0, b"\x00\x07\x12\x34\x56\x78")


def test_what_was_received_is_acknowledged_once_per_window() -> None:
    encoder = Encoder(chunk_bytes=1 << 20)
    peer = publishing(Encoder())
    peer.receive_data(encoder.message(1, struct.pack(">I", 1 << 20)), 0)
    peer.receive_data(encoder.message(messages.WINDOW_ACKNOWLEDGEMENT_SIZE, b"\0\1\0\0"), 0)
    acknowledged = []
    for index in range(10):
        peer.receive_data(encoder.video(index, bytes(30_000)), 0)
        acknowledged += answers(bytes(3073) + peer.data_to_send())
    assert {each.type_id for each in acknowledged} == {messages.ACKNOWLEDGEMENT}
    counts = [int.from_bytes(each.payload, "big") for each in acknowledged]
    assert len(counts) == 3
    assert all(later - earlier >= 65_536 for earlier, later in pairwise(counts))


def test_a_player_is_told_that_this_is_for_publishing() -> None:
    encoder = Encoder()
    peer = connect()
    data = encoder.handshake() + encoder.connect()
    data += encoder.command("createStream", None) + encoder.command("play", None, "show")
    assert peer.receive_data(data, 0) == []
    assert status_codes(peer.data_to_send()) == ["NetStream.Play.Failed"]


def test_metadata_comes_with_and_without_set_data_frame() -> None:
    for payload in (
        amf("@setDataFrame", "onMetaData", {"width": 1}),
        amf("onMetaData", {"width": 1}),
    ):
        encoder = Encoder()
        peer = publishing(encoder)
        assert peer.receive_data(encoder.message(messages.DATA_AMF0, payload), 0) == [
            MetadataReceived({"width": 1.0})
        ]


def test_other_data_is_ignored() -> None:
    encoder = Encoder()
    peer = publishing(encoder)
    for payload in (amf("@setDataFrame"), amf("onTextData", {}), amf("onMetaData", 1), amf(1)):
        data = encoder.message(messages.DATA_AMF0, payload)
        assert peer.receive_data(data, 0) == []


def test_a_command_may_come_in_the_amf3_wrapper() -> None:
    encoder = Encoder()
    peer = connect()
    command = amf("connect", 1, {"app": "live", "objectEncoding": 3})
    peer.receive_data(encoder.handshake(), 0)
    peer.receive_data(encoder.message(messages.COMMAND_AMF3, b"\x00" + command), 0)
    assert peer.state is State.CONNECTED


@pytest.mark.parametrize(
    ("type_id", "payload", "reason"),
    [
        (messages.COMMAND_AMF0, amf("connect", 1, {"app": "live"}), "connect while connected"),
        (messages.COMMAND_AMF0, amf("publish", 1, None), "argument 1"),
        (messages.COMMAND_AMF0, amf("publish", 1), "argument 1"),
        (messages.COMMAND_AMF0, amf("publish", 1, None, 5), "argument 1"),
        (messages.COMMAND_AMF0, amf("publish", 1, None, "k" * 257), "stream key of more"),
        (messages.COMMAND_AMF0, amf("publish"), "without name"),
        (messages.COMMAND_AMF0, amf(1, "publish"), "without name"),
        (messages.COMMAND_AMF0, amf("publish", None), "without name"),
        (messages.COMMAND_AMF0, b"\x02\xff", "cut short"),
        (messages.COMMAND_AMF0, b"\x05" * 70_000, "AMF0 of more"),
        (messages.COMMAND_AMF3, b"\x11", "AMF3"),
        (messages.USER_CONTROL, b"\x00\x06\x00", "user control message of 3"),
        (messages.WINDOW_ACKNOWLEDGEMENT_SIZE, b"\x00", "of 1 bytes, not 4"),
        (messages.AGGREGATE, b"\x08", "aggregate"),
    ],
)
def test_a_wrong_message_closes_the_connection(type_id: int, payload: bytes, reason: str) -> None:
    encoder = Encoder()
    peer = connect()
    peer.receive_data(encoder.handshake() + encoder.connect(), 0)
    with pytest.raises(ProtocolError, match=reason):
        peer.receive_data(encoder.message(type_id, payload), 0)
    assert peer.state is State.CLOSED
    assert peer.receive_data(encoder.publish("key"), 0) == []


@pytest.mark.parametrize("name", ["publish", "createStream", "play", "deleteStream", "FCPublish"])
def test_the_first_command_is_connect(name: str) -> None:
    encoder = Encoder()
    peer = connect()
    with pytest.raises(ProtocolError, match=f"{name} while connecting"):
        peer.receive_data(encoder.handshake() + encoder.command(name, None, "key"), 0)


def test_a_second_publish_on_one_connection_is_refused() -> None:
    encoder = Encoder()
    with pytest.raises(ProtocolError, match="publish while publishing"):
        publishing(encoder).receive_data(encoder.publish("key"), 0)


@pytest.mark.parametrize("app", [5.0, "a" * 257, None])
def test_an_app_is_a_short_string(app: amf0.Value) -> None:
    encoder = Encoder()
    with pytest.raises(ProtocolError, match="app"):
        connect().receive_data(encoder.handshake() + encoder.command("connect", {"app": app}), 0)


def test_malformed_metadata_closes_the_connection() -> None:
    encoder = Encoder()
    with pytest.raises(ProtocolError, match="cut short"):
        publishing(encoder).receive_data(encoder.message(messages.DATA_AMF0, b"\x08\x00"), 0)


def test_the_handshake_must_come_in_time() -> None:
    peer = connect(now=100)
    assert peer.next_timeout(103) == pytest.approx(7)
    peer.receive_data(b"\x03", 109)
    peer.handle_timeout(109.9)
    with pytest.raises(ProtocolError, match="handshake"):
        peer.handle_timeout(110)
    assert peer.next_timeout(110) is None


def test_publishing_must_come_in_time_after_the_handshake() -> None:
    encoder = Encoder()
    peer = connect(now=0)
    peer.receive_data(encoder.handshake() + encoder.connect(), 9)
    peer.receive_data(encoder.command("createStream", None), 18)
    peer.handle_timeout(18.9)
    with pytest.raises(ProtocolError, match="did not publish"):
        peer.handle_timeout(19)


def test_our_own_wait_for_the_key_is_not_held_against_the_publisher() -> None:
    encoder = Encoder()
    peer = connect(now=0)
    peer.receive_data(encoder.opening(), 0)
    assert peer.next_timeout(1000) is None
    peer.handle_timeout(1000)
    assert peer.accept_publish() == []


def test_a_silent_publisher_is_closed() -> None:
    encoder = Encoder()
    peer = publishing(encoder, now=0)
    peer.receive_data(encoder.media(), 20)
    assert peer.next_timeout(20) == pytest.approx(30)
    peer.handle_timeout(49.9)
    with pytest.raises(ProtocolError, match="silent for 30 s"):
        peer.handle_timeout(50)


def test_after_a_publication_the_next_must_come_in_time() -> None:
    encoder = Encoder()
    peer = publishing(encoder, now=0)
    peer.receive_data(encoder.closing(), 500)
    assert peer.next_timeout(500) == pytest.approx(10)


def test_the_bytes_before_publishing_are_few() -> None:
    encoder = Encoder()
    peer = connect()
    peer.receive_data(encoder.opening(), 0)
    with pytest.raises(ProtocolError, match="before publishing"):
        for index in range(100):
            peer.receive_data(encoder.video(index, bytes(20_000)), 0)
    assert peer.state is State.CLOSED


def test_the_bytes_before_publishing_are_counted_anew_for_each_publication() -> None:
    encoder = Encoder()
    peer = connect()
    peer.receive_data(encoder.handshake() + encoder.connect(), 0)
    for _ in range(3):
        assert len(peer.receive_data(encoder.publish("key"), 0)) == 1
        assert peer.receive_data(encoder.video(0, bytes(900_000)), 0) == []
        assert len(peer.accept_publish()) == 1
        assert peer.receive_data(encoder.closing(), 0) == [PublishEnded()]


def test_messages_per_second_are_bounded() -> None:
    encoder = Encoder()
    peer = publishing(encoder)
    for second in range(3):
        flood = b"".join(encoder.audio(index, b"\xaf") for index in range(19_000))
        assert len(peer.receive_data(flood, second * 1.1)) == 19_000
    with pytest.raises(ProtocolError, match="messages a second"):
        peer.receive_data(flood, 2.5)


def test_the_answers_to_one_input_are_bounded() -> None:
    encoder = Encoder()
    peer = publishing(encoder)
    pings = encoder.message(messages.USER_CONTROL, b"\x00\x06\x12\x34\x56\x78") * 10_000
    with pytest.raises(ProtocolError, match="answers"):
        peer.receive_data(pings, 0)


def test_any_bytes_give_events_or_the_peers_error_and_memory_is_bounded() -> None:
    chance = random.Random(4)
    encoder = Encoder()
    handshake, opening = encoder.handshake(), encoder.opening()[3073:]
    refused = requested = 0
    for data in mutations(opening + encoder.media(2) + encoder.closing(), FUZZ_INPUTS, chance):
        peer = connect()
        peer.receive_data(handshake, 0)
        try:
            for piece in (data[:700], data[700:]):
                peer.receive_data(piece, 0)
                if peer.state is State.REQUESTED:
                    requested += 1
                    peer.accept_publish()
        except ProtocolError:
            refused += 1
            assert peer.state is State.CLOSED
        assert len(peer.data_to_send()) <= connection.MAX_OUTPUT_BYTES + 1000
        assert peer._reader.buffered_bytes <= min(len(data), MAX_BUFFERED_BYTES)
    assert 0 < refused < FUZZ_INPUTS
    assert requested > 0
