"""AMF0, the values in RTMP commands and metadata (Action Message Format AMF 0, 2007-12-13).

| AMF0 | Python |
|---|---|
| number, boolean, string and long string, null | float, bool, str, None |
| object, ECMA array | dict, EcmaArray |
| strict array, date, undefined | list, Date, UNDEFINED |

The other types (references, typed objects, XML, AMF3) are refused: no publisher sends them.
Text that is not UTF-8 is read with U+FFFD in its place: encoders write their names in local
character sets, and that should not end a broadcast.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias

from mediaserver.errors import ProtocolError

MAX_BYTES = 64 << 10  # commands and metadata are some hundred bytes
MAX_DEPTH = 16  # metadata nests two or three deep
MAX_VALUES = 4096  # a byte on the wire can be a value of many bytes in memory

_NUMBER, _BOOLEAN, _STRING, _OBJECT, _NULL, _UNDEFINED = 0, 1, 2, 3, 5, 6
_ECMA_ARRAY, _OBJECT_END, _STRICT_ARRAY, _DATE, _LONG_STRING = 8, 9, 10, 11, 12
_LONGEST_STRING = 0xFFFF  # longer ones are long strings


class Undefined(Enum):
    UNDEFINED = "undefined"


UNDEFINED: Final = Undefined.UNDEFINED


@dataclass(frozen=True, slots=True)
class Date:
    """Milliseconds since the Unix epoch in UTC; the reserved time zone is written as 0."""

    timestamp_ms: float


Value: TypeAlias = (
    "float | bool | str | Undefined | Date | dict[str, Value] | EcmaArray | list[Value] | None"
)


class EcmaArray(dict[str, "Value"]):
    """A mapping that travels as an ECMA array: what onMetaData uses."""


def parse(data: bytes) -> list[Value]:
    """All values that stand one after the other in `data`; raises ProtocolError."""
    if len(data) > MAX_BYTES:
        raise ProtocolError(f"AMF0 of more than {MAX_BYTES} bytes")
    reader = _Reader(data)
    values: list[Value] = []
    while not reader.at_end():
        values.append(reader.value(0))
    return values


def serialize(values: Iterable[Value]) -> bytes:
    """These values one after the other; raises TypeError for what AMF0 has no type for."""
    parts: list[bytes] = []
    for value in values:
        _serialize(value, parts)
    return b"".join(parts)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0
        self._values = 0

    def at_end(self) -> bool:
        return self._position >= len(self._data)

    def value(self, depth: int) -> Value:
        self._values += 1
        if self._values > MAX_VALUES:
            raise ProtocolError(f"AMF0 of more than {MAX_VALUES} values")
        if depth > MAX_DEPTH:
            raise ProtocolError(f"AMF0 nested more than {MAX_DEPTH} deep")
        marker = self._take(1)[0]
        read = _READERS.get(marker)
        if read is None:
            raise ProtocolError(f"AMF0 type {marker} is not supported")
        return read(self, depth)

    def _take(self, count: int) -> bytes:
        start, self._position = self._position, self._position + count
        if self._position > len(self._data):
            raise ProtocolError("AMF0 is cut short")
        return self._data[start : self._position]

    def _text(self, length_bytes: int) -> str:
        length = int.from_bytes(self._take(length_bytes), "big")
        return self._take(length).decode("utf-8", "replace")

    def _number(self, depth: int) -> float:
        number: float = struct.unpack(">d", self._take(8))[0]
        return number

    def _boolean(self, depth: int) -> bool:
        return self._take(1) != b"\x00"

    def _string(self, depth: int) -> str:
        return self._text(2)

    def _long_string(self, depth: int) -> str:
        return self._text(4)

    def _null(self, depth: int) -> None:
        return None

    def _undefined(self, depth: int) -> Undefined:
        return UNDEFINED

    def _object(self, depth: int) -> dict[str, Value]:
        return self._properties({}, depth)

    def _ecma_array(self, depth: int) -> dict[str, Value]:
        self._take(4)  # the count is a hint, and often wrong; the end marker decides
        return self._properties(EcmaArray(), depth)

    def _properties(self, properties: dict[str, Value], depth: int) -> dict[str, Value]:
        while True:
            name = self._text(2)
            if not name and self._data[self._position : self._position + 1] == b"\x09":
                self._position += 1
                return properties
            properties[name] = self.value(depth + 1)

    def _strict_array(self, depth: int) -> list[Value]:
        count = int.from_bytes(self._take(4), "big")
        if count > MAX_VALUES:
            raise ProtocolError(f"AMF0 array of more than {MAX_VALUES} values")
        return [self.value(depth + 1) for _ in range(count)]

    def _date(self, depth: int) -> Date:
        timestamp_ms: float = struct.unpack(">d", self._take(8))[0]
        self._take(2)  # the time zone is reserved, §2.13
        return Date(timestamp_ms)


_READERS: Mapping[int, Callable[[_Reader, int], Value]] = {
    _NUMBER: _Reader._number,
    _BOOLEAN: _Reader._boolean,
    _STRING: _Reader._string,
    _OBJECT: _Reader._object,
    _NULL: _Reader._null,
    _UNDEFINED: _Reader._undefined,
    _ECMA_ARRAY: _Reader._ecma_array,
    _STRICT_ARRAY: _Reader._strict_array,
    _DATE: _Reader._date,
    _LONG_STRING: _Reader._long_string,
}


def _serialize(value: Value, parts: list[bytes]) -> None:
    match value:
        case bool():
            parts.append(bytes((_BOOLEAN, value)))
        case int() | float():
            parts.append(struct.pack(">Bd", _NUMBER, value))
        case str():
            parts.append(_serialize_string(value))
        case None:
            parts.append(bytes((_NULL,)))
        case Undefined():
            parts.append(bytes((_UNDEFINED,)))
        case Date(timestamp_ms):
            parts.append(struct.pack(">Bdh", _DATE, timestamp_ms, 0))
        case EcmaArray():
            parts.append(struct.pack(">BI", _ECMA_ARRAY, len(value)))
            _serialize_properties(value, parts)
        case dict():
            parts.append(bytes((_OBJECT,)))
            _serialize_properties(value, parts)
        case list():
            parts.append(struct.pack(">BI", _STRICT_ARRAY, len(value)))
            for item in value:
                _serialize(item, parts)
        case _:
            raise TypeError(f"AMF0 has no type for {type(value).__name__}")


def _serialize_string(text: str) -> bytes:
    encoded = text.encode()
    if len(encoded) > _LONGEST_STRING:
        return struct.pack(">BI", _LONG_STRING, len(encoded)) + encoded
    return struct.pack(">BH", _STRING, len(encoded)) + encoded


def _serialize_properties(properties: dict[str, Value], parts: list[bytes]) -> None:
    for name, value in properties.items():
        encoded = name.encode()
        parts.append(struct.pack(">H", len(encoded)) + encoded)
        _serialize(value, parts)
    parts.append(b"\x00\x00\x09")
