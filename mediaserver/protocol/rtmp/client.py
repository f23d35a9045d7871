"""One publisher's RTMP connection, client side: what restreaming speaks (RTMP 1.0 §5.2, §7.2).

    handshake -> connecting -> creating -> publishing -> live

and from anywhere to closed, by a refusal or an error. Nothing is asked twice and no answer is waited for
but those of `connect`, `createStream` and `publish`: servers differ in which others they give.

Messages have whole headers of 12 bytes and chunks of CHUNK_BYTES: a media message costs one join.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from mediaserver.errors import ProtocolError
from mediaserver.protocol import amf0
from mediaserver.protocol.rtmp import messages
from mediaserver.protocol.rtmp.chunk_stream import ChunkReader, ChunkWriter, Message
from mediaserver.protocol.rtmp.handshake import PACKET_BYTES, VERSION, client_handshake
from mediaserver.protocol.rtmp.messages import Command

OPEN_TIMEOUT_S = 15.0  # until `publish` is answered: some round trips, and a platform's look-up
WINDOW_BYTES = 2_500_000
CHUNK_BYTES = 60_000  # one header for nearly every message; servers take up to 65,535 and more
MAX_BYTES_BEFORE_LIVE = 256 << 10  # answers come to less than 10 KiB
MAX_OUTPUT_BYTES = 64 << 10  # answers to one piece of input
MAX_FOUR_CCS = 64
MAX_WORDS_CHARS = 300  # of a refusal's description
FLASH_VERSION = "FMLE/3.0 (compatible; Hawker)"  # servers look for the first word

_CONTROL, _COMMANDS, _AUDIO, _VIDEO = 2, 3, 4, 6  # chunk streams, as most encoders have them


class State(Enum):
    HANDSHAKE = "handshake"
    CONNECTING = "connecting"
    CREATING = "creating"
    PUBLISHING = "publishing"
    LIVE = "live"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Accepted:
    """Media may be sent. `four_ccs` are the codecs of Enhanced RTMP that the server says it takes."""

    four_ccs: frozenset[str]


@dataclass(frozen=True, slots=True)
class Refused:
    """The server will not have it, in its own words; the connection is closed."""

    code: str
    description: str


Event: TypeAlias = Accepted | Refused


class RtmpClient:
    """Send `data_to_send`, feed `receive_data` and act on its events; send media after `Accepted`.

    `url` is the server's without the key, `app` the path in it. `random` is 1,528 random bytes. `now` is
    seconds of any clock that does not go back. After a ProtocolError the connection is closed.
    """

    def __init__(self, url: str, app: str, key: str, now: float, random: bytes) -> None:
        self.state = State.HANDSHAKE
        self._url = url
        self._app = app
        self._key = key
        self._opened = now
        self._reader = ChunkReader()
        self._writer = ChunkWriter()
        self._handshake = b""
        self._output = bytearray(client_handshake(random))
        self._received_bytes = 0
        self._acknowledged_bytes = 0
        self._window_bytes = WINDOW_BYTES
        self._stream_id = 0
        self._four_ccs: frozenset[str] = frozenset()

    def receive_data(self, data: bytes, now: float) -> list[Event]:
        """What `data` brings about, in order; raises ProtocolError."""
        if self.state is State.CLOSED:
            return []
        events: list[Event] = []
        try:
            self._receive(data, events)
        except ProtocolError:
            self.state = State.CLOSED
            raise
        return events

    def data_to_send(self) -> bytes:
        """The bytes to send since the last call."""
        data = bytes(self._output)
        self._output.clear()
        return data

    def next_timeout(self, now: float) -> float | None:
        """Seconds until `handle_timeout` is due; None if nothing is waited for."""
        if self.state in (State.LIVE, State.CLOSED):
            return None
        return max(0.0, self._opened + OPEN_TIMEOUT_S - now)

    def handle_timeout(self, now: float) -> None:
        """Close and raise ProtocolError if the server has let its time pass."""
        if self.next_timeout(now) == 0.0:
            waited_for, self.state = self.state.value, State.CLOSED
            raise ProtocolError(f"no answer within {OPEN_TIMEOUT_S:.0f} s, while {waited_for}")

    def video(self, timestamp_ms: int, body: bytes) -> bytes:
        """The bytes of a video tag's body; `timestamp_ms` is its decode time modulo 2**32."""
        message = Message(messages.VIDEO, self._stream_id, timestamp_ms, body)
        return self._writer.serialize(message, _VIDEO)

    def audio(self, timestamp_ms: int, body: bytes) -> bytes:
        """The bytes of an audio tag's body."""
        message = Message(messages.AUDIO, self._stream_id, timestamp_ms, body)
        return self._writer.serialize(message, _AUDIO)

    def metadata(self, timestamp_ms: int, values: amf0.EcmaArray) -> bytes:
        """The bytes of onMetaData."""
        payload = amf0.serialize(["@setDataFrame", "onMetaData", values])
        message = Message(messages.DATA_AMF0, self._stream_id, timestamp_ms, payload)
        return self._writer.serialize(message, _AUDIO)

    def close(self) -> bytes:
        """The bytes that say that this is the end."""
        if self.state is not State.LIVE:
            self.state = State.CLOSED
            return b""
        self._call("FCUnpublish", 6, None, self._key)
        self._call("deleteStream", 7, None, self._stream_id)
        self.state = State.CLOSED
        return self.data_to_send()

    def _receive(self, data: bytes, events: list[Event]) -> None:
        self._received_bytes += len(data)
        if self.state is State.HANDSHAKE:
            data = self._shake_hands(data)
        if self.state is not State.LIVE and self._received_bytes > MAX_BYTES_BEFORE_LIVE:
            raise ProtocolError(f"more than {MAX_BYTES_BEFORE_LIVE} bytes before the answer")
        for message in self._reader.receive(data) if data else ():
            handle = _HANDLERS.get(message.type_id)
            if handle is not None and self.state is not State.CLOSED:
                handle(self, message, events)
        if self._received_bytes - self._acknowledged_bytes >= self._window_bytes:
            self._acknowledged_bytes = self._received_bytes
            self._send(messages.acknowledgement(self._received_bytes))
        if len(self._output) > MAX_OUTPUT_BYTES:
            raise ProtocolError(f"asks for more than {MAX_OUTPUT_BYTES} bytes of answers at once")

    def _shake_hands(self, data: bytes) -> bytes:
        """The bytes that follow S2; C2 repeats S1 (§5.2.4)."""
        shaken = self._handshake = self._handshake + data
        if shaken and shaken[0] != VERSION:
            raise ProtocolError("it does not speak RTMP")
        if len(shaken) < 1 + 2 * PACKET_BYTES:
            return b""
        s1 = shaken[1 : 1 + PACKET_BYTES]
        self._handshake = b""
        self._output += s1[:4] + bytes(4) + s1[8:]
        self.state = State.CONNECTING
        self._send(messages.set_chunk_size(CHUNK_BYTES))
        self._connect()
        return shaken[1 + 2 * PACKET_BYTES :]

    def _connect(self) -> None:
        properties: dict[str, amf0.Value] = {
            "app": self._app,
            "type": "nonprivate",
            "flashVer": FLASH_VERSION,
            "tcUrl": self._url,
            "fourCcList": ["avc1", "hvc1", "av01", "vp09", "mp4a", "Opus"],
        }
        self._call("connect", 1, properties)

    def _connected(self, answer: Command) -> None:
        listed: list[amf0.Value] = []
        for values in answer.arguments[:2]:
            match values:
                case {"fourCcList": list(four_ccs)}:
                    listed = four_ccs[:MAX_FOUR_CCS]
        self._four_ccs = frozenset(each for each in listed if isinstance(each, str))
        self.state = State.CREATING
        self._call("releaseStream", 2, None, self._key)
        self._call("FCPublish", 3, None, self._key)
        self._call("createStream", 4, None)

    def _created(self, answer: Command) -> None:
        match answer.arguments:
            case [_, float(number), *_] if 0 <= number < 1 << 32:
                self._stream_id = int(number)
            case _:
                raise ProtocolError("createStream is answered without a message stream")
        self.state = State.PUBLISHING
        command = Command("publish", 5, [None, self._key, "live"])
        self._send(command.serialize(self._stream_id))

    def _command(self, message: Message, events: list[Event]) -> None:
        command = Command.parse(message)
        transaction = command.transaction_id
        if command.name == "onStatus":
            self._status(command, events)
        elif command.name == "_result" and self.state is State.CONNECTING and transaction == 1:
            self._connected(command)
        elif command.name == "_result" and self.state is State.CREATING and transaction == 4:
            self._created(command)
        elif command.name == "_error" and transaction in (1, 4, 5):
            self._refuse(command, events)
        elif command.name == "close":
            raise ProtocolError("the server closed the connection")

    def _status(self, command: Command, events: list[Event]) -> None:
        status = _information(command)
        code = str(status.get("code", ""))
        if code == "NetStream.Publish.Start":
            if self.state is State.PUBLISHING:
                self.state = State.LIVE
                events.append(Accepted(self._four_ccs))
        elif status.get("level") == "error" or code in _REFUSALS:
            self._refuse(command, events)

    def _refuse(self, command: Command, events: list[Event]) -> None:
        status = _information(command)
        code, description = (str(status.get(name, "")) for name in ("code", "description"))
        self.state = State.CLOSED
        events.append(Refused(code[:MAX_WORDS_CHARS], description[:MAX_WORDS_CHARS]))

    def _window(self, message: Message, events: list[Event]) -> None:
        self._window_bytes = messages.parse_window(message) or WINDOW_BYTES

    def _bandwidth(self, message: Message, events: list[Event]) -> None:
        """Its answer is our window (§5.4.5)."""
        self._send(messages.window_acknowledgement_size(WINDOW_BYTES))

    def _user_control(self, message: Message, events: list[Event]) -> None:
        event_type, data = messages.parse_user_control(message)
        if event_type == messages.PING_REQUEST:
            self._send(messages.user_control(messages.PING_RESPONSE, data[:4]))

    def _call(self, name: str, transaction: int, *arguments: amf0.Value) -> None:
        self._send(Command(name, transaction, list(arguments)).serialize())

    def _send(self, message: Message) -> None:
        is_command = message.type_id == messages.COMMAND_AMF0
        self._output += self._writer.serialize(message, _COMMANDS if is_command else _CONTROL)


_HANDLERS: Mapping[int, Callable[[RtmpClient, Message, list[Event]], None]] = {
    messages.USER_CONTROL: RtmpClient._user_control,
    messages.WINDOW_ACKNOWLEDGEMENT_SIZE: RtmpClient._window,
    messages.SET_PEER_BANDWIDTH: RtmpClient._bandwidth,
    messages.COMMAND_AMF3: RtmpClient._command,
    messages.COMMAND_AMF0: RtmpClient._command,
}

_REFUSALS = frozenset({"NetStream.Publish.BadName", "NetStream.Publish.Denied"})


def _information(command: Command) -> dict[str, amf0.Value]:
    """The information object: the first object behind the command object (§7.2.1.1, §7.2.2)."""
    return next((each for each in command.arguments[1:] if isinstance(each, dict)), {})
