"""What messages hold: protocol control, user control and commands (RTMP 1.0 §5.4, §6.2, §7)."""

from __future__ import annotations

from dataclasses import dataclass

from mediaserver.errors import ProtocolError
from mediaserver.protocol import amf0
from mediaserver.protocol.rtmp.chunk_stream import SET_CHUNK_SIZE, Message, parse_uint32

ACKNOWLEDGEMENT = 3
USER_CONTROL = 4
WINDOW_ACKNOWLEDGEMENT_SIZE = 5
SET_PEER_BANDWIDTH = 6
AUDIO = 8
VIDEO = 9
COMMAND_AMF3 = 17
DATA_AMF0 = 18
COMMAND_AMF0 = 20
AGGREGATE = 22

STREAM_BEGIN = 0
PING_REQUEST = 6
PING_RESPONSE = 7

_DYNAMIC_LIMIT = 2  # of Set Peer Bandwidth, §5.4.5


def set_chunk_size(size_bytes: int) -> Message:
    return _control(SET_CHUNK_SIZE, size_bytes.to_bytes(4, "big"))


def acknowledgement(received_bytes: int) -> Message:
    return _control(ACKNOWLEDGEMENT, (received_bytes & 0xFFFFFFFF).to_bytes(4, "big"))


def window_acknowledgement_size(window_bytes: int) -> Message:
    return _control(WINDOW_ACKNOWLEDGEMENT_SIZE, window_bytes.to_bytes(4, "big"))


def set_peer_bandwidth(window_bytes: int) -> Message:
    return _control(SET_PEER_BANDWIDTH, window_bytes.to_bytes(4, "big") + bytes((_DYNAMIC_LIMIT,)))


def parse_window(message: Message) -> int:
    """The bytes of a Window Acknowledgement Size; raises ProtocolError."""
    return parse_uint32(message.payload)


def parse_user_control(message: Message) -> tuple[int, bytes]:
    """The event type and its data, §6.2; raises ProtocolError."""
    if len(message.payload) < 6:
        raise ProtocolError(f"a user control message of {len(message.payload)} bytes")
    return int.from_bytes(message.payload[:2], "big"), message.payload[2:]


def user_control(event_type: int, data: bytes) -> Message:
    return _control(USER_CONTROL, event_type.to_bytes(2, "big") + data)


@dataclass(frozen=True, slots=True)
class Command:
    """A call or its answer (§7.2): `arguments` begins with the command object, often None."""

    name: str
    transaction_id: float
    arguments: list[amf0.Value]

    @classmethod
    def parse(cls, message: Message) -> Command:
        """Read a command in AMF0, also one wrapped for AMF3; raises ProtocolError."""
        payload = message.payload
        if message.type_id == COMMAND_AMF3:
            if payload[:1] != b"\x00":
                raise ProtocolError("commands in AMF3 are not supported")
            payload = payload[1:]
        values = amf0.parse(payload)
        if len(values) < 2:
            raise ProtocolError("a command without name and transaction")
        name, transaction_id = values[:2]
        if not isinstance(name, str) or not isinstance(transaction_id, float):
            raise ProtocolError("a command without name and transaction")
        return cls(name, transaction_id, values[2:])

    def serialize(self, stream_id: int = 0) -> Message:
        """The message of this command on a message stream."""
        payload = amf0.serialize([self.name, self.transaction_id, *self.arguments])
        return Message(COMMAND_AMF0, stream_id, 0, payload)

    @property
    def object(self) -> dict[str, amf0.Value]:
        """The command object; empty where there is none."""
        first = self.arguments[0] if self.arguments else None
        return first if isinstance(first, dict) else {}

    def text(self, index: int) -> str:
        """The argument at `index`, the command object being 0; raises ProtocolError if no text."""
        value = self.arguments[index] if index < len(self.arguments) else None
        if not isinstance(value, str):
            raise ProtocolError(f"argument {index} of a command is not a string")
        return value


def _control(type_id: int, payload: bytes) -> Message:
    return Message(type_id, 0, 0, payload)
