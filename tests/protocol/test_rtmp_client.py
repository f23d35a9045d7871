"""The RTMP client against our own server in memory, against other servers' answers, and damaged ones."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from benchmarks.fuzzing import mutations
from mediaserver.errors import ProtocolError
from mediaserver.protocol import amf0
from mediaserver.protocol.rtmp import Event as ServerEvent
from mediaserver.protocol.rtmp import (
    Message,
    MetadataReceived,
    PublishRequested,
    RtmpConnection,
    messages,
)
from mediaserver.protocol.rtmp.chunk_stream import ChunkWriter
from mediaserver.protocol.rtmp.client import OPEN_TIMEOUT_S, Accepted, Refused, RtmpClient, State
from mediaserver.protocol.rtmp.messages import Command
from tests.protocol.rtmp_client import slices

RANDOM = bytes(1528)
FUZZED = 100_000


def client() -> RtmpClient:
    return RtmpClient("rtmp://host/live", "live", "the key", 0.0, RANDOM)


@dataclass
class Pair:
    """A client and our server; `talk` carries bytes until both are silent."""

    client: RtmpClient = field(default_factory=client)
    server: RtmpConnection = field(default_factory=lambda: RtmpConnection(0.0, RANDOM))
    told: list[object] = field(default_factory=list)
    heard: list[ServerEvent] = field(default_factory=list)
    piece: int = 1 << 20
    answered: bytes = b""

    def talk(self) -> None:
        while True:
            up, down = self.client.data_to_send(), self.server.data_to_send()
            if not up and not down:
                return
            self.answered += down
            for start in range(0, len(up), self.piece):
                self.heard += self.server.receive_data(up[start : start + self.piece], 0.0)
            for start in range(0, len(down), self.piece):
                self.told += self.client.receive_data(down[start : start + self.piece], 0.0)

    def accept(self) -> None:
        self.talk()
        self.server.accept_publish()
        self.talk()


@pytest.mark.parametrize("piece", [1, 100, 1 << 20])
def test_it_publishes_to_our_own_server_in_pieces_of_any_size(piece: int) -> None:
    pair = Pair(piece=piece)
    pair.accept()
    assert pair.heard == [PublishRequested("live", "the key")]
    assert [type(each) for each in pair.told] == [Accepted]
    assert pair.client.state is State.LIVE and pair.client.next_timeout(99.0) is None


def test_what_is_sent_comes_out_as_it_went_in() -> None:
    pair = Pair()
    pair.accept()
    picture = bytes(range(256)) * 1000
    data = pair.client.metadata(0, amf0.EcmaArray(width=1280.0))
    data += pair.client.video(0x01000005, picture) + pair.client.audio(7, b"\xaf\x01sound")
    heard = list(pair.server.receive_data(data, 1.0))
    assert heard == [
        MetadataReceived({"width": 1280.0}),
        Message(messages.VIDEO, 1, 0x01000005, picture),
        Message(messages.AUDIO, 1, 7, b"\xaf\x01sound"),
    ]


def test_a_refused_key_is_told_with_the_servers_words() -> None:
    pair = Pair()
    pair.talk()
    pair.server.reject_publish("NetStream.Publish.Denied", "no such key")
    pair.talk()
    code = "NetStream.Publish.Denied"
    assert pair.told == [Refused(code, f"{code}: no such key")]
    assert pair.client.state is State.CLOSED


def shaken() -> tuple[RtmpClient, ChunkWriter]:
    """A client behind the handshake, and the writer of a server."""
    made = client()
    made.data_to_send()
    made.receive_data(b"\x03" + bytes(3072), 0.0)
    return made, ChunkWriter()


def test_a_refusal_of_connect_is_told_too() -> None:
    made, writer = shaken()
    why: dict[str, amf0.Value] = {"code": "NetConnection.Connect.Rejected", "description": "no app"}
    data = writer.serialize(Command("_error", 1, [None, why]).serialize(), 3)
    assert made.receive_data(data, 0.0) == [Refused("NetConnection.Connect.Rejected", "no app")]


def test_the_codecs_that_a_server_lists_are_told() -> None:
    made, writer = shaken()
    listed: dict[str, amf0.Value] = {"fourCcList": ["hvc1", "av01", 7.0]}
    status: dict[str, amf0.Value] = {"level": "status", "code": "NetStream.Publish.Start"}
    for command in (
        Command("_result", 1, [{}, listed]),
        Command("_result", 4, [None, 1]),
        Command("onStatus", 0, [None, status]),
    ):
        events = made.receive_data(writer.serialize(command.serialize(), 3), 0.0)
    assert events == [Accepted(frozenset({"hvc1", "av01"}))]


def test_a_ping_is_answered_and_the_window_acknowledged() -> None:
    pair = Pair()
    pair.accept()
    writer = ChunkWriter()
    writer.chunk_bytes = 4096  # as our server has set it
    ping = messages.user_control(messages.PING_REQUEST, b"\0\0\1\2")
    pair.client.receive_data(writer.serialize(ping, 2), 0.0)
    assert pair.client.data_to_send().endswith(b"\0\7\0\0\1\2")
    window = messages.window_acknowledgement_size(5000)
    pair.client.receive_data(writer.serialize(window, 2), 0.0)
    pair.client.receive_data(
        writer.serialize(Message(messages.DATA_AMF0, 1, 0, bytes(6000)), 4), 0.0
    )
    assert pair.client.data_to_send()[7] == messages.ACKNOWLEDGEMENT


def test_a_server_that_does_not_answer_is_left_after_its_time() -> None:
    made = client()
    assert made.next_timeout(5.0) == OPEN_TIMEOUT_S - 5
    made.handle_timeout(5.0)
    with pytest.raises(ProtocolError, match="no answer within 15 s, while handshake"):
        made.handle_timeout(OPEN_TIMEOUT_S)


def test_what_is_no_rtmp_is_refused() -> None:
    with pytest.raises(ProtocolError, match="does not speak RTMP"):
        client().receive_data(b"HTTP/1.1 400 Bad Request\r\n", 0.0)


def test_the_end_is_said_only_where_media_was_sent() -> None:
    assert client().close() == b""
    pair = Pair()
    pair.accept()
    pair.server.receive_data(pair.client.close(), 1.0)
    assert pair.server.state.value == "connected"


def test_damaged_answers_raise_nothing_but_a_protocol_error() -> None:
    pair = Pair()
    pair.accept()
    chance = random.Random(5)
    for damaged in mutations(pair.answered[3073:], FUZZED, chance):
        made, _ = shaken()
        made.data_to_send()
        try:
            whole = chance.random() < 0.9  # pieces of a byte take ten times as long
            for piece in (damaged,) if whole else slices(damaged, chance):
                made.receive_data(piece, 0.0)
                made.data_to_send()
        except ProtocolError:
            pass
