"""Retransmission in a stream of its own (RFC 4588): SSRC-multiplexed, so with numbers of its own.

The payload is the original sequence number and then the original payload without its padding (§4);
timestamp and marker stay those of the original.
"""

from __future__ import annotations

from mediaserver.errors import ProtocolError

OSN_BYTES = 2


def serialize(sequence: int, payload: bytes, padding: bool) -> bytes:
    """The payload that brings a packet again; `padding`: its last byte counts the padding in it."""
    end = len(payload) - payload[-1] if padding else len(payload)
    return (sequence & 0xFFFF).to_bytes(OSN_BYTES, "big") + payload[:end]


def parse(payload: bytes) -> tuple[int, bytes]:
    """(original sequence number, original payload); ProtocolError when it is shorter than that."""
    if len(payload) < OSN_BYTES:
        raise ProtocolError("retransmission without the number of its original")
    return int.from_bytes(payload[:OSN_BYTES], "big"), payload[OSN_BYTES:]
