"""What an encoder sends, written by us: an RTMP client for tests."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field

from mediaserver.protocol import amf0
from mediaserver.protocol.h264 import AvcConfig, join_length_prefixed
from mediaserver.protocol.rtmp import messages
from mediaserver.protocol.rtmp.chunk_stream import ChunkReader, Message
from mediaserver.protocol.rtmp.messages import Command

SPS = bytes.fromhex("6742c00bda0a11f97011000003000100000300320f142aa0")  # x264, 160x120, 25 fps
PPS = bytes.fromhex("68ce0fc8")
IDR = b"\x65" + b"\x88" * 300
SLICE = b"\x41" + b"\x9a" * 100
AVC_HEADER = b"\x17\x00\x00\x00\x00" + AvcConfig((SPS,), (PPS,)).serialize()
AAC_HEADER = b"\xaf\x00\x11\x90"  # LC, 48 kHz, stereo
AAC_FRAME = b"\xaf\x01" + b"\x21" * 60
IDR_TAG = b"\x17\x01\x00\x00\x00" + join_length_prefixed([IDR])
SLICE_TAG = b"\x27\x01\x00\x00\x00" + join_length_prefixed([SLICE])
METADATA = amf0.EcmaArray(width=160.0, height=120.0, encoder="test")

CONTROL, COMMANDS, AUDIO, VIDEO = 2, 3, 4, 6  # chunk streams, as FFmpeg uses them


@dataclass
class _Last:
    timestamp: int
    delta: int
    stream_id: int
    type_id: int
    length: int


@dataclass
class EncoderChunks:
    """Chunks with the shortest header that says all, as encoders write them (§5.3.1.2)."""

    chunk_bytes: int = 128
    repeat_extended: bool = True  # the extended timestamp in type 3 chunks
    _last: dict[int, _Last] = field(default_factory=dict)

    def write(self, chunk_stream_id: int, message: Message) -> bytes:
        """The chunks of a message, its chunk stream below 64."""
        last = self._last.get(chunk_stream_id)
        length = len(message.payload)
        delta = (message.timestamp - last.timestamp) & 0xFFFFFFFF if last else 0
        if last is None or last.stream_id != message.stream_id or delta >= 1 << 31:
            chunk_type, delta = 0, message.timestamp
        elif (last.type_id, last.length) != (message.type_id, length):
            chunk_type = 1
        else:
            chunk_type = 3 if last.delta == delta else 2
        self._last[chunk_stream_id] = _Last(
            message.timestamp, delta, message.stream_id, message.type_id, length
        )
        extended = delta.to_bytes(4, "big") if delta >= 0xFFFFFF else b""
        header = min(delta, 0xFFFFFF).to_bytes(3, "big") + length.to_bytes(3, "big")
        header += bytes((message.type_id,)) + message.stream_id.to_bytes(4, "little")
        repeated = extended if self.repeat_extended else b""
        data = bytes((chunk_type << 6 | chunk_stream_id,)) + header[: (11, 7, 3, 0)[chunk_type]]
        data += (repeated if chunk_type == 3 else extended) + message.payload[: self.chunk_bytes]
        for start in range(self.chunk_bytes, length, self.chunk_bytes):
            data += bytes((0xC0 | chunk_stream_id,)) + repeated
            data += message.payload[start : start + self.chunk_bytes]
        return data


class Encoder:
    """An encoder's side of a connection: every method returns the bytes to send."""

    def __init__(self, chunk_bytes: int = 128) -> None:
        self.chunks = EncoderChunks(chunk_bytes)

    def handshake(self) -> bytes:
        """C0, C1 and C2; S1 is not waited for."""
        return b"\x03" + bytes(1536) + bytes(1536)

    def command(self, name: str, *arguments: amf0.Value, transaction: float = 1) -> bytes:
        """A command on message stream 0."""
        message = Command(name, transaction, list(arguments)).serialize()
        return self.chunks.write(COMMANDS, message)

    def message(self, type_id: int, payload: bytes) -> bytes:
        """A control message."""
        return self.chunks.write(CONTROL, Message(type_id, 0, 0, payload))

    def connect(self, app: str = "live") -> bytes:
        return self.command("connect", {"app": app, "tcUrl": f"rtmp://host/{app}"})

    def publish(self, key: str, transaction: float = 5) -> bytes:
        command = Command("publish", transaction, [None, key, "live"])
        return self.chunks.write(COMMANDS, command.serialize(stream_id=1))

    def opening(self, key: str = "key") -> bytes:
        """All that comes before media, in one go."""
        return (
            self.handshake()
            + self.connect()
            + self.command("releaseStream", None, key, transaction=2)
            + self.command("FCPublish", None, key, transaction=3)
            + self.command("createStream", None, transaction=4)
            + self.publish(key)
        )

    def metadata(self) -> bytes:
        payload = amf0.serialize(["@setDataFrame", "onMetaData", METADATA])
        return self.chunks.write(AUDIO, Message(messages.DATA_AMF0, 1, 0, payload))

    def video(self, timestamp_ms: int, body: bytes) -> bytes:
        return self.chunks.write(VIDEO, Message(messages.VIDEO, 1, timestamp_ms, body))

    def audio(self, timestamp_ms: int, body: bytes) -> bytes:
        return self.chunks.write(AUDIO, Message(messages.AUDIO, 1, timestamp_ms, body))

    def media(self, frames: int = 4) -> bytes:
        """Headers, then a keyframe and further frames with their audio."""
        data = self.metadata() + self.video(0, AVC_HEADER) + self.audio(0, AAC_HEADER)
        for index in range(frames):
            data += self.video(index * 40, SLICE_TAG if index else IDR_TAG)
            data += self.audio(index * 40 + 10, AAC_FRAME)
        return data

    def closing(self) -> bytes:
        """What FFmpeg sends when it has finished."""
        return self.command("FCUnpublish", None, "key", transaction=6) + self.command(
            "deleteStream", None, 1, transaction=7
        )


def answers(data: bytes) -> list[Message]:
    """The messages a server has sent, its handshake left out."""
    reader = ChunkReader()
    found = []
    for start in range(3073, len(data)):  # a byte at a time: the chunk size changes on the way
        found += reader.receive(data[start : start + 1])
    return found


def commands(data: bytes) -> list[Command]:
    """The commands among `answers`."""
    return [Command.parse(each) for each in answers(data) if each.type_id == messages.COMMAND_AMF0]


def status_codes(data: bytes) -> list[str]:
    """The codes of the onStatus commands among `answers`."""
    found = []
    for command in commands(data):
        if command.name == "onStatus":
            status = command.arguments[1]
            assert isinstance(status, dict)
            found.append(str(status["code"]))
    return found


def slices(data: bytes, chance: random.Random) -> Iterable[bytes]:
    """`data` in pieces as a network might deliver it."""
    position = 0
    while position < len(data):
        size = chance.choice((1, 3, 7, 100, 1000, 100_000))
        yield data[position : position + size]
        position += size
