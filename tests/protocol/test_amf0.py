"""AMF0: every type both ways, and bounds on depth, count and size."""

from __future__ import annotations

import math
import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mediaserver.errors import ProtocolError
from mediaserver.protocol import amf0
from mediaserver.protocol.amf0 import UNDEFINED, Date, EcmaArray, Value

PUBLISH = bytes.fromhex(
    "020007 7075626c697368 00 4014000000000000 05 020003 6b6579 020004 6c697665"
)

SCALARS: list[Value] = [0.0, -1.5, 2.0**53, math.inf, True, False, None, UNDEFINED, Date(1.7e12)]
TEXTS: list[Value] = ["", "live", "直播", "x" * 65_000]
CONTAINERS: list[Value] = [
    {},
    {"app": "live", "": 1.0},
    EcmaArray(),
    EcmaArray(width=1280.0, stereo=True),
    [],
    [1.0, ["a", {}], EcmaArray(x=None)],
]

scalars = (
    st.floats(allow_nan=False)
    | st.booleans()
    | st.text(max_size=20)
    | st.none()
    | st.just(UNDEFINED)
    | st.floats(allow_nan=False).map(Date)
)
trees = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=5), inner, max_size=4)
        | st.dictionaries(st.text(max_size=5), inner, max_size=4).map(EcmaArray)
    ),
    max_leaves=20,
)


def test_a_publish_command_is_five_values() -> None:
    assert amf0.parse(PUBLISH) == ["publish", 5.0, None, "key", "live"]
    assert amf0.serialize(["publish", 5, None, "key", "live"]) == PUBLISH


@pytest.mark.parametrize("value", SCALARS + TEXTS + CONTAINERS)
def test_every_type_serializes_back(value: Value) -> None:
    [parsed] = amf0.parse(amf0.serialize([value]))
    assert parsed == value
    assert type(parsed) is type(value)


def test_a_string_over_65535_bytes_is_a_long_string() -> None:
    text = "x" * 65_536
    data = amf0.serialize([text])
    assert data[:5] == b"\x0c" + struct.pack(">I", 65_536)
    with pytest.raises(ProtocolError, match="more than"):
        amf0.parse(data)
    assert amf0.parse(b"\x0c\x00\x00\x00\x02ab") == ["ab"]


@given(st.lists(trees, max_size=4))
@settings(max_examples=200, deadline=None)
def test_any_values_serialize_back(values: list[Value]) -> None:
    assert amf0.parse(amf0.serialize(values)) == values


def test_the_count_of_an_ecma_array_is_only_a_hint() -> None:
    data = amf0.serialize([EcmaArray(a=1.0), "after"])
    for count in (0, 7, 0xFFFFFFFF):
        wrong = data[:1] + struct.pack(">I", count) + data[5:]
        assert amf0.parse(wrong) == [EcmaArray(a=1.0), "after"]


def test_an_end_marker_needs_an_empty_name_before_it() -> None:
    assert amf0.parse(bytes.fromhex("03 0000 05 000009")) == [{"": None}]


def test_text_that_is_not_utf_8_is_read_with_replacement_characters() -> None:
    assert amf0.parse(b"\x02\x00\x02\xd6\xd0") == ["\ufffd\ufffd"]


def test_cut_at_any_byte_it_is_the_peers_error_or_fewer_values() -> None:
    data = amf0.serialize(["a", {"b": [1, True, None], "c": EcmaArray(d=Date(0))}])
    for end in range(len(data)):
        if end in (0, 4):
            assert len(amf0.parse(data[:end])) == end // 4
        else:
            with pytest.raises(ProtocolError, match="cut short"):
                amf0.parse(data[:end])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x03\x00\x01a" * 1000, "nested"),
        (b"\x0a\x00\x00\x00\x01" * 1000, "nested"),
        (b"\x05" * 5000, "values"),
        (b"\x0a\xff\xff\xff\xff", "values"),
        (b"\x05" * 70_000, "bytes"),
        (b"\x0c\xff\xff\xff\xff", "cut short"),
        (b"\x07\x00\x01", "type 7 "),
        (b"\x0d", "type 13 "),
        (b"\x10\x00\x01a\x00\x00\x09", "type 16 "),
        (b"\x11\x01", "type 17 "),
        (b"\x09", "type 9 "),
    ],
)
def test_what_is_too_much_or_unknown_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(ProtocolError, match=reason):
        amf0.parse(data)


def test_a_python_object_without_an_amf_type_is_our_bug() -> None:
    with pytest.raises(TypeError):
        amf0.serialize([object()])  # type: ignore[list-item]


def test_any_bytes_parse_or_raise_the_peers_error() -> None:
    chance = random.Random(2)
    seed = amf0.serialize(SCALARS + TEXTS[:3] + CONTAINERS)
    for _ in range(100_000):
        data = bytearray(seed[chance.randrange(len(seed)) :] or b"\x00")
        for _ in range(chance.randrange(1, 6)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            values = amf0.parse(bytes(data))
        except ProtocolError:
            continue
        assert len(values) <= len(data)
