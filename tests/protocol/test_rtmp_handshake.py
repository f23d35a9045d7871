"""The simple handshake: three packets in, three out."""

from __future__ import annotations

import random

import pytest

from mediaserver.errors import ProtocolError
from mediaserver.protocol.rtmp.handshake import ServerHandshake

RANDOM = random.Random(1).randbytes(1528)
C1 = b"\x00\x00\x12\x34" + b"\x09\x00\x7c\x02" + random.Random(2).randbytes(1528)
C0_C1 = b"\x03" + C1
C2 = bytes(1536)


def test_s2_echoes_c1_and_s1_declines_the_digest() -> None:
    handshake = ServerHandshake(RANDOM)
    answer, rest = handshake.receive(C0_C1)
    assert (len(answer), rest, handshake.done) == (1 + 1536 + 1536, b"", False)
    assert answer[0] == 3
    assert answer[1:1537] == bytes(8) + RANDOM
    assert answer[1537:1541] == C1[:4]
    assert answer[1545:] == C1[8:]
    assert handshake.receive(C2) == (b"", b"")
    assert handshake.done


def test_what_follows_c2_is_given_back() -> None:
    handshake = ServerHandshake(RANDOM)
    answer, rest = handshake.receive(C0_C1 + C2 + b"after")
    assert (len(answer), rest, handshake.done) == (3073, b"after", True)


def test_byte_by_byte_it_is_the_same() -> None:
    handshake = ServerHandshake(RANDOM)
    sent = b""
    for byte in C0_C1 + C2:
        assert not handshake.done
        answer, rest = handshake.receive(bytes((byte,)))
        sent += answer
        assert rest == b""
    assert handshake.done
    assert sent == ServerHandshake(RANDOM).receive(C0_C1)[0]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x06" + C1, "version 6"),
        (b"\x16\x03\x01\x02\x00", "TLS"),
        (b"GET / HTTP/1.1\r\n", "HTTP"),
        (b"OPTIONS * HTTP/1.1\r\n", "HTTP"),
        (b"\x00", "version 0"),
    ],
)
def test_another_protocol_is_refused_at_its_first_byte(data: bytes, reason: str) -> None:
    with pytest.raises(ProtocolError, match=reason):
        ServerHandshake(RANDOM).receive(data)
