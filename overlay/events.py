"""The envelope of a room's events, as a msgpack map or a JSON object with the same keys.

`v` 1, `seq`, `t` type, `id`, `ts` server UTC ms, `mt` media time ms or null, `d` data. A durable event
of a room carries `seq`, one of a buyer's own carries `sseq` too and null for `seq`; whatever else is
told (chat, likes, counts, replies) carries null. What the store keeps is the same map without `v`,
`seq` and `sseq`: the store gives the number, and a reader of its log puts it in.

A viewer's message is `{rid, t, d}`, `d` left out where there is nothing to say; `rid` may also stand
in `d`, as it does in the answers. Text is JSON, binary is
msgpack, on every carrier. What both formats can carry is let in and nothing else, so that no reader
behind `parse_request` meets a surprise: no bytes, extension types, NaN, lone surrogates or keys that
are not text, and no deep nesting.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, TypeAlias

import msgpack

from overlay.errors import Refusal

VERSION = 1
REQUEST_BYTES_MAX = 16 << 10
DEPTH_MAX = 8  # an order's lines are at 3
RID_CHARS_MAX = 64
TYPE_CHARS_MAX = 64
INT_LIMIT = 2**53  # what every reader of JSON keeps exactly

Format: TypeAlias = Literal["msgpack", "json"]
Rid: TypeAlias = str | int | None


class BadMessage(Refusal):
    """A viewer's message that is none; `rid` as far as it could be read."""

    code = "bad_message"
    title = "Malformed message"

    def __init__(self, detail: str, rid: Rid = None) -> None:
        super().__init__(detail)
        self.rid = rid


@dataclass(frozen=True, slots=True)
class Event:
    """One event; `data` holds what both formats can carry."""

    type: str
    data: Mapping[str, Any]
    id: str
    ts_ms: int
    media_ms: int | None = None
    seq: int | None = None
    sseq: int | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """What a viewer asks for."""

    rid: str | int
    type: str
    data: Mapping[str, Any]


class Message:
    """An event with its encodings, each made when first asked for and shared by all who get it."""

    __slots__ = ("_encoded", "event")

    def __init__(self, event: Event) -> None:
        self.event = event
        self._encoded: dict[Format, bytes | str] = {}

    def encoded(self, format: Format) -> bytes | str:
        """Bytes of msgpack, or text of JSON."""
        data = self._encoded.get(format)
        if data is None:
            data = self._encoded[format] = serialize(self.event, format)
        return data


def serialize(event: Event, format: Format) -> bytes | str:
    """The envelope: bytes of msgpack, or text of JSON."""
    envelope = {"v": VERSION, "seq": event.seq, **_body(event)}
    if event.sseq is not None:
        envelope["sseq"] = event.sseq
    if format == "msgpack":
        return msgpack.packb(envelope)
    return json.dumps(envelope, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def parse(data: bytes | str) -> Event:
    """An envelope read back, as a client does; raises BadMessage."""
    envelope = _decode(data)
    if not isinstance(envelope, dict) or envelope.get("v") != VERSION:
        raise BadMessage("not an envelope of version 1")
    return _event(envelope, envelope.get("seq"), envelope.get("sseq"))


def pack(event: Event) -> bytes:
    """What the store keeps of an event; its number is the store's to give."""
    return msgpack.packb(_body(event))


def unpack(body: bytes, *, seq: int | None = None, sseq: int | None = None) -> Event:
    """A kept event with its number in the stream that it was read from; raises BadMessage."""
    return _event(_decode(body), seq, sseq)


def parse_request(data: bytes | str) -> Request:
    """A viewer's message; raises BadMessage."""
    if len(data) > REQUEST_BYTES_MAX or _utf8_bytes(data) > REQUEST_BYTES_MAX:
        raise BadMessage(f"a message has at most {REQUEST_BYTES_MAX} bytes")
    message = _decode(data)
    if not isinstance(message, dict):
        raise BadMessage("a message is a map")
    body = message.get("d")
    if "rid" not in message and isinstance(body, dict) and "rid" in body:
        message = {**message, "rid": body["rid"]}
        body = {name: value for name, value in body.items() if name != "rid"}
    rid = _rid(message.get("rid"))
    try:
        _check(message, 0)
    except BadMessage as error:
        raise BadMessage(error.detail, rid) from None
    if rid is None:
        raise BadMessage(f"rid: an integer, or text of 1 to {RID_CHARS_MAX} characters")
    type = message.get("t")
    if not isinstance(type, str) or not 1 <= len(type) <= TYPE_CHARS_MAX:
        raise BadMessage(f"t: text of 1 to {TYPE_CHARS_MAX} characters", rid)
    if message.get("v", VERSION) != VERSION:
        raise BadMessage("v: 1", rid)
    if not isinstance(body, dict | None):
        raise BadMessage("d: a map", rid)
    return Request(rid, type, body or {})


def serialize_request(request: Request, format: Format) -> bytes | str:
    """A viewer's message, as a client sends it."""
    message = {"v": VERSION, "rid": request.rid, "t": request.type, "d": dict(request.data)}
    return msgpack.packb(message) if format == "msgpack" else json.dumps(message)


def _body(event: Event) -> dict[str, Any]:
    return {
        "t": event.type,
        "id": event.id,
        "ts": event.ts_ms,
        "mt": event.media_ms,
        "d": event.data,
    }


def _event(members: Any, seq: int | None, sseq: int | None) -> Event:
    try:
        event = Event(
            members["t"], members["d"], members["id"], members["ts"], members.get("mt"), seq, sseq
        )
    except (KeyError, TypeError, AttributeError, IndexError):
        raise BadMessage("not an event") from None
    numbers = (event.media_ms, event.seq, event.sseq)
    if (
        not isinstance(event.type, str)
        or not isinstance(event.id, str)
        or not isinstance(event.data, dict)
        or not isinstance(event.ts_ms, int)
        or not all(isinstance(number, int | None) for number in numbers)
    ):
        raise BadMessage("not an event")
    return event


def _decode(data: bytes | str) -> Any:
    try:
        if isinstance(data, str):
            return json.loads(data, parse_constant=_no_constant)
        return msgpack.unpackb(data)
    except (ValueError, RecursionError, msgpack.UnpackException, OverflowError):
        raise BadMessage("neither JSON text nor binary msgpack") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _utf8_bytes(data: bytes | str) -> int:
    return len(data) if isinstance(data, bytes) else len(data.encode("utf-8", "surrogatepass"))


def _rid(rid: object) -> Rid:
    match rid:
        case bool():
            return None
        case int() if abs(rid) <= INT_LIMIT:
            return rid
        case str() if 1 <= len(rid) <= RID_CHARS_MAX and _is_text(rid):
            return rid
    return None


def _is_text(text: str) -> bool:
    """Whether UTF-8 can carry it: JSON can name half a surrogate pair."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _check(value: object, depth: int) -> None:
    """Raises BadMessage unless both formats can carry the value."""
    if depth > DEPTH_MAX:
        raise BadMessage(f"nested more than {DEPTH_MAX} deep")
    match value:
        case None | bool():
            return
        case int():
            if abs(value) > INT_LIMIT:
                raise BadMessage("an integer beyond 2**53")
        case float():
            if not math.isfinite(value):
                raise BadMessage("a number that is not finite")
        case str():
            if not _is_text(value):
                raise BadMessage("text with half a surrogate pair")
        case list():
            for each in value:
                _check(each, depth + 1)
        case dict():
            for key, each in value.items():
                if not isinstance(key, str) or not _is_text(key):
                    raise BadMessage("a key that is not text")
                _check(each, depth + 1)
        case _:
            raise BadMessage("a value that JSON has not")
