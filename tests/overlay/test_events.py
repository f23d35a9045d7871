"""The envelope in both formats, and what a viewer may send."""

from __future__ import annotations

import json
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlay.events import (
    DEPTH_MAX,
    INT_LIMIT,
    REQUEST_BYTES_MAX,
    BadMessage,
    Event,
    Format,
    Message,
    Request,
    pack,
    parse,
    parse_request,
    serialize,
    serialize_request,
    unpack,
)

FORMATS: tuple[Format, ...] = ("msgpack", "json")
PINNED = Event("card.pinned", {"card": "crd_1", "价": 1990}, "evt_1", 1_800_000_000_000, 5_000, 7)

text = st.text(max_size=20)
numbers = st.integers(-INT_LIMIT, INT_LIMIT)
values = st.recursive(
    st.none() | st.booleans() | numbers | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=8,
)
counts = st.none() | st.integers(0, INT_LIMIT)
maps = st.dictionaries(text, values, max_size=4)
events = st.builds(Event, text, maps, text, numbers, counts, counts, counts)
rids = numbers | st.text(min_size=1, max_size=64)
requests = st.builds(Request, rids, st.text(min_size=1, max_size=64), maps)


def members(data: bytes | str) -> dict[str, Any]:
    decoded = json.loads(data) if isinstance(data, str) else msgpack.unpackb(data)
    assert isinstance(decoded, dict)
    return decoded


@pytest.mark.parametrize("format", FORMATS)
def test_the_envelope_has_the_same_keys_in_both_formats(format: Format) -> None:
    assert members(serialize(PINNED, format)) == {
        "v": 1,
        "seq": 7,
        "t": "card.pinned",
        "id": "evt_1",
        "ts": 1_800_000_000_000,
        "mt": 5_000,
        "d": {"card": "crd_1", "价": 1990},
    }


def test_msgpack_is_bytes_and_json_is_text() -> None:
    assert isinstance(serialize(PINNED, "msgpack"), bytes)
    assert isinstance(serialize(PINNED, "json"), str)


@pytest.mark.parametrize("format", FORMATS)
def test_a_buyers_own_event_carries_sseq_and_null_for_seq(format: Format) -> None:
    own = Event("order.updated", {}, "evt_1", 0, sseq=3)
    envelope = members(serialize(own, format))
    assert (envelope["sseq"], envelope["seq"]) == (3, None)
    assert "sseq" not in members(serialize(PINNED, format))


@given(events, st.sampled_from(FORMATS))
def test_what_is_serialized_parses_back(event: Event, format: Format) -> None:
    assert parse(serialize(event, format)) == event


@given(events)
def test_the_store_keeps_all_but_the_number(event: Event) -> None:
    assert unpack(pack(event), seq=event.seq, sseq=event.sseq) == event


def test_an_event_kept_without_media_time_has_none() -> None:
    body = msgpack.packb({"t": "stock.changed", "id": "evt_1", "ts": 5, "d": {}})
    assert unpack(body, seq=1) == Event("stock.changed", {}, "evt_1", 5, None, 1)


def test_a_message_is_encoded_once_for_all_its_readers() -> None:
    message = Message(PINNED)
    assert message.encoded("json") is message.encoded("json")
    assert message.encoded("msgpack") is message.encoded("msgpack")


@given(requests, st.sampled_from(FORMATS))
def test_a_viewers_message_parses_back(request: Request, format: Format) -> None:
    assert parse_request(serialize_request(request, format)) == request


def test_data_may_be_left_out() -> None:
    assert parse_request('{"rid": 1, "t": "like"}') == Request(1, "like", {})


def test_a_rid_may_stand_in_the_data_as_it_does_in_the_answers() -> None:
    asked = parse_request('{"t": "like", "d": {"rid": "a", "n": 2}}')
    assert asked == Request("a", "like", {"n": 2})
    both = parse_request('{"rid": 1, "t": "like", "d": {"rid": "a"}}')
    assert both == Request(1, "like", {"rid": "a"})


@given(st.binary(max_size=200) | st.text(st.characters(), max_size=200))
def test_nothing_but_bad_message_comes_of_noise(data: bytes | str) -> None:
    for parser in (parse, parse_request):
        try:
            parser(data)
        except BadMessage as error:
            assert error.code == "bad_message"


@given(requests, st.sampled_from(FORMATS), st.data())
def test_nothing_but_bad_message_comes_of_damage(
    request: Request, format: Format, data: st.DataObject
) -> None:
    whole = serialize_request(request, format)
    raw = bytearray(whole.encode("utf-8", "surrogatepass") if isinstance(whole, str) else whole)
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(raw) if format == "msgpack" else raw.decode("utf-8", "replace")
    try:
        request = parse_request(damaged)
    except BadMessage:
        return
    for each in FORMATS:  # what was let in, both formats can carry
        serialize(Event("x", request.data, "evt_1", 0), each)


@given(st.sampled_from(FORMATS), st.data())
def test_a_message_cut_short_or_with_a_tail_is_bad(format: Format, data: st.DataObject) -> None:
    whole = serialize_request(Request("r", "buy", {"key": "k"}), format)
    cut = data.draw(st.integers(0, len(whole) - 1))
    tail: bytes | str = "{}" if isinstance(whole, str) else b"\x00"
    for damaged in (whole[:cut], whole + tail):  # type: ignore[operator]
        with pytest.raises(BadMessage):
            parse_request(damaged)


@pytest.mark.parametrize(
    ("data", "rid"),
    [
        ("", None),
        ("[]", None),
        ("null", None),
        ("[" * REQUEST_BYTES_MAX, None),
        ('{"a":' * 2000, None),
        (b"\x91" * REQUEST_BYTES_MAX, None),
        ('{"t": "like"}', None),
        ('{"rid": "", "t": "like"}', None),
        ('{"rid": true, "t": "like"}', None),
        ('{"rid": 1.5, "t": "like"}', None),
        (f'{{"rid": "{"x" * 65}", "t": "like"}}', None),
        ('{"rid": "\\ud800", "t": "like"}', None),
        ('{"rid": 7}', 7),
        ('{"rid": 7, "t": ""}', 7),
        ('{"rid": 7, "t": 5}', 7),
        (f'{{"rid": 7, "t": "{"x" * 65}"}}', 7),
        ('{"rid": 7, "t": "like", "v": 2}', 7),
        ('{"rid": 7, "t": "like", "d": []}', 7),
        ('{"rid": 7, "t": "like", "d": {"n": NaN}}', None),
        ('{"rid": 7, "t": "like", "d": {"n": 1e999}}', 7),
        ('{"rid": 7, "t": "like", "d": {"n": "\\ud800"}}', 7),
        ('{"rid": 7, "t": "like", "d": {"\\ud800": 1}}', 7),
        ('{"rid": 7, "t": "like", "d": {"n": 9007199254740993}}', 7),
        (f'{{"rid": 7, "t": "like", "d": {{"n": {"9" * 5000}}}}}', None),
        (msgpack.packb({"rid": 7, "t": "x", "d": {"n": b"bytes"}}), 7),
        (msgpack.packb({"rid": 7, "t": "x", "d": {"n": msgpack.ExtType(5, b"")}}), 7),
        (msgpack.packb({"rid": 7, "t": "x", "d": {"n": msgpack.Timestamp(5)}}), 7),
        (msgpack.packb({"rid": 7, "t": "x", "d": {"n": float("inf")}}), 7),
        (msgpack.packb({"rid": 7, "t": "x", "d": {b"n": 1}}), 7),
        (msgpack.packb({1: 2}), None),
    ],
)
def test_a_message_that_is_none_is_bad_and_keeps_its_rid_where_it_has_one(
    data: bytes | str, rid: int | None
) -> None:
    with pytest.raises(BadMessage) as caught:
        parse_request(data)
    assert caught.value.rid == rid


def test_a_message_has_at_most_16_kib_counted_in_bytes() -> None:
    def chat(text: str) -> str:
        return json.dumps({"rid": 1, "t": "x", "d": {"text": text}}, ensure_ascii=False)

    room = REQUEST_BYTES_MAX - len(chat(""))
    assert parse_request(chat("x" * room)).data["text"] == "x" * room
    for too_long in ("x" * (room + 1), "价" * (room // 3 + 1)):
        with pytest.raises(BadMessage, match="16384 bytes"):
            parse_request(chat(too_long))


@pytest.mark.parametrize("format", FORMATS)
def test_depth_is_bounded(format: Format) -> None:
    def nested(depth: int) -> Request:
        value: Any = 1
        for _ in range(depth):
            value = [value]
        return Request(1, "x", {"a": value})

    allowed = nested(DEPTH_MAX - 2)
    assert parse_request(serialize_request(allowed, format)) == allowed
    with pytest.raises(BadMessage, match="deep"):
        parse_request(serialize_request(nested(DEPTH_MAX - 1), format))
