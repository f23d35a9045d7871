"""The chunk stream: messages cut into chunks and put together again (RTMP 1.0 §5.3).

`ChunkReader.receive` is a hot path, written for speed: a chunk of a message under way costs one
dictionary look-up and one copy, and of waiting input only the few bytes of a cut header are kept.
It takes 0.5 ns a byte in chunks of 4,096 bytes and 2.5 in chunks of 128, the smallest allowed. A
message in one chunk behind a header of type 1, as nearly all of an encoder's are, takes 0.9 µs.

Where senders differ from the letter:
* the extended timestamp is repeated in type 3 chunks (§5.3.1.3), and some senders leave it out: it
  is taken as there if the four bytes equal the one in force.
* a chunk stream may begin with a type 1 chunk (librtmp's pings do): its message stream is 0.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from mediaserver.errors import ProtocolError

DEFAULT_CHUNK_BYTES = 128
MIN_CHUNK_BYTES = 128  # §5.4.1 "SHOULD be at least 128"; smaller ones only cost time
MAX_MESSAGE_BYTES = 8 << 20  # a keyframe at 100 Mbit/s is about 1 MB
MAX_BUFFERED_BYTES = 16 << 20  # messages under way: one of the largest, and what interleaves
MAX_CHUNK_STREAMS = 64  # encoders use 3 to 6

SET_CHUNK_SIZE = 1
ABORT = 2

_EXTENDED = 0xFFFFFF
_HEADER_BYTES = (11, 7, 3, 0)  # by chunk type, §5.3.1.2
_TYPE_1, _TYPE_2, _TYPE_3 = 0x40, 0x80, 0xC0
_TYPE_1_BYTES = 8  # with a basic header of one byte
_type_1 = struct.Struct(">Q").unpack_from  # basic header 8, delta 24, length 24, type 8
_CUT = -1


@dataclass(slots=True)
class Message:
    """One message (§6.1): `timestamp` in ms modulo 2**32, `stream_id` of the message stream."""

    type_id: int
    stream_id: int
    timestamp: int
    payload: bytes


@dataclass(slots=True)
class _ChunkStream:
    id: int
    type_id: int = 0
    stream_id: int = 0
    timestamp: int = 0
    delta: int = 0
    length: int = -1  # -1: no message header yet
    extended: bytes = b""  # the extended timestamp in force, as on the wire
    payload: bytearray = field(default_factory=bytearray)


class ChunkReader:
    """Bytes in, messages out; Set Chunk Size and Abort are obeyed and not handed on."""

    def __init__(self) -> None:
        self.chunk_bytes = DEFAULT_CHUNK_BYTES
        self.buffered_bytes = 0
        self._rest = b""
        self._streams: dict[int, _ChunkStream] = {}
        self._under_way: dict[int, _ChunkStream] = {}  # by the one-byte header that continues it
        self._current: _ChunkStream | None = None
        self._left = 0  # bytes of the current chunk still to come

    def receive(self, data: bytes) -> list[Message]:
        """The messages that `data` completes, without empty ones; raises ProtocolError."""
        if self._rest:
            data, self._rest = self._rest + data, b""
        messages: list[Message] = []
        position, end = 0, len(data)
        stream, left = self._current, self._left
        while position < end:
            if left == 0:
                stream = self._under_way.get(data[position])
                if stream is not None:
                    position += 1
                else:
                    if (
                        _TYPE_1 < data[position] < _TYPE_2
                        and (whole := self._whole(data, position)) is not None
                    ):
                        messages.append(whole)
                        position += _TYPE_1_BYTES + len(whole.payload)
                        continue
                    position, stream = self._parse_header(data, position)
                    if stream is None:
                        self._rest = data[position:]
                        break
                missing = stream.length - len(stream.payload)
                left = missing if missing < self.chunk_bytes else self.chunk_bytes
            assert stream is not None
            piece = data[position : position + left]
            position += len(piece)
            left -= len(piece)
            if len(piece) == stream.length:
                self._complete(stream, piece, messages)
                continue
            stream.payload += piece
            self.buffered_bytes += len(piece)
            if left == 0:
                if len(stream.payload) == stream.length:
                    self._complete(stream, self._take_payload(stream), messages)
                elif stream.id < 64 and not stream.extended:
                    self._under_way[_TYPE_3 | stream.id] = stream
        self._current, self._left = stream, left
        if self.buffered_bytes > MAX_BUFFERED_BYTES:
            raise ProtocolError(f"more than {MAX_BUFFERED_BYTES} bytes of unfinished messages")
        return messages

    def _whole(self, data: bytes, start: int) -> Message | None:
        """The message in a chunk of type 1 that is here to its end; the rest does it in more steps."""
        stream = self._streams.get(data[start] & 0x3F)
        begin = start + _TYPE_1_BYTES
        if stream is None or stream.payload or begin > len(data):
            return None
        header = _type_1(data, start)[0]
        delta, length, type_id = header >> 32 & _EXTENDED, header >> 8 & _EXTENDED, header & 0xFF
        payload = data[begin : begin + length]
        if (
            delta == _EXTENDED
            or len(payload) < length
            or not 0 < length <= self.chunk_bytes
            or type_id <= ABORT
        ):
            return None
        stream.timestamp = timestamp = (stream.timestamp + delta) & 0xFFFFFFFF
        stream.delta, stream.length, stream.type_id, stream.extended = delta, length, type_id, b""
        return Message(type_id, stream.stream_id, timestamp, payload)

    def _parse_header(self, data: bytes, start: int) -> tuple[int, _ChunkStream | None]:
        """The position after a chunk's headers and its stream; `start` and None if cut."""
        chunk_type = data[start] >> 6
        position, chunk_stream_id = _parse_basic_header(data, start)
        if position == _CUT or position + _HEADER_BYTES[chunk_type] > len(data):
            return start, None
        stream = self._streams.get(chunk_stream_id) or self._new_stream(chunk_stream_id)
        if chunk_type == 3:
            position = _parse_type_3(stream, data, position)
        else:
            position = _parse_message_header(stream, chunk_type, data, position)
        return (start, None) if position == _CUT else (position, stream)

    def _new_stream(self, chunk_stream_id: int) -> _ChunkStream:
        if len(self._streams) >= MAX_CHUNK_STREAMS:
            raise ProtocolError(f"more than {MAX_CHUNK_STREAMS} chunk streams")
        stream = self._streams[chunk_stream_id] = _ChunkStream(chunk_stream_id)
        return stream

    def _take_payload(self, stream: _ChunkStream) -> bytes:
        payload = bytes(stream.payload)
        stream.payload = bytearray()
        self.buffered_bytes -= len(payload)
        self._under_way.pop(_TYPE_3 | stream.id, None)
        return payload

    def _complete(self, stream: _ChunkStream, payload: bytes, messages: list[Message]) -> None:
        if stream.type_id == SET_CHUNK_SIZE:
            self._set_chunk_size(parse_uint32(payload))
        elif stream.type_id == ABORT:
            aborted = self._streams.get(parse_uint32(payload))
            if aborted is not None:
                self._take_payload(aborted)
        elif payload:
            message = Message(stream.type_id, stream.stream_id, stream.timestamp, payload)
            messages.append(message)

    def _set_chunk_size(self, size_bytes: int) -> None:
        # No upper bound: chunks end with their message, which has one, and no memory is set aside.
        if not MIN_CHUNK_BYTES <= size_bytes < 1 << 31:
            raise ProtocolError(f"chunk size {size_bytes}")
        self.chunk_bytes = size_bytes


class ChunkWriter:
    """Messages in, bytes out; every message has a full header, as servers send few."""

    def __init__(self) -> None:
        self.chunk_bytes = DEFAULT_CHUNK_BYTES

    def serialize(self, message: Message, chunk_stream_id: int) -> bytes:
        """The chunks of one message; a Set Chunk Size takes effect after itself."""
        extended = message.timestamp >= _EXTENDED
        extension = message.timestamp.to_bytes(4, "big") if extended else b""
        payload = message.payload
        parts = [
            _serialize_basic_header(0, chunk_stream_id),
            min(message.timestamp, _EXTENDED).to_bytes(3, "big"),
            len(payload).to_bytes(3, "big"),
            bytes((message.type_id,)),
            message.stream_id.to_bytes(4, "little"),
            extension,
            payload[: self.chunk_bytes],
        ]
        continuation = _serialize_basic_header(3, chunk_stream_id) + extension
        for start in range(self.chunk_bytes, len(payload), self.chunk_bytes):
            parts.append(continuation)
            parts.append(payload[start : start + self.chunk_bytes])
        if message.type_id == SET_CHUNK_SIZE:
            self.chunk_bytes = parse_uint32(payload)
        return b"".join(parts)


def _parse_basic_header(data: bytes, position: int) -> tuple[int, int]:
    """The position after it and the chunk stream id, §5.3.1.1."""
    chunk_stream_id = data[position] & 0x3F
    position += 1
    if chunk_stream_id >= 2:
        return position, chunk_stream_id
    end = position + 1 + chunk_stream_id
    if end > len(data):
        return _CUT, 0
    return end, 64 + int.from_bytes(data[position:end], "little")


def _serialize_basic_header(chunk_type: int, chunk_stream_id: int) -> bytes:
    if chunk_stream_id < 64:
        return bytes((chunk_type << 6 | chunk_stream_id,))
    if chunk_stream_id < 320:
        return bytes((chunk_type << 6, chunk_stream_id - 64))
    return bytes((chunk_type << 6 | 1,)) + (chunk_stream_id - 64).to_bytes(2, "little")


def _parse_message_header(stream: _ChunkStream, chunk_type: int, data: bytes, start: int) -> int:
    """Begin a message by a header of type 0, 1 or 2; the position after it."""
    position = start + _HEADER_BYTES[chunk_type]
    timestamp = int.from_bytes(data[start : start + 3], "big")
    extended = b""
    if timestamp == _EXTENDED:
        extended = data[position : position + 4]
        if len(extended) < 4:
            return _CUT
        timestamp = int.from_bytes(extended, "big")
    if stream.payload:
        raise ProtocolError("a message began before the one before it ended")
    if chunk_type == 2:
        _check_known(stream)
    else:
        stream.length = int.from_bytes(data[start + 3 : start + 6], "big")
        stream.type_id = data[start + 6]
        if stream.length > MAX_MESSAGE_BYTES:
            raise ProtocolError(f"a message of {stream.length} bytes")
    if chunk_type == 0:
        stream.stream_id = int.from_bytes(data[start + 7 : start + 11], "little")
        stream.timestamp = timestamp
    else:
        stream.timestamp = (stream.timestamp + timestamp) & 0xFFFFFFFF
    stream.delta = timestamp  # also after type 0: §5.3.1.2.4
    stream.extended = extended
    return position + len(extended)


def _parse_type_3(stream: _ChunkStream, data: bytes, position: int) -> int:
    """Go on with a message, or begin one like the last; the position after the header."""
    _check_known(stream)
    if stream.extended:
        found = data[position : position + 4]
        if found == stream.extended:
            position += 4
        elif len(found) < 4 and stream.extended.startswith(found):
            return _CUT
    if not stream.payload:
        stream.timestamp = (stream.timestamp + stream.delta) & 0xFFFFFFFF
    return position


def _check_known(stream: _ChunkStream) -> None:
    if stream.length < 0:
        raise ProtocolError(f"chunk stream {stream.id} began without a message header")


def parse_uint32(payload: bytes) -> int:
    """The one number of a protocol control message; raises ProtocolError."""
    if len(payload) != 4:
        raise ProtocolError(f"a control message of {len(payload)} bytes, not 4")
    return int.from_bytes(payload, "big")
