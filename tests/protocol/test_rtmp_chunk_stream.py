"""The chunk stream: what is cut is put together again, however it arrives, within bounds."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.fuzzing import mutations
from mediaserver.errors import ProtocolError
from mediaserver.protocol.rtmp.chunk_stream import (
    ABORT,
    MAX_BUFFERED_BYTES,
    MAX_CHUNK_STREAMS,
    MAX_MESSAGE_BYTES,
    SET_CHUNK_SIZE,
    ChunkReader,
    ChunkWriter,
    Message,
)
from tests.protocol.rtmp_client import EncoderChunks, slices

FUZZ_INPUTS = 100_000


def body(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def header(
    timestamp: int, length: int, type_id: int = 9, stream_id: int = 1, chunk_stream: int = 6
) -> bytes:
    """A type 0 chunk's headers."""
    first = struct.pack(">B", chunk_stream) + min(timestamp, 0xFFFFFF).to_bytes(3, "big")
    rest = length.to_bytes(3, "big") + bytes((type_id,)) + stream_id.to_bytes(4, "little")
    return first + rest + (timestamp.to_bytes(4, "big") if timestamp >= 0xFFFFFF else b"")


def read(data: bytes) -> list[Message]:
    return ChunkReader().receive(data)


def read_bytewise(data: bytes) -> list[Message]:
    reader = ChunkReader()
    return [each for byte in data for each in reader.receive(bytes((byte,)))]


@pytest.mark.parametrize("chunk_stream_id", [2, 3, 63, 64, 319, 320, 321, 65_599])
@pytest.mark.parametrize("timestamp", [0, 0xFFFFFE, 0xFFFFFF, 0x1000000, 0xFFFFFFFF])
@pytest.mark.parametrize("size", [1, 127, 128, 129, 1000])
def test_what_is_written_is_read(size: int, timestamp: int, chunk_stream_id: int) -> None:
    message = Message(9, 1, timestamp, body(size))
    data = ChunkWriter().serialize(message, chunk_stream_id)
    assert read(data) == [message]
    assert read_bytewise(data) == [message]
    assert read(data + data[:-1]) == [message]


def test_a_message_split_anywhere_is_the_same_message() -> None:
    message = Message(9, 1, 0x1234567, body(300))
    data = ChunkWriter().serialize(message, 70)
    for at in range(len(data)):
        reader = ChunkReader()
        assert reader.receive(data[:at]) + reader.receive(data[at:]) == [message]


messages_of_encoders = st.lists(
    st.tuples(
        st.sampled_from([(4, 8), (4, 9), (6, 9), (3, 20)]),
        st.one_of(st.integers(0, 50), st.just(0), st.just(0x1000000)),
        st.one_of(st.integers(1, 400), st.just(256)),
    ),
    max_size=12,
)


@given(
    messages_of_encoders,
    st.sampled_from([0, 0xFFFFF0, 0xFFFFFFF0]),
    st.sampled_from([128, 200, 4096]),
    st.booleans(),
    st.randoms(use_true_random=False),
)
@settings(max_examples=300)
def test_short_headers_are_read_as_encoders_mean_them(
    steps: list[tuple[tuple[int, int], int, int]],
    start: int,
    chunk_bytes: int,
    repeat_extended: bool,
    chance: random.Random,
) -> None:
    encoder = EncoderChunks(chunk_bytes, repeat_extended)
    sent, data, timestamp = [], b"", start
    for (chunk_stream_id, type_id), step, size in steps:
        timestamp = (timestamp + step) & 0xFFFFFFFF
        sent.append(Message(type_id, 1, timestamp, b"\xaa" * size))
        data += encoder.write(chunk_stream_id, sent[-1])
    reader = ChunkReader()
    reader.chunk_bytes = chunk_bytes
    assert [each for piece in slices(data, chance) for each in reader.receive(piece)] == sent
    assert reader.buffered_bytes == 0


def test_a_three_byte_chunk_stream_id_has_its_low_byte_first() -> None:
    assert ChunkWriter().serialize(Message(9, 1, 0, b"x"), 577)[:3] == b"\x01\x01\x02"
    begun = b"\x00\x05" + header(0, 200)[1:] + body(200)[:128]  # 64 + 5 in the two-byte form
    continued = b"\xc1\x05\x00" + body(200)[128:]  # the same in the three-byte form
    assert read(begun + continued) == [Message(9, 1, 0, body(200))]


def test_a_type_3_chunk_begins_a_message_like_the_last() -> None:
    first = header(1000, 2) + b"ab"
    second = b"\x86" + (20).to_bytes(3, "big") + b"cd"
    third = b"\xc6" + b"ef"
    assert read(first + second + third) == [
        Message(9, 1, 1000, b"ab"),
        Message(9, 1, 1020, b"cd"),
        Message(9, 1, 1040, b"ef"),
    ]


def test_after_a_type_0_chunk_the_delta_of_type_3_is_its_timestamp() -> None:
    data = header(23, 1) + b"a" + b"\xc6" + b"b"  # as FFmpeg sends 23, 46
    assert [each.timestamp for each in read(data)] == [23, 46]


@pytest.mark.parametrize("repeated", [True, False], ids=["repeated", "left out"])
def test_an_extended_timestamp_may_be_repeated_in_type_3_chunks(repeated: bool) -> None:
    timestamp = 0x01020304  # 4 h 41 m
    payload = body(500)
    extension = struct.pack(">I", timestamp) if repeated else b""
    data = header(timestamp, 500) + payload[:128]
    for start in (128, 256, 384):
        data += b"\xc6" + extension + payload[start : start + 128]
    expected = [Message(9, 1, timestamp, payload)]
    assert read(data) == expected
    assert read_bytewise(data) == expected
    for at in range(len(data)):
        reader = ChunkReader()
        assert reader.receive(data[:at]) + reader.receive(data[at:]) == expected


def test_timestamps_wrap_at_32_bits() -> None:
    data = header(0xFFFFFFC0, 1) + b"a" + b"\x86\x00\x00\x20" + b"b" + b"\xc6" + b"c"
    assert [each.timestamp for each in read(data)] == [0xFFFFFFC0, 0xFFFFFFE0, 0]
    data = header(0xFFFFFFF0, 1) + b"a" + b"\x86\x00\x00\x20" + b"b"
    assert [each.timestamp for each in read(data)] == [0xFFFFFFF0, 0x10]


def test_a_delta_may_be_extended() -> None:
    data = header(5, 1) + b"a" + b"\x86\xff\xff\xff\x01\x00\x00\x00" + b"b"
    assert [each.timestamp for each in read(data)] == [5, 0x01000005]


def test_chunks_of_several_streams_interleave() -> None:
    video, audio = body(300), body(200, 2)
    data = header(0, 300) + video[:128] + header(7, 200, 8, chunk_stream=4) + audio[:128]
    data += b"\xc6" + video[128:256] + b"\xc4" + audio[128:] + b"\xc6" + video[256:]
    assert read(data) == [Message(8, 1, 7, audio), Message(9, 1, 0, video)]
    assert read_bytewise(data) == read(data)


def test_a_new_chunk_size_holds_from_the_next_chunk_even_within_a_message() -> None:
    payload = body(1128)
    data = header(0, 1128) + payload[:128]
    data += header(0, 4, SET_CHUNK_SIZE, 0, 2) + struct.pack(">I", 1000)
    data += b"\xc6" + payload[128:]
    assert read(data) == [Message(9, 1, 0, payload)]
    assert read_bytewise(data) == [Message(9, 1, 0, payload)]


def test_the_writer_obeys_the_chunk_size_it_announces() -> None:
    writer, reader = ChunkWriter(), ChunkReader()
    message = Message(20, 0, 0, body(1000))
    data = writer.serialize(Message(SET_CHUNK_SIZE, 0, 0, struct.pack(">I", 4096)), 2)
    assert len(writer.serialize(message, 3)) == 12 + 1000
    assert reader.receive(data + writer.serialize(message, 3)) == [message]


def test_the_largest_chunk_size_is_taken() -> None:
    reader = ChunkReader()
    reader.receive(header(0, 4, SET_CHUNK_SIZE, 0, 2) + b"\x7f\xff\xff\xff")
    assert reader.receive(header(0, 5000) + body(5000)) == [Message(9, 1, 0, body(5000))]


def test_an_aborted_message_is_forgotten() -> None:
    reader = ChunkReader()
    reader.receive(header(0, 300) + body(128))
    reader.receive(header(0, 4, ABORT, 0, 2) + struct.pack(">I", 6))
    assert reader.buffered_bytes == 0
    assert reader.receive(header(1, 2) + b"ab") == [Message(9, 1, 1, b"ab")]


def test_an_abort_of_nothing_is_nothing() -> None:
    for chunk_stream_id in (2, 6, 0xFFFFFFFF):
        assert read(header(0, 4, ABORT, 0, 2) + struct.pack(">I", chunk_stream_id)) == []


def test_a_chunk_stream_may_begin_with_type_1() -> None:
    ping = b"\x42\x00\x00\x00\x00\x00\x06\x04" + b"\x00\x07\x00\x00\x00\x01"  # librtmp's pong
    assert read(ping) == [Message(4, 0, 0, ping[8:])]


def test_empty_messages_are_left_out() -> None:
    assert read(header(0, 0) + b"\xc6" * 10 + header(3, 1) + b"a") == [Message(9, 1, 3, b"a")]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x86\x00\x00\x00", "without a message header"),
        (b"\xc6", "without a message header"),
        (header(0, MAX_MESSAGE_BYTES + 1), "a message of"),
        (header(0, 300) + bytes(128) + header(0, 10), "before the one before it ended"),
        (header(0, 300) + bytes(128) + b"\x86\x00\x00\x00", "before the one before it ended"),
        (header(0, 4, SET_CHUNK_SIZE) + struct.pack(">I", 127), "chunk size 127"),
        (header(0, 4, SET_CHUNK_SIZE) + struct.pack(">I", 0), "chunk size 0"),
        (header(0, 4, SET_CHUNK_SIZE) + struct.pack(">I", 1 << 31), "chunk size"),
        (header(0, 3, SET_CHUNK_SIZE) + bytes(3), "of 3 bytes, not 4"),
        (header(0, 0, SET_CHUNK_SIZE), "of 0 bytes, not 4"),
        (header(0, 5, ABORT) + bytes(5), "of 5 bytes, not 4"),
    ],
)
def test_what_breaks_the_protocol_is_the_peers_error(data: bytes, reason: str) -> None:
    with pytest.raises(ProtocolError, match=reason):
        read(data)
    with pytest.raises(ProtocolError, match=reason):
        read_bytewise(data)


def test_chunk_streams_are_counted() -> None:
    reader = ChunkReader()
    for chunk_stream_id in range(2, 2 + MAX_CHUNK_STREAMS):
        reader.receive(ChunkWriter().serialize(Message(9, 1, 0, b"x"), chunk_stream_id))
    with pytest.raises(ProtocolError, match="chunk streams"):
        reader.receive(ChunkWriter().serialize(Message(9, 1, 0, b"x"), 1000))


def test_unfinished_messages_are_bounded_together() -> None:
    reader = ChunkReader()
    size = MAX_MESSAGE_BYTES
    reader.receive(header(0, 4, SET_CHUNK_SIZE, 0, 2) + struct.pack(">I", size - 1))
    most = bytes(size - 1)
    reader.receive(header(0, size, chunk_stream=5) + most)
    reader.receive(header(0, size, chunk_stream=6) + most)
    assert reader.buffered_bytes == 2 * (size - 1)
    with pytest.raises(ProtocolError, match="unfinished"):
        reader.receive(header(0, size, chunk_stream=7) + most)


def test_the_largest_message_in_small_slices_is_copied_a_few_times_and_not_more() -> None:
    payload = bytes(MAX_MESSAGE_BYTES)
    data = header(0, 4, SET_CHUNK_SIZE, 0, 2) + struct.pack(">I", 1 << 20)
    data += header(0, len(payload)) + payload[: 1 << 20]
    for start in range(1 << 20, len(payload), 1 << 20):
        data += b"\xc6" + payload[start : start + (1 << 20)]
    reader, received = ChunkReader(), 0
    for start in range(0, len(data), 100):
        for message in reader.receive(data[start : start + 100]):
            received += len(message.payload)
        assert reader.buffered_bytes <= len(payload)
    assert received == len(payload)


def test_any_bytes_are_read_or_are_the_peers_error_and_memory_is_bounded() -> None:
    chance = random.Random(3)
    encoder = EncoderChunks()
    seed = b""
    for index, size in enumerate((200, 90, 90, 300)):
        timestamp = 0xFFFFF0 + index * 20
        seed += encoder.write(4 + index % 2, Message(8 + index % 2, 1, timestamp, body(size)))
    seed += header(0, 4, SET_CHUNK_SIZE, 0, 2) + struct.pack(">I", 256)
    seed += header(0, 4, ABORT, 0, 2) + struct.pack(">I", 6)
    seed += header(0x1000000, 600) + body(256) + b"\xc6" + struct.pack(">I", 0x1000000) + body(256)
    refused = 0
    for data in mutations(seed, FUZZ_INPUTS, chance):
        reader = ChunkReader()
        try:
            for piece in (data[:400], data[400:]):
                for message in reader.receive(piece):
                    assert message.payload
        except ProtocolError:
            refused += 1
        assert reader.buffered_bytes <= min(len(data), MAX_BUFFERED_BYTES)
    assert 0 < refused < FUZZ_INPUTS


def test_any_bytes_are_read_in_one_piece_as_byte_by_byte() -> None:
    chance = random.Random(8)
    chunks = EncoderChunks(chunk_bytes=128)
    seed = b"".join(
        chunks.write(6 if number % 2 else 4, Message(8 + number % 2, 1, number * 20, body(size)))
        for number, size in enumerate((40, 90, 300, 128, 129, 60, 90, 40))
    )
    read_whole = 0
    for data in mutations(seed, FUZZ_INPUTS // 20, chance):
        whole, pieces = outcome([data]), outcome([data[at : at + 1] for at in range(len(data))])
        assert whole[1] == pieces[1]
        assert whole[0] == pieces[0][: len(whole[0])]  # an error takes with it what came before it
        read_whole += len(whole[0])
    assert read_whole > 0


def outcome(pieces: list[bytes]) -> tuple[list[Message], str]:
    """What is read, and the error that ends it."""
    reader, messages = ChunkReader(), []
    try:
        for piece in pieces:
            messages += reader.receive(piece)
    except ProtocolError as error:
        return messages, error.detail
    return messages, ""
