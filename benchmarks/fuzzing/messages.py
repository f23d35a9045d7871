"""What viewers say over data channels and WebSockets, and the events that pages and pods read."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.fuzzing.parser import Parser
from overlay import events

_REQUEST = events.Request(7, "chat.send", {"text": "hello", "options": [1, 2.5, None, True]})
_EVENT = events.Event("chat.message", {"text": "hi"}, "an id", 1_790_000_000_000, 5, 9)


def _as_sent(parse: Callable[[bytes | str], object]) -> Callable[[bytes], object]:
    """JSON comes as text, as a WebSocket hands it on; msgpack as it is."""
    return lambda data: parse(data.decode("utf-8", "replace") if data[:1] == b"{" else data)


def _bytes(encoded: bytes | str) -> bytes:
    return encoded.encode() if isinstance(encoded, str) else encoded


PARSERS = (
    Parser(
        "requests",
        (
            _bytes(events.serialize_request(_REQUEST, "msgpack")),
            _bytes(events.serialize_request(_REQUEST, "json")),
        ),
        _as_sent(events.parse_request),
        events.BadMessage,
    ),
    Parser(
        "events",
        (
            _bytes(events.serialize(_EVENT, "msgpack")),
            _bytes(events.serialize(_EVENT, "json")),
        ),
        _as_sent(events.parse),
        events.BadMessage,
    ),
)
