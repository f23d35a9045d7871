"""One publisher's RTMP connection, server side: bytes in, events and bytes out (RTMP 1.0 §7.2).

    handshake -> connecting -connect-> connected -publish-> requested -accept_publish-> publishing
                                           ^--------FCUnpublish, deleteStream, closeStream----'

and from anywhere to closed, by `reject_publish` or an error. In `requested` nothing is acted on:
what comes behind `publish` waits until the key has been looked up. Media outside `publishing` is
ignored, and the bytes that may come before it are few.

FFmpeg shows its user the description of a refusal and not its code, OBS the code and not the
description: descriptions here begin with the code.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from mediaserver.errors import ProtocolError
from mediaserver.protocol import amf0
from mediaserver.protocol.rtmp import enhancements, messages
from mediaserver.protocol.rtmp.chunk_stream import ChunkReader, ChunkWriter, Message
from mediaserver.protocol.rtmp.handshake import ServerHandshake
from mediaserver.protocol.rtmp.messages import Command

HANDSHAKE_TIMEOUT_S = 10.0
PUBLISH_TIMEOUT_S = 10.0  # from the handshake to `publish`; encoders need a few round trips
IDLE_TIMEOUT_S = 30.0  # a publisher sends many times a second
WINDOW_BYTES = 2_500_000  # as other servers announce; the peer may ask for another
CHUNK_BYTES = 4096  # of what we send
MAX_BYTES_BEFORE_PUBLISH = 1 << 20  # commands are some hundred; a keyframe may wait behind publish
MAX_MESSAGES_PER_S = 20_000  # 150 are usual; a file sent at 100 times real time fits
MAX_OUTPUT_BYTES = 64 << 10  # answers to one piece of input; real ones are under 1 KiB
MAX_APP_CHARS = 256
MAX_KEY_CHARS = 256
_PIECE_BYTES = 64 << 10  # the message rate is looked at this often within one call
_STREAM_ID = 1  # one message stream per connection is all that encoders use

_MEDIA = frozenset({messages.AUDIO, messages.VIDEO})
_CONTROL_CHUNK_STREAM = 2
_COMMAND_CHUNK_STREAM = 3


class State(Enum):
    HANDSHAKE = "handshake"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    REQUESTED = "requested"
    PUBLISHING = "publishing"
    CLOSED = "closed"


# Read for every message: in Python 3.11 a member costs 100 ns through its class, 12 through a name.
_HANDSHAKE, _REQUESTED, _PUBLISHING = State.HANDSHAKE, State.REQUESTED, State.PUBLISHING
_CLOSED = State.CLOSED

_ALLOWED: Mapping[str, frozenset[State]] = {
    "connect": frozenset({State.CONNECTING}),
    "releaseStream": frozenset({State.CONNECTED, State.PUBLISHING}),
    "FCPublish": frozenset({State.CONNECTED, State.PUBLISHING}),
    "createStream": frozenset({State.CONNECTED, State.PUBLISHING}),
    "publish": frozenset({State.CONNECTED}),
    "play": frozenset({State.CONNECTED, State.PUBLISHING}),
    "FCUnpublish": frozenset({State.CONNECTED, State.PUBLISHING}),
    "closeStream": frozenset({State.CONNECTED, State.PUBLISHING}),
    "deleteStream": frozenset({State.CONNECTED, State.PUBLISHING}),
}  # other commands are ignored in any state


@dataclass(frozen=True, slots=True)
class PublishRequested:
    """Answer with `accept_publish` or `reject_publish`; `stream_key` is without its ?query."""

    app: str
    stream_key: str


@dataclass(frozen=True, slots=True)
class MetadataReceived:
    """What the encoder says of itself, unchecked (onMetaData)."""

    values: dict[str, amf0.Value]


@dataclass(frozen=True, slots=True)
class PublishEnded:
    """The publisher said that it has finished; the connection may publish again."""


# A Message is one of media, type AUDIO or VIDEO: the body of an FLV tag with its decode time in ms.
Event: TypeAlias = PublishRequested | MetadataReceived | Message | PublishEnded


class RtmpConnection:
    """Feed `receive_data`, act on the events, then send `data_to_send`.

    `now` is seconds of any clock that does not go back; `random` is 1,528 random bytes. After a
    ProtocolError the connection is closed: send nothing more.
    """

    def __init__(self, now: float, random: bytes) -> None:
        self.state = State.HANDSHAKE
        self._handshake = ServerHandshake(random)
        self._reader = ChunkReader()
        self._writer = ChunkWriter()
        self.output = bytearray()  # what `data_to_send` gives
        self._waiting: deque[Message] = deque()  # behind a publish that is not answered
        self._opened = now
        self._unpublished = now  # when this peer could have asked to publish
        self._received = now
        self._received_bytes = 0
        self._acknowledged_bytes = 0
        self._window_bytes = WINDOW_BYTES
        self._bytes_before_publish = 0
        self._second = now
        self._messages_this_second = 0
        self._app = ""
        self._publish_stream_id = 0

    def receive_data(self, data: bytes, now: float) -> Sequence[Event]:
        """What `data` brings about, in order; raises ProtocolError."""
        try:
            if self.state is _PUBLISHING and len(data) <= _PIECE_BYTES and not self._waiting:
                return self._receive_media(data, now)
            events: list[Event] = []
            for start in range(0, len(data), _PIECE_BYTES):
                if self.state is not _CLOSED:
                    self._receive_piece(data[start : start + _PIECE_BYTES], now, events)
        except ProtocolError:
            self.state = _CLOSED
            raise
        return events

    def data_to_send(self) -> bytes:
        """The bytes to send since the last call."""
        if not self.output:
            return b""
        data = bytes(self.output)
        self.output.clear()
        return data

    def next_timeout(self, now: float) -> float | None:
        """Seconds until `handle_timeout` is due; None if nothing is waited for."""
        deadline = self._deadline()
        return None if deadline is None else max(0.0, deadline[0] - now)

    def handle_timeout(self, now: float) -> None:
        """Close and raise ProtocolError if the peer has let a time limit pass."""
        deadline = self._deadline()
        if deadline is not None and deadline[0] <= now:
            self.state = State.CLOSED
            raise ProtocolError(deadline[1])

    def accept_publish(self) -> list[Event]:
        """Let the peer publish; the events of what it has sent meanwhile; raises ProtocolError."""
        self._require(State.REQUESTED)
        self.state = State.PUBLISHING
        stream = _STREAM_ID.to_bytes(4, "big")
        events: list[Event] = []
        try:
            self._send(messages.user_control(messages.STREAM_BEGIN, stream))
            self._send_status("status", "NetStream.Publish.Start", "publishing")
            self._handle_waiting(events)
        except ProtocolError:
            self.state = State.CLOSED
            raise
        self._bytes_before_publish = 0
        return events

    def reject_publish(self, code: str, description: str) -> None:
        """Refuse to publish, or end a publication; send the answer and close the connection."""
        self._require(State.REQUESTED, State.PUBLISHING)
        self._send_status("error", code, f"{code}: {description}")
        self.state = State.CLOSED
        self._waiting.clear()

    def _require(self, *states: State) -> None:
        if self.state not in states:
            raise RuntimeError(f"not while {self.state.value}")

    def _deadline(self) -> tuple[float, str] | None:
        match self.state:
            case State.HANDSHAKE:
                return self._opened + HANDSHAKE_TIMEOUT_S, "the handshake took too long"
            case State.CONNECTING | State.CONNECTED:
                return self._unpublished + PUBLISH_TIMEOUT_S, "it did not publish"
            case State.PUBLISHING:
                return self._received + IDLE_TIMEOUT_S, f"silent for {IDLE_TIMEOUT_S:.0f} s"
            case _:
                return None

    def _receive_media(self, data: bytes, now: float) -> Sequence[Event]:
        """As `_receive_piece` while publishing, where what comes is nearly always media: 0.4 µs."""
        received = self._reader.receive(data)
        self._received = now
        self._received_bytes += len(data)
        self._messages_this_second += len(received)
        if self._messages_this_second > MAX_MESSAGES_PER_S or now - self._second >= 1:
            self._messages_this_second -= len(received)
            self._limit_rate(len(received), now)
        if self._received_bytes - self._acknowledged_bytes >= self._window_bytes:
            self._acknowledge()
        for message in received:
            if message.type_id not in _MEDIA:
                self._waiting += received
                events: list[Event] = []
                self._handle_waiting(events)
                return events
        return received

    def _receive_piece(self, data: bytes, now: float, events: list[Event]) -> None:
        self._received = now
        self._received_bytes += len(data)
        if self.state is _HANDSHAKE:
            answer, data = self._handshake.receive(data)
            self.output += answer
            if not self._handshake.done:
                return
            self.state = State.CONNECTING
            self._unpublished = now
        if self.state is not _PUBLISHING:
            self._bytes_before_publish += len(data)
            if self._bytes_before_publish > MAX_BYTES_BEFORE_PUBLISH:
                raise ProtocolError(f"more than {MAX_BYTES_BEFORE_PUBLISH} bytes before publishing")
        if received := self._reader.receive(data):
            self._limit_rate(len(received), now)
            self._waiting += received
            self._handle_waiting(events)
        if self._received_bytes - self._acknowledged_bytes >= self._window_bytes:
            self._acknowledge()

    def _acknowledge(self) -> None:
        self._acknowledged_bytes = self._received_bytes
        self._send(messages.acknowledgement(self._received_bytes))

    def _limit_rate(self, count: int, now: float) -> None:
        if now - self._second >= 1:
            self._second, self._messages_this_second = now, 0
        self._messages_this_second += count
        if self._messages_this_second > MAX_MESSAGES_PER_S:
            raise ProtocolError(f"more than {MAX_MESSAGES_PER_S} messages a second")

    def _handle_waiting(self, events: list[Event]) -> None:
        waiting = self._waiting
        while waiting and self.state is not _REQUESTED:
            message = waiting.popleft()
            handle = _HANDLERS.get(message.type_id)
            if handle is not None and (event := handle(self, message)) is not None:
                events.append(event)

    def _media(self, message: Message) -> Event | None:
        return message if self.state is _PUBLISHING else None

    def _data(self, message: Message) -> Event | None:
        if self.state is not State.PUBLISHING:
            return None
        values = amf0.parse(message.payload)
        if values[0] == "@setDataFrame":
            values = values[1:]
        match values:
            case ["onMetaData", dict(metadata), *_]:
                return MetadataReceived(metadata)
        return None

    def _aggregate(self, message: Message) -> Event | None:
        raise ProtocolError("aggregate messages are not supported: send each tag as a message")

    def _window(self, message: Message) -> Event | None:
        self._window_bytes = messages.parse_window(message) or WINDOW_BYTES
        return None

    def _user_control(self, message: Message) -> Event | None:
        event_type, data = messages.parse_user_control(message)
        if event_type == messages.PING_REQUEST:
            self._send(messages.user_control(messages.PING_RESPONSE, data[:4]))
        return None

    def _command(self, message: Message) -> Event | None:
        command = Command.parse(message)
        allowed = _ALLOWED.get(command.name)
        if allowed is None:
            return None
        if self.state not in allowed:
            raise ProtocolError(f"the command {command.name} while {self.state.value}")
        return _COMMANDS[command.name](self, command, message.stream_id)

    def _connect(self, command: Command, stream_id: int) -> Event | None:
        app = command.object.get("app", "")
        if not isinstance(app, str) or len(app) > MAX_APP_CHARS:
            raise ProtocolError("connect with an app that is no string, or too long")
        self._app = app
        self.state = State.CONNECTED
        self._send(messages.window_acknowledgement_size(WINDOW_BYTES))
        self._send(messages.set_peer_bandwidth(WINDOW_BYTES))
        self._send(messages.set_chunk_size(CHUNK_BYTES))
        properties: dict[str, amf0.Value] = {"fmsVer": "FMS/3,0,1,123", "capabilities": 31}
        properties |= enhancements.answer(command.object)
        status = _status("status", "NetConnection.Connect.Success", "connected")
        self._send_result(command, properties, {**status, "objectEncoding": 0})
        return None

    def _acknowledge_command(self, command: Command, stream_id: int) -> Event | None:
        self._send_result(command, None, amf0.UNDEFINED)
        return None

    def _create_stream(self, command: Command, stream_id: int) -> Event | None:
        self._send_result(command, None, _STREAM_ID)
        return None

    def _publish(self, command: Command, stream_id: int) -> Event | None:
        stream_key = command.text(1).partition("?")[0]
        if len(stream_key) > MAX_KEY_CHARS:
            raise ProtocolError(f"a stream key of more than {MAX_KEY_CHARS} characters")
        self.state = State.REQUESTED
        self._publish_stream_id = stream_id
        return PublishRequested(self._app, stream_key)

    def _play(self, command: Command, stream_id: int) -> Event | None:
        code = "NetStream.Play.Failed"
        status = _status(
            "error", code, f"{code}: RTMP is for publishing here, watch by WHEP or HLS"
        )
        self._send(Command("onStatus", 0, [None, status]).serialize(stream_id))
        return None

    def _unpublish(self, command: Command, stream_id: int) -> Event | None:
        if self.state is not State.PUBLISHING:
            return None
        self._send_status("status", "NetStream.Unpublish.Success", "publishing has ended")
        self.state = State.CONNECTED
        self._unpublished = self._received
        return PublishEnded()

    def _send_result(self, command: Command, *arguments: amf0.Value) -> None:
        self._send(Command("_result", command.transaction_id, list(arguments)).serialize())

    def _send_status(self, level: str, code: str, description: str) -> None:
        command = Command("onStatus", 0, [None, _status(level, code, description)])
        self._send(command.serialize(self._publish_stream_id))

    def _send(self, message: Message) -> None:
        is_command = message.type_id == messages.COMMAND_AMF0
        chunk_stream = _COMMAND_CHUNK_STREAM if is_command else _CONTROL_CHUNK_STREAM
        self.output += self._writer.serialize(message, chunk_stream)
        if len(self.output) > MAX_OUTPUT_BYTES:
            raise ProtocolError(f"asks for more than {MAX_OUTPUT_BYTES} bytes of answers at once")


_HANDLERS: Mapping[int, Callable[[RtmpConnection, Message], Event | None]] = {
    messages.USER_CONTROL: RtmpConnection._user_control,
    messages.WINDOW_ACKNOWLEDGEMENT_SIZE: RtmpConnection._window,
    messages.AUDIO: RtmpConnection._media,
    messages.VIDEO: RtmpConnection._media,
    messages.COMMAND_AMF3: RtmpConnection._command,
    messages.DATA_AMF0: RtmpConnection._data,
    messages.COMMAND_AMF0: RtmpConnection._command,
    messages.AGGREGATE: RtmpConnection._aggregate,
}  # Acknowledgement, Set Peer Bandwidth and what is unknown ask nothing of us

_COMMANDS: Mapping[str, Callable[[RtmpConnection, Command, int], Event | None]] = {
    "connect": RtmpConnection._connect,
    "releaseStream": RtmpConnection._acknowledge_command,
    "FCPublish": RtmpConnection._acknowledge_command,
    "createStream": RtmpConnection._create_stream,
    "publish": RtmpConnection._publish,
    "play": RtmpConnection._play,
    "FCUnpublish": RtmpConnection._unpublish,
    "closeStream": RtmpConnection._unpublish,
    "deleteStream": RtmpConnection._unpublish,
}


def _status(level: str, code: str, description: str) -> dict[str, amf0.Value]:
    return {"level": level, "code": code, "description": description}
