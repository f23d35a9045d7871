"""Datagrams in a byte stream: whole, byte by byte, and what no framing has."""

from __future__ import annotations

import random

import pytest

from mediaserver.errors import ProtocolError
from mediaserver.protocol.tcp_framing import MAX_FRAME_BYTES, Deframer, serialize


def datagrams(seed: int = 1) -> list[bytes]:
    dice = random.Random(seed)
    return [dice.randbytes(dice.choice((1, 20, 1200, MAX_FRAME_BYTES))) for _ in range(50)]


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000, 1 << 20])
def test_datagrams_come_out_as_they_went_in_however_the_stream_is_cut(step: int) -> None:
    stream = b"".join(map(serialize, datagrams()))
    deframer = Deframer()
    found = []
    for start in range(0, len(stream), step):
        found += deframer.feed(stream[start : start + step])
    assert found == datagrams()


def test_a_datagram_that_is_not_whole_is_kept_and_not_handed_on() -> None:
    deframer = Deframer()
    assert deframer.feed(serialize(b"hello")[:-1]) == []
    assert deframer.feed(b"o" + b"\0") == [b"hello"]
    assert deframer.feed(b"\x01!") == [b"!"]


@pytest.mark.parametrize("length", [0, MAX_FRAME_BYTES + 1, 0xFFFF])
def test_a_length_that_no_datagram_has_is_refused_before_it_is_waited_for(length: int) -> None:
    with pytest.raises(ProtocolError):
        Deframer().feed(serialize(b"fine") + length.to_bytes(2, "big"))


def test_what_is_held_is_less_than_a_frame() -> None:
    deframer = Deframer()
    frame = serialize(bytes(MAX_FRAME_BYTES))
    for start in range(0, len(frame) * 100, 999):
        deframer.feed((frame * 2)[start % len(frame) :][:999])
        assert len(deframer._rest) < len(frame)
